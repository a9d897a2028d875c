# Everything a developer types. Needs Python 3.11+ with venv, and make; all else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check floors format protos client bench clean

run: $(VENV)/.server  ## start the server on 127.0.0.1:50051 with SQLite and the memory cache
	@$(BIN)/pullgate serve

test: $(VENV)/.test  ## the whole test suite
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.check  ## lint, types, import contract, protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	tests/protos/breaking
	tests/protos/regenerated
	tests/clients/regenerated

floors:  ## the tests on the lowest versions that pyproject.toml admits
	PYTHON=$(PYTHON) tests/floors

format: $(VENV)/.check  ## put source and protos into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

protos:  ## generate the stubs beside the .proto files
	protos/generate

client: $(VENV)/.check  ## generate the synchronous client from the asyncio one
	$(BIN)/python clients/generate

bench: $(VENV)/.test  ## measure, side by side; needs h2load (Debian: nghttp2-client)
	$(BIN)/python -m benchmarks.decide $(ARGS)

clean:
	rm -rf $(VENV) build dist

$(VENV)/.pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pullgate needs Python 3.11 or later; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.server: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server,docker-plugin,pgcurl]'
	@touch $@

$(VENV)/.test: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server,docker-plugin,pgcurl]' --group test
	@touch $@ $(VENV)/.server

$(VENV)/.check: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server,docker-plugin,pgcurl]' --group test --group check
	@touch $@ $(VENV)/.test $(VENV)/.server
