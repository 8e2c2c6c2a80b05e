# `make help` lists the commands. Set-up happens by itself, once.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A file stays together, and the files keep the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# Twice as many as processors, as tests of services wait more than they compute; each takes
# up to a gigabyte of memory.
PROCESSES := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? 2 * n : 8)))

# Each program would compile the modules of this checkout again, and each session of
# pytest all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo init check verify identify test test-fast lint bench up down status wheel extras lock clean documents

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: .venv/run.stamp ## run the whole job once, on your services or on the sandbox
	@$(BIN)/python -m sandbox run

demo: .venv/run.stamp ## start Prefect's UI on a sandbox that lasts, and make one run
	@$(BIN)/python -m sandbox demo

init: .venv/run.stamp ## ask for the settings, try each of them, and write .env
	@$(BIN)/stashhog init

check: .venv/run.stamp ## try everything that StashHog needs, and say how to mend problems
	@$(BIN)/stashhog check

verify: .venv/run.stamp ## compare the mirror with Stash, on the same services as `make run`
	@$(BIN)/python -m sandbox run verify

identify: .venv/run.stamp ## propose what the stash-boxes of Stash know, on the same services
	@$(BIN)/python -m sandbox run run analysis -p detect_fingerprints=true \
		-p detect_video_tags=false -p detect_tags=false -p include_analyzed=true

test: .venv/test.stamp ## run the whole test suite
	@$(BIN)/python -m tests.support.requirements
	$(PYTEST) --numprocesses $(PROCESSES)

test-fast: .venv/test.stamp ## run the tests that need no servers (under a minute)
	$(PYTEST) --numprocesses 2 -m "not slow" tests/unit tests/project tests/integration

lint: .venv/test.stamp ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: chaos
chaos: .venv/test.stamp ## disturb runs in 250 histories and compare the ends (takes 1 or 2 hours)
	STASHHOG_TEST_CHAOS_RUNS=$${STASHHOG_TEST_CHAOS_RUNS:-250} $(BIN)/python -m pytest \
	  --numprocesses 2 --dist load -rA tests/chaos

.PHONY: ray
ray: .venv/test.stamp ## install Ray, and run mapped tasks on it as on Dask
	$(PIP) install prefect-ray==0.6.0 ray==2.60.0
	STASHHOG_TEST_RAY=1 $(BIN)/python -m pytest -rA tests/workflow/test_runners.py

.PHONY: fuzz
fuzz: .venv/test.stamp ## try 2000 inputs of each kind instead of 25 (takes an hour)
	STASHHOG_TEST_FUZZ_EXAMPLES=$${STASHHOG_TEST_FUZZ_EXAMPLES:-2000} $(BIN)/python -m pytest \
	  --numprocesses 2 --dist load tests/fuzz

.PHONY: model
model: .venv/test.stamp ## draw 2000 histories of runs, people and troubles (takes hours)
	STASHHOG_TEST_MODEL_EXAMPLES=$${STASHHOG_TEST_MODEL_EXAMPLES:-2000} $(BIN)/python -m pytest \
	  --numprocesses 2 --dist load -rP tests/model

.PHONY: containers
containers: .venv/test.stamp ## build the image and run compose.yaml in podman or docker
	$(BIN)/python -m pytest -rA tests/containers

documents: .venv/run.stamp ## write docs/settings.md and docs/errors.md from the code
	@$(BIN)/python docs/generate.py

bench: .venv/test.stamp ## measure the speed; writes benchmarks/results/report.html and .md
	$(BIN)/python -m benchmarks

up: .venv/run.stamp ## start Prefect's server with its UI, a worker and the pages
	@$(BIN)/stashhog up

down: .venv/run.stamp ## stop what `make up` and `make demo` started
	@$(BIN)/python -m sandbox demo down

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
