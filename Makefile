# `make demo`, `make test` and `make docs` each set everything up. They need Python 3.11 or newer.
PYTHON ?= python3
# Processes that run the tests. Each needs a core and up to 4 GB of memory.
WORKERS ?= 2
BIN := .venv/bin

.PHONY: demo test lint types check docs docs-serve schema clean

# Trains a small model and ends with the path of its HTML report.
demo: .venv/base
	$(BIN)/studio train --cfg digits_dig_plus_demo.yaml

# Everything that checks the code: lint, format, types, tests.
test: .venv/dev lint types check

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/pyright --pythonpath $(BIN)/python

check: .venv/dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# The documentation, in build/site. Every broken link or reference is an error.
docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# The documentation on http://127.0.0.1:8000, built again after each change.
docs-serve: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

# The JSON schema of the configs, which editors use for completion and checks.
schema: .venv/dev
	$(BIN)/python docs/generate.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version)." \
			"Name another one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/base: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,docs]'
	@touch $@ .venv/base

clean:
	rm -rf .venv build
