# Each target does its own set-up: .venv is made once, with uv if it is there, else with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Python compiles our modules once, and not in each of the processes that tests start.
unexport PYTHONDONTWRITEBYTECODE
# The versions `make test-long` runs the Postgres tests on: the wheel's, and those of Debian.
POSTGRES ?= embedded 15

.PHONY: demo test test-unit test-browser test-lake test-spark picture test-long test-airflow torture mutation lint bench bench-full clean

demo: $(STAMP)
	$(BIN)/milestones demo

# What every change passes. The last lines print the CPU-seconds it took: 420 on two fast cores, 580 on two slow ones.
test: $(STAMP)
	$(BIN)/pytest

# The pure parts alone: no server, no database, no process. One worker, since starting more takes longer.
test-unit: $(STAMP)
	$(BIN)/pytest -n0 tests/unit

# Airflow really executes the DAG, in an environment of its own that is made once: two minutes to make it, three to run.
# `make test-airflow AIRFLOW='-k duckdb'` runs a part.
test-airflow: $(STAMP)
	$(BIN)/pytest -n0 -m airflow $(AIRFLOW)

# Pages in the system's chromium, with the accessibility rules of axe: half a minute.
test-browser: $(VENV)/.browser
	$(BIN)/pytest -n0 -m browser -rs

# The copy in open tables, read by engines of others and written to a real S3 server, with its failures.
# `make test-lake LAKE='-k duckdb'` runs a part.
test-lake: .venv-lake/.installed
	.venv-lake/bin/pytest -n0 -m lake -rs tests/lake $(LAKE)

# All marts on Spark, over random histories, equal those of DuckDB: on Sail alone and with two workers, and on Spark
# itself if there is Java. SPARK='-k sample' runs one history on Sail.
test-spark: .venv-lake/.installed
	@if test -z "$(SPARK)" && command -v java >/dev/null; then $(MAKE) .venv-spark-server/.installed; fi
	.venv-lake/bin/pytest -n0 -m spark -rs tests/spark $(SPARK)

# The pictures of the report and the console in the README.
picture: $(VENV)/.browser
	$(BIN)/python -m tests.browser.picture pipelines

# All that `make test` leaves out. Whether each Postgres is there is asked first, and not found out after an hour.
test-long: $(STAMP)
	@for version in $(POSTGRES); do \
		bin=/usr/lib/postgresql/$$version/bin; \
		test $$version = embedded || test -x $$bin/initdb || { \
			echo "no Postgres $$version in $$bin: install it (Debian: postgresql-$$version)," \
				"or do without: make test-long POSTGRES=embedded"; exit 1; }; \
	done
	@# Every test on Postgres, on each version: 15 minutes a version.
	@for version in $(POSTGRES); do \
		bin=/usr/lib/postgresql/$$version/bin; test $$version != embedded || bin=; \
		echo "== the Postgres tests on Postgres $$version"; \
		TEST_POSTGRES_URL= TEST_POSTGRES_BIN=$$bin \
			$(BIN)/pytest -m "not airflow" -k "postgres and not follow and not soak" || exit 1; \
	done
	@# What is long and needs no Postgres; also each point at which a sync can be killed: two hours. A push is killed at
	@# each of its lines, some 30,000 times: an hour and a half more on two slow cores, by the rate of 25 of 162 cases.
	$(BIN)/pytest -s --timeout 14400 -m long -k "not postgres and not follow and not soak"
	@# 180 random histories of the backlog bridge instead of 6: 3 minutes.
	MILESTONES_BRIDGES=180 $(BIN)/pytest tests/marts/test_bridge.py
	@# 2000 random histories on each warehouse: four hours.
	MILESTONES_EXAMPLES=2000 $(BIN)/pytest -s -m "not airflow" tests/resilience/test_follow.py
	@# A month of hourly runs on each warehouse: half an hour.
	MILESTONES_SOAK=720 $(BIN)/pytest -s -m "not airflow" tests/resilience/test_soak.py
	$(MAKE) test-airflow
	$(MAKE) test-browser
	$(MAKE) test-lake
	$(MAKE) test-spark
	$(MAKE) torture

# Inputs that nobody would think of: 30,000 of each kind, 210,000 in all, in seven minutes. Then each kind of
# fault meets each command, on both warehouses: six minutes, and a table.
torture: $(STAMP)
	MILESTONES_FUZZ=30000 $(BIN)/pytest -s tests/resilience/test_fuzz.py
	$(BIN)/pytest -n0 -s -m long tests/resilience/test_crossed.py

# Whether the tests notice small faults in the modules that finance relies on: all faults of those with quick tests,
# in four minutes. MUTATION='--limit 3' takes three of each, others at each commit: 15 CPU-seconds. MUTATION='push.py
# --limit 10' takes ten of a module whose tests take long, 10 CPU-seconds each.
mutation: $(STAMP)
	$(BIN)/python -m tests.mutation.run $(MUTATION)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Minutes: see tests/benchmarks/README.md.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.start
	$(BIN)/python -m tests.benchmarks.first_sync
	$(BIN)/python -m tests.benchmarks.latency
	$(BIN)/python -m tests.benchmarks.incremental
	$(BIN)/python -m tests.benchmarks.models 100000
	$(BIN)/python -m tests.benchmarks.push
	$(BIN)/python -m tests.benchmarks.report
	$(BIN)/python -m tests.benchmarks.console

# An hour or more: what it is compared with, and a million milestones and more.
bench-full: bench .venv-lake/.installed
	$(BIN)/python -m tests.benchmarks.compare
	$(BIN)/python -m tests.benchmarks.pace
	$(BIN)/python -m tests.benchmarks.large
	$(BIN)/python -m tests.benchmarks.large 1000000 postgres
	$(BIN)/python -m tests.benchmarks.models
	$(BIN)/python -m tests.benchmarks.console 1000000
	.venv-lake/bin/python -m tests.benchmarks.lake
	.venv-lake/bin/python -m tests.benchmarks.lake 3000000
	.venv-lake/bin/python -m tests.benchmarks.lake 1000000 postgres
	.venv-lake/bin/python -m tests.benchmarks.lake 10000000 duckdb copy
	.venv-lake/bin/python -m tests.benchmarks.spark 1000000 1 2
	WAREHOUSE__MEMORY_LIMIT=1GB .venv-lake/bin/python -m tests.benchmarks.spark 3000000 1 2

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "milestones needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is" \
			"$$($(PYTHON) -V 2>/dev/null || echo missing): name another one, such as make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test ! -x $(BIN)/python || $(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "$(VENV) was made by $$($(BIN)/python -V), and milestones needs Python 3.11, 3.12 or 3.13: remove it (rm -r $(VENV))"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		set -e -x; \
		test -d $(VENV) || uv venv --quiet --seed --python $(PYTHON) $(VENV); \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'; \
	else \
		set -e -x; \
		test -d $(VENV) || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'; \
	fi
	@touch $@

$(VENV)/.browser: $(STAMP)
	@if command -v uv >/dev/null 2>&1; then \
		set -e -x; uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test,browser]'; \
	else \
		set -e -x; $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,browser]'; \
	fi
	@touch $@

# An environment of its own, of 350 MB and more: Spark's client needs pandas, which pyarrow and DuckDB would look for in
# every other test, too.
.venv-lake/.installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
		set -e -x; \
		test -d .venv-lake || uv venv --quiet --python $(PYTHON) .venv-lake; \
		uv pip install --quiet --python .venv-lake/bin/python --constraint constraints.txt --editable '.[test,lake,lake-test,spark]'; \
	else \
		set -e -x; \
		test -d .venv-lake || $(PYTHON) -m venv .venv-lake; \
		.venv-lake/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lake,lake-test,spark]'; \
	fi
	@touch $@

# Spark itself, to start its server: its package has the name of the client's.
.venv-spark-server/.installed: pyproject.toml
	test -d .venv-spark-server || $(PYTHON) -m venv .venv-spark-server
	.venv-spark-server/bin/python -m pip install --quiet --disable-pip-version-check 'pyspark==4.2.*'
	@touch $@

clean:
	rm -rf $(VENV) .venv-airflow .venv-lake .venv-spark-server .venv-benchmarks .venv-spark .venv-spark-server
