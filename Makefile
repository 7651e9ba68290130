# Needs python3 (3.10 or newer) with venv, and the network on the first run. Everything goes into
# .venv; a second run installs nothing.
#
#   make demo     the experiment that started the project; installs only what it needs
#   make test     the tests
#   make lint     ruff, pyright, import contract
#   make docs     the documentation, into site/
#   make check    lint, test and docs
#   make clean    remove all that was made, .venv included
#
# Variables: PYTHON=python3.12   VENV=.venv   PIP_ARGS='...'   DEMO_ARGS='...'   TEST_ARGS='...'
# On Linux without a GPU, PIP_ARGS='--find-links DIR' or an index of CPU builds saves the download
# of CUDA.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_ARGS ?=
TEST_ARGS ?= -n 2
OMP_NUM_THREADS ?= 1

BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt
PINS := pyproject.toml constraints.txt

export OMP_NUM_THREADS
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.DELETE_ON_ERROR:
.PHONY: help demo test lint docs check clean

help:
	@awk '!/^#/ { exit } { sub(/^# ?/, ""); print }' Makefile

demo: $(VENV)/.demo
	$(BIN)/isograd demo $(DEMO_ARGS)

test: $(VENV)/.test $(VENV)/.browser
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

check: lint test docs

clean:
	rm -rf $(VENV) site dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

# An empty file per set of packages: newer than the pins means installed.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "isograd needs Python 3.10 or newer; '$(PYTHON)' is not. Try: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed. On Debian or Ubuntu: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) 'pip>=25.1'
	@touch $@

$(VENV)/.demo: $(PINS) | $(VENV)/.pip
	@echo "installing torch and the demo's packages (once; minutes on a slow line)"
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(INSTALL) -e '.[demo]' --group test
	@touch $@

# Types need the packages that src imports.
$(VENV)/.lint: $(VENV)/.demo
	$(INSTALL) --group lint
	@touch $@

$(VENV)/.docs: $(PINS) | $(VENV)/.pip
	$(INSTALL) --group docs
	@touch $@

# The tests of the HTML page need a system Chromium; without one they are skipped.
$(VENV)/.browser: | $(VENV)/.pip
	@if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium for the browser tests (once)"; \
	  { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
	    >/dev/null 2>&1 || echo "Chromium could not be installed: the browser tests will be skipped"; \
	else echo "no Chromium found: the browser tests will be skipped"; fi
	@touch $@
