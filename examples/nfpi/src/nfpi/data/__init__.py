"""Read training images in the layouts people have on disk.

``image_set`` holds them in memory; there is one reader per layout.
"""

from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.data import _folder, _shards
from nfpi.data._arrays import read_digits, read_npz
from nfpi.data._cifar import is_cifar, read_cifar
from nfpi.data.image_set import ImageSet, resize, stratified_split

__all__ = ["ImageSet", "load_images", "resize", "stratified_split"]


def load_images(
    source: str | Path,
    *,
    size: int | None = None,
    classes: int | None = None,
    progress: bool = False,
) -> tuple[ImageSet, ImageSet]:
    """Read a data set into memory.

    Parameters
    ----------
    source : str or path
        "digits", or the path of one of

        - an npz file with x_train, y_train, x_test, y_test, and optionally family_train; or with x
            and y, which are always split in the same way, six sevenths to train on, with classes in
            equal proportions;
        - a CIFAR-10 or CIFAR-100 folder, in the python or the binary version;
        - a folder with train/CLASS/*.png (or jpg) and val/CLASS or test/CLASS;
        - a folder of WebDataset shards, *train*.tar and *val*.tar or *test*.tar, with
          NAME.png (or jpg) and NAME.cls.
    size : int, optional
        Images are cropped to the largest central square and scaled to ``size`` x ``size``. Without
        it, all images must have the same size already.
    classes : int, optional
        Only so many of the classes, spread evenly over all and numbered anew.
    progress : bool
        Show a progress bar when images are read one by one.

    Returns
    -------
    tuple of ImageSet
        Training and test images.

    Raises
    ------
    InvalidInputError
        If ``source`` does not exist or its layout is unknown; if data are damaged, labels are
        outside 0..K-1, a class has no training image, or sizes differ. The message names the file.
    """
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise InvalidInputError(f"size is {size!r}; pass a whole number >= 1, or None")
    train, test = _read(source, size, progress)
    train, test = train.checked_classes().resized(size), test.resized(size)
    if train.image_shape != test.image_shape:
        raise InvalidInputError(
            f"{train.name} has images (C, H, W) = {train.image_shape}, {test.name} "
            f"{test.image_shape}; pass size= to have them resized, and equal channels"
        )
    return train.of_classes(classes), test.of_classes(classes)


def _read(source: str | Path, size: int | None, progress: bool) -> tuple[ImageSet, ImageSet]:
    if str(source) == "digits":
        return read_digits()
    path = Path(source)
    if not path.exists():
        raise InvalidInputError(f'{path} does not exist; pass "digits", or the path of a data set')
    if path.is_file():
        return read_npz(path)
    folder = _unpacked(path)
    if is_cifar(folder):
        return read_cifar(folder)
    if _folder.is_folder(folder):
        return _folder.read_folder(folder, size, progress)
    if _shards.is_shards(folder):
        return _shards.read_shards(folder, size, progress)
    found = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
    raise InvalidInputError(
        f"{path} contains {found}; it should have the files of CIFAR-10 or CIFAR-100, or "
        "train/CLASS/*.png (or jpg) next to val or test, or *train*.tar next to *val*.tar or "
        "*test*.tar"
    )


def _unpacked(path: Path) -> Path:
    """Return the only folder in ``path`` if there is nothing else, as archives unpack."""
    entries = [each for each in path.iterdir() if not each.name.startswith(".")]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else path
