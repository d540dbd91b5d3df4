# Two commands, each on a fresh machine with Python (3.10 or newer), its venv module and make:
#
#   make demo     sets up .venv and runs the demo          (ARGS="--backend trio --seconds 60")
#   make test     sets up .venv and runs the tests         (ARGS="tests/demo -k interrupted")
#
# Those who change glasspool use `make check`, `make docs`, `make site` and the others below: see CONTRIBUTING.md.
#
# PYTHON=python3.12 chooses the interpreter, VENV=/elsewhere the directory.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test docs site check record-alerts dashboards-look live-pictures clean

demo: $(VENV)/.demo-ready
	$(BIN)/glasspool demo $(ARGS)

test: $(VENV)/.test-ready
	$(BIN)/python -m pytest $(ARGS)

# What is generated, anew; `make check` says whether it is stale, and whether the code keeps its own rules.
docs: $(VENV)/.test-ready
	$(BIN)/python tools/generate_docs.py
	$(BIN)/python -m dashboards.generator

# The documentation site, into build/site. Warnings, broken links and missing docstrings fail.
site: $(VENV)/.site-ready
	$(BIN)/python tools/check_docstrings.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: $(VENV)/.test-ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.11 --follow-imports silent dashboards/generator
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tools/check_private_names.py
	$(BIN)/python tools/generate_docs.py --check
	$(BIN)/python -m dashboards.generator --check

# The series that tests/alerting replays, from real programs: takes a quarter of an hour.
record-alerts: $(VENV)/.test-ready
	$(BIN)/python tools/record_alert_series.py $(ARGS)

# The dashboards drawn with Grafana's own front end, over real series; fails if one does not show what it must. Needs
# Node 20.11, Chromium and the back ends, and takes five minutes. ARGS=--docs renews the documentation's pictures.
LOOK = tools/look
dashboards-look: $(VENV)/.test-ready $(LOOK)/node_modules/.ready
	node $(LOOK)/bundle.mjs
	$(BIN)/python -m tools.look $(ARGS)

# The pictures of the live page in the documentation, from a program that runs; needs Chromium.
live-pictures: $(VENV)/.test-ready
	$(BIN)/python -m tools.picture_live_page $(ARGS)

$(LOOK)/node_modules/.ready: $(LOOK)/package.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node 20.11 or newer (https://nodejs.org)"; exit 1; }
	cd $(LOOK) && npm install --no-audit --no-fund --no-package-lock --legacy-peer-deps --loglevel=error
	touch $@

$(VENV)/.site-ready: $(VENV)/.test-ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	touch $@

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

# Dependency groups need pip 25.1, which is newer than what most Pythons bring along.
$(VENV)/.test-ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -e '.[all]' --group dev
	touch $@ $(VENV)/.demo-ready
