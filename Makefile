# What a developer types. `make help` lists it. PYTHON names the interpreter that .venv is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PROMPT ?= Once upon a time
PYTEST_ARGS ?=
WORKERS ?= 2
BENCH_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_GROUPS ?= weights quantised gguf text templates configs bundles

.DEFAULT_GOAL := help
.PHONY: fidelity help run test test-full check fuzz bench wheels docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.warm ## install LLMOS into .venv and let the embedded model tell a story
	@$(BIN)/llmos run "$(PROMPT)"

test: $(VENV)/.dev ## fast tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)

test-full: $(VENV)/.dev $(VENV)/.docs ## every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/.dev ## lint, formatting, types, tests of the code's shape
	$(BIN)/ruff check src tests benchmarks release
	$(BIN)/ruff format --check src tests benchmarks release
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m "not slow" tests/guard tests/core tests/cli

fuzz: $(VENV)/.fuzz ## look for files that break the readers, FUZZ_SECONDS for each group of formats
	@mkdir -p .work
	@for group in $(FUZZ_GROUPS); do \
		echo "$$group for $(FUZZ_SECONDS) s"; \
		$(BIN)/python -m tests.fuzz.fuzz_readers $$group .work/fuzz -verbosity=0 -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: $(VENV)/.warm ## LLMOS beside its peers (BENCH_ARGS="--rows decode --turns 3"), as JSON on stdout
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

wheels: $(VENV)/.dev ## a wheel for each platform, into dist/
	$(BIN)/python release/wheels.py

fidelity: $(VENV)/.dev ## docs/fidelity.md: the difference of every family and format to its reference
	PYTHONPATH=. $(BIN)/python benchmarks/fidelity.py

docs: $(VENV)/.docs ## the documentation site, into site/
	$(BIN)/mkdocs build --strict

clean: ## remove .venv and everything built
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

# Stamps: pip runs only when what is to be installed has changed, so that a second `make run` starts at once.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LLMOS needs Python 3.11 or newer, not " + sys.version.split()[0] + ": make PYTHON=python3.12 run")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: pyproject.toml $(VENV)/.made
	$(PIP) --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.base
	$(PIP) --editable '.[fuzz]'
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.warm: $(VENV)/.base
	@$(BIN)/llmos doctor --warm
	@touch $@
