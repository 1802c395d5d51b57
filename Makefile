VENV := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.installed-peers
# Most tests wait for something, so there are more processes than cores. They share one Docker engine;
# each process whose tests need a Kubernetes starts one of its own.
WORKERS ?= 6

# What fails beside others is tried once more, alone: six processes with real engines on two cores
# can be busy for longer than a test waits. Both outcomes are printed, and what fails twice has failed.
run-tests = $(BIN)/python -m pytest -rs -m $(1) $(2) || { \
	echo 'once more, alone: what has failed'; \
	$(BIN)/python -m pytest -rs -m $(1) --lf --lfnf=none; }

.PHONY: help demo test tests bench lint

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: $(STAMP) ## a control plane on this machine, from an empty folder to a rollback
	$(BIN)/python examples/demo.py

test: ## lint and every test; skipped ones say why
	@$(MAKE) --no-print-directory -j2 lint tests

tests: $(STAMP)
	$(call run-tests,"not kubernetes",-n $(WORKERS) --dist worksteal)
	$(call run-tests,kubernetes,-n 3 --dist loadfile)

bench: $(STAMP) $(PEERS) ## measure what the documents promise
	$(BIN)/python -m tests.bench

lint: $(STAMP) ## ruff, mypy, the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installed again only when the project's metadata has changed.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[dev]'
	touch $@

# What is measured against; where it cannot be had, the rows say so.
$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[bench]' && touch $@ || true
