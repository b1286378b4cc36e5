# The one way in. Each environment is made once, under .venvs/, and again only when its pins change.

PYTHON ?= python3
CONSTRAINTS := requirements/constraints.txt
LOCKS := requirements/locks
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Paths are relative throughout, so that a folder with spaces in its name works too.
run = .venvs/$(1)/bin/python

.PHONY: help demo test coverage test-nfpi lowest reproduce docs linkcheck lint format bare bench bench-full dist torture torture-quick locks audit clean

help:  ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

# An environment bears the name of the dependency group, or of the extra, that it holds.
# The environment $(1), from its lock, with the folders $(2) in it. Each file is compared with the hashes
# in the lock, and what is built here is built with tools from a lock too. torch alone has no hash: the
# index that pip uses decides whether it is built for a processor or for CUDA. An older environment is
# replaced, so that nothing is left in it that no lock names.
define make_environment
	@echo "Making the environment .venvs/$(1) (once; it may take some minutes)"
	@$(PYTHON) -m venv --clear ".venvs/$(1)"
	@$(call run,$(1)) -m pip install --quiet --require-hashes --no-deps -r $(LOCKS)/build.txt
	@$(call run,$(1)) -m pip install --quiet --require-hashes --no-deps --no-build-isolation -r $(LOCKS)/$(1).txt
	@if grep -q '^# torch' $(LOCKS)/$(1).txt; then \
		$(call run,$(1)) -m pip install --quiet -c $(CONSTRAINTS) torch; fi
	@$(call run,$(1)) -m pip install --quiet --no-deps --no-build-isolation $(2)
	@$(call run,$(1)) -m pip check --quiet
	@touch $@
endef

.venvs/%/.stamp: pyproject.toml $(CONSTRAINTS) $(LOCKS)/%.txt $(LOCKS)/build.txt
	$(call make_environment,$*,-e .)

demo: export DATA := $(DATA)
demo: export MPLBACKEND := Agg
demo: .venvs/examples/.stamp  ## Run examples/quickstart.py; DATA=path.npz (.npy, .csv) for data of your own (z, y).
	@$(call run,examples) examples/quickstart.py $${DATA:+"$$DATA"}

# One thread of linear algebra a worker: two workers with two threads each are slower on two cores.
test coverage: export OMP_NUM_THREADS := 1
test coverage: export OPENBLAS_NUM_THREADS := 1
test coverage: export MKL_NUM_THREADS := 1
test coverage: export MPLBACKEND := Agg
test: .venvs/test/.stamp  ## Run the tests; PYTEST_ARGS="-k covariance -x" and the like are passed on.
	@$(call run,test) -m pytest -n 2 $(PYTEST_ARGS)

# In one process: a worker is killed if it takes longer than some seconds to write what it has counted.
# Tests that time themselves, bound their memory or fill a disk may fail while lines are counted.
coverage: .venvs/test/.stamp  ## Run the tests, for an hour, and print which lines and branches none of them takes.
	@rm -rf .coverage && mkdir .coverage
	@$(call run,test) -m coverage run -m pytest -p no:xdist $(PYTEST_ARGS) || echo "Some tests failed; coverage is of those that ran."
	@$(call run,test) -m coverage combine --append --quiet || echo "Files of processes that tests have killed are left out."
	@$(call run,test) -m coverage report

# The experiments are a project of their own, with an environment, tests and settings of their own.
.venvs/nfpi/.stamp: pyproject.toml examples/nfpi/pyproject.toml $(CONSTRAINTS) $(LOCKS)/nfpi.txt $(LOCKS)/build.txt
	$(call make_environment,nfpi,-e . -e ./examples/nfpi)

test-nfpi: export OMP_NUM_THREADS := 1
test-nfpi: export OPENBLAS_NUM_THREADS := 1
test-nfpi: export MKL_NUM_THREADS := 1
test-nfpi: export MPLBACKEND := Agg
test-nfpi: .venvs/nfpi/.stamp  ## Run the tests of the paper's experiments; PYTEST_ARGS="-m slow" runs those at full size.
	@cd examples/nfpi && ../../$(call run,nfpi) -m pytest -n 2 $(PYTEST_ARGS)

# Warnings are no errors here: old libraries warn of one another. Nor are there hashes.
lowest: export OMP_NUM_THREADS := 1
lowest: export MPLBACKEND := Agg
lowest: .venvs/lowest/.stamp  ## Run the tests with the oldest versions that pyproject.toml allows; downloads some GB.
	@$(call run,lowest) -m pytest -n 2 -W default $(PYTEST_ARGS)

.venvs/lowest/.stamp: pyproject.toml requirements/lowest.txt
	@echo "Making the environment .venvs/lowest (once; it may take some minutes)"
	@$(PYTHON) -m venv --clear .venvs/lowest
	@.venvs/lowest/bin/python -m pip install --quiet --upgrade -c $(CONSTRAINTS) pip
	@.venvs/lowest/bin/python -m pip install --quiet -c requirements/lowest.txt -e . --group test
	@touch $@

reproduce: export OMP_NUM_THREADS := 1
reproduce: export MPLBACKEND := Agg
reproduce: .venvs/nfpi/.stamp  ## Run the paper's tables and figures at the smallest scale, on digits, for a minute.
	@rm -rf examples/nfpi/results/tiny
	@$(call run,nfpi) examples/nfpi/reproduce.py all --scale tiny --workers 2 --strict

# Every page of the gallery runs, unless PAGES names some: "how_far|zuko", or "none".
docs linkcheck: export OMP_NUM_THREADS := 1
docs linkcheck: export OPENBLAS_NUM_THREADS := 1
docs linkcheck: export MPLBACKEND := Agg
docs: .venvs/docs/.stamp  ## Build the documentation into docs/_build/html, warnings as errors; check gallery, links, search.
	@rm -rf docs/_build/html docs/generated docs/gallery docs/gallery_flows
	@$(call run,docs) -m sphinx -b html -E -W --keep-going -n -q $(if $(PAGES),-D sphinx_gallery_conf.filename_pattern='$(PAGES)') docs docs/_build/html
	@$(if $(PAGES),,$(call run,docs) -m tools.gallery docs)
	@$(call run,docs) -m tools.check_links docs/_build/html
	@$(call run,docs) -m tools.check_search docs/_build/html
	@echo "docs/_build/html/index.html"

linkcheck: .venvs/docs/.stamp  ## Ask every address elsewhere that the documentation links to; needs the network.
	@$(call run,docs) -m sphinx -b linkcheck -q -D sphinx_gallery_conf.filename_pattern=none docs docs/_build/linkcheck

# mypy and pyright read what is installed with torch, so that they check with the types of torch itself.
lint: .venvs/lint/.stamp .venvs/nfpi/.stamp  ## Check style, types, imports between layers, and spelling; nothing is changed.
	@$(call run,lint) -m ruff check .
	@$(call run,lint) -m ruff format --check .
	@.venvs/lint/bin/typos
	@.venvs/lint/bin/lint-imports --no-logo --no-cache
	@$(call run,nfpi) -m mypy
	@.venvs/lint/bin/basedpyright --pythonpath $(call run,nfpi)
	@$(call run,nfpi) -m mypy --config-file examples/nfpi/pyproject.toml

format: .venvs/lint/.stamp  ## Format the code, fix what ruff can fix, and write what follows from the options of a fit.
	@$(call run,lint) -m tools.write_options
	@$(call run,lint) -m ruff check --fix .
	@$(call run,lint) -m ruff format .

# What a user gets from "pip install .": newest versions, no extras, the installed package and not this folder.
SOURCES := $(shell find fpigauss fpigauss_torch -name '*.py' 2>/dev/null)
.venvs/bare/.stamp: pyproject.toml $(SOURCES)
	@echo "Making the environment .venvs/bare (again whenever the package changes)"
	@$(PYTHON) -m venv --clear .venvs/bare
	@.venvs/bare/bin/python -m pip install --quiet .
	@touch $@

define BARE_CHECK
import sys
from importlib.util import find_spec

import numpy as np

import fpigauss

y = np.arange(60) % 3
z = np.random.default_rng(0).normal(size=(60, 2)) + y[:, None]
result = fpigauss.fit_fixed_point(z, y, 10.0, tied=True)
assert result.converged, result.status
for name in ("torch", "dask", "sklearn", "matplotlib"):
    assert find_spec(name) is None, f"{name} is installed"
    assert name not in sys.modules, f"{name} was imported"
print(f"fpigauss {fpigauss.__version__} works bare: {result.status} in {result.n_iter} evaluations")
endef
export BARE_CHECK

bare: .venvs/bare/.stamp  ## Install the core alone in a fresh environment and fit with it.
	@$(call run,bare) -I -W error -c "$$BARE_CHECK"

bench: .venvs/bench/.stamp  ## Measure side by side with other libraries, for some minutes; writes benchmarks/RESULTS.md.
	@$(call run,bench) -m benchmarks

bench-full: .venvs/bench/.stamp  ## The same at all sizes, for about half an hour.
	@$(call run,bench) -m benchmarks --full

# The check of "bare", of the wheel in a fresh environment; and types for those who import it.
define TYPED_CHECK
from importlib.metadata import files

typed = {str(path) for path in files("fpigauss") if path.name == "py.typed"}
assert typed == {"fpigauss/py.typed", "fpigauss_torch/py.typed"}, typed
endef
export TYPED_CHECK

dist: .venvs/dist/.stamp  ## Build the wheel and the sdist into dist/, check them, and fit with the installed wheel.
	@rm -rf dist
	@$(call run,dist) -m build --no-isolation --outdir dist . >/dev/null
	@$(call run,dist) -m twine check --strict dist/*
	@.venvs/dist/bin/check-wheel-contents --toplevel fpigauss,fpigauss_torch dist/*.whl
	@$(PYTHON) -m venv --clear .venvs/wheel
	@$(call run,wheel) -m pip install --quiet --require-hashes --no-deps -r $(LOCKS)/core.txt
	@$(call run,wheel) -m pip install --quiet --no-deps --no-index dist/*.whl
	@$(call run,wheel) -I -W error -c "$$BARE_CHECK"
	@$(call run,wheel) -I -c "$$TYPED_CHECK"
	@if grep -q fpigauss.example pyproject.toml; then \
		echo "Not to be uploaded yet: pyproject.toml still has https://fpigauss.example for an address"; fi

# Each looks for faults that nobody thought of, in children with bounds on time and memory; TORTURE_ARGS="--n 1000
# --seed 1" and the like are passed on. One machine alone: make torture-files, torture-solver, torture-mutants, ...
torture: .venvs/test/.stamp  ## Run all machines that look for faults, for hours, and write the table of TORTURE.md.
	@$(call run,test) -m tools.torture all $(TORTURE_ARGS)
	@$(call run,test) -m tools.torture mutants --at-least 0.9
	@$(call run,test) -m tools.torture

torture-quick: .venvs/test/.stamp  ## Run all of them but the mutants, for two minutes.
	@$(call run,test) -m tools.torture all --quick $(TORTURE_ARGS)

torture-%: .venvs/test/.stamp
	@$(call run,test) -m tools.torture $* $(TORTURE_ARGS)

locks: .venvs/locks/.stamp  ## Write requirements/locks/ anew, after a change of a dependency or of the constraints.
	@$(call run,locks) -m tools.write_locks

# --strict: a package that the service does not know is a failure, not a package without vulnerabilities.
audit: .venvs/locks/.stamp  ## Ask PyPI for known vulnerabilities of what is locked; needs its JSON interface.
	@for lock in $(LOCKS)/*.txt; do echo "$$lock"; \
		.venvs/locks/bin/pip-audit --strict --require-hashes --disable-pip -r "$$lock" || exit 1; done

clean:  ## Remove the environments, caches and what was built.
	rm -rf .venvs .coverage .mypy_cache .pytest_cache examples/nfpi/.mypy_cache examples/nfpi/.pytest_cache .ruff_cache examples/nfpi/.ruff_cache .hypothesis build dist docs/_build docs/gallery docs/gallery_flows docs/generated examples/nfpi/results/tiny
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
