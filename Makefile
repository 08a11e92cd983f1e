# Two commands do all the set-up: `make dashboard` and `make test`. `make test SLOW=1` runs the longest tests too
# and measures the coverage. `make docs` builds the documentation into site/. `make lock` renews the exact versions in
# requirements.txt and requirements-dev.txt; `make floors` tests with the lowest versions that pyproject.toml allows.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8501
BIN := $(VENV)/bin

.PHONY: dashboard test lint docs lock screenshots clean

dashboard: $(VENV)/.core data/demo/manifest.csv
	$(BIN)/python -m cxr dashboard --port $(PORT)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 15 \
	  $(if $(SLOW),--slow --cov --cov-report=term:skip-covered --cov-fail-under=95)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Fails on a link that leads nowhere and on a page that would fetch anything. Search needs a server:
# `.venv/bin/python -m http.server -d site`.
docs: $(VENV)/.dev
	$(BIN)/python docs/layers.py
	$(BIN)/python docs/composites.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html is the first page"

# Renews both files from pyproject.toml; `make lock UPGRADE=1` takes the newest versions that fit together. Developers'
# tools take what they share with cxr in its version.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-annotate $(if $(UPGRADE),--upgrade)
lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --extra all -o requirements.txt
	$(COMPILE) --group dev --constraints requirements.txt -o requirements-dev.txt

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
