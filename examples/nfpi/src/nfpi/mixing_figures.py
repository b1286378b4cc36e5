"""Draw Fig. 2 for several ways of moving latents, side by side."""

from pathlib import Path

import numpy as np
from einops import rearrange

from nfpi.figures import make_figure, save_figure

__all__ = ["figure2_of_moves"]

#: Headings by the name of an arm.
_HEADINGS = {"mix": "plain mixing", "noise": "noise"}


def figure2_of_moves(path: Path, pictures: Path) -> None:
    """Draw one image per class, and its variants by each way of moving latents.

    Parameters
    ----------
    path : Path
        Where to write the picture.
    pictures : Path
        The file written by the run: images (K, 1 + variants, C, H, W), labels, and the moves, each
        of which made as many of the variants.
    """
    with np.load(pictures) as file:
        images, labels, moves = file["images"], file["labels"], file["moves"]
    n_images, n_columns, channels, height, width = images.shape
    each = (n_columns - 1) // len(moves)
    tiles = np.pad(images, [(0, 0)] * 3 + [(1, 1)] * 2, constant_values=255)
    gap = np.full((n_images * (height + 2), (width + 2) // 2, channels), 255, dtype=np.uint8)
    starts = [0, *range(1, n_columns, each)]
    parts, marks, at = [], [], 0.0
    for start, stop in zip(starts, [*starts[1:], n_columns], strict=True):
        parts += [rearrange(tiles[:, start:stop], "n m c h w -> (n h) (m w) c"), gap]
        wide = (stop - start) * (width + 2)
        marks.append(at + wide / 2)
        at += wide + gap.shape[1]
    canvas = np.concatenate(parts[:-1], 1)
    figure = make_figure(7.6, 7.6 * canvas.shape[0] / canvas.shape[1] + 0.5)
    axis = figure.subplots()
    axis.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=255)
    names = [_HEADINGS.get(move, f"{move.removeprefix('mix-')} axes") for move in map(str, moves)]
    axis.set_xticks(marks, ["image", *names])
    axis.set_yticks(
        [(row + 0.5) * (height + 2) for row in range(n_images)], [str(y) for y in labels]
    )
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    for side in axis.spines.values():
        side.set_visible(False)
    save_figure(figure, path)
