# make demo   set up, run everything offline on generated data; tables and a page to look at
# make test   set up, check formatting, lint and types, run the tests but the slow ones
# make slow   set up, run the slow tests
# VENV=DIR    keep the environment elsewhere; PYTHON=python3.12 to choose the interpreter

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORES := -n auto --maxprocesses 8 --dist loadfile

.PHONY: demo test slow parity format clean help

help:
	@sed -n 's/^# //p' Makefile

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
		{ echo "Python 3.11.4 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "the venv module is missing: on Debian, apt-get install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (torch and its friends: several GB, a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python run_bench.py demo

test: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -m "not slow" $(CORES)

slow: $(READY)
	@$(BIN)/python -m pytest -m slow $(CORES)

parity: $(READY)
	@$(BIN)/python -m pytest tests/parity

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
