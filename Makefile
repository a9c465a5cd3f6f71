PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --python-platform x86_64-unknown-linux-gnu

serve: .venv/serve
	$(BIN)/cyclegan serve

# In the place of ONNX Runtime for CPUs comes the one for CUDA, with CUDA's libraries: both in one environment overwrite each other.
serve-gpu: .venv/serve-gpu
	$(BIN)/cyclegan serve

# All that a change may break soon: some minutes.
test: .venv/test debian
	$(BIN)/python -m pytest -m "not slow"

# And what takes long: clusters, the soak's short form, the tutorial, lowest versions.
test-all: test test-lowest
	$(BIN)/python -m pytest -m slow

# The lower bounds in pyproject.toml, by the tests of the service that need nothing else.
test-lowest: .venv/test
	$(BIN)/python tests/lowest.py

check: .venv/test
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

bench: .venv/test debian
	$(BIN)/python -m benchmarks

# An hour of mixed, hostile and slow traffic; `make soak SECONDS=60` for less.
soak: .venv/test
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),3600)

fuzz: .venv/test
	FUZZ_EXAMPLES=100000 $(BIN)/python -m pytest tests/pictures/test_fuzzing.py -k tampered_with_is_decoded

# The static site, for any web server.
site: .venv/serve
	$(BIN)/cyclegan site --output $(or $(OUTPUT),runs/site)

# The runtime that paints in the browser, from npm by its checksums; the repository has it, so only a new version needs this.
vendor:
	$(PYTHON) -m service.vendor

# The pictures of the page that README shows.
screenshots: .venv/test debian
	$(BIN)/python -m tests.web.screenshots

# What the images install, each file by its hash.
lock: .venv/test
	$(LOCK) --extra formats --extra otel pyproject.toml --output-file docker/requirements-cpu.txt
	$(LOCK) --extra formats --extra otel --no-emit-package onnxruntime pyproject.toml docker/gpu.in --output-file docker/requirements-gpu.txt
	$(LOCK) docker/build.in --output-file docker/requirements-build.txt

# A CycloneDX bill of materials of what the CPU image installs, and the list of its licences.
sbom: .venv/locked
	$(BIN)/cyclonedx-py environment .venv/locked --output-file runs/sbom.json
licences: .venv/locked
	$(BIN)/python docker/licences.py .venv/locked/bin/python > docs/third_party.md

.venv/locked: docker/requirements-cpu.txt .venv/test
	$(PYTHON) -m venv --clear $@ && $@/bin/pip install --quiet --require-hashes --no-deps --requirement docker/requirements-cpu.txt && touch $@

.venv/serve: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[formats]' && touch $@

.venv/serve-gpu: pyproject.toml docker/gpu.in
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[formats]' && $(BIN)/pip uninstall --quiet --yes onnxruntime
	$(BIN)/pip install --quiet --force-reinstall --no-deps onnxruntime-gpu && $(BIN)/pip install --quiet --requirement docker/gpu.in && touch $@

.venv/test: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[test]' && touch $@

# What tests and benchmarks use of Debian's: a proxy and a browser in front of the service, Prometheus's checks, and a program that loads
# servers. Root gets it here; anyone else is told by the tests.
debian:
	@command -v nginx chromium promtool wrk | wc -l | grep -q 4 || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends nginx-light chromium prometheus wrk; } || true

.PHONY: serve serve-gpu test test-all test-lowest check bench soak fuzz site vendor screenshots lock sbom licences debian
