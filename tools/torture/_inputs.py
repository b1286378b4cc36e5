"""Files of every format, and what may happen to them on disks, in mails and by ill will."""

import gzip
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["FORMATS", "mutated", "write_seeds"]

Files = dict[str, bytes]
Random = random.Random

#: Endings of the files of each format; a folder has several files.
FORMATS = (
    "gaussians.npz",
    "gaussians.safetensors",
    "statistics.npz",
    "statistics.safetensors",
    "z.npy",
    "columns.npy",
    "stored.npz",
    "deflated.npz",
    "table.parquet",
    "lists.parquet",
    "table.csv",
    "lists.tsv",
    "table.csv.gz",
    "z.safetensors",
    "z.pt",
    "old.zarr",
    "new.zarr",
    "parts",
)
_HUGE = (0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


# -- files as they should be -------------------------------------------------------------------


def write_seeds(folder: Path) -> None:
    """Write a good file of each format."""
    import pyarrow as pa
    import torch
    import zarr
    from pyarrow import csv, parquet
    from safetensors.numpy import save_file

    from fpigauss import ClassGaussians, ClassStatistics

    rng = np.random.default_rng(0)
    y = np.arange(24) % 3
    z = rng.normal(size=(24, 2)) + y[:, None]
    words = np.asarray(["ant", "bee", "cat"])[y]
    gaussians = ClassGaussians(z[:3], z[:3] ** 2 + 0.1, classes=["a", "b", "c"], counts=[3, 2, 1])
    statistics = ClassStatistics.from_samples(z, words, covariance="dense")
    for ending in ("npz", "safetensors"):
        gaussians.save(folder / f"gaussians.{ending}")
        statistics.save(folder / f"statistics.{ending}")
    np.save(folder / "z.npy", z.astype(np.float32))
    np.save(folder / "columns.npy", np.asfortranarray(z))
    np.savez(folder / "stored.npz", z=z, y=words)
    np.savez_compressed(folder / "deflated.npz", z=z, y=y)
    table = pa.table({"label": words, "a": z[:, 0], "b": z[:, 1]})
    lists = pa.table({"label": y, "embedding": list(z)})
    parquet.write_table(table, folder / "table.parquet")
    parquet.write_table(lists, folder / "lists.parquet", compression="gzip")
    csv.write_csv(table, folder / "table.csv")
    text = "".join(f"{label}\t{row.tolist()}\n" for label, row in zip(words, z, strict=True))
    (folder / "lists.tsv").write_text("label\tembedding\n" + text, "utf-8")
    (folder / "table.csv.gz").write_bytes(gzip.compress((folder / "table.csv").read_bytes()))
    save_file({"z": z, "y": y}, folder / "z.safetensors")
    torch.save({"z": torch.asarray(z), "y": torch.asarray(y)}, folder / "z.pt")
    for name, version in (("old.zarr", 2), ("new.zarr", 3)):
        group = zarr.open_group(folder / name, mode="w", zarr_format=version)
        for key, array in (("z", z), ("y", y)):
            group.create_array(key, data=array, chunks=(10, *array.shape[1:]))
    (folder / "parts").mkdir()
    for i in range(2):
        np.savez(folder / "parts" / f"part_{i}.npz", z=z[12 * i :][:12], y=y[12 * i :][:12])


# -- what may happen to any bytes --------------------------------------------------------------


def _flip(data: bytes, draw: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
    return bytes(changed)


def _truncate(data: bytes, draw: Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _without(data: bytes, draw: Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.randrange(1, 65) :]


def _twice(data: bytes, draw: Random) -> bytes:
    start, length = draw.randrange(len(data)), draw.randrange(1, 65)
    return data[: start + length] + data[start:]


def _inserted(data: bytes, draw: Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    filling = draw.choice((b"\0", b"\xff", b"\n", b'"', b"[", draw.randbytes(1)))
    return data[:start] + filling * draw.choice((1, 2, 64, 4096)) + data[start:]


def _integer(data: bytes, draw: Random) -> bytes:
    """Put an integer that is huge, or on the edge of a type, over some bytes."""
    size, value = draw.choice((2, 4, 8)), draw.choice(_HUGE)
    packed = struct.pack("<Q", value)[:size]
    start = draw.randrange(max(1, len(data) - size))
    return data[:start] + packed + data[start + size :]


def _digits(data: bytes, draw: Random) -> bytes:
    """Declare another number where there are digits, as in the shapes of headers."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return _integer(data, draw)
    place = draw.choice(found)
    number = str(draw.choice((*_HUGE, 10**30, -1, -(2**63)))).encode()
    return data[: place.start()] + number + data[place.end() :]


def _padded_digits(data: bytes, draw: Random) -> bytes:
    """Declare another number of as many bytes, so that what counts bytes stays right."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return _flip(data, draw)
    place = draw.choice(found)
    digits = bytes(draw.choice(b"0123456789") for _ in range(len(place.group())))
    return data[: place.start()] + digits + data[place.end() :]


def _swapped(data: bytes, draw: Random) -> bytes:
    """Put a word of the formats in place of another."""
    words = [b"<f8", b"|O", b"<U9", b"F64", b"BF16", b"true", b"null", b"descr", b"shape", b"PK"]
    found = list(re.finditer(rb"[<|>]?[A-Za-z]+\d*", data))
    if not found:
        return _flip(data, draw)
    place = draw.choice(found)
    return data[: place.start()] + draw.choice(words) + data[place.end() :]


_ANY: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _truncate,
    _without,
    _twice,
    _inserted,
    _integer,
    _digits,
    _padded_digits,
    _swapped,
)


def _changed(data: bytes, draw: Random) -> bytes:
    return draw.choice(_ANY)(data, draw) if data else draw.randbytes(8)


# -- what only who knows the format does -------------------------------------------------------


def _rezipped(data: bytes, draw: Random) -> bytes:
    """Change a member of an archive, whose checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = draw.randrange(len(members))
    name, contents = members[i]
    trick = draw.choice(("change", "change", "change", "twice", "rename", "bomb", "drop"))
    if trick == "change":
        members[i] = name, _changed(contents, draw)
    elif trick == "twice":
        members.append((name, _changed(contents, draw)))
    elif trick == "rename":
        members[i] = draw.choice(("../z.npy", "/z.npy", "z/", "z", "y.npy", "é.npy")), contents
    elif trick == "bomb":
        members[i] = name, contents[:128] + bytes(2**24)
    else:
        del members[i]
    to = io.BytesIO()
    method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(to, "w", method) as archive:
        for member, contents in members:
            archive.writestr(member, contents)
        archive.comment = draw.choice((b"", b"", b"", b"PK\5\6"))
    return to.getvalue()


def _regzipped(data: bytes, draw: Random) -> bytes:
    contents = _changed(gzip.decompress(data), draw)
    if draw.random() < 0.05:
        contents += contents.splitlines(keepends=True)[-1] * 20_000
    return gzip.compress(contents, 1)


def _reheaded(data: bytes, draw: Random) -> bytes:
    """Change the header of safetensors, whose length is right again."""
    (length,) = struct.unpack("<Q", data[:8])
    header, rest = data[8 : 8 + length], data[8 + length :]
    if draw.random() < 0.5:
        values = json.loads(header)
        name = draw.choice(list(values))
        value = values[name]
        if "shape" in value:
            value["shape"] = draw.choice(([2**40, 2], [24], [], [0, 2], [24, 2, 1], [48, 1]))
        else:
            value |= {
                key: _changed(text.encode(), draw).decode("latin-1") for key, text in value.items()
            }
        header = json.dumps(values).encode()
    else:
        header = _changed(header, draw)
    return struct.pack("<Q", len(header)) + header + rest


_KNOWING: dict[str, Callable[[bytes, Random], bytes]] = {
    ".npz": _rezipped,
    ".pt": _rezipped,
    ".gz": _regzipped,
    ".safetensors": _reheaded,
}


def mutated(files: Files, draw: Random) -> Files:
    """Return files of which one is changed, in one to three steps, or gone."""
    files = dict(files)
    name = draw.choice(sorted(files))
    if len(files) > 1 and draw.random() < 0.05:
        del files[name]
        return files
    knowing = _KNOWING.get(Path(name).suffix)
    for step in range(draw.choice((1, 1, 1, 2, 3))):
        if step == 0 and knowing is not None and draw.random() < 0.5:
            files[name] = knowing(files[name], draw)
        else:
            files[name] = _changed(files[name], draw)
    return files
