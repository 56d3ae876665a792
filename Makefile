# One command each; `make` alone lists them. Everything lives inside this checkout: .venv holds the environment, .state the rest.
# Paths are relative throughout, so that the checkout may lie in a folder with spaces.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.ready
THIRD_PARTY := .state/third-party
# Two cores are kept busy by four processes: tests wait for servers, workers and disks for half of their time.
PROCESSES := 4
CODE := src flows tasks deployments tests benchmarks

# Our own writing stays inside. A home that does not exist or cannot be written to gets a stand-in, caches included.
export PREFECT_HOME := $(CURDIR)/.state/prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export NO_MKDOCS_2_WARNING := 1
# The tests start thousands of processes; each would compile all of our modules where a machine says that none is to be kept.
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo usable),usable)
export HOME := $(CURDIR)/.state/home
export UV_CACHE_DIR := $(CURDIR)/.state/cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.state/cache/pip
endif

# An environment that was moved, or made with another Python than PYTHON now names, is made anew.
VERSION := -c 'import platform; print(platform.python_version())'
ifeq ($(shell grep -sF -e "$$(pwd -P)/.venv" .venv/bin/activate),)
STALE := anew
else ifneq ($(PYTHON),)
ifneq ($(shell "$(PYTHON)" $(VERSION) 2>/dev/null),$(shell $(BIN)/python $(VERSION) 2>/dev/null))
STALE := anew
endif
endif

.PHONY: help setup-env test test-slow test-third-party pictures prove night stack stack-undisturbed lint docs check-all demo setup lock lock-third-party clean anew

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the Python (3.11 or newer) that .venv is made with."

$(STAMP): requirements.lock pyproject.toml $(STALE)
	@echo "Making .venv from requirements.lock ..."
	@.ci/environment

setup-env: $(STAMP)

test: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest -n $(PROCESSES) -m "not slow and not prove"

test-slow: $(STAMP) ## the slow tests: kills, browsers, every example of the docs
	$(BIN)/python -m pytest -n $(PROCESSES) -m "slow and not prove"

$(THIRD_PARTY)/.ready: tests/third_party/requirements.lock $(STAMP)
	@echo "Making $(THIRD_PARTY) from tests/third_party/requirements.lock ..."
	@.ci/third-party

test-third-party: $(THIRD_PARTY)/.ready ## other people's clients, unchanged, against the emulated cloud
	$(THIRD_PARTY)/bin/python -m pytest tests/third_party --disable-warnings

pictures: $(STAMP) ## the pictures of the Prefect UI in docs, anew, by the tests that look at it
	PICTURES=1 $(BIN)/python -m pytest tests/browser

prove: $(STAMP) ## the long proofs: every kill, 200 more at random times, pairs (PROVE_SEED=n for the same chance again)
	$(BIN)/python -m pytest -n $(PROCESSES) tests/kills -m slow
	$(BIN)/python -m pytest -n $(PROCESSES) -m prove

night: $(STAMP) ## a night of a hundred servers, measured, through both doors and killed at half time
	$(BIN)/python -m benchmarks.night --short

stack: $(STAMP) ## a night on a whole stack (PostgreSQL, Valkey, API servers, workers) while its parts are killed, measured
	$(BIN)/python -m benchmarks.stack

stack-undisturbed: $(STAMP) ## a night of a hundred servers on a whole stack that nothing happens to: two minutes
	$(BIN)/python -m benchmarks.stack --undisturbed --servers 100

docs: $(STAMP) ## every example and link of README and docs
	$(BIN)/python -m pytest tests/guards -k "docs or links or site or reference"

lint: $(STAMP) ## style, types, and imports that point one way
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

check-all: test lint test-slow night stack test-third-party ## all of it

demo: $(STAMP) ## a whole recovery against the emulated cloud, on this machine alone
	$(BIN)/python -m deployments.demo

setup: $(STAMP) ## work pools, blocks, limits, automations and deployments at PREFECT_API_URL
	$(BIN)/python -m deployments.setup

lock: ## both requirements.lock anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --extra prefect --extra redis --extra s3 --extra server $(UPGRADE) pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group build --extra prefect --extra redis --extra s3 --extra server --constraints requirements.lock pyproject.toml \
	  -o deployments/stack/requirements.lock

lock-third-party: ## the same for tests/third_party
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  $(UPGRADE) tests/third_party/requirements.in -o tests/third_party/requirements.lock

clean: ## away with .venv, .state, dist and caches
	rm -rf .venv .state dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: site
site: $(STAMP) ## docs/ as a site in .state/site; a link that leads nowhere ends it
	$(BIN)/mkdocs build
	@echo "Read it at http://127.0.0.1:8000 after: $(BIN)/python -m http.server --bind 127.0.0.1 --directory .state/site"
