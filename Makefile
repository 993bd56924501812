# Every target sets up what it needs: a virtual environment in .venv, filled by uv.
PYTHON ?= python3.11
UV := .venv/bin/uv
RUN := .venv/bin/python

.PHONY: setup test check format demo demo-llm bench clean

setup: .venv/ready

.venv/ready: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --quiet --python .venv/bin/python -e ".[dev]"
	touch .venv/ready

test: setup
	$(RUN) -m pytest

check: setup
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: setup
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean:
	rm -rf .venv build dist
