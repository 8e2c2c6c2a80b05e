# `make help` lists the commands. Set-up happens by itself, once.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A file stays together, and the files keep the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# Each program would compile the modules of this checkout again, and each session of
# pytest all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run verify test test-fast lint bench up down status wheel extras lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: .venv/run.stamp ## run the whole job once, on your services or on the sandbox
	@$(BIN)/python -m sandbox.run

verify: .venv/run.stamp ## compare the mirror with Stash, on the same services as `make run`
	@$(BIN)/python -m sandbox.run verify

test: .venv/test.stamp ## run the whole test suite
	@$(BIN)/python -m tests.support.requirements
	@# One more than two cores: tests of services wait more than they compute.
	$(PYTEST) --numprocesses 3

test-fast: .venv/test.stamp ## run the tests that need no servers (under a minute)
	$(PYTEST) --numprocesses 2 -m "not slow" tests/unit tests/project tests/integration

lint: .venv/test.stamp ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/test.stamp ## measure the speed; writes benchmarks/results/latest.json
	$(BIN)/python -m benchmarks

up: .venv/run.stamp ## start Prefect's server with its UI, a worker and the pages
	@$(BIN)/stashhog up

down: .venv/run.stamp ## stop what `make up` started
	@$(BIN)/stashhog down

status: .venv/run.stamp ## show the state of each part that `make up` starts
	@$(BIN)/stashhog status

wheel: .venv/run.stamp ## build a wheel in dist/, to install without the checkout
	@$(BIN)/python -m hatchling build -t wheel

extras: .venv/run.stamp ## install optional packages, for the Dask runner and text models
	$(PIP) install --require-hashes --no-deps -r requirements/extras.txt

lock: .venv/test.stamp ## pin the newest allowed versions of all dependencies (needs uv)
	deployments/lock.sh

clean: ## remove the environment and caches; never touches STASHHOG_HOME
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/pip.stamp:
	@deployments/make-venv.sh $(PYTHON)
	@touch $@

.venv/run.stamp: .venv/pip.stamp requirements/run.txt pyproject.toml
	@echo "Installing what is needed to run (once) …"
	@# The files name every package there is, so nothing is left to resolve.
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: .venv/run.stamp requirements/test.txt
	@echo "Installing what the tests need (once) …"
	@$(PIP) install --require-hashes --no-deps -r requirements/test.txt
	@touch $@
