"""Former addresses and names of the core."""

import importlib
import pickle

import pytest

import fpigauss
from fpigauss import errors
from fpigauss._deprecated import renamed


@pytest.mark.parametrize("name", errors.__all__)
def test_a_pickle_that_refers_to_the_former_module_of_errors_resolves(name):
    by_name = f"cfpigauss._errors\n{name}\n.".encode()  # what protocol 0 writes of a class
    with pytest.warns(DeprecationWarning, match=rf"_errors\.{name} has moved.*from fpigauss$"):
        assert pickle.loads(by_name) is getattr(errors, name)


def test_a_pickled_error_is_read_again():
    error = errors.NotPositiveDefiniteError("cat", 2.0, "printed")
    written = pickle.dumps(error, protocol=0)
    old = written.replace(b"fpigauss.errors", b"fpigauss._errors").replace(b"equations", b"reading")
    assert old.count(b"_errors") == old.count(b"reading") == 1
    with pytest.warns(DeprecationWarning, match="has moved") as caught:
        read = pickle.loads(old)
    assert [warning.filename for warning in caught] == [__file__]
    assert (read.label, read.lam, read.equations) == ("cat", 2.0, "printed")


def test_a_former_module_is_found_and_lists_its_names():
    old = importlib.import_module("fpigauss._errors")
    assert old is fpigauss._errors
    assert set(old.__all__) == set(errors.__all__) <= set(dir(old))
    assert not hasattr(old, "__file__")  # silent: tools ask every module


def test_a_name_is_found_where_it_is_now():
    found = renamed("fpigauss", {"kld": "pairwise_kld", "mend": "fpigauss._array.blocks:mend"})
    with pytest.warns(DeprecationWarning, match=r"^fpigauss\.kld is now fpigauss\.pairwise_kld; "):
        assert found("kld") is fpigauss.pairwise_kld
    with pytest.warns(DeprecationWarning, match=r"^fpigauss\.mend is not public anymore; ") as seen:
        assert found("mend") is importlib.import_module("fpigauss._array.blocks").mend
    assert [warning.filename for warning in seen] == [__file__]
    with pytest.raises(AttributeError, match="module 'fpigauss' has no attribute 'nothing'"):
        found("nothing")
