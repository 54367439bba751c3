# `make run` is all you need on a fresh machine: it makes .venv by itself from python3 (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed

.PHONY: run test check format bench chaos clean help

run: $(READY)  ## set up, then run everything on this machine: endpoint, private Redis, worker
	@exec $(BIN)/ingest dev

test: $(READY)  ## the tests, with real servers and processes
	$(BIN)/pytest -q -n auto --dist worksteal

check: $(READY)  ## lint, format, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(READY)  ## break everything under load and see that nothing is lost; SEED=n SECONDS=60 RUNS=1
	$(BIN)/python -m tests.chaos
	$(BIN)/pytest -q -s tests/chaos

bench: $(READY)  ## the benchmark table; takes a few minutes
	$(BIN)/python -m tests.benchmarks

clean:  ## remove what was made, but never data/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.x"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python has no venv module (Debian keeps it in the package python3-venv); name another with: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,embedded,postgres]'
	@touch $(READY)
