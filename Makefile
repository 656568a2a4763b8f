# Everything runs in .venv, which is made on first use: `make demo` and `make test` need Python, its venv module, make.
# PYTHON chooses the interpreter, pip's own settings (pip.conf, PIP_*) choose where packages come from.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
DEVELOPS := $(VENV)/develops

# An environment that exists is used as it is, unless a Python is asked for by name: then the two must agree.
ifeq ($(origin PYTHON)-$(wildcard $(PY)),file-$(PY))
CHECKER := $(PY)
else
CHECKER := $(PYTHON)
endif

MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo play report-demo shipped-agent test check curves soak fuzz bounds install develop requirements clean

help: ## Lists these targets.
	@echo "make TARGET [PYTHON=python3.12] [PYTEST_ARGS='-k replay']"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-15s%s\n", $$1, $$2 }'

demo: install ## Learns Catch in imagination, some minutes, and tells random play from the agent; goes on where a demo stopped.
	$(PY) -m pipeline.demo

play: install ## A page in which the newest run's agent plays, or you do, in the game or in its dream; Ctrl-C ends it.
	$(PY) -m pipeline.play

report-demo: install ## Two runs of seconds on Breakout, and a page with their scores beside the published ones.
	for seed in 0 1; do \
		$(PY) -m pipeline.train debug-atari --seed $$seed --run-dir runs/report-demo/seed$$seed || exit; done
	$(PY) -m pipeline.report runs/report-demo --out runs/report-demo/report

test: develop ## Runs the tests; PYTEST_ARGS is passed on to pytest.
	$(PY) -m pytest $(PYTEST_ARGS)

check: develop ## Runs the linter, the format check, the type checker, the import contracts, the words of algorithms.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	$(VENV)/bin/lint-imports --no-logo
	$(PY) .ci/vocabulary.py

curves: install ## Learning curves of Catch, ten seeds one after another (an hour); goes on where it stopped.
	$(PY) -m benchmarks.curves --preset catch --seeds 10 --threshold 0.95 --runs runs/curves \
		--out runs/curves/catch.json --picture runs/curves/catch.png

# What comes with the project is a run like any other, without its older commits and its pictures.
shipped-agent: install ## Trains anew the Catch agent that `make play` shows where there is no run, a quarter of an hour.
	$(PY) -m pipeline.train catch --in-process --algorithm.actor-critic.lstm-size 48 \
		--algorithm.actor-critic.channels 16 16 --evaluation.every 5 --run-dir runs/shipped
	rm -rf pipeline/viewer/catch && mkdir -p pipeline/viewer/catch/checkpoints
	cd runs/shipped && cp -r README.txt committed.txt config.json metrics.jsonl replay scores.json \
		../../pipeline/viewer/catch/ && cp -r checkpoints/000040 ../../pipeline/viewer/catch/checkpoints/

soak: develop ## Kills, crashes and damage at random places, for MINUTES=60; prints a table.
	$(PY) -m tests.faults.soak --minutes $(MINUTES)

fuzz: develop ## Hostile files and command lines for every command, for MINUTES=60; prints the line that repeats each finding.
	$(PY) -m tests.faults.fuzz --minutes $(MINUTES)

bounds: install ## Measures every promise about time, five times each.
	$(PY) -m benchmarks.bounds --out runs/bounds.json

install: requirements $(INSTALLED) ## Makes .venv with the pinned packages; does nothing while those are unchanged.

develop: install $(DEVELOPS) ## Adds the pinned packages of tests and checks.

requirements:
	@command -v $(CHECKER) > /dev/null || { echo "requirements: found no $(CHECKER), expected Python 3.11 to 3.13;" \
		"name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(CHECKER) .ci/requirements.py

# Without build isolation, so that the pinned setuptools also builds this project and what has no wheel (crafter).
$(INSTALLED): pyproject.toml constraints.txt | requirements
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --constraint constraints.txt pip setuptools
	$(PY) -m pip install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(DEVELOPS): $(INSTALLED)
	$(PY) -m pip install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

clean: ## Removes .venv, build products and caches; runs/ stays.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
