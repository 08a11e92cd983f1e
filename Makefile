# Two commands do all the set-up: `make dashboard` and `make test`. `make test SLOW=1` runs the longest tests too,
# `make test SLOW=1 COVERAGE=1` also measures the coverage (half as long again). `make docs` builds the documentation into
# site/. `make lock` renews the exact versions in requirements.txt and requirements-dev.txt; `make floors` tests with the
# lowest versions that pyproject.toml allows.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8501
BIN := $(VENV)/bin

.PHONY: dashboard test lint docs lock floors screenshots clean

dashboard: $(VENV)/.core data/demo/manifest.csv
	$(BIN)/python -m cxr dashboard --port $(PORT)

# Many tests start processes: bytecode is written even where the environment says not to.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
	  --durations 15 $(if $(SLOW),--slow) $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=95)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Fails on a link that leads nowhere and on a page that would fetch anything. Search needs a server:
# `.venv/bin/python -m http.server -d site`.
docs: $(VENV)/.dev
	$(BIN)/python docs/layers.py
	$(BIN)/python docs/composites.py
	$(BIN)/python docs/trust_rules.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html is the first page"

# Renews both files from pyproject.toml; `make lock UPGRADE=1` takes the newest versions that fit together. Developers'
# tools take what they share with cxr in its version.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-annotate $(if $(UPGRADE),--upgrade)
lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --extra all -o requirements.txt
	$(COMPILE) --group dev --constraints requirements.txt -o requirements-dev.txt

# Tests with the lowest version of each range on the lowest Python, in an environment of its own (7 GB). The tests are of
# what leans most on other packages; `make floors TESTS=tests` runs all.
FLOORS := $(VENV)/floors
TESTS ?= tests/models tests/explain/test_reference.py tests/explain/test_against_zennit.py tests/text/test_text_detect.py \
  tests/training/test_engine.py tests/data/test_dicom.py tests/data/test_manifest.py tests/evaluation/test_metrics.py \
  tests/dashboard/test_explorer.py tests/dashboard/test_weights_page.py tests/reports
floors: $(VENV)/.dev
	$(BIN)/uv venv --quiet --clear --no-python-downloads --python 3.11 $(FLOORS)
	$(BIN)/uv pip install --quiet --python $(FLOORS) --resolution lowest-direct --editable '.[all,dicom]'
	$(BIN)/uv pip install --quiet --python $(FLOORS) --group test
	OMP_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest -n 2 --dist loadfile $(TESTS)

screenshots: $(VENV)/.dev data/demo/manifest.csv
	$(BIN)/python docs/screenshots.py

data/demo/manifest.csv: | $(VENV)/.core
	$(BIN)/python -m cxr demo

$(VENV)/.core: requirements.txt pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.14 is needed, this is " + sys.version.split()[0]) if not (3, 11) <= sys.version_info < (3, 15) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache
