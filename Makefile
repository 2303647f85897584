# `make` lists the targets. Every target sets up .venv by itself when needed (see .ci/set-up).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports unit slow fuzz parity-models parity parity-sdxl-models parity-sdxl parity-sd2-models parity-sd2 gpu-build-check bench wheel clean

VENV ?= .venv
export VENV
PY := $(VENV)/bin/python
# a worker for each core, of which one takes up to 2 GB of memory; `make test WORKERS=0` runs everything in one process
WORKERS ?= auto
SPREAD := -n $(WORKERS) --maxprocesses 4 --dist worksteal --durations 15
# where `make parity` keeps the checkpoints that it generates (8 GB, SDXL 15 GB): outside the repository
PARITY_MODELS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/comfyc/parity-models
PARITY_BACKENDS ?= eager onnxruntime

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-24s %s\n", $$1, $$2}'

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
	@$(PY) -m pytest $(SPREAD) -m "not slow and not parity and not gpu"

slow: setup ## the tests that take minutes
	@$(PY) -m pytest $(SPREAD) -m "slow and not parity and not gpu"

fuzz: setup ## 10,000 mutated workflows, 20,000 mutations of every other format; half an hour
	@$(PY) -m tests.fuzz.run --count 10000 --json benchmarks/results/fuzz_workflows.json workflow
	@$(PY) -m tests.fuzz.run --count 20000 --json benchmarks/results/fuzz.json

parity-models: setup ## generate the full-size models that parity and bench use (8 GB, once)
	@$(PY) -m tests.parity.prepare "$(PARITY_MODELS)" sd15

# runs the cases of a group (the first argument) on every backend, with more options (the second one)
define compare
	@status=0; for backend in $(PARITY_BACKENDS); do \
	    $(PY) -m tests.parity.run --models "$(PARITY_MODELS)" --backend $$backend --group $(1) $(2) || status=1; done; \
	$(PY) -m benchmarks.readme_tables; exit $$status
endef

parity: parity-models ## compare with recorded pictures of ComfyUI on the full-size checkpoints
	$(call compare,sd15)

parity-sdxl-models: setup ## generate the full-size SDXL base, refiner and text encoders (15 GB, once)
	@$(PY) -m tests.parity.prepare "$(PARITY_MODELS)" sdxl

parity-sdxl: parity-sdxl-models ## the same on SDXL and its refiner: a process for each case, none above 20 GiB of memory
	$(call compare,sdxl,--isolated)

parity-sd2-models: setup ## generate the full-size Stable Diffusion 2 checkpoints (5.2 GB, once)
	@$(PY) -m tests.parity.prepare "$(PARITY_MODELS)" sd2

parity-sd2: parity-sd2-models ## the same on Stable Diffusion 2
	$(call compare,sd2)

gpu-build-check: setup ## build every network of SD1.5 and SDXL at full width with TensorRT-RTX; needs no GPU (20 GB of disk)
	@$(PY) -m benchmarks.bench_engine_build

bench: parity-models ## every benchmark, results into benchmarks/results
	@for file in benchmarks/bench_*.py; do echo "== $$file"; PARITY_MODELS="$(PARITY_MODELS)" $(PY) -m "benchmarks.$$(basename $$file .py)"; done
	@$(PY) -m benchmarks.readme_tables

wheel: setup ## build the wheel and the source archive into dist/
	@$(PY) -m pip install -q build && $(PY) -m build

clean: ## remove .venv, caches and build outputs (not the model or engine caches)
	@rm -rf "$(VENV)" dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
