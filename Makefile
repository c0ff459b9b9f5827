# Everything here sets up what it needs by itself: Python >= 3.10 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More than two cores: tests wait as long as they compute.
WORKERS ?= 4

.PHONY: demo test test-long test-integrations check proto bench bench-docs torture mutants guarantees clean help

help:
	@echo "make demo    the main job: train, crash, fork, rewind, and compare every row"
	@echo "make test    all tests"
	@echo "make test-long  all tests, and more of what is drawn at random"
	@echo "make test-integrations  trainings with transformers, Lightning, Keras and accelerate"
	@echo "make check   formatting, lint, types, who imports whom, generated code, the wheel"
	@echo "make proto   regenerate the protobuf modules"
	@echo "make bench   measure, beside the peers: BENCH_ARGS='log_call finish --rounds 3', or --quick"
	@echo "make bench-docs  the tables of docs/performance.md from what was measured last"
	@echo "make torture the same tests with many more seeds: bounded (TORTURE_MINUTES), resumable"
	@echo "make guarantees  all tests, then the table in docs/guarantees.md from what they counted"
	@echo "make mutants plant faults and check that the tests notice them"

$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing kelt[demo] into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing kelt[test] into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/kelt demo $(DEMO_ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST_ARGS)

test-long: export KELT_TEST_LONG := 1
test-long: export PYTEST_TIMEOUT := 900
test-long: test

# The frameworks want 1.6 GB and two minutes; with them, `make test` runs these tests too.
.venv-integrations/.done: tests/integration/requirements.txt pyproject.toml
	@test -x .venv-integrations/bin/python || $(PYTHON) -m venv .venv-integrations
	@echo "installing the frameworks into .venv-integrations ..."
	@.venv-integrations/bin/python -m pip install --quiet --disable-pip-version-check \
		-r tests/integration/requirements.txt -e .
	@touch $@

test-integrations: $(VENV)/.test .venv-integrations/.done
	$(BIN)/python -m pytest tests/integration $(TEST_ARGS)

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHON=$(PYTHON) scripts/check_generated.sh
	$(BIN)/python scripts/check_wheel.py

proto:
	PYTHON=$(PYTHON) scripts/generate_proto.sh

PEERS := $(patsubst bench/peers/requirements/%.txt,%,$(wildcard bench/peers/requirements/*.txt))
BENCH_ARGS ?=

# An environment for each peer, as their dependencies do not go together. One that cannot be
# installed is left out, and the tables say so.
.venv-bench/peers/%/.done: bench/peers/requirements/%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@echo "installing $* to measure beside ..."
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@ \
		|| { echo "$* cannot be installed here and is left out"; rm -rf $(@D); }

.venv-bench/.done: pyproject.toml constraints.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@echo "installing kelt[demo] into .venv-bench ..."
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt '.[demo]'
	@touch $@

# As users have it: a wheel, byte code and all, and not the source tree.
.venv-bench/.kelt: .venv-bench/.done $(shell find sdk proto daemon server -name '*.py')
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --force-reinstall .
	@touch $@

bench: .venv-bench/.kelt $(PEERS:%=.venv-bench/peers/%/.done)
	.venv-bench/bin/python bench/run.py $(BENCH_ARGS)

bench-docs: .venv-bench/.done
	.venv-bench/bin/python bench/run.py --docs

$(VENV)/.torture: $(VENV)/.test
	@echo "installing kelt[torture] into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torture]' \
		|| echo "atheris cannot be installed here: the tier 'fuzz' will fail, the others run"
	@touch $@

TORTURE_MINUTES ?= 120
torture: $(VENV)/.torture
	$(BIN)/python scripts/torture.py --minutes $(TORTURE_MINUTES) --workers $(WORKERS) $(TORTURE_ARGS)

mutants: $(VENV)/.test
	$(BIN)/python scripts/mutants.py --workers $(WORKERS) $(MUTANTS_ARGS)

guarantees: $(VENV)/.test
	rm -f build/fault-counts.jsonl && mkdir -p build
	KELT_FAULT_COUNTS=$(CURDIR)/build/fault-counts.jsonl KELT_TEST_LONG=1 PYTEST_TIMEOUT=900 \
		$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST_ARGS)
	$(BIN)/python scripts/write_guarantees.py \
		--from build/fault-counts.jsonl $(wildcard build/torture/results.jsonl)

clean:
	rm -rf $(VENV) .venv-bench .venv-integrations .venv-proto build dist
