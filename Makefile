# make study   set up and run the default study      make test   set up and run the tests that CI runs
# make lint    all checks of style and types         make clean  remove environment and results, keep what was trained

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
STUDY ?= config/quick.yaml
BIN := .venv/bin
# With no GPU to use, PyTorch's own index has a build without CUDA, gigabytes smaller:
#   make study TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=
TORCH := $(shell sed -n 's/^ *"\(torch==.*\)",/\1/p' pyproject.toml)

# Images of Python often set it; every one of many processes would then compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study test test-slow lint format document clean clean-store lock setup

study: setup
	$(BIN)/snakemake --cores $(CORES) --configfile $(STUDY) --quiet progress rules host reason
	@echo "Open results/$$(sed -n 's/^study: *//p' $(STUDY))/report.html"

test: setup
	$(BIN)/pytest -m "not slow" -n 2 --dist loadgroup

test-slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

document: setup
	$(BIN)/python -m glidepath document --output .

setup: .venv/installed

# torch first and by itself: its build depends on the machine, everything else is locked.
.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint requirements.lock $(TORCH_INDEX) "$(TORCH)"
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

# Needs uv; torch and the packages it brings are left out (see setup).
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --no-header --quiet \
	    --output-file requirements.lock $$(uv pip compile pyproject.toml --extra training --universal \
	    --python-version 3.11 --no-annotate --no-header --quiet | grep -oE '^(torch|nvidia[a-z0-9-]*|cuda-[a-z]+)' | \
	    sed 's/^/--no-emit-package /')
	sed -i '1i # Every package but torch, whose build depends on the machine (see Makefile). Written by `make lock`.' \
	    requirements.lock

clean:
	rm -rf .venv .snakemake results logs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# What was paid for: trained segments, averages, tokens, resume states.
clean-store: clean
	rm -rf store scratch
