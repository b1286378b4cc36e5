"""Modules that moved into rooms, imported and unpickled by their former addresses."""

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys

import pytest
from coupling import coupling_model

import fpigauss_torch
import fpigauss_torch.open_set
from fpigauss_torch import PrincipalAxes

#: The public names of every former module.
NAMES = {
    "augmentation": ["LatentAugmentation", "class_preservation"],
    "calibration": ["calibrate_temperature"],
    "new_class": ["Extended", "add_class"],
    "perturbation": ["mix_within_class", "noise_along_axes"],
    "principal_axes": ["PrincipalAxes"],
    "rejection": ["rejection_score", "rejection_threshold", "typicality_score"],
    "schedule": ["FixedPointSchedule"],
}
CASES = [(module, name) for module, names in NAMES.items() for name in names]


def present(name):
    """The object that a name stands for today."""
    owner = fpigauss_torch if hasattr(fpigauss_torch, name) else fpigauss_torch.open_set
    return owner.__name__, getattr(owner, name)


@pytest.mark.parametrize(("module", "name"), CASES)
def test_a_former_module_forwards_with_a_warning(module, name):
    successor, expected = present(name)
    old = importlib.import_module(f"fpigauss_torch.{module}")
    assert old is getattr(fpigauss_torch, module)
    pattern = rf"fpigauss_torch\.{module}\.{name} has moved.*import it from {successor}$"
    with pytest.warns(DeprecationWarning, match=pattern) as caught:
        assert getattr(old, name) is expected
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("module", "name"), CASES)
def test_a_pickle_that_refers_to_a_former_module_resolves(module, name):
    by_name = f"cfpigauss_torch.{module}\n{name}\n.".encode()  # what protocol 0 writes of a class
    with pytest.warns(DeprecationWarning, match="has moved"):
        assert pickle.loads(by_name) is present(name)[1]


def test_a_pickled_value_is_read_again_after_its_class_moved():
    gaussians = fpigauss_torch.LatentGaussians(2, 3, covariance="diagonal", tied=False)
    written = pickle.dumps(PrincipalAxes.of(gaussians, 2), protocol=0)
    old = written.replace(PrincipalAxes.__module__.encode(), b"fpigauss_torch.principal_axes")
    assert old != written
    with pytest.warns(DeprecationWarning, match="has moved"):
        axes = pickle.loads(old)
    assert type(axes) is PrincipalAxes
    assert axes.axes.tolist() == [[0, 1], [0, 1]]


def test_a_pickled_error_is_read_again_after_its_class_moved():
    error = b"cfpigauss_torch._errors\nRefitRejectedError\n."
    with pytest.warns(DeprecationWarning, match="has moved"):
        assert pickle.loads(error) is fpigauss_torch.RefitRejectedError


def test_a_pickled_density_is_read_again_after_its_class_moved():
    density = fpigauss_torch.LatentGaussians(2, 3, covariance="diagonal", tied=False).density()
    written = pickle.dumps(density, protocol=0)
    old = written.replace(type(density).__module__.encode(), b"fpigauss_torch._density")
    assert old != written
    with pytest.warns(DeprecationWarning, match="has moved"):
        read = pickle.loads(old)
    assert type(read) is fpigauss_torch.ClassDensity
    assert read.means.shape == (2, 3)


#: Names that former modules declared public, and that were not meant to be.
NOT_PUBLIC = [
    ("gaussians", "ACCEPTED"),
    ("perturbation", "check_partners"),
    ("perturbation", "check_strength"),
    ("principal_axes", "check_n_axes"),
    ("principal_axes", "prior_of"),
    ("refit", "check_loader"),
    ("refit", "coincide"),
    ("refit", "flow_of"),
]


@pytest.mark.parametrize(("module", "name"), NOT_PUBLIC)
def test_a_name_that_is_not_public_anymore_is_found_with_a_warning(module, name):
    names = {}
    with pytest.warns(DeprecationWarning, match=name) as caught:
        exec(f"from fpigauss_torch.{module} import {name}", names)
    message = f"fpigauss_torch.{module}.{name} is not public anymore; it will be removed in the "
    # Python looks a name in a package up twice; where filters show a line once, it warns once
    assert {str(warning.message) for warning in caught} == {f"{message}next release"}
    assert {warning.filename for warning in caught} == {"<string>"}
    assert name == "ACCEPTED" or callable(names[name])


def test_names_that_are_not_public_anymore_do_what_they_did():
    model = coupling_model(2, 3)
    with pytest.warns(DeprecationWarning, match="not public anymore"):
        assert fpigauss_torch.refit.coincide(model.gaussians)
    with pytest.warns(DeprecationWarning, match="not public anymore"):
        assert fpigauss_torch.refit.flow_of(model) is model
    with pytest.warns(DeprecationWarning, match="not public anymore"):
        assert fpigauss_torch.gaussians.ACCEPTED == ("converged", "max_iter", "stalled")


@pytest.mark.parametrize("module", NAMES)
def test_a_star_import_from_a_former_module_gives_its_names(module):
    former = {*NAMES[module], *(name for where, name in NOT_PUBLIC if where == module)}
    old = importlib.import_module(f"fpigauss_torch.{module}")
    assert former <= set(old.__all__) <= set(dir(old))
    names = {}
    with pytest.warns(DeprecationWarning, match="has moved|not public anymore"):
        exec(f"from fpigauss_torch.{module} import *", names)
    assert former <= set(names)


@pytest.mark.parametrize("module", NAMES)
def test_a_former_module_has_only_its_names(module):
    old = importlib.import_module(f"fpigauss_torch.{module}")
    with pytest.raises(AttributeError, match=f"fpigauss_torch.{module}.*no attribute 'nothing'"):
        old.nothing  # noqa: B018
    assert not hasattr(old, "__file__")  # silent: tools ask every module
    assert importlib.util.find_spec(f"fpigauss_torch.{module}").name == old.__name__


def test_both_ways_to_import_a_former_module():
    """Use a new process, where nothing has imported them before."""
    code = """
import warnings
import fpigauss_torch.schedule
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fpigauss_torch.schedule import FixedPointSchedule
    from fpigauss_torch.rejection import rejection_score as score
    assert fpigauss_torch.schedule.FixedPointSchedule is FixedPointSchedule
assert FixedPointSchedule is fpigauss_torch.FixedPointSchedule
assert score is fpigauss_torch.rejection_score
assert {warning.category for warning in caught} == {DeprecationWarning}
assert {warning.filename for warning in caught} == {"<string>"}
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["bases", "codecs", "gaussians", "priors", "prior", "refit"])
def test_modules_that_stay_do_not_warn(module):
    assert importlib.import_module(f"fpigauss_torch.{module}").__file__
