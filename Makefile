# Two commands do all the set-up: `make dashboard` and `make test`. `make test SLOW=1` runs the longest tests too
# and measures the coverage.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8501
BIN := $(VENV)/bin

.PHONY: dashboard test lint screenshots clean

dashboard: $(VENV)/.core data/demo/manifest.csv
	$(BIN)/python -m cxr dashboard --port $(PORT)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 15 \
	  $(if $(SLOW),--slow --cov --cov-report=term:skip-covered --cov-fail-under=95)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

screenshots: $(VENV)/.dev data/demo/manifest.csv
	$(BIN)/python docs/screenshots.py

data/demo/manifest.csv: | $(VENV)/.core
	$(BIN)/python -m cxr demo

$(VENV)/.core: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
