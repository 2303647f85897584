# `make` lists the targets. Every target sets up .venv by itself when needed (see .ci/set-up).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports unit slow parity-models parity parity-sdxl-models parity-sdxl gpu-build-check bench wheel clean

VENV ?= .venv
export VENV
PY := $(VENV)/bin/python
# where `make parity` keeps the checkpoints that it generates (8 GB, SDXL 15 GB): outside the repository
PARITY_MODELS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/comfyc/parity-models
PARITY_BACKENDS ?= eager onnxruntime

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-24s %s\n", $$1, $$2}'

setup: ## make .venv and install everything
	@.ci/set-up

demo: setup ## draw with the small model that ships: captions, LoRA, ControlNet and more on one sheet
	@$(VENV)/bin/comfyc demo

test: setup lint types imports unit ## lint, types, import directions and all fast tests

lint: setup ## ruff
	@$(PY) -m ruff check .

types: setup ## mypy, strict
	@$(PY) -m mypy

imports: setup ## the packages import one way only
	@$(VENV)/bin/lint-imports

unit: setup
	@$(PY) -m pytest -m "not slow and not parity and not gpu"

slow: setup ## the tests that take minutes
	@$(PY) -m pytest -m "slow and not parity and not gpu"

parity-models: setup ## generate the full-size models that parity and bench use (8 GB, once)
	@$(PY) -m tests.parity.prepare "$(PARITY_MODELS)" sd15

parity: parity-models ## compare with recorded pictures of ComfyUI on the full-size checkpoint
	@status=0; for backend in $(PARITY_BACKENDS); do \
	    $(PY) -m tests.parity.run --models "$(PARITY_MODELS)" --backend $$backend || status=1; done; \
	$(PY) -m benchmarks.readme_tables; exit $$status

parity-sdxl-models: setup ## generate the full-size SDXL base, refiner and text encoders (15 GB, once)
	@$(PY) -m tests.parity.prepare "$(PARITY_MODELS)" sdxl

parity-sdxl: parity-sdxl-models ## the same on full-size SDXL, a process for each case, none above 20 GiB of memory
	@status=0; for backend in $(PARITY_BACKENDS); do \
	    $(PY) -m tests.parity.run --models "$(PARITY_MODELS)" --backend $$backend --group sdxl --isolated || status=1; done; \
	$(PY) -m benchmarks.readme_tables; exit $$status

gpu-build-check: setup ## build every network at full width with TensorRT-RTX; needs no GPU (2 minutes, 4 GB of disk)
	@$(PY) -m benchmarks.bench_engine_build $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

bench: parity-models ## every benchmark, results into benchmarks/results
	@for file in benchmarks/bench_*.py; do echo "== $$file"; PARITY_MODELS="$(PARITY_MODELS)" $(PY) -m "benchmarks.$$(basename $$file .py)"; done
	@$(PY) -m benchmarks.readme_tables

wheel: setup ## build the wheel and the source archive into dist/
	@$(PY) -m pip install -q build && $(PY) -m build

clean: ## remove .venv, caches and build outputs (not the model or engine caches)
	@rm -rf "$(VENV)" dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
