# Each target does its own set-up: .venv is made once, with uv if it is there, else with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The versions `make test-long` runs the Postgres tests on: the wheel's, and those of Debian.
POSTGRES ?= embedded 15

.PHONY: demo test test-unit test-long lint bench clean

demo: $(STAMP)
	$(BIN)/milestones demo

test: $(STAMP)
	$(BIN)/pytest

# The pure parts alone: no server, no database, no process. One worker, since starting more takes longer.
test-unit: $(STAMP)
	$(BIN)/pytest -n0 tests/unit

# Asked for first, so that a missing one is not told after an hour.
test-long: $(STAMP)
	@for version in $(POSTGRES); do \
		bin=/usr/lib/postgresql/$$version/bin; \
		test $$version = embedded || test -x $$bin/initdb || { \
			echo "no Postgres $$version in $$bin: install it (Debian: postgresql-$$version)," \
				"or do without: make test-long POSTGRES=embedded"; exit 1; }; \
	done
	@for version in $(POSTGRES); do \
		bin=/usr/lib/postgresql/$$version/bin; test $$version != embedded || bin=; \
		echo "== the Postgres tests on Postgres $$version"; \
		TEST_POSTGRES_URL= TEST_POSTGRES_BIN=$$bin $(BIN)/pytest -k "postgres and not follow" || exit 1; \
	done
	MILESTONES_LONG=1 $(BIN)/pytest -s --timeout 3600 tests/writeback/test_push.py
	MILESTONES_EXAMPLES=2000 $(BIN)/pytest -s tests/resilience/test_follow.py
	MILESTONES_SOAK=720 $(BIN)/pytest -s tests/resilience/test_soak.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.first_sync
	$(BIN)/python -m tests.benchmarks.latency
	$(BIN)/python -m tests.benchmarks.incremental
	$(BIN)/python -m tests.benchmarks.million
	$(BIN)/python -m tests.benchmarks.models
	$(BIN)/python -m tests.benchmarks.push

$(STAMP): pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
		set -e -x; \
		test -d $(VENV) || uv venv --quiet --python $(PYTHON) $(VENV); \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'; \
	else \
		set -e -x; \
		test -d $(VENV) || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) .venv-airflow
