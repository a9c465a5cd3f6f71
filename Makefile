PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --python-platform x86_64-unknown-linux-gnu

serve: .venv/serve
	$(BIN)/cyclegan serve

# Replaces onnxruntime with onnxruntime-gpu and CUDA's libraries: the two packages overwrite each other's files.
serve-gpu: .venv/serve-gpu
	$(BIN)/cyclegan serve

# The quick tests: under ten minutes on two cores.
test: .venv/test debian
	$(BIN)/python -m pytest -m "not slow"

# Everything: also clusters, a short soak, the tutorial and the lowest supported versions.
test-all: test test-lowest
	$(BIN)/python -m pytest -m slow

# Runs the service's tests with the lowest versions that pyproject.toml allows.
test-lowest: .venv/test
	$(BIN)/python tests/lowest.py

check: .venv/test
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

bench: .venv/test debian
	$(BIN)/python -m benchmarks

# An hour of mixed, hostile and slow traffic; `make soak SECONDS=60` runs a shorter one.
soak: .venv/test
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),3600)

fuzz: .venv/test
	FUZZ_EXAMPLES=100000 $(BIN)/python -m pytest tests/pictures/test_fuzzing.py -k tampered_with_is_decoded

# Writes the page as static files, for any web server.
site: .venv/serve
	$(BIN)/cyclegan site --output $(or $(OUTPUT),runs/site)

# Downloads the browser's ONNX Runtime from npm and checks it. It is committed, so only an upgrade needs this.
vendor:
	$(PYTHON) -m service.vendor

# Takes the screenshots that README shows.
screenshots: .venv/test debian
	$(BIN)/python -m tests.web.screenshots

# Writes the images' lock files, with hashes.
lock: .venv/test
	$(LOCK) --extra formats --extra otel pyproject.toml --output-file docker/requirements-cpu.txt
	$(LOCK) --extra formats --extra otel --no-emit-package onnxruntime pyproject.toml docker/gpu.in --output-file docker/requirements-gpu.txt
	$(LOCK) docker/build.in --output-file docker/requirements-build.txt

# Write a CycloneDX bill of materials of the CPU image, and the list of licences.
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

# Installs the programs that tests and benchmarks use, where this runs as root: nginx, Chromium, promtool and wrk. Without root, tests
# that need one of them say so.
debian:
	@command -v nginx chromium promtool wrk | wc -l | grep -q 4 || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends nginx-light chromium prometheus wrk; } || true

.PHONY: serve serve-gpu test test-all test-lowest check bench soak fuzz site vendor screenshots lock sbom licences debian
