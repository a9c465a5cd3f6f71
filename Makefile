PYTHON ?= python3
BIN := .venv/bin

serve: .venv/serve
	$(BIN)/python -m service

test: .venv/test nginx chromium
	$(BIN)/python -m pytest

check: .venv/test
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

fuzz: .venv/test
	FUZZ_EXAMPLES=100000 $(BIN)/python -m pytest tests/pictures/test_fuzzing.py -k tampered_with_is_decoded

bench: .venv/test wrk
	$(BIN)/python -m benchmarks

# The runtime that paints in the browser, from npm by its checksums; the repository has it, so only a new version needs this.
vendor:
	$(PYTHON) -m service.vendor

.venv/serve: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[formats]' && touch $@

.venv/test: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[test]' && touch $@

# The tests put a real nginx in front of the service. Root on Debian gets it here; anyone else is told by the tests.
nginx:
	@command -v nginx >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; } || true

# And a real browser in front of the page.
chromium:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || true

# What loads servers at the least cost to them; without it the benchmarks do so themselves.
wrk:
	@command -v wrk >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk; } || true

.PHONY: serve test check fuzz bench vendor nginx chromium wrk
