# `make demo` and `make test` each do all the set-up themselves; they need Python 3.11+ and make. The demo ends with the path of
# its HTML report.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types check clean
demo: .venv/base
	$(BIN)/studio train --cfg digits_dig_demo.yaml

test: .venv/dev lint types check

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/pyright --pythonpath $(BIN)/python

check: .venv/dev
	$(BIN)/python -m pytest

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version); give another one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/base: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/base

clean:
	rm -rf .venv
