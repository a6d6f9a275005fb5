# Needs make and Python 3.11 or newer; everything else is installed into .venv by scripts/setup.py.
#   PYTHON=/path/to/python   another Python to make .venv from
#   ARGS="-k copy -x"        more arguments for pytest; "--keep" for "make demo"; names of clients for "make conformance"
#   WORKERS=2                test processes (0: all in one); they wait a good deal, so 4 keep two cores busy
#   PORT=7181                port of "make sandbox"
#   PROJECTS=DIR             Tinybird projects of your own for "make conformance"

PYTHON ?=
ARGS ?=
WORKERS ?= 4
PORT ?= 7181
PROJECTS ?=

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test e2e bench conformance api-coverage test-matrix lint format lock lock-matrix docs docs-serve build release-check clean sandbox screenshots

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# "command -v" is not enough: version managers put names on the PATH that only say that this version is not installed.
setup: ## Make .venv with everything in it (the other targets do it by themselves)
	@for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec "$$python" scripts/setup.py; \
		fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is one: $(or $(PYTHON),python3.11 python3 python3.12 python3.13)." >&2; \
	echo "Install it, or say where it is: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

demo: setup ## Run the quickstart DAG on real data against a local sandbox (ARGS=--keep: its page stays)
	@exec $(BIN)/python scripts/demo.py $(ARGS)

test: lint ## Run all checks and all tests but those of "make e2e"
	@$(call in_a_place_of_its_own,$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --timeout 300 --ignore tests/e2e $(ARGS))

# WRITE_TABLE=1 writes what came of it into docs/reliability.md.
e2e: setup ## Run what is tested on a whole Airflow whose processes are killed
	@$(call in_a_place_of_its_own,$(BIN)/python -m pytest tests/e2e $(ARGS))

bench: setup ## Measure how fast DataFrames are encoded and sent, beside others; writes docs/benchmarks.md
	@exec $(BIN)/python benchmarks/loads/run.py $(ARGS)

# PROJECTS="DIR ..." loads every Tinybird project below the folders instead, calls its endpoints and runs its copies.
conformance: setup ## Run clients of others and small projects against the sandbox; writes docs/conformance.md
	@exec $(BIN)/python scripts/conformance.py $(if $(PROJECTS),--projects $(PROJECTS),$(ARGS))

api-coverage: setup ## Write docs/api-coverage.md: each call of the API, its function, its test case, the sandbox
	@exec $(BIN)/python scripts/api_coverage.py $(ARGS)

# ARGS="--only 3.0.6 -- tests/unit/jobs/test_watch.py -x" runs less of it; the whole of it writes its table into docs/compatibility.md.
test-matrix: setup ## Run the unit and sandbox tests beside each Airflow that is supported
	@exec $(BIN)/python scripts/test_matrix.py --workers $(WORKERS) $(ARGS)

lint: setup ## Check style, formatting, types and what imports what
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy scripts
	@$(BIN)/lint-imports --no-cache >/dev/null || exec $(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/diagram.py --check

format: setup ## Rewrite the code in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# UPGRADE=1 takes the newest versions; without it those stay that still fit.
lock: setup ## Write requirements/dev.txt anew from pyproject.toml and requirements/dev.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra sandbox --group dev --no-annotate \
		--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
		--output-file requirements/dev.txt pyproject.toml requirements/dev.in

lock-matrix: setup ## Write requirements/airflow-*.txt anew, the lists of "make test-matrix"
	@exec $(BIN)/python scripts/airflow_releases.py $(ARGS)

docs: setup ## Write anew what pages repeat from the code, and build the site into .cache/site; any warning is an error
	@$(BIN)/python scripts/docs_pages.py
	@$(BIN)/python scripts/diagram.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # with --quiet it would see no warnings

docs-serve: setup ## Show the site at http://localhost:8000, built anew at each change
	@exec env NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

build: setup ## Build the wheel and the source distribution into dist/
	@$(BIN)/python -m hatchling build -d dist

release-check: setup ## Build both, check them, and run the demo from the wheel in an environment with nothing else
	@exec $(BIN)/python scripts/release_check.py

sandbox: setup ## Start the sandbox with the project of the example DAGs
	@exec $(BIN)/tinybird-sandbox --port $(PORT) --project example_dags/tinybird --files example_dags/data

screenshots: setup ## Make the pictures of the documentation anew (needs chromium and chromedriver)
	@exec $(BIN)/uv run --quiet --no-project --with selenium --with pillow python scripts/screenshots.py $(ARGS)

clean: ## Remove what these targets made, .venv too
	rm -rf $(VENV) .setup.lock .cache/environments .cache/site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find airflow_provider_tinybird example_dags scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Airflow writes wherever AIRFLOW_HOME says, and into the user's home otherwise. Killed tests cannot tidy up after themselves.
define in_a_place_of_its_own
place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && trap 'exit 130' INT && trap 'exit 143' TERM && \
AIRFLOW_HOME="$$place/airflow" TMPDIR="$$place" $(1)
endef
