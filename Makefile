PYTHON ?= python3
BIN := .venv/bin

serve: .venv/serve
	$(BIN)/python -m service

test: .venv/test
	$(BIN)/python -m pytest

check: .venv/test
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

.venv/serve: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable . && touch $@

.venv/test: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[test]' && touch $@

.PHONY: serve test check
