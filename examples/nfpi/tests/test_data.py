"""Readers on tiny files of the real formats, whole and damaged; batches; augmentations."""

import io
import pickle
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fpigauss import InvalidInputError
from PIL import Image

from nfpi.batches import Batches, dequantized, make_augment
from nfpi.data import ImageSet, load_images, resize, stratified_split

RNG = np.random.default_rng(0)


def pictures(n, channels=3, size=32):
    """Draw pictures (N, H, W, C) uint8."""
    return RNG.integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def image_set(n=12, n_classes=3, size=8, channels=1):
    images = torch.from_numpy(pictures(n, channels, size).transpose(0, 3, 1, 2).copy())
    return ImageSet(images, torch.arange(n) % n_classes, n_classes, "made up")


def refusal(path):
    """Return the message with which images are refused; None if they are read."""
    try:
        load_images(path)
    except InvalidInputError as error:
        return str(error)
    return None


# scikit-learn's digits, and npz files


def test_digits_split_by_class_and_lose_nothing():
    from sklearn.datasets import load_digits

    train, test = load_images("digits")
    assert train.image_shape == test.image_shape == (1, 8, 8)
    assert (len(train), len(test), train.n_classes) == (1438, 359, 10)
    share = torch.bincount(train.labels) / torch.bincount(torch.cat([train.labels, test.labels]))
    assert (share - 0.8).abs().max() < 1 / 170  # a class has 174 at least: one more or less
    # the noise stays within its gray level
    gray = torch.cat([train.images, test.images])[:, 0] // 15
    assert sorted(gray.flatten(1).tolist()) == sorted(load_digits().data.astype(int).tolist())


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
def test_npz_with_a_split_of_its_own(tmp_path, layout):
    x = pictures(6, 1 if layout == "NHW" else 3, 5)
    stored = {"NHW": x[..., 0], "NHWC": x, "NCHW": x.transpose(0, 3, 1, 2)}[layout]
    y = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
    np.savez(
        tmp_path / "a.npz", x_train=stored, y_train=y[:, None], x_test=stored[:3], y_test=y[:3]
    )
    train, test = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(train.images.permute(0, 2, 3, 1), x)
    assert train.labels.tolist() == y.tolist()
    assert (len(test), test.n_classes) == (3, 3)


def test_npz_without_a_split_is_split_in_proportion_and_always_so(tmp_path):
    x = np.arange(70, dtype=np.uint8).repeat(16).reshape(70, 4, 4)
    y = np.repeat([0, 1], [49, 21])  # sorted by class
    np.savez_compressed(tmp_path / "a.npz", x=x, y=y)
    train, test = load_images(str(tmp_path / "a.npz"))
    assert torch.bincount(train.labels).tolist() == [42, 18]
    assert torch.bincount(test.labels).tolist() == [7, 3]
    seen = torch.cat([train.images, test.images])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == list(range(70))
    assert torch.equal(load_images(tmp_path / "a.npz")[1].images, test.images)


X, Y = pictures(6, 1, 4)[..., 0], np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": X, "y": Y}, "holds z, y; x_train"),
        ({"x_train": X, "y_train": Y}, "holds x_train, y_train; x_train, y_train, x_test"),
        ({"x": X / 255, "y": Y}, "x is float64"),
        ({"x": X.reshape(6, 16), "y": Y}, r"x is uint8 of shape \(6, 16\)"),
        ({"x": np.zeros((6, 4, 4, 2), np.uint8), "y": Y}, "C = 1 or 3"),
        ({"x": X, "y": Y / 2}, "y is float64"),
        ({"x": X, "y": Y[:5]}, r"labels are torch.int64 of shape \(5,\) for 6 images"),
        ({"x": X, "y": Y - 1}, r"image 0 has label -1, and 2 more are outside 0\.\.0"),
        ({"x": X, "y": 2 * Y}, r"class 1 of 0\.\.2 has no image"),
        ({"x": X, "y": Y + 1}, "class 0 of .* number the classes from 0"),
        ({"x": X, "y": Y * 2**40}, f"image 1 has label {2**40}, and there are 6 images"),
        (
            {"x_train": X, "y_train": Y * 2**40, "x_test": X, "y_test": Y},
            f"image 1 has label {2**40}, and there are 6 images",
        ),
        ({"x": X[:0], "y": Y[:0]}, "there are no images"),
        ({"x": X[:2], "y": Y[:2]}, None),
        ({"x": X[:1], "y": Y[:1]}, "too few to be split"),
        ({"x": X, "y": np.array(["a"] * 6, dtype=object)}, "contains Python objects"),
        ({"x": X / 255.0, "y": Y}, r"multiply values in \[0, 1\] by 255"),
        ({"x": X, "y": np.array(["a"] * 6)}, r"return_inverse=True\)\[1\] numbers words"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            r"\(test\): image 1 has label",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :3], "y_test": Y}, "pass size="),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    if message is None:
        message = "too few"
    with pytest.raises(InvalidInputError, match=message) as caught:
        load_images(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_truncated_npz(tmp_path, keep):
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=r"cut\.npz cannot be read as npz, it is truncated"):
        load_images(tmp_path / "cut.npz")


def test_damaged_npz_files_never_raise_anything_else(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        byte = bytes([whole[position] ^ 1])
        path.write_bytes(whole[:position] + byte + whole[position + 1 :])
        message = refusal(path)  # dates in a zip file may change, say
        if message is not None:
            refused += 1
            assert "a.npz" in message
    assert refused > len(whole) / 2


def test_single_array_file(tmp_path):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(InvalidInputError, match="single array"):
        load_images(tmp_path / "a.npy")


# CIFAR


def as_python_2(data, labels, key):
    """Return the bytes that Python 2 and its numpy pickled: what the archives contain."""

    def string(text):
        return b"U" + bytes([len(text)]) + text

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + string(b"b")
        + b"\x87R"
        b"(K\x01M"
        + struct.pack("<H", len(data))
        + b"M"
        + struct.pack("<H", data.shape[1])
        + b"\x86"
        b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    batch = string(b"batch_label") + string(b"training batch 1 of 5")
    items = batch + string(b"data") + array + string(key) + numbers
    return b"\x80\x02}(" + items + b"u."


def as_python_3(data, labels, key, protocol=2):
    return pickle.dumps({b"data": data, key: np.asarray(labels).tolist()}, protocol=protocol)


def as_binary(data, labels, key):
    columns = [labels] if key == b"labels" else [labels // 5, labels]  # coarse, fine
    return np.column_stack([*columns, data]).astype(np.uint8).tobytes()


WRITERS = {
    "python 2": (as_python_2, ""),
    "python 3": (as_python_3, ""),
    "binary": (as_binary, ".bin"),
}


def write_cifar(folder, n_classes, writer, n=4):
    """Write the archive; return data and labels, training files before the test file."""
    write, suffix = WRITERS[writer]
    if n_classes == 10:
        names, key = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], b"labels"
    else:
        names, key = ["train", "test"], b"fine_labels"
        n = 2 * n_classes
    data = RNG.integers(0, 256, (len(names), n, 3072), dtype=np.uint8)
    labels = (np.arange(len(names) * n) % n_classes).reshape(len(names), n)
    for name, rows, classes in zip(names, data, labels, strict=True):
        (folder / f"{name}{suffix}").write_bytes(write(rows, classes, key))
    return data, labels


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("n_classes", [10, 100])
@pytest.mark.parametrize("nested", [False, True])
def test_cifar(tmp_path, writer, n_classes, nested):
    folder = tmp_path / "unpacked" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    data, labels = write_cifar(folder, n_classes, writer)
    train, test = load_images(tmp_path)
    assert train.n_classes == test.n_classes == n_classes
    assert train.labels.tolist() == labels[:-1].ravel().tolist()
    assert test.labels.tolist() == labels[-1].tolist()
    # rows are channel by channel, each row by row
    np.testing.assert_array_equal(test.images, data[-1].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(train.images.flatten(1), data[:-1].reshape(-1, 3072))


def test_cifar_resized(tmp_path):
    data, _ = write_cifar(tmp_path, 10, "binary")
    _, test = load_images(tmp_path, size=16)
    blocks = data[-1].reshape(-1, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.abs(test.images.numpy() - blocks).max() <= 0.5  # means of 2x2, rounded


@pytest.mark.parametrize("writer", WRITERS)
def test_cifar_with_a_file_missing(tmp_path, writer):
    write_cifar(tmp_path, 10, writer)
    name = f"data_batch_3{WRITERS[writer][1]}"
    (tmp_path / name).unlink()
    with pytest.raises(InvalidInputError, match=f"{name} is missing from CIFAR-10"):
        load_images(tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("keep", [0, 1, 50, 5000, -1])
def test_truncated_cifar(tmp_path, writer, keep):
    write_cifar(tmp_path, 10, writer)
    path = tmp_path / f"data_batch_2{WRITERS[writer][1]}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=r"data_batch_2.*truncated or damaged"):
        load_images(tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
def test_cifar_labels_out_of_range(tmp_path, writer):
    write_cifar(tmp_path, 10, writer)
    write, suffix = WRITERS[writer]
    rows = np.zeros((2, 3072), np.uint8)
    (tmp_path / f"test_batch{suffix}").write_bytes(write(rows, np.array([3, 10]), b"labels"))
    with pytest.raises(InvalidInputError, match=r"test_batch.*image 1 has label 10.*0\.\.9"):
        load_images(tmp_path)


class _Runs:
    def __reduce__(self):
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({b"data": _Runs(), b"labels": [0]}), "asks for builtins.eval"),
        (pickle.dumps(np.save), "asks for numpy"),
        (pickle.dumps([1, 2]), 'no "data" and "labels"'),
        (as_python_3(np.zeros((1, 3072)), [0], b"labels"), "an array of .*f8"),
        (as_python_3(np.zeros((1, 784), np.uint8), [0], b"labels"), "is not uint8"),
        (as_python_3(np.zeros((2, 3072), np.uint8), [0], b"labels"), "N integers"),
        (as_python_3(np.zeros((1, 3072), np.uint8), ["cat"], b"labels"), "N integers"),
        (as_python_3(np.zeros((1, 3072), np.uint8), [0], b"fine_labels"), 'and "labels"'),
        (
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
            "not as latin1",
        ),
        (b"not a pickle", "truncated or damaged"),
    ],
)
def test_pickles_that_are_no_cifar(tmp_path, content, message):
    write_cifar(tmp_path, 10, "python 2")
    (tmp_path / "data_batch_4").write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"data_batch_4.*{message}"):
        load_images(tmp_path)


def test_damaged_pickles_never_raise_anything_else(tmp_path):
    write_cifar(tmp_path, 10, "python 2")
    path = tmp_path / "data_batch_1"
    whole = path.read_bytes()
    header = whole.index(b"T" + struct.pack("<i", 4 * 3072)) + 5
    for position in range(header):
        for value in (0x2E, 0x52):  # ".": stop, "R": call
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            message = refusal(tmp_path)  # some changes do no harm
            assert message is None or "data_batch_1" in message


# folders of pictures, and shards of them


def encoded(picture, suffix="png", mode=None):
    image = Image.fromarray(picture.squeeze())
    image = image if mode is None else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG"}[suffix])
    return buffer.getvalue()


def write_folder(root, channels=3, size=32, held_out="val", suffix="png"):
    """Write a folder of two classes; three pictures each in training, one held out."""
    images = pictures(8, channels, size)
    places = [("train", "cat"), ("train", "dog")] * 3 + [(held_out, "cat"), (held_out, "dog")]
    for i, (part, name) in enumerate(places):
        (root / part / name).mkdir(parents=True, exist_ok=True)
        (root / part / name / f"{i}.{suffix}").write_bytes(encoded(images[i], suffix))
    return images.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("held_out", ["val", "test"])
def test_image_folder(tmp_path, channels, held_out):
    images = write_folder(tmp_path, channels, held_out=held_out)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "cat" / "._0.png").write_text("what macOS leaves behind")
    train, test = load_images(tmp_path)
    np.testing.assert_array_equal(train.images, images[[0, 2, 4, 1, 3, 5]])
    np.testing.assert_array_equal(test.images, images[6:])
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (train.n_classes, test.labels.tolist()) == (2, [0, 1])


def test_image_folder_of_other_sizes(tmp_path):
    write_folder(tmp_path, suffix="JPEG")
    other = tmp_path / "train" / "dog" / "9.JPEG"
    flat = np.full((300, 40, 3), 77, np.uint8)
    flat[130:170] = 200  # the square in the middle
    other.write_bytes(encoded(flat, "JPEG"))
    with pytest.raises(InvalidInputError, match=r"9\.JPEG has 300x40 pixels, .*32x32; pass size="):
        load_images(tmp_path)
    train, _ = load_images(tmp_path, size=8)
    assert train.image_shape == (3, 8, 8)
    # JPEG's blocks of 8 do not end where the square does: its inner rows are exact
    assert (train.images[-1][:, 1:-1].int() - 200).abs().max() <= 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_modes_of_pictures(tmp_path, mode):
    write_folder(tmp_path)
    flat = np.full((32, 32, 3), 255, np.uint8)
    suffix = "jpg" if mode == "CMYK" else "png"
    (tmp_path / "train" / "dog" / f"9.{suffix}").write_bytes(encoded(flat, suffix, mode))
    train, _ = load_images(tmp_path)
    assert train.image_shape == (3, 32, 32)
    assert (train.images[-1] >= 254).all()


def test_pictures_of_16_bits(tmp_path):
    write_folder(tmp_path)
    deep = Image.fromarray(np.full((32, 32), 40000, np.uint16))
    deep.save(tmp_path / "train" / "dog" / "9.png")
    with pytest.raises(InvalidInputError, match=r'9\.png is a picture of mode "I;16"'):
        load_images(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 20, -200])
@pytest.mark.parametrize("size", [None, 8])
def test_truncated_picture(tmp_path, suffix, keep, size):
    write_folder(tmp_path, suffix=suffix)
    path = tmp_path / "train" / "dog" / f"3.{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=rf"3\.{suffix} cannot be decoded"):
        load_images(tmp_path, size=size)


def test_folders_that_do_not_match(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "cow").mkdir()
    with pytest.raises(InvalidInputError, match=r"cow is a class that .*train does not have"):
        load_images(tmp_path)
    (tmp_path / "val" / "cow").rmdir()
    (tmp_path / "train" / "cow").mkdir()
    with pytest.raises(InvalidInputError, match=r"cow has no \.png"):
        load_images(tmp_path)
    (tmp_path / "train" / "cow").rmdir()
    (tmp_path / "val").rename(tmp_path / "other")
    with pytest.raises(InvalidInputError, match="neither val nor test"):
        load_images(tmp_path)


def test_folders_without_classes(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path / "val").rglob("*.png"):
        path.rename(tmp_path / "val" / path.name)  # as ImageNet's validation set unpacks
    with pytest.raises(InvalidInputError, match=r"val has no .* in folders named as the classes"):
        load_images(tmp_path)
    for part in ("train", "test"):
        (tmp_path / "empty" / part).mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="train has no folders"):
        load_images(tmp_path / "empty")


def write_shard(path, members):
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))


def write_shards(folder, channels=3, held_out="val"):
    """Write two shards of three samples to train on, and one of three held out."""
    images = pictures(9, channels)
    names = ("set-train-0000.tar", "set-train-0001.tar", f"set-{held_out}-0000.tar")
    for s, name in enumerate(names):
        members = {}
        for i in range(3 * s, 3 * s + 3):
            members[f"./a.b/{i:04}.png"] = encoded(images[i])
            members[f"./a.b/{i:04}.cls"] = f"{i % 3}\n".encode()
            members[f"./a.b/{i:04}.json"] = b"{}"
        write_shard(folder / name, members)
    return images.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("held_out", ["val", "validation", "test"])
def test_shards(tmp_path, channels, held_out):
    images = write_shards(tmp_path, channels, held_out)
    train, test = load_images(tmp_path)
    np.testing.assert_array_equal(train.images, images[:6])
    np.testing.assert_array_equal(test.images, images[6:])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert train.n_classes == test.n_classes == 3
    assert load_images(tmp_path, size=16)[0].image_shape == (channels, 16, 16)


def test_more_shards_than_files_may_be_open(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of open files are of POSIX systems")
    images = [encoded(image) for image in pictures(3, 1)]
    for i in range(300):
        members = {"a.png": images[i % 3], "a.cls": str(i % 3).encode()}
        write_shard(tmp_path / f"train-{i:04}.tar", members)
    write_shard(tmp_path / "val-0000.tar", {"a.png": images[0], "a.cls": b"0"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        train, _ = load_images(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(train) == 300


def test_a_shard_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    write_shards(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tarfile, "open", refuse)
    with pytest.raises(InvalidInputError, match=r"0000\.tar cannot be read: Permission denied$"):
        load_images(tmp_path)


@pytest.mark.parametrize("keep", [0, 300, 700, 4000, 8000])
def test_truncated_shard(tmp_path, keep):
    write_shards(tmp_path)
    path = tmp_path / "set-train-0001.tar"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=r"train-0001\.tar"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"..."}, r"train-0001\.tar: a has \.png; .* its class \(\.cls\)"),
        ({"a.cls": b"1"}, r"a has \.cls; a picture"),
        ({"a.png": b"...", "a.cls": b"cat"}, r"a\.cls holds b'cat'"),
        ({"a.png": b"...", "a.cls": b"-1"}, r"a\.png: class -1 is outside 0\.\.2"),
        ({"a.png": b"...", "a.cls": b"1"}, r"a\.png cannot be decoded"),
    ],
)
def test_bad_samples(tmp_path, members, message):
    write_shards(tmp_path)
    write_shard(tmp_path / "set-train-0001.tar", members)
    with pytest.raises(InvalidInputError, match=message):
        load_images(tmp_path)


def test_shards_that_are_missing(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "set-train-0001.tar").rename(tmp_path / "set-train-0003.tar")
    with pytest.raises(InvalidInputError, match=r"train shards 0\.\.3 number 1 is missing"):
        load_images(tmp_path)
    (tmp_path / "set-train-0003.tar").rename(tmp_path / "set-train-0001.tar")
    (tmp_path / "set-val-0000.tar").unlink()
    with pytest.raises(InvalidInputError, match=r"neither \*val\*\.tar nor \*test\*\.tar"):
        load_images(tmp_path)
    write_shard(tmp_path / "set-val-0000.tar", {"a.png": encoded(pictures(1)[0]), "a.cls": b"3"})
    with pytest.raises(InvalidInputError, match=r"a\.png: class 3 is outside 0\.\.2"):
        load_images(tmp_path)
    write_shard(tmp_path / "set-val-0000.tar", {})
    with pytest.raises(InvalidInputError, match=r"val-0000\.tar and the like hold no samples"):
        load_images(tmp_path)


# whatever else a path may be


def test_nothing_that_is_understood(tmp_path):
    with pytest.raises(InvalidInputError, match='nowhere does not exist; pass "digits"'):
        load_images(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="contains nothing; it should have"):
        load_images(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InvalidInputError, match=r"contains a\.txt; it should have .*CIFAR-10"):
        load_images(tmp_path)
    with pytest.raises(InvalidInputError, match=r"a\.txt cannot be read as npz"):
        load_images(tmp_path / "a.txt")
    for size in (0, 1.5, True):
        with pytest.raises(InvalidInputError, match="size is"):
            load_images("digits", size=size)


# sets of images


def test_image_sets_check_what_they_are_given():
    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 2])
    for bad in (images.float(), images[:, 0], images.expand(3, 2, 4, 4)):
        with pytest.raises(InvalidInputError, match="here: images are"):
            ImageSet(bad, labels, 3, "here")
    for bad in (labels[:2], labels.int(), labels[:, None]):
        with pytest.raises(InvalidInputError, match="here: labels are"):
            ImageSet(images, bad, 3, "here")
    with pytest.raises(
        InvalidInputError, match=r"image 2 has label 2, and 0 more are outside 0\.\.1"
    ):
        ImageSet(images, labels, 2, "here")


@pytest.mark.parametrize("n", [3, 7, 50, 99, 110])
def test_limits_keep_proportions(n):
    labels = torch.tensor([0] * 70 + [1] * 38 + [2] * 2)
    images = torch.arange(110, dtype=torch.uint8)[:, None, None, None]
    everything = ImageSet(images, labels, 3, "made up")
    some = everything.limited(n, seed=1)
    counts = torch.bincount(some.labels, minlength=3)
    assert len(some) == n
    assert counts.min() >= 1
    # within one of the share, or what the one of the small class costs
    assert (counts - n * torch.tensor([70, 38, 2]) / 110).abs().max() <= 1
    assert len(some.images.unique()) == n
    assert torch.equal(some.images, everything.limited(n, seed=1).images)
    if n in (7, 50):
        assert not torch.equal(some.images, everything.limited(n, seed=2).images)


def test_limits_that_cannot_be():
    for n in (2, 13):
        with pytest.raises(InvalidInputError, match=f"a limit of {n} images .* pass 3 to 12"):
            image_set().limited(n, seed=0)
    assert len(image_set().limited(None, seed=0)) == 12


def test_splits_are_disjoint_and_whole():
    labels = torch.arange(101) % 7
    first, second = stratified_split(labels, 60, seed=0)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(101))
    counts = torch.bincount(labels[first])
    assert counts.max() - counts.min() <= 1


def test_resizing():
    images = torch.from_numpy(pictures(5, 3, 28).transpose(0, 3, 1, 2).copy())
    halves = images.reshape(5, 3, 14, 2, 14, 2).float().mean((3, 5))
    assert (resize(images, 14) - halves).abs().max() <= 0.5
    assert torch.equal(resize(images, 28), images)
    flat = torch.full((1, 3, 20, 33), 9, dtype=torch.uint8)
    assert torch.equal(resize(flat, 13), torch.full((1, 3, 13, 13), 9, dtype=torch.uint8))
    wide = torch.arange(30, dtype=torch.uint8).expand(1, 1, 10, 30)
    assert torch.equal(resize(wide, 10)[0, 0, 0], torch.arange(10, 20, dtype=torch.uint8))
    half = ImageSet(images, torch.arange(5), 5, "made up").resized(14)
    assert torch.equal(half.images, resize(images, 14))


# batches


def test_epochs_repeat_and_differ():
    batches = Batches(image_set(50), 16, seed=3)
    again = Batches(image_set(50), 16, seed=3)
    again.image_set = batches.image_set
    list(again.epoch(0))  # what came before does not matter
    for (x, y), (other_x, other_y) in zip(batches.epoch(5), again.epoch(5), strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    orders = [torch.cat([y for _, y in batches.epoch(epoch)]) for epoch in (0, 1)]
    assert not torch.equal(*orders)
    x, _ = next(batches.epoch(0))
    assert x.dtype == torch.float32
    assert 0 <= x.min() <= x.max() < 1


def test_a_batch_is_the_image_and_noise_within_a_level():
    images = image_set(40)
    seen = torch.cat([x for x, _ in Batches(images, 16, seed=0, shuffle=False)])
    assert torch.equal((256 * seen).floor().to(torch.uint8), images.images)
    noise = 256 * seen - images.images
    # 2560 of U[0, 1): mean and variance within 4 standard errors, sqrt(1/12/n) and sqrt(1/180/n)
    assert abs(noise.mean() - 0.5) < 4 * (1 / 12 / 2560) ** 0.5
    assert abs(noise.var() - 1 / 12) < 4 * (1 / 180 / 2560) ** 0.5
    lengths = [len(y) for _, y in Batches(images, 16, seed=0)]
    assert lengths == [16, 16, 8]
    assert len(Batches(images, 16, seed=0)) == 3


def test_noise_never_reaches_the_next_level():
    white = torch.full((1 << 18,), 255, dtype=torch.uint8)
    x = dequantized(white, torch.Generator().manual_seed(0))
    assert x.max() < 1
    assert x.min() >= 255 / 256


def test_iterating_is_epoch_0_without_augmentation():
    batches = Batches(image_set(20), 8, seed=0, augment=make_augment(["jitter"]))
    plain = Batches(batches.image_set, 8, seed=0)
    for (x, _), (other, _), (changed, _) in zip(
        batches, plain.epoch(0), batches.epoch(0), strict=True
    ):
        assert torch.equal(x, other)
        assert not torch.equal(x, changed)


def test_an_augmentation_that_does_nothing_changes_nothing():
    images = image_set(20)
    plain = Batches(images, 8, seed=0)
    same = Batches(images, 8, seed=0, augment=lambda x, generator: x)
    for (x, _), (other, _) in zip(plain.epoch(2), same.epoch(2), strict=True):
        assert torch.equal(x, other)  # order, noise and all 256 levels


@pytest.mark.parametrize(("n", "n_batches"), [(18, 3), (17, 2)])
def test_ranks_share_every_batch(n, n_batches):
    images, options = image_set(n), {"seed": 0, "augment": make_augment(["flip"])}
    whole = list(Batches(images, 8, **options).epoch(1))[:n_batches]
    ranks = [Batches(images, 8, rank=r, n_ranks=2, **options) for r in range(2)]
    parts = [list(batches.epoch(1)) for batches in ranks]
    assert [len(part) for part in parts] == [len(batches) for batches in ranks] == [n_batches] * 2
    for (x, y), (x0, y0), (x1, y1) in zip(whole, *parts, strict=True):
        assert torch.equal(x[0::2], x0)
        assert torch.equal(x[1::2], x1)
        assert torch.equal(y, torch.stack([y0, y1], 1).flatten())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1, "n_ranks": 2}, "at least one image per rank, 2"),
        ({"batch_size": 8, "rank": 2, "n_ranks": 2}, "rank is 2"),
        ({"batch_size": 40, "n_ranks": 40}, "12 images for 40 ranks"),
    ],
)
def test_bad_batches(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Batches(image_set(), seed=0, **options)


# augmentations


def test_augmentations_by_name():
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    single = ["flip", "crop", "rotate", "jitter", "released"]
    for names in (*([name] for name in single), single):
        first, second = make_augment(names, seed=1), make_augment(names, seed=1)
        y = first(x)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert y.min() >= 0
        assert y.max() <= 1
        assert not torch.equal(y, x)
        assert torch.equal(y, second(x))
        assert not torch.equal(y, first(x))  # it goes on
        given = [first(x, torch.Generator().manual_seed(5)) for _ in range(2)]
        assert torch.equal(*given)
    assert torch.equal(make_augment([])(x), x)
    names = "crop, flip, jitter, released, rotate"
    with pytest.raises(InvalidInputError, match=f"'blur'; there are {names}"):
        make_augment(["blur"])


def test_flips_are_of_whole_images():
    x = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = make_augment(["flip"])(x)
    kept = (y == x).flatten(1).all(1)
    flipped = (y == x.flip(-1)).flatten(1).all(1)
    assert (kept ^ flipped).all()
    assert 16 <= kept.sum() <= 48  # 4 standard deviations of 4 around 32


def test_crops_are_shifts_mirrored_at_the_border():
    x = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    y = make_augment(["crop"])(x)
    shifts = set()
    for i in range(20):
        found = [
            (down, across)
            for down in range(5)
            for across in range(5)
            if torch.equal(padded[i, :, down : down + 16, across : across + 16], y[i])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 5


def test_turns_keep_circles_and_turn_lines():
    height, width = 24, 40
    down = torch.arange(height) - (height - 1) / 2
    across = torch.arange(width) - (width - 1) / 2
    radius = (down[:, None] ** 2 + across**2).sqrt()
    bump = (-(radius**2) / 40).exp().expand(8, 1, height, width)  # round, also off the square
    turned = make_augment(["rotate"], seed=0)(bump)
    # bilinear interpolation errs by at most h^2/8 (|f_xx| + |f_yy|) = 2 (2/40) / 8
    assert (turned - bump).abs().max() <= 2 * (2 / 40) / 8
    ramp = ((across + 20) / 40).expand(8, 1, height, width)
    turned = make_augment(["rotate"], seed=0)(ramp)
    along = turned[:, 0, 12, 21] - turned[:, 0, 12, 19]  # 2 cos(angle) / 40
    up = turned[:, 0, 13, 20] - turned[:, 0, 11, 20]  # 2 sin(angle) / 40
    # what is linear is interpolated exactly: only the rounding of grids in float32 is left
    torch.testing.assert_close((along**2 + up**2).sqrt(), torch.full((8,), 0.05), rtol=0, atol=1e-5)
    assert (up / along).abs().max() <= np.tan(np.radians(10)) + 1e-3
    assert (up / along).abs().max() > np.tan(np.radians(3))


def test_jitter_keeps_gray_gray():
    gray = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(6, 3, 8, 8)
    y = make_augment(["jitter"])(gray)
    torch.testing.assert_close(y[:, :1].expand_as(y), y, rtol=0, atol=1e-6)


# many classes: some of them, families, and the scripts that make the files


def test_some_of_the_classes_are_spread_over_all_and_numbered_anew():
    whole = image_set(n=70, n_classes=7)
    part = whole.of_classes(3)
    assert part.n_classes == 3 and len(part) == 30
    np.testing.assert_array_equal(part.images, whole.images[whole.labels % 3 == 0])
    assert part.labels.tolist() == (whole.labels[whole.labels % 3 == 0] // 3).tolist()
    assert whole.of_classes(None) is whole and whole.of_classes(7) is whole
    for n in (1, 8):
        with pytest.raises(InvalidInputError, match=f"{n} classes were asked for; pass 2 to 7"):
            whole.of_classes(n)


def test_families_are_held_out_whole(tmp_path):
    x, y = pictures(48, 1, 5)[..., 0], np.tile([0, 1], 24).astype(np.uint8)
    family = np.repeat(np.arange(12, dtype=np.uint16) * 7, 4)
    arrays = {"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4]}
    np.savez(tmp_path / "a.npz", **arrays, family_train=family)
    train, test = load_images(tmp_path / "a.npz")
    assert train.families.tolist() == family.tolist() and test.families is None
    kept, held = train.held_out(40, seed=0)
    assert held.families.unique().tolist() == [5 * 7, 11 * 7]
    assert not set(kept.families.tolist()) & set(held.families.tolist())
    assert len(kept) + len(held) == 48
    kept, held = image_set(n=12).held_out(9, seed=0)
    assert (len(kept), len(held)) == (9, 3)
    np.savez(tmp_path / "b.npz", **arrays, family_train=family[:3])
    with pytest.raises(InvalidInputError, match=r"families are .* shape \(3,\)"):
        load_images(tmp_path / "b.npz")


def test_glyphs_are_drawn_from_fonts(make_glyphs, tmp_path, capsys):
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for i, style in enumerate(("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")):
        for weight in ("", "-Bold"):
            family = tmp_path / "fonts" / f"family{2 * i + bool(weight)}"
            family.mkdir(parents=True)
            for copy in ("a", "b"):  # the second is the same, and does not count
                shutil.copy(fonts / f"{style}{weight}.ttf", family / f"{copy}.ttf")
    (tmp_path / "fonts" / "family0" / "broken.otf").write_bytes(b"no font")
    out = tmp_path / "glyphs.npz"
    assert make_glyphs.main([str(tmp_path / "fonts"), str(out)]) == 0
    assert "6 families, 6 fonts, 310 training and 62 test images" in capsys.readouterr().out
    train, test = load_images(out)
    assert (train.n_classes, train.image_shape, len(train), len(test)) == (62, (1, 28, 28), 310, 62)
    assert train.families.unique().tolist() == [0, 1, 2, 3, 4]
    capital = train.images[train.labels == 10 + 7][0, 0] > 127  # an H
    assert capital.any(1).nonzero()[[0, -1], 0].tolist() == [6, 21]  # 16 pixels on the baseline
    shutil.rmtree(tmp_path / "fonts" / "family0")
    assert make_glyphs.main([str(tmp_path / "fonts"), str(out)]) == 1
    assert "has 5 families of fonts" in capsys.readouterr().err


def test_pairs_are_of_digits_of_the_same_part(make_pairs, tmp_path, monkeypatch):
    x = np.repeat(np.arange(20, dtype=np.uint8), 16).reshape(20, 4, 4) * 10
    y = np.tile(np.arange(10, dtype=np.uint8), 2)
    np.savez(tmp_path / "a.npz", x_train=x[:10], y_train=y[:10], x_test=x[10:], y_test=y[10:])
    monkeypatch.setattr(make_pairs, "TRAINING", 2)
    monkeypatch.setattr(make_pairs, "TEST", 1)
    assert make_pairs.main([str(tmp_path / "a.npz"), str(tmp_path / "pairs.npz")]) == 0
    train, test = load_images(tmp_path / "pairs.npz")
    assert (len(train), len(test), train.n_classes) == (200, 100, 100)
    assert train.image_shape == (1, 4, 4)
    for part, shift in ((train, 0), (test, 10)):
        left, right = part.images[:, 0, 0, 0] // 10, part.images[:, 0, 0, 3] // 10
        assert (10 * (left - shift) + (right - shift)).tolist() == part.labels.tolist()
    np.savez(tmp_path / "b.npz", x=x, y=y % 2)
    assert make_pairs.main([str(tmp_path / "b.npz"), str(tmp_path / "pairs.npz")]) == 1
