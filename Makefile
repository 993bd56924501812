# Every target sets up what it needs: a virtual environment in .venv, filled by uv.
# The oldest that is there, as the figures and the suite are from that one.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$each -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo $$each && break; done)
UV := .venv/bin/uv
RUN := .venv/bin/python
export UV_LINK_MODE ?= copy
# Tests start hundreds of processes: without their bytecode, each would compile whole SDKs anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo demo-llm serve gateway ui pictures docs load fuzz test test-versions test-sdk-suite test-frameworks check format bench contention shapes soak gateway-soak dist release-check clean

help:
	@echo "make demo       two users spend, one runs out: no key, no network, seconds"
	@echo "make demo-llm   the same against a real model on this machine"
	@echo "make serve      host budgets on 127.0.0.1:8080, without keys: a trial"
	@echo "make gateway    calls of models for any program on 127.0.0.1:4000, without keys: a trial"
	@echo "make ui         budgets in a browser: the page of a store on this machine (STORE=sqlite:///...)"
	@echo "make docs       a site of the pages and the reference in build/site, with search; a dead link ends it"
	@echo "make pictures   the photographs of the page and of the demo in docs/pictures, anew"
	@echo "make test       everything that is claimed"
	@echo "make test-frameworks  langchain, crewai, dspy and others, against the bill of a fake provider (3 minutes)"
	@echo "make test-versions   the seams against every version of the SDKs that is tried (5 minutes); make test has the oldest"
	@echo "make test-sdk-suite   an SDK's own tests, alone and guarded: the same outcomes (SDK=openai, 8 minutes; anthropic, 20)"
	@echo "                      GATEWAY=1 with either: nothing is patched, all of it asks by a gateway"
	@echo "make check      format, lint, types"
	@echo "make bench      what a call costs, as ratios in one run"
	@echo "make shapes     one dollar, in every shape a program takes"
	@echo "make contention processes and threads on one account of one file"
	@echo "make fuzz       every operation of the server with 500 generated requests each (minutes)"
	@echo "make load       32 clients on a server for a minute, and a server that is killed: nothing is lost"
	@echo "make soak       the simulation with many more seeds"
	@echo "make gateway-soak  a million calls with ten thousand keys: the gateway's memory is flat (CALLS=100000 for fewer)"

	@echo "make dist       what would be published, built twice and tried by every Python that is found (a minute)"
	@echo "make release-check   the same, once the version, the changelog and the checkout agree that it may be tagged"

setup: .venv/ready

.venv/bin/uv:
	@test -x .venv/bin/python || test -n "$(PYTHON)" || { \
	  echo "no Python from 3.11 on was found: install one, or name it, as in make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	  exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/ready: .venv/bin/uv pyproject.toml
	$(UV) pip install --quiet --python .venv/bin/python -e ".[dev]"
	touch $@

demo: .venv/bin/uv
	@test -x .venv/bin/budgetguard || $(UV) pip install --quiet --python .venv/bin/python -e .
	@.venv/bin/budgetguard demo

demo-llm: .venv/bin/uv
	@$(UV) pip install --quiet --python .venv/bin/python -e ".[llm]"
	@.venv/bin/budgetguard demo --llm

serve: .venv/bin/uv
	@test -x .venv/bin/uvicorn || $(UV) pip install --quiet --python .venv/bin/python -e ".[server]"
	@.venv/bin/budgetguard serve --open --store $(or $(STORE),sqlite:///budgetguard.db) --port $(or $(PORT),8080)

gateway: .venv/bin/uv
	@test -x .venv/bin/uvicorn && .venv/bin/python -c "import aiohttp, python_multipart" 2>/dev/null || $(UV) pip install --quiet --python .venv/bin/python -e ".[gateway]"
	@.venv/bin/budgetguard gateway --open --store $(or $(STORE),sqlite:///budgetguard.db) --port $(or $(PORT),4000)

ui: .venv/bin/uv
	@test -x .venv/bin/uvicorn || $(UV) pip install --quiet --python .venv/bin/python -e ".[server]"
	@.venv/bin/budgetguard ui $(if $(STORE),--store $(STORE)) $(if $(PORT),--port $(PORT))

pictures: setup
	$(RUN) -m tests.support.chromium
	$(RUN) -m tests.page_pictures
	$(RUN) -m tests.demo_picture

docs: setup
	rm -rf build/site
	$(RUN) -m sphinx -q -W --keep-going -c docs/site -d build/doctrees . build/site
	@echo "build/site/index.html"

fuzz: setup
	BUDGETGUARD_TEST_FUZZ=500 $(RUN) -m pytest -n 2 tests/server/test_server_fuzz.py

load: setup
	BUDGETGUARD_TEST_LOAD_S=60 $(RUN) -m pytest -s tests/server/test_server_load.py

# LiteLLM's own hosted client, a release that is known to work, for tests/server/test_server_litellm.py.
.cache/litellm-hosted/ready: .venv/bin/uv
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .cache/litellm-hosted
	$(UV) pip install --quiet --python .cache/litellm-hosted/bin/python "litellm==1.80.0"
	touch $@

# Half of what tests take is waiting, so that four share two cores; each takes whole files, so that what a file starts is started once.
test: setup .cache/litellm-hosted/ready
	$(RUN) -m tests.support.chromium
	$(RUN) -m tests.support.prometheus
	$(RUN) -m pytest -n 4 --dist loadfile
	$(RUN) tests/run_sdk_versions.py --oldest

test-versions: setup
	$(RUN) tests/run_sdk_versions.py

test-sdk-suite: setup
	$(RUN) tests/run_sdk_suite.py $(if $(GATEWAY),--gateway) $(or $(SDK),openai)

test-frameworks: setup
	$(RUN) tests/run_frameworks.py $(if $(GATEWAY),--gateway)

check: setup
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: setup
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: setup .cache/litellm/ready .cache/litellm-proxy/ready
	$(RUN) -m benchmarks

# LiteLLM Proxy, with OpenTelemetry's SDK beside it: without, an import that fails is tried again at every call.
.cache/litellm-proxy/ready: .venv/bin/uv
	$(UV) venv --quiet --allow-existing --python .venv/bin/python .cache/litellm-proxy
	$(UV) pip install --quiet --python .cache/litellm-proxy/bin/python "litellm[proxy]>=1.80,<2" opentelemetry-sdk
	touch $@

.cache/litellm/ready: .venv/bin/uv
	$(UV) venv --quiet --python .venv/bin/python .cache/litellm
	$(UV) pip install --quiet --python .cache/litellm/bin/python "litellm>=1.60,<2"
	touch $@

contention: setup
	$(RUN) -m benchmarks.contention

shapes: setup
	$(RUN) -m benchmarks.shapes

soak: setup
	$(RUN) -m benchmarks.soak

gateway-soak: setup
	$(RUN) -m benchmarks.gateway_soak --calls $(or $(CALLS),1000000)

dist: setup
	$(RUN) tests/run_dist.py

release-check: setup
	$(RUN) tests/run_dist.py --release

clean:
	rm -rf .venv .cache build dist
