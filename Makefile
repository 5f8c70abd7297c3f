# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `make` prints what there is. Everything is built below .venv, .cache and dist; `make clean` removes them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The system's own interpreter where there is one: the launchers of version managers cost time and trip ansible-test.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMPS := .cache/stamps
TREE := $(CURDIR)/.cache/stage
STAGE := $(TREE)/ansible_collections/one_storage/drivers
SCRATCH := $(CURDIR)/.cache/scratch
INSTALLED := $(STAMPS)/system $(VENV)/.installed

# Files of tests that share nothing run side by side; the lab is one for all its tests, and comes last. Code 5 of pytest's
# says that it had none to run.
define pytest
first=0; $(BIN)/python -m pytest $(1) -n auto --dist loadfile tests/unit tests/integration $(PYTEST_ARGS) || first=$$?; \
last=0; $(BIN)/python -m pytest $(1) tests/lab $(PYTEST_ARGS) || last=$$?; \
case "$$first $$last" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac
endef
NODE_CODE := $(wildcard plugins remotes/one_storage)
PYTEST_ARGS ?=

# Python finds the project's packages, and the tools of the virtual environment call each other.
export PYTHONPATH := $(CURDIR)
export PATH := $(BIN):$(PATH)
# Colours, pagers and cows are of no use in a log.
export ANSIBLE_NOCOWS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

##@ Use
.PHONY: demo
demo: install ## A VM's whole life on a lab of three hosts, each call shown (CEPH=1: on a Ceph cluster)
	@$(BIN)/python -m tests.demo $(if $(CEPH),--drivers ceph ceph+ssh)

.PHONY: remotes
remotes: ## Lay the drivers over a remotes tree: make remotes DEST=dir [WITH=dir, drivers of others]
	@test -n "$(DEST)" || { echo "Which folder? make remotes DEST=dir" >&2; exit 2; }
	@$(PYTHON) -I remotes/one_storage/build.py "$(DEST)" $(if $(WITH),--with "$(WITH)")

.PHONY: build
build: install stage ## The collection's archive in dist/, installed in a scratch folder and looked at with ansible-doc
	@mkdir -p dist && rm -rf $(SCRATCH)
	@cd $(STAGE) && $(BIN)/ansible-galaxy collection build --force --output-path $(CURDIR)/dist
	@archive=dist/one_storage-drivers-$$(sed -n 's/^version: *//p' galaxy.yml).tar.gz; \
	export ANSIBLE_COLLECTIONS_PATH=$(SCRATCH); \
	$(BIN)/ansible-galaxy collection install --offline --no-deps -p $(SCRATCH) "$$archive" >/dev/null; \
	modules=$$($(BIN)/ansible-doc -t module -l one_storage.drivers); \
	echo "$$modules"; \
	echo "$$archive: $$(grep -c '^one_storage[.]drivers[.]' <<<"$$modules" || true) modules"

.PHONY: docs
docs: install stage ## The documentation as pages in dist/docs: guides, settings, manual pages
	@$(BIN)/python -m tests.tools.docs

.PHONY: lab-up
lab-up: install ## Start the lab and leave it running
	@$(BIN)/python -m tests.lab.hosts up

.PHONY: lab-down
lab-down: install ## Stop the lab
	@$(BIN)/python -m tests.lab.hosts down

##@ Test
.PHONY: test
test: install ## The tests, without those that take long (PYTEST_ARGS="-k word -x")
	@$(call pytest,-m "not full")

.PHONY: test-full
test-full: install ## All tests
	@$(call pytest)

.PHONY: molecule
molecule: install ## The roles' scenarios on the lab's hosts (SCENARIO=name for one)
	@$(BIN)/molecule test $(if $(SCENARIO),--scenario-name $(SCENARIO),--all)

.PHONY: bench
bench: install ## What an action costs, as ratios to bare processes
	@$(BIN)/python -m tests.bench

##@ Check
CHECKS := check-ruff check-mypy check-oldest check-shell check-reuse check-changelog check-docs check-galaxy check-lint check-sanity
.PHONY: check $(CHECKS)
check: install ## All checks, the failed ones named at the end
	@$(MAKE) --keep-going $(CHECKS)
	@echo "check: all passed"

check-ruff: install ## Style of the Python code
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --diff . ; exit 1; }

check-mypy: install ## Types: all code as of Python 3.11; what runs on nodes also as of the oldest that mypy knows
	@$(BIN)/mypy --python-version 3.11 $(NODE_CODE) tests
	@test -z "$(NODE_CODE)" || $(BIN)/mypy --python-version 3.10 $(NODE_CODE)

check-oldest: install ## What runs on nodes is imported with Python 3.9, where there is one
	@$(BIN)/python -m tests.tools.oldest

check-shell: install ## The wrappers and the shell scripts
	@$(BIN)/python -m tests.tools.shell_files | xargs -0 -r shellcheck

check-reuse: install ## Licence and copyright of every file
	@$(BIN)/python -m tests.tools.stage --names | xargs -0 -r $(BIN)/reuse lint-file

check-changelog: install stage ## Changelog fragments
	@cd $(STAGE) && $(BIN)/antsibull-changelog lint

check-docs: install stage ## Manual pages of modules and roles, and how they refer to each other
	@cd $(STAGE) && ANSIBLE_COLLECTIONS_PATH=$(TREE) $(BIN)/antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .

check-galaxy: install ## What Galaxy's importer says about the archive
	@$(BIN)/python -m tests.tools.importer

check-lint: install stage ## ansible-lint, profile production
	@cd $(STAGE) && ANSIBLE_COLLECTIONS_PATH=$(TREE) $(BIN)/ansible-lint --offline --strict --nocolor -q --profile production

check-sanity: install stage ## ansible-test sanity, without a container
	@$(BIN)/python -m tests.tools.sanity

.PHONY: format
format: install ## Bring the Python code into shape
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

##@ Keep house
.PHONY: install
install: $(INSTALLED) ## System packages that are missing, and .venv
	@:

$(STAMPS)/system: requirements/system.txt tests/tools/system-packages.sh
	@mkdir -p $(@D)
	@code=0; bash tests/tools/system-packages.sh $< || code=$$?; \
	case $$code in 0) touch $@ ;; 3) echo "Going on without them." >&2 ;; *) exit $$code ;; esac

$(VENV)/.installed: requirements/dev.txt | $(STAMPS)/system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the tools of requirements/dev.txt in .venv"
	@$(BIN)/python -m pip install -qq --no-input --requirement $< </dev/null
	@touch $@

.PHONY: requirements
requirements: install ## Pin requirements/dev.in and everything below it in requirements/dev.txt
	@$(BIN)/python -m pip install -qq --no-input --upgrade --upgrade-strategy eager -r requirements/dev.in
	@{ sed -n '1,/^# Made by/p' requirements/dev.txt; $(BIN)/python -m pip freeze; } >.cache/dev.txt
	@mv .cache/dev.txt requirements/dev.txt

.PHONY: stage
stage: install
	@$(BIN)/python -m tests.tools.stage

.PHONY: clean
clean: ## Remove everything that was built
	@rm -rf .venv .cache dist .mypy_cache .ruff_cache .pytest_cache .ansible tests/output
	@find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
