# Everything runs from a virtual environment of the project's own; nothing need be installed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# what the test suite needs of torch: a CPU build is enough, so it comes first and alone
TORCH := torch==2.13.0
MODEL ?= llamacpp/smollm2-135m-instruct

.PHONY: help run test check bench docs lock clean
help:
	@echo "make run    set up, then evaluate a small real model on the quick suite"
	@echo "make test   set up, then run the whole test suite"
	@echo "make check  format, lint, types and layers"
	@echo "make bench  measure against peers and write docs/performance.md (slow; BENCH=chat_0ms: a part)"
	@echo "make lock   refresh constraints.txt"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet -c constraints.txt -e '.[dev,hf,local]'
	@touch $@

run: $(VENV)/.run
	$(BIN)/evalkit run -s quick -m $(MODEL) --output results/quick

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(BENCH)

lock:
	uv pip compile pyproject.toml constraints.in --extra dev --extra local --extra app --extra benchmarks \
		--universal --python-version 3.10 --no-annotate --no-header --quiet --upgrade --output-file constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
