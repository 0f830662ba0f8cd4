# `make` alone lists the targets. Each target installs what it needs into .venv.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: help env demo test test-fast test-oldest check docs reproduce costs verify smoke torture tutorial wheel bench clean

help:
	@echo "make demo         prune a ResNet on real handwritten digits, export it (minutes)"
	@echo "make test         run the tests (15 to 25 minutes on two cores)"
	@echo "make test-fast    run the tests that are not marked as slow (1 to 2 minutes)"
	@echo "make test-oldest  run the tests with the oldest supported versions"
	@echo "make check        check the formatting, lint and run the tests"
	@echo "make docs         build the API reference into build/docs (needs pdoc)"
	@echo "make tutorial     run docs/tutorial.md, update its outputs and notebook (minutes)"
	@echo "make reproduce    regenerate docs/results from the records, measure costs (minutes)"
	@echo "make reproduce-X  regenerate one page from the records (seconds); X: table1 to"
	@echo "                  table3, figure3 to figure7, controls, overview"
	@echo "make costs        measure the costs and times of Tables 2 and 3 here (minutes)"
	@echo "make verify       check all records and measure their models again (a minute);"
	@echo "                  DATA=FOLDER of CIFAR or ImageNet: those on these data, too"
	@echo "make smoke        run every experiment at a small scale on digits (under an hour)"
	@echo "make torture      test kills, damaged files and full disks (about an hour; Linux)"
	@echo "make bench        measure images/s here: this package, Keras, PyTorch (about an hour)"
	@echo "make wheel        build the wheel into dist/"
	@echo "make clean        remove the environments and all build output"

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
	@echo "Pruning a ResNet on real handwritten digits ..."
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

# The API reference. Warnings are errors: a docstring or annotation that pdoc cannot read
# fails the build. The log also holds TensorFlow's messages at its start; it is shown only
# if the build fails.
docs: .venv/installed
	@$(PY) -c 'import pdoc' 2>/dev/null || $(PIP) -e ".[docs]"
	@mkdir -p build/docs
	@PDOC_ALLOW_EXEC=1 $(PY) -W error -m pdoc --docformat google --no-show-source \
	  --output-directory build/docs resprune_tf '!resprune_tf\.' resprune_tf.criteria \
	  2>build/docs.log || { cat build/docs.log; exit 1; }
	@echo "The API reference: build/docs/index.html"

# Costs are measured once per machine; a page shows all machines in the records.
costs: .venv/installed
	@$(PY) -m experiments.costs

reproduce: costs
	@$(PY) -m experiments.reproduce

reproduce-%: .venv/installed
	@$(PY) -m experiments.reproduce $*

verify: .venv/installed
	@$(PY) -m experiments.verify $(if $(DATA),--data_dir=$(DATA))

smoke: .venv/installed
	@$(PY) -m experiments.rehearsal --out=runs/smoke
	@echo "Records, and the pages generated from them: runs/smoke"

torture: .venv/installed-dev
	@$(PY) -m experiments.torture

# The test tools include LiteRT and ONNX Runtime. CIFAR-10 is read from TFDS_DATA_DIR.
tutorial: .venv/installed-dev
	@$(PY) -m experiments.tutorial

# Needed by the benchmark only. PyTorch has its own environment, so that its dependencies
# cannot change TensorFlow's. Frameworks that cannot be installed are left out.
NVIDIA := $(shell command -v nvidia-smi)
BENCH_JAX ?= $(if $(NVIDIA),jax[cuda12],jax)
BENCH_TORCH_INDEX ?= $(if $(NVIDIA),,https://download.pytorch.org/whl/cpu)
BENCH_FLAGS ?=
TORCH_VENV := .venv-bench-torch
TORCH_PIP := $(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

bench: .venv/installed
	@$(PY) -c 'import jax' 2>/dev/null || \
	  { echo "Installing JAX into .venv ..."; $(PIP) '$(BENCH_JAX)'; } || \
	  echo "JAX could not be installed; the benchmark continues without it."
ifndef BENCH_TORCH_PYTHON
	@test -x $(TORCH_VENV)/bin/python || $(PYTHON) -m venv $(TORCH_VENV)
	@echo '*' >$(TORCH_VENV)/.gitignore
	@$(TORCH_VENV)/bin/python -c 'import torch' 2>/dev/null || \
	  { echo "Installing PyTorch into $(TORCH_VENV) ..."; \
	    $(TORCH_PIP) $(addprefix --index-url ,$(BENCH_TORCH_INDEX)) torch || \
	    $(TORCH_PIP) torch; } || \
	  echo "PyTorch could not be installed; the benchmark continues without it."
endif
	@$(PY) -m experiments.bench $(BENCH_FLAGS)
	@$(PY) -m experiments.reproduce bench

wheel: .venv/installed-dev
	@$(PY) -m build --wheel

clean:
	rm -rf .venv .venv-oldest $(TORCH_VENV) build dist *.egg-info .pytest_cache .ruff_cache
