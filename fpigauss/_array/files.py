"""Files of numbers: npz or safetensors, written atomically, read without pickle or trust."""

import hashlib
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from fpigauss._array.stored import (
    FLAG,
    FLOATS,
    HEADER,
    LABELS,
    NAME,
    ForeignError,
    Stored,
    check_header,
)
from fpigauss._array.tensors import is_safetensors, kind_in_metadata, read_tensors, tensor_bytes
from fpigauss.errors import InvalidInputError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows, where temporary files of killed processes stay
    flock = None  # type: ignore[assignment]

__all__ = [
    "FLAG",
    "FLOATS",
    "LABELS",
    "NAME",
    "Stored",
    "kind_of",
    "load_arrays",
    "replaced",
    "save_arrays",
]

_FORMAT = "fpigauss"
_VERSION = 1

#: The largest code point; numpy takes greater ones from a file and fails when it makes a string.
_LAST_CHARACTER = 0x10FFFF
_ENCRYPTED = 0x1
#: Characters of an array's header, several times those of ours: it is parsed as Python.
_LONGEST_HEADER = 1000


# -- writing -------------------------------------------------------------------------------


def save_arrays(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any]) -> None:
    """Write ``arrays`` to ``path``; if that fails, an earlier file stays intact.

    A new file gets the mode that ``open`` would give it, an earlier one keeps its own, and a link
    stays a link. The file is replaced, so its owner becomes the writer's, and other hard links
    keep the earlier contents.
    """
    header: dict[str, Any] = {"format": _FORMAT, "kind": kind, "version": _VERSION}
    name = _checked_path(path)
    contents = tensor_bytes(header, arrays) if is_safetensors(name) else None
    with replaced(name) as file:
        if contents is not None:
            file.write(contents)
            return
        try:
            np.savez(file, **header, **arrays)
        except ValueError as error:
            interrupt = error.__context__
            if interrupt is None or isinstance(interrupt, Exception):
                raise
            raise interrupt from None  # Ctrl-C came before zipfile could close what it had opened


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file whose contents take the place of those of ``path`` at the end, if all went well.

    As ``save_arrays`` does: a link stays a link, and an earlier file keeps its mode.
    """
    target = Path(os.path.realpath(_checked_path(path)))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path {os.fspath(path)!r}: the folder {target.parent} does not exist"
        )
    if target.is_dir():
        raise IsADirectoryError(
            f"path {os.fspath(path)!r} is a folder; pass the name of a file in it"
        )
    with _replacement(target) as file:
        yield file


def _checked_path(path: Any) -> str:
    """Return a path as a string; refuse streams, which cannot be replaced atomically."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise InvalidInputError(
            f"path is a {type(path).__name__}; pass a string or a pathlib.Path"
        ) from None
    if "\0" in name:
        raise InvalidInputError(f"path {name!r} contains a NUL character; pass another")
    return name


@contextmanager
def _replacement(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``target``, which replaces it at the end if nothing fails.

    A lock says that its writer lives, and the kernel lifts it however the writer ends. Where files
    cannot be locked, those of killed processes stay.
    """
    mode = _mode_of(target)
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=6).hexdigest()
    prefix = f".fpigauss-{digest}-"  # short, however long the target's name is
    _remove_abandoned(target.parent, prefix)
    names: list[Path] = []
    try:
        try:
            file = _opened(target.parent, prefix, 0o666 if mode is None else mode, names)
        except OSError as error:
            error.filename = os.fspath(target)  # which is the one that the user knows
            raise
        name = names[-1]
        with file:
            if mode is not None:
                name.chmod(mode)  # gives back what the umask took, before there are contents
            yield file
            file.flush()
            os.fsync(file.fileno())
            if flock is not None:
                name.replace(target)  # under the lock
        if flock is None:
            name.replace(target)  # Windows moves no open file
    except BaseException:
        for name in names:
            name.unlink(missing_ok=True)
        raise


def _mode_of(target: Path) -> int | None:
    """Return the mode of an earlier file, or None; refuse to replace a device or a pipe."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InvalidInputError(f"path {os.fspath(target)!r} is not a regular file; pass another")
    return stat.S_IMODE(found.st_mode)  # replacing a folder fails with an error of its own


def _opened(folder: Path, prefix: str, mode: int, names: list[Path]) -> BinaryIO:
    """Create and lock a temporary file; the kernel takes the umask from ``mode``.

    Its name goes into ``names`` before there is a file, so that none is left whenever Ctrl-C comes.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        name = folder / f"{prefix}{secrets.token_hex(8)}"  # nobody else's
        names.append(name)
        file = os.fdopen(os.open(name, flags, mode), "w+b")
        _lock(file, wait=True)
        if name.exists():
            return file
        file.close()  # another process took it for abandoned, just before it was locked


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporary files whose writers were killed."""
    found: list[Path] = []
    with suppress(OSError):  # a folder to write to need not be one to list
        found += folder.glob(f"{prefix}*")
    for name in found:
        with suppress(OSError), name.open("r+b") as file:  # another process may be as fast
            if _lock(file, wait=False):
                name.unlink()


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Lock a file, unless another process has or files cannot be locked; say whether it is."""
    if flock is None:
        return False
    try:
        flock(file, LOCK_EX if wait else LOCK_EX | LOCK_NB)
    except OSError:
        return False
    return True


# -- reading -------------------------------------------------------------------------------


def load_arrays(
    path: str | os.PathLike[str],
    kind: str,
    fields: Mapping[str, Stored],
    optional: Mapping[str, Stored] | None = None,
) -> dict[str, Any]:
    """Read the arrays ``fields`` of a file that ``save_arrays`` wrote for ``kind``.

    Those that are ``optional`` are read if they are there. Nothing is read before its type and size
    are known to be right, and no array can be larger than the file.
    """
    with _opened_to_read(path, kind) as raw:
        try:
            if is_safetensors(raw.name):
                header = {"format": _FORMAT, "kind": kind, "version": _VERSION}
                return read_tensors(raw.name, header, fields, optional or {})
            with zipfile.ZipFile(raw) as archive:
                size = os.fstat(raw.fileno()).st_size
                return _read(archive, size, kind, fields, optional or {})
        except (MemoryError, ModuleNotFoundError):
            raise
        except ForeignError as error:
            raise _refused(path, kind, error) from None
        except Exception as error:  # damage makes zipfile and numpy raise nearly anything
            raise _refused(path, kind, error) from error


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return what a file of ours contains, "ClassGaussians" say; None for any other file."""
    name = _checked_path(path)
    try:
        if is_safetensors(name):
            kind = kind_in_metadata(name)
            return kind if isinstance(kind, str) else None
        with Path(name).open("rb") as raw, zipfile.ZipFile(raw) as archive:
            if not {f"{n}.npy" for n in HEADER} <= set(archive.namelist()):
                return None
            size = os.fstat(raw.fileno()).st_size
            header = {n: _array(archive, f"{n}.npy", size, HEADER[n]).item() for n in HEADER}
            return str(header["kind"]) if header["format"] == _FORMAT else None
    except (MemoryError, ModuleNotFoundError):
        raise
    except Exception:  # noqa: BLE001 - damage raises nearly anything; whoever reads it says what
        return None


def _refused(path: str | os.PathLike[str], kind: str, why: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"path {os.fspath(path)!r} is not a complete fpigauss file of {kind} ({why}); "
        f"load one that {kind}.save wrote"
    )


def _opened_to_read(path: str | os.PathLike[str], kind: str) -> BinaryIO:
    name = _checked_path(path)
    try:
        return Path(name).open("rb")
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError) as error:  # a folder, or a name that is too long or has a NUL
        raise _refused(path, kind, error) from error


def _read(
    archive: zipfile.ZipFile,
    size: int,
    kind: str,
    fields: Mapping[str, Stored],
    optional: Mapping[str, Stored],
) -> dict[str, Any]:
    """Read the arrays ``fields``, and no others but optional ones, from ``size`` bytes."""
    fields = dict(fields)
    fields |= {n: stored for n, stored in optional.items() if f"{n}.npy" in archive.namelist()}
    members = {f"{name}.npy": stored for name, stored in (HEADER | dict(fields)).items()}
    found = [member.filename for member in archive.infolist()]
    if not {f"{name}.npy" for name in HEADER} <= set(found):
        raise ForeignError("its header is missing")
    header = [_array(archive, f"{name}.npy", size, stored) for name, stored in HEADER.items()]
    check_header([x.item() for x in header], [_FORMAT, kind, _VERSION])
    # damage to its length makes a comment of the members that follow, which may be optional
    if any(member.comment for member in archive.infolist()):
        raise ForeignError("it contains comments")
    if sorted(found) != sorted(members):
        raise ForeignError(f"it contains {', '.join(sorted(found))}")
    return {name: _array(archive, f"{name}.npy", size, stored) for name, stored in fields.items()}


def _array(archive: zipfile.ZipFile, name: str, size: int, stored: Stored) -> np.ndarray[Any, Any]:
    """Read an array from an archive of ``size`` bytes, once its header is known to be right."""
    member = archive.getinfo(name)
    if member.flag_bits & _ENCRYPTED or member.compress_type != zipfile.ZIP_STORED:
        raise ForeignError(f"{name} is compressed or encrypted")
    if not member.compress_size == member.file_size <= size:
        raise ForeignError(f"{name} is cut short")
    with archive.open(member) as file:
        shape, by_columns, dtype = _layout(file)
        n_bytes = math.prod(shape) * dtype.itemsize
        if not {f"{dtype.kind}{dtype.itemsize}", dtype.kind} & set(stored.types):
            raise ForeignError(f"{name} has dtype {dtype}")
        if len(shape) not in stored.ndims or min(shape, default=0) < 0 or dtype.itemsize == 0:
            raise ForeignError(f"{name} has shape {shape}")
        contents = file.read()  # to the end, where the checksum is compared
    if len(contents) != n_bytes:
        raise ForeignError(f"{name} has {len(contents)} bytes, but its header says {n_bytes}")
    flat = np.frombuffer(contents, dtype).astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "U" and (flat.view(np.uint32) > _LAST_CHARACTER).any():
        raise ForeignError(f"{name} contains characters that do not exist")
    return flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)


def _layout(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the shape, the order and the type of an array in numpy's format."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    return np.lib.format.read_array_header_2_0(file, max_header_size=_LONGEST_HEADER)
