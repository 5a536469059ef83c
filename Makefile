# Each target does its own set-up: Python (3.11 or newer) and make are all that a fresh machine needs.
# `make PYTHON=/path/to/python test` chooses the interpreter of a new .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3)
VENV := .venv
BIN := $(VENV)/bin
# What a new or changed requirement must re-install; a stamp file for each set of extras tells when.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.installed ## show what the library is for, in ten seconds
	@$(BIN)/wsrpc demo

.PHONY: test
test: $(VENV)/.installed-test ## run all tests
	@$(BIN)/python -m pytest

.PHONY: coverage
coverage: $(VENV)/.installed-test ## run all tests, and list the branches that none of them took
	@$(BIN)/python -m pytest --cov --cov-report=term-missing

.PHONY: pythons
pythons: $(VENV)/.installed-dev ## run unit and integration tests on the other Pythons of this machine
	@$(BIN)/python -m nox

.PHONY: lint
lint: $(VENV)/.installed-dev ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(VENV)/.installed-dev ## put formatting right, and what else can be put right by itself
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: types
types: $(VENV)/.installed-dev ## check types
	@$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.installed-bench ## measure against other libraries
	@$(INSTALL) --no-deps 'nwebsocket>=1.0'  # what it needs is there; by itself it would replace curio-compat by curio
	@$(BIN)/python -m tests.benchmarks

.PHONY: docs
docs: $(VENV)/.installed-docs ## build the documentation into build/docs; a warning fails
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "build/docs/index.html"

.PHONY: clean
clean: ## remove all that these targets made
	rm -rf $(VENV) .nox build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	@echo "Installing wsrpc into $(VENV) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.made
	@echo "Installing wsrpc and what '$*' needs into $(VENV) ..."
	@$(INSTALL) --editable '.[$*]'
	@touch $@

# A candidate counts only if it really runs (a pyenv shim may be on PATH and fail) and can make an environment with
# pip (Debian's python3 cannot without python3-venv). An environment that is already there and fits is kept.
$(VENV)/.made:
	@fits='import sys; sys.exit(sys.version_info < (3, 11))'; \
	usable() { $(BIN)/python -c "$$fits" && $(BIN)/python -m pip --version; }; \
	if usable >/dev/null 2>&1; then touch $@; exit 0; fi; \
	for python in $(CANDIDATES); do \
		"$$python" -c "$$fits" >/dev/null 2>&1 || continue; \
		echo "Making $(VENV) with $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])') ..."; \
		if "$$python" -m venv --clear $(VENV) >/dev/null 2>&1 && usable >/dev/null 2>&1; then touch $@; exit 0; fi; \
		echo "$$python cannot make a virtual environment with pip (on Debian and Ubuntu: apt-get install python3-venv)." >&2; \
		rm -rf $(VENV); \
	done; \
	echo "Found no usable Python 3.11 or newer (tried:" $(CANDIDATES)")." >&2; \
	echo "Install one with its venv module, or name it: make PYTHON=/path/to/python ..." >&2; \
	exit 1
