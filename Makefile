# `make` sets up .venv; `make demo` trains and shows a small detector; `make test` is what CI runs.
PYTHON ?= python3
UV := $(shell command -v uv || echo .venv/uv/bin/uv)
BIN := .venv/bin
READY := .venv/ready

# Where it is set, every process compiles all libraries anew, which takes as long as to import them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := .venv
.PHONY: .venv demo docs test test-slow test-gpu gpu-report format

.venv: $(READY)

$(READY): pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	$(UV) pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

# Beside the environment, not in it: works where the system's Python may not be changed.
.venv/uv/bin/uv:
	$(PYTHON) -m pip install --quiet --target .venv/uv uv

demo: $(READY)
	$(BIN)/detectors train experiment=demo

# The site, build/docs/index.html. Warnings are errors, in `make test` too, without the reference.
docs: $(READY)
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

test: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/sphinx-build -q -W --keep-going -t quick docs build/docs-quick
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile -m "not slow and not gpu"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "slow and not gpu"

test-gpu: $(READY)
	$(BIN)/pytest -m gpu

# Ten minutes on one GPU, into experiments/gpu; options: python -m experiments.benchmark gpu --help
gpu-report: $(READY)
	$(BIN)/python -m experiments.benchmark gpu

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
