# `make` alone lists what can be made. Every target installs what it needs into .venv.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: help env demo test test-fast test-oldest check reproduce costs smoke torture tutorial wheel bench clean

help:
	@echo "make demo         shorten a residual network on real digits, export it (minutes)"
	@echo "make test         run the tests"
	@echo "make test-fast    those that neither train nor start processes (a minute or two)"
	@echo "make test-oldest  run them with the oldest supported versions"
	@echo "make check        formatting, lint and tests"
	@echo "make reproduce    every table and figure from the records; measures costs (10 min)"
	@echo "make reproduce-X  one of table1 table2 table3 figure3 ... figure7 controls"
	@echo "make tutorial     run docs/tutorial.md, renew its outputs and pictures (minutes)"
	@echo "make smoke        every experiment in small, on real digits (half an hour)"
	@echo "make torture      kills, damage, full disks, hostile files (an hour; Linux)"
	@echo "make bench        images/s of this package, plain Keras and PyTorch here (an hour)"
	@echo "make wheel        build the wheel into dist/"
	@echo "make clean        remove the environments and what was built"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating the environment .venv ..."
	@$(PYTHON) -m venv .venv || \
	  { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; \
	    rm -rf .venv; exit 1; }

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	@echo "Installing resprune_tf, TensorFlow and Keras into .venv (a minute or two) ..."
	@$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the test tools ..."
	@$(PIP) -e ".[dev]"
	@touch $@

env: .venv/installed

demo: .venv/installed
	@echo "Shortening a ResNet on real handwritten digits ..."
	@$(PY) -m experiments.cifar --flagfile=experiments/flagfiles/demo.txt

test: .venv/installed-dev
	@echo "Running the tests ..."
	@$(PY) -m pytest

test-fast: .venv/installed-dev
	@$(PY) -m pytest -m "not slow"

test-oldest:
	@echo "Running the tests with the oldest versions of setup.cfg, in .venv-oldest ..."
	@test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
	  -e . -r tests/oldest.txt
	@.venv-oldest/bin/python -m pytest

check: .venv/installed-dev
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(MAKE) --no-print-directory test

# Costs are measured once a machine; a page is made from all machines in the records.
costs: .venv/installed
	@$(PY) -m experiments.costs

reproduce: costs
	@$(PY) -m experiments.reproduce

reproduce-table2 reproduce-table3 reproduce-figure7: reproduce-%: costs
	@$(PY) -m experiments.reproduce $*

reproduce-%: .venv/installed
	@$(PY) -m experiments.reproduce $*

smoke: .venv/installed
	@$(PY) -m experiments.rehearsal --out=runs/smoke
	@echo "Records, and pages made from them: runs/smoke"

torture: .venv/installed-dev
	@$(PY) -m experiments.torture

# The tools for tests bring LiteRT and ONNX Runtime.
tutorial: .venv/installed-dev
	@$(PY) -m experiments.tutorial

# What only the benchmark needs. PyTorch has an environment of its own, for its
# dependencies must not change those of TensorFlow. What cannot be installed is left out.
NVIDIA := $(shell command -v nvidia-smi)
BENCH_JAX ?= $(if $(NVIDIA),jax[cuda12],jax)
BENCH_TORCH_INDEX ?= $(if $(NVIDIA),,https://download.pytorch.org/whl/cpu)
BENCH_FLAGS ?=
TORCH_VENV := .venv-bench-torch
TORCH_PIP := $(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

bench: .venv/installed
	@$(PY) -c 'import jax' 2>/dev/null || \
	  { echo "Installing JAX into .venv ..."; $(PIP) '$(BENCH_JAX)'; } || \
	  echo "JAX could not be installed; the benchmark goes on without it."
ifndef BENCH_TORCH_PYTHON
	@test -x $(TORCH_VENV)/bin/python || $(PYTHON) -m venv $(TORCH_VENV)
	@echo '*' >$(TORCH_VENV)/.gitignore
	@$(TORCH_VENV)/bin/python -c 'import torch' 2>/dev/null || \
	  { echo "Installing PyTorch into $(TORCH_VENV) ..."; \
	    $(TORCH_PIP) $(addprefix --index-url ,$(BENCH_TORCH_INDEX)) torch || \
	    $(TORCH_PIP) torch; } || \
	  echo "PyTorch could not be installed; the benchmark goes on without it."
endif
	@$(PY) -m experiments.bench $(BENCH_FLAGS)
	@$(PY) -m experiments.reproduce bench

wheel: .venv/installed-dev
	@$(PY) -m build --wheel

clean:
	rm -rf .venv .venv-oldest $(TORCH_VENV) build dist *.egg-info .pytest_cache .ruff_cache
