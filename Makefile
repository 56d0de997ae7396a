# The commands of this repository, the same for people and for CI (.ci/run). `make` alone lists them.
# Needed: make and Python >= 3.11. Another interpreter: make demo PYTHON=/path/to/python3.11

PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed
DOCS_INSTALLED := .venv/.docs-installed

# Tests and benchmarks: one thread per process, no network, no display.
QUIET_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 HF_HUB_OFFLINE=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long soak check fix bench docs lock clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

demo: $(INSTALLED) ## install into .venv, then search, train and report on synthetic people; writes demo/
	$(BIN)/posefabric demo --output demo

test: $(INSTALLED) ## run the tests; PYTEST="-k name" hands options to pytest
	$(QUIET_ENV) $(BIN)/python -m pytest -n 2 $(PYTEST)

test-long: $(INSTALLED) ## slow tests, and longer versions of others: more kills, more processes
	POSEFABRIC_LONG=1 $(QUIET_ENV) $(BIN)/python -m pytest -n 2 -m "long or slow" $(PYTEST)

soak: $(INSTALLED) ## for hours: 300 kills of each command, and a run of MINUTES=30 that must not grow
	POSEFABRIC_KILLS=300 POSEFABRIC_SOAK_MINUTES=$(or $(MINUTES),30) $(QUIET_ENV) \
	  $(BIN)/python -m pytest -s tests/test_soak.py tests/test_kills.py $(PYTEST)

check: $(INSTALLED) ## formatting, lint, types, import directions; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED) ## mend what can be mended by itself: formatting, lint, docs/errors.md
	$(BIN)/python tools/errors_page.py
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## run every benchmarks/bench_*.py
	set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(QUIET_ENV) $(BIN)/python "$$file"; done

docs: $(DOCS_INSTALLED) ## build the pages into site/
	$(BIN)/zensical build --clean

lock: ## make requirements.lock again; pins that still fit stay (remove the file first to renew all)
	set -e; venv=$$(mktemp -d); trap 'rm -rf "$$venv"' EXIT; \
	$(PYTHON) -m venv "$$venv"; \
	"$$venv/bin/python" -m pip install --quiet $(UV); \
	"$$venv/bin/uv" pip compile pyproject.toml --extra dev --extra sweep --generate-hashes --python-version 3.11 --universal \
	  --constraints constraints.txt --no-header --quiet --output-file requirements.lock

clean: ## remove what make has made: .venv, caches, build products, site/, demo/ (runs/ stays)
	rm -rf .venv build dist site demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python >= 3.11; name one with PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --no-build-isolation -e '.[docs]'
	@touch $@
