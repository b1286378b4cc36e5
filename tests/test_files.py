"""Files: written whole or not at all, as the user's own files are, and read without trust."""

import errno
import gc
import importlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, fit_fixed_point

ENDINGS = [".npz", ".safetensors"]

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links are those of POSIX")


def gaussians(first=0.0, **options):
    return ClassGaussians([[first], [1.0]], [[1.0], [2.0]], classes=["a", "b"], **options)


def counted():
    return gaussians(counts=[3.0, 1.0])


def statistics():
    return ClassStatistics.from_samples([[0.0], [1.0], [5.0]], [0, 0, 1])


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """A umask that takes everything from others."""
    before = os.umask(0o027)
    yield 0o027
    assert os.umask(before) == 0o027  # no save has moved it


# ---- where and how files are written ----


@posix
class TestMode:
    def test_a_new_file_has_that_of_open(self, tmp_path, umask):
        (tmp_path / "plain").touch()
        gaussians().save(tmp_path / "new.npz")
        assert mode_of(tmp_path / "new.npz") == mode_of(tmp_path / "plain") == 0o640

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666, 0o400])
    def test_an_earlier_file_keeps_its_own(self, tmp_path, umask, mode):
        path = tmp_path / "kept.npz"
        gaussians().save(path)
        path.chmod(mode)
        gaussians(5.0).save(path)
        assert mode_of(path) == mode
        assert ClassGaussians.load(path).means[0, 0] == 5.0

    def test_threads_do_not_disturb_each_other(self, tmp_path, umask):
        # The umask belongs to the process: a save that sets it, even for a moment, changes the
        # modes of files that other threads make meanwhile.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        modes = set()

        def work(i):
            for _ in range(50):
                gaussians().save(tmp_path / f"{i}.npz")
                modes.add(mode_of(tmp_path / f"{i}.npz"))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        assert modes == {0o640}


@posix
class TestLinks:
    def test_a_link_stays_one(self, tmp_path):
        (tmp_path / "folder").mkdir()
        target, link = tmp_path / "folder" / "v1.npz", tmp_path / "latest.npz"
        gaussians().save(target)
        link.symlink_to(Path("folder") / "v1.npz")
        gaussians(5.0).save(link)
        assert link.is_symlink()
        assert ClassGaussians.load(target).means[0, 0] == 5.0
        assert [entry.name for entry in target.parent.iterdir()] == ["v1.npz"]

    def test_a_link_to_a_file_that_is_yet_to_be(self, tmp_path):
        link = tmp_path / "latest.npz"
        link.symlink_to("v1.npz")
        gaussians().save(link)
        assert link.is_symlink()
        assert (tmp_path / "v1.npz").is_file()

    def test_a_link_to_itself(self, tmp_path):
        link = tmp_path / "latest.npz"
        link.symlink_to("latest.npz")
        with pytest.raises(OSError) as caught:  # noqa: PT011 - told by its number
            gaussians().save(link)
        assert caught.value.errno == errno.ELOOP
        assert link.is_symlink()

    def test_a_pipe_is_not_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidInputError, match="regular file"):
            gaussians().save(tmp_path / "pipe")
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_longest_name_is_allowed(tmp_path):
    path = tmp_path / ("x" * 251 + ".npz")  # 255 bytes, most file systems' limit
    gaussians().save(path)
    assert ClassGaussians.load(path).classes.tolist() == ["a", "b"]


KILLED = """
import os, signal, sys
import numpy as np
from fpigauss import ClassGaussians
gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
def killed(file, **_):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
np.savez = killed
gaussians.save(sys.argv[1])
"""


@posix
class TestAbandoned:
    def killed_save(self, path):
        done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
        assert done.returncode < 0

    def test_files_of_killed_writers_are_removed(self, tmp_path):
        path = tmp_path / "g.npz"
        gaussians().save(path)
        self.killed_save(path)
        self.killed_save(tmp_path / "other.npz")
        assert ClassGaussians.load(path).means[0, 0] == 0.0
        assert len(list(tmp_path.iterdir())) == 3  # the second save of g.npz is yet to come
        gaussians(5.0).save(path)
        assert ClassGaussians.load(path).means[0, 0] == 5.0
        assert len(list(tmp_path.iterdir())) == 2  # that of other.npz stays: it is not ours

    def test_those_of_living_writers_stay(self, tmp_path, monkeypatch):
        path = tmp_path / "g.npz"
        write, inner = np.savez, []

        def savez(file, **arrays):
            write(file, **arrays)
            if not inner:  # a second writer comes and goes before the first is done
                inner.append(True)
                gaussians(5.0).save(path)

        monkeypatch.setattr(np, "savez", savez)
        gaussians(7.0).save(path)
        assert ClassGaussians.load(path).means[0, 0] == 7.0
        assert [entry.name for entry in tmp_path.iterdir()] == ["g.npz"]

    def test_where_files_cannot_be_locked(self, tmp_path, monkeypatch):
        def flock(file, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fpigauss._array.files.flock", flock)
        gaussians().save(tmp_path / "g.npz")
        assert [entry.name for entry in tmp_path.iterdir()] == ["g.npz"]


# ---- damaged and hostile files ----


def header(text, version=1):
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text.encode()


def npy(descr, shape, data=b""):
    return header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n") + data


def rewritten(path, compression=zipfile.ZIP_STORED, drop=(), **raw):
    """Write good Gaussians, with arrays or raw members changed."""
    gaussians().save(path)
    old = {name: value for name, value in np.load(path).items() if name not in drop}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in {**old, **raw}.items():
            contents = io.BytesIO()
            if isinstance(value, bytes):
                contents.write(value)
            else:
                np.save(contents, value)
            archive.writestr(name + ".npy", contents.getvalue())


HOSTILE = {
    "terabytes, unknown": {"junk": npy("<f8", "(1000000000000,)")},
    "terabytes": {"means": npy("<f8", "(1000000000, 1000)")},
    "more than an integer holds": {"means": npy("<f8", f"({10**30}, 1)")},
    "nothing, very often": {"classes": npy("<U0", "(1000000000000,)")},
    "negative": {"means": npy("<f8", "(-2, -1)", b"\0" * 16)},
    "less than declared": {"means": npy("<f8", "(2, 1)", b"\0" * 8)},
    "more than declared": {"means": npy("<f8", "(2, 1)", b"\0" * 24)},
    "open brace": {"means": header("{'descr': '<f8', \n")},
    "deep": {"means": header("(" * 5000 + "\n")},
    "deep signs": {"means": header("{'descr': " + "-" * 9000 + "1}\n")},
    "long header": {"means": header("{" + " " * 60000 + "}\n")},
    "unknown version": {"means": header("{}\n", version=9)},
    "objects": {"means": npy("|O", "(2, 1)")},
    "structure": {"means": npy([("a", "<f8")], "(2, 1)", b"\0" * 16)},
    "complex": {"means": np.zeros((2, 1), complex)},
    "dates": {"classes": np.array(["2020-01-01", "2021-01-01"], "M8[D]")},
    "bytes": {"classes": np.array([b"a", b"b"])},
    "two flags": {"tied": np.array([True, False])},
    "flag that is a number": {"tied": np.array(1.0)},
    "two families": {"covariance": np.array(["diagonal", "dense"])},
    "unknown family": {"covariance": np.array("round")},
    "two versions": {"version": np.array([1, 1])},
    "later version": {"version": np.array(2)},
    "bad unicode": {"classes": npy("<U1", "(2,)", b"\xff" * 8)},
    "bad unicode, other order": {"classes": npy(">U1", "(2,)", b"\xff" * 8)},
    "bad unicode, scalar": {"covariance": npy("<U1", "()", b"\xff" * 4)},
    "four axes": {"covariances": np.ones((1, 1, 1, 1))},
    "no class": {"means": np.ones((0, 1)), "covariances": np.ones((0, 1))},
    "disagreement": {"means": np.ones((3, 1))},
    "unsorted": {"classes": np.array(["b", "a"])},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members(tmp_path, name):
    path = tmp_path / "g.npz"
    rewritten(path, **HOSTILE[name])
    with pytest.raises(InvalidInputError):
        ClassGaussians.load(path)


@pytest.mark.parametrize("drop", ["format", "kind", "version", "means", "classes", "tied"])
def test_missing_members(tmp_path, drop):
    path = tmp_path / "g.npz"
    rewritten(path, drop=[drop])
    with pytest.raises(InvalidInputError, match=r"g\.npz"):
        ClassGaussians.load(path)


def test_what_inflates_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "g.npz"
    rewritten(path, zipfile.ZIP_DEFLATED, means=np.zeros((1000, 1000)))
    assert path.stat().st_size < 2**16
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("it is inflated"))
    with pytest.raises(InvalidInputError, match="compressed"):
        ClassGaussians.load(path)


def test_a_member_twice(tmp_path):
    path = tmp_path / "g.npz"
    gaussians().save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("means.npy", b"")
    with pytest.raises(InvalidInputError):
        ClassGaussians.load(path)


def test_encrypted(tmp_path):
    path = tmp_path / "g.npz"
    gaussians().save(path)
    contents = bytearray(path.read_bytes())
    contents[contents.index(b"PK\x01\x02") + 8] ^= 1
    path.write_bytes(contents)
    with pytest.raises(InvalidInputError, match="encrypted"):
        ClassGaussians.load(path)


def same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("means", "covariances", "classes")
    ) and np.array_equal(a.counts, b.counts)


def needs(ending):
    """Skip where the package for files of this ending is missing."""
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("make", [gaussians, counted, statistics])
class TestFuzz:
    def outcomes(self, path, good, variants):
        """Load every variant of a file; count those that are refused."""
        refused = 0
        for contents in variants:
            path.write_bytes(contents)
            try:
                loaded = type(good).load(path)
            except InvalidInputError:
                refused += 1
            else:  # a byte that means nothing, such as a date
                assert same(loaded, good)
        return refused

    @pytest.mark.parametrize("flip", [0x01, 0xFF])
    def test_every_byte_flipped(self, tmp_path, make, flip, ending):
        needs(ending)
        path, good = tmp_path / f"file{ending}", make()
        good.save(path)
        contents = path.read_bytes()
        variants = (
            contents[:i] + bytes([contents[i] ^ flip]) + contents[i + 1 :]
            for i in range(len(contents))
        )
        assert self.outcomes(path, good, variants) > len(contents) / 2

    def test_every_length(self, tmp_path, make, ending):
        needs(ending)
        path, good = tmp_path / f"file{ending}", make()
        good.save(path)
        contents = path.read_bytes()
        variants = (contents[:n] for n in range(len(contents)))
        assert self.outcomes(path, good, variants) == len(contents)


class TestRoundTrip:
    def test_column_order_and_byte_order(self, tmp_path):
        path = tmp_path / "g.npz"
        means = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        ClassGaussians(means, np.ones((2, 3))).save(path)
        assert np.array_equal(ClassGaussians.load(path).means, means)
        rewritten(path, means=np.array([[0.0], [1.0]], ">f8"))
        loaded = ClassGaussians.load(path)
        assert same(loaded, gaussians())
        assert loaded.means.dtype.isnative

    def test_a_file_of_the_first_checkouts(self, tmp_path):
        # as numpy.savez wrote it before there were checks of types
        path = tmp_path / "g.npz"
        np.savez(
            path,
            format="fpigauss",
            kind="ClassGaussians",
            version=1,
            means=np.array([[0.0], [1.0]]),
            covariances=np.array([[1.0], [2.0]]),
            classes=np.array(["a", "b"]),
            covariance=np.asarray("diagonal"),
            tied=np.asarray(False),
        )
        assert same(ClassGaussians.load(path), gaussians())


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
def test_errors_name_the_file_that_was_asked_for():
    with pytest.raises(OSError, match=r"'/proc/g\.npz'$"):  # where nobody can make one
        gaussians().save("/proc/g.npz")


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "g.npz").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "g.npz")
    for name in ("g.npz", "link.npz"):
        with pytest.raises(IsADirectoryError, match=f"{name}' is a folder"):
            gaussians().save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.npz", "link.npz"]


def test_errors_of_the_system_stay(tmp_path):
    with pytest.raises(FileNotFoundError):
        ClassGaussians.load(tmp_path / "missing.npz")
    with pytest.raises(InvalidInputError):
        ClassGaussians.load(tmp_path)  # a folder
    with pytest.raises(InvalidInputError):
        ClassGaussians.load(tmp_path / ("x" * 300))


SHAPES = [(), (0,), (1,), (2,), (3,), (2, 1), (2, 2), (0, 1), (2, 0), (3, 1), (2, 1, 1), (2, 0, 0)]
NUMBERS = [0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 5e-324, 1e308, -1e308]


@pytest.mark.parametrize("seed", range(20))
def test_arrays_of_any_shape_and_value(tmp_path, seed):
    """What has the right types, but shapes or numbers that do not fit, is refused or is good."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "g.npz"
    for _ in range(20):
        name = rng.choice(["means", "covariances", "classes", "covariance", "tied", "counts"])
        shape = SHAPES[rng.integers(len(SHAPES))]
        changed = {
            "classes": lambda shape: rng.choice(["", "a", "b", "\ud800", "a\0b"], shape),
            "covariance": lambda _: np.array(rng.choice(["dense", "isotropic", "", "x"])),
            "tied": lambda _: np.array(True),
        }.get(name, lambda shape: rng.choice(NUMBERS, shape))(shape)
        rewritten(path, **{name: changed})
        try:
            loaded = ClassGaussians.load(path)
        except InvalidInputError:
            continue
        assert np.isfinite(loaded.means).all()
        assert loaded.counts is None or (loaded.counts >= 0.0).all()
        assert (loaded.covariances > 0.0).all()


class TestSafetensors:
    @pytest.fixture(autouse=True)
    def library(self):
        return pytest.importorskip("safetensors", reason="safetensors is not installed")

    @pytest.mark.parametrize("classes", [["a", "b"], [3, 5], [False, True]])
    @pytest.mark.parametrize("tied", [False, True])
    @pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
    def test_round_trip(self, tmp_path, covariance, tied, classes):
        path = tmp_path / "g.SafeTensors"
        shape = {"diagonal": (3,), "dense": (3, 3), "isotropic": ()}[covariance]
        one = np.broadcast_to(np.eye(3) if covariance == "dense" else np.ones(shape), shape)
        covariances = one if tied else np.stack([one, 2.0 * one])
        means = np.arange(6.0, dtype=np.float32).reshape(2, 3)
        kind = {"covariance": covariance, "tied": tied}
        good = ClassGaussians(means, covariances, classes=classes, counts=[1.5, 2.0], **kind)
        good.save(path)
        back = ClassGaussians.load(path)
        assert same(back, good)
        assert (back.family, back.means.dtype) == (good.family, np.float32)
        assert back.classes.dtype == good.classes.dtype

    def test_anyone_can_read_it(self, tmp_path, library):
        counted().save(tmp_path / "g.safetensors")
        with library.safe_open(tmp_path / "g.safetensors", "np") as file:
            assert set(file.keys()) == {"means", "covariances", "counts"}
            saved = json.loads(file.metadata()["fpigauss"])
        del saved["crc32"]
        assert saved == {
            "format": "fpigauss",
            "kind": "ClassGaussians",
            "version": 1,
            "classes": ["a", "b"],
            "covariance": "diagonal",
            "tied": False,
        }

    def test_anyone_can_write_it(self, tmp_path):
        from safetensors.numpy import save_file

        own = {"format": "fpigauss", "kind": "ClassGaussians", "version": 1}
        own |= {"covariance": "isotropic", "tied": True}
        tensors = {"means": np.zeros((2, 3)), "covariances": np.ones(()), "classes": np.arange(2)}
        save_file(tensors, tmp_path / "g.safetensors", metadata={"fpigauss": json.dumps(own)})
        assert ClassGaussians.load(tmp_path / "g.safetensors").tied

    @pytest.mark.parametrize(
        ("tensors", "metadata"),
        [
            ({}, {}),
            ({"weight": np.zeros(3)}, {"format": "pt"}),
            ({"weight": np.zeros(3)}, {"fpigauss": "[]"}),
            ({"weight": np.zeros(3)}, {"fpigauss": "{"}),
        ],
    )
    def test_files_of_others(self, tmp_path, tensors, metadata):
        from safetensors.numpy import save_file

        save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
        with pytest.raises(InvalidInputError, match=r"load one that ClassGaussians\.save wrote"):
            ClassGaussians.load(tmp_path / "x.safetensors")

    def test_numbers_that_the_format_does_not_have(self, tmp_path):
        long = ClassGaussians(np.zeros((1, 2), np.longdouble), np.ones((1, 2), np.longdouble))
        if long.means.dtype.itemsize == 8:
            pytest.skip("long doubles are doubles here")
        with pytest.raises(InvalidInputError, match=r"means has dtype .* convert it to float64"):
            long.save(tmp_path / "g.safetensors")
        assert list(tmp_path.iterdir()) == []

    def test_files_of_another_kind(self, tmp_path):
        statistics().save(tmp_path / "s.safetensors")
        with pytest.raises(InvalidInputError, match=r"not .* \(it contains ClassStatistics\)"):
            ClassGaussians.load(tmp_path / "s.safetensors")

    def test_without_the_package(self, tmp_path, monkeypatch):
        gaussians().save(tmp_path / "g.safetensors")
        monkeypatch.setitem(sys.modules, "safetensors", None)
        monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
        for call in (ClassGaussians.load, gaussians().save):
            with pytest.raises(ModuleNotFoundError, match=r"pip install safetensors; or .*\.npz"):
                call(tmp_path / "g.safetensors")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("dtype", [">f8", ">f4", ">f2", "<f8"])
def test_files_of_another_order_of_bytes_are_read_again(tmp_path, ending, dtype):
    needs(f".{ending}")
    # as astronomers' files and HDF5 give them, which fits keep in their results
    z = np.random.default_rng(0).normal(size=(40, 3)).astype(dtype)
    y = np.arange(40, dtype=">i4") % 2
    for saved in (ClassStatistics.from_samples(z, y), fit_fixed_point(z, y, 0.5).gaussians):
        path = tmp_path / f"{type(saved).__name__}.{ending}"
        saved.save(path)
        found = type(saved).load(path)
        for name in ("counts", "means", "covariances", "classes"):
            ours, theirs = getattr(saved, name), getattr(found, name)
            np.testing.assert_array_equal(theirs, ours)
            assert theirs.dtype == ours.dtype.newbyteorder("=")


@pytest.mark.parametrize("path", ["a\0b.npz", "a\0b.safetensors", b"a\0"])
def test_a_name_that_no_file_can_have(path):
    with pytest.raises(InvalidInputError, match=r"^path '.*contains a NUL character"):
        gaussians().save(path)
    with pytest.raises(InvalidInputError, match=r"^path '.*contains a NUL character"):
        ClassGaussians.load(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see its end
@pytest.mark.parametrize("at", ["os.open", "os.fdopen", "fpigauss._array.files._lock"])
def test_an_interrupt_while_a_temporary_file_is_made_leaves_none(at, tmp_path, monkeypatch):
    gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    gaussians.save(tmp_path / "g.npz")
    module, _, name = at.rpartition(".")
    owner = os if module == "os" else importlib.import_module(module)
    of_module = getattr(owner, name)

    def interrupted(*args, **kwargs):
        if "wait" in kwargs and not kwargs["wait"]:  # of files that others have left
            return of_module(*args, **kwargs)
        of_module(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            ClassGaussians([[5.0], [6.0]], [[1.0], [1.0]]).save(tmp_path / "g.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["g.npz"]
    assert ClassGaussians.load(tmp_path / "g.npz").means[0, 0] == 0.0
    gc.collect()  # files that nobody closed warn as they go: here, not during some later test


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see its end
def test_an_interrupt_as_an_array_is_opened_in_the_archive_is_an_interrupt(tmp_path, monkeypatch):
    gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    of_module = zipfile.ZipFile.open
    kept = []

    def interrupted(self, *args, **kwargs):
        kept.append(of_module(self, *args, **kwargs))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gaussians.save(tmp_path / "g.npz")
    assert not list(tmp_path.iterdir())
    kept.clear()
    gc.collect()  # zipfile complains as the archive goes: here, not during some later test
