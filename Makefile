# make demo   sets everything up and shows a commit travelling to production; stays up until Ctrl-C
# make test   sets everything up and runs every test
# make controlplane   runs a real Kubernetes control plane to try things on, built once from source; Ctrl-C stops it
# make setup | lint | bench | up | clean

VENV   := .venv
READY  := $(VENV)/.ready
BIN    := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
	then command -v $$p; break; fi; done)

# kustomize and helm, and the tools that came with the packages
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test lint bench up clean controlplane controlplane-build
.DEFAULT_GOAL := demo

setup: $(READY)
	@infra/tools.sh demo

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python of 3.11 or newer: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2; exit 2; }
	@echo "installing Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	@touch $(READY)

demo: setup
	@$(BIN)/python -m tidegate.demo

test: setup controlplane-build
	@infra/tools.sh test
	@$(BIN)/python -m pytest --cov

# The real Kubernetes that the contract suite also runs against; where it cannot be had, one sentence says why.
controlplane-build: setup
	@$(BIN)/python -m tests.controlplane.build

controlplane: setup
	@$(BIN)/python -m tests.controlplane

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m benchmarks

up: setup
	@$(BIN)/python -m tidegate.running.up

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
