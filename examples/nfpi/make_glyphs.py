"""Make glyphs.npz: 62 letters and digits in the OpenType fonts of one Debian package.

    apt-get download texlive-fonts-extra
    mkdir fonts
    dpkg-deb --fsys-tarfile texlive-fonts-extra_*.deb | tar -x -C fonts --wildcards '*.otf' '*.ttf'
    python examples/nfpi/make_glyphs.py fonts glyphs.npz

Images are gray, 28x28; a capital H is 16 pixels high in every font, and the baseline is at row 22.
Fonts in one folder are a family. Every sixth family, in alphabetic order, makes test images: no
family is in both parts. Another version of the package may have other fonts.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from fpigauss import InvalidInputError
from PIL import Image, ImageDraw, ImageFont

from nfpi.checkpoints import write_atomically
from nfpi.script import exit_status

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SIDE, BASELINE, CAPITAL = 28, 22, 16

#: Fonts per family at most: some families have a hundred near copies.
MOST_FONTS = 16
#: A font is measured at this size before it is scaled.
_PROBE = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, and say what it contains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fonts", type=Path, help="a folder with one folder of fonts per family")
    parser.add_argument("out", type=Path, help="the npz file to write")
    options = parser.parse_args(arguments)
    return exit_status("make_glyphs.py", lambda: _make(options.fonts, options.out))


def _make(folder: Path, out: Path) -> int:
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    families: list[np.ndarray] = []
    names: list[str] = []
    for name, paths in sorted(_families(folder).items()):
        fonts = family_glyphs(paths)
        for font in fonts:
            images.append(font)
            labels.append(np.arange(len(CHARACTERS)))
            families.append(np.full(len(CHARACTERS), len(names)))
        if fonts:
            names.append(name)
    if len(names) < 6:
        raise InvalidInputError(
            f"{folder} has {len(names)} families of fonts with all of {CHARACTERS}; at least 6 are "
            "needed, one of which makes test images"
        )
    x, y, family = (np.concatenate(parts) for parts in (images, labels, families))
    test = family % 6 == 5
    arrays: dict[str, Any] = {
        "x_train": x[~test],
        "y_train": y[~test].astype(np.uint8),
        "family_train": family[~test].astype(np.uint16),
        "x_test": x[test],
        "y_test": y[test].astype(np.uint8),
        "family_test": family[test].astype(np.uint16),
        "characters": np.array(list(CHARACTERS)),
        "families": np.array(names),
    }
    write_atomically(out, lambda at: np.savez_compressed(at, **arrays))
    print(
        f"{len(names)} families, {len(images)} fonts, {(~test).sum()} training and {test.sum()} "
        f"test images in {out}"
    )
    return 0


def _families(folder: Path) -> dict[str, list[Path]]:
    """List the font files by the name of their folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".otf", ".ttf"):
            found.setdefault(path.parent.name, []).append(path)
    return found


def family_glyphs(paths: Sequence[Path]) -> list[np.ndarray]:
    """Draw up to ``MOST_FONTS`` fonts of a family that differ, spread over its files."""
    tried = np.linspace(0, len(paths) - 1, min(len(paths), 3 * MOST_FONTS)).round().astype(int)
    found: dict[bytes, np.ndarray] = {}
    for i in tried:
        images = font_glyphs(paths[i])
        if images is not None and len(found) < MOST_FONTS:
            found.setdefault(images.tobytes(), images)
    return list(found.values())


def font_glyphs(path: Path) -> np.ndarray | None:
    """Draw the characters of a font.

    Parameters
    ----------
    path : Path
        An OpenType or TrueType file.

    Returns
    -------
    (62, 28, 28) uint8 array or None
        None if the font cannot be read, lacks a character, draws one too faintly, or draws several
        alike, as fonts of symbols or of small capitals do.
    """
    try:
        # opened here because a font that cannot be read is not closed
        with path.open("rb") as file, TTFont(file, fontNumber=0, lazy=True) as font:
            known = font.getBestCmap() or {}
        if not set(map(ord, CHARACTERS)) <= set(known):
            return None
        probe = ImageFont.truetype(str(path), _PROBE)
        _, top, _, bottom = probe.getbbox("H", anchor="ls")
        if bottom - top < _PROBE / 10:
            return None
        scaled = ImageFont.truetype(str(path), max(4, round(_PROBE * CAPITAL / (bottom - top))))
        images = np.stack([_drawn(character, scaled) for character in CHARACTERS])
    except (TTLibError, OSError, ValueError, AttributeError, AssertionError):
        return None  # a damaged font makes either library raise any of these
    clear = images.max(axis=(1, 2)).min() > 100
    return images if clear and len({one.tobytes() for one in images}) >= 60 else None


def _drawn(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text((SIDE // 2, BASELINE), character, 255, font=font, anchor="ms")
    return np.asarray(image)


if __name__ == "__main__":
    raise SystemExit(main())
