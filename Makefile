# make setup | demo | test | check; each prepares .venv from requirements.lock first.
PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# A module's tests stay in one process, with the fixtures that they share.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope
DEMO ?= demo-output

.PHONY: setup demo test test-all wire chromium flink-jar test-flink test-tfserving lint types imports check lock clean

setup: $(VENV)/.installed

# uv installs the lock in seconds; where only pip knows the package mirror, pip does it in minutes.
$(VENV)/.installed: requirements.lock setup.py
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or pass PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --no-deps -r requirements.lock \
		|| $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/awmoe demo --output $(DEMO) --overwrite

test: setup
	$(PYTEST) -m "not slow"

# With those that take long; what CI runs.
test-all: setup
	$(PYTEST)

# The report's screenshot tests need a Chromium (tests/page_check.py); this says whether one is found.
chromium:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
		echo "make: no Chromium; install one (Debian: apt-get install --no-install-recommends chromium)," \
			"or name it: CHROMIUM=/path/to/it make test"; exit 1; }

# Beam's job server for Flink, with an embedded cluster; needs Maven and Java 17.
flink-jar: .flink/job-server.jar

.flink/job-server.jar: pipeline/flink_job_server/pom.xml
	@command -v mvn >/dev/null && command -v java >/dev/null || { echo "make: mvn or java not found; install Maven and Java 17"; exit 1; }
	rm -rf .flink
	mvn --quiet --batch-mode --file $< package
	@touch $@

# The same job on Flink and on the local runner, compared record for record.
test-flink: setup flink-jar
	$(BIN)/python -m pytest tests/test_pipeline_flink.py

# The client against TensorFlow Serving itself: TF_MODEL_SERVER=/path/to/tensorflow_model_server, or Docker.
test-tfserving: setup
	@test -n "$$TF_MODEL_SERVER" || docker info >/dev/null 2>&1 || { \
		echo "make: skipped, there is no TensorFlow Serving: set TF_MODEL_SERVER=/path/to/tensorflow_model_server," \
			"or install Docker and start it"; exit 0; }; \
	$(BIN)/python -m pytest tests/test_serving_tfserving.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/python -m pytest -q tests/test_imports.py

# What CI runs, in its order.
check: lint types imports test-all

# The client's messages, of serving/wire.proto.
wire: setup
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. serving/wire.proto

lock:
	$(BIN)/uv pip compile --quiet requirements.in --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--output-file requirements.lock

clean:
	rm -rf $(VENV) $(DEMO) .flink .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
