# `make demo` and `make test` set everything up by themselves, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BY_FILE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test smoke long coverage lint types style audit clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt setup.py engine/sources.mk $(wildcard engine/*/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[train,dev]'
	$(BIN)/python -m compileall -qq -j 0 -x 'site-packages/.*/tests?/' $(VENV)/lib || true  # on all cores; pip would use one
	touch $@

demo: $(READY)
	$(BIN)/squeezenet demo

# Two tests at a time with a thread each take half as long as one after the other with two. The order of the files is
# that of tests/conftest.py: those with slow tests first.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(BY_FILE)

smoke: $(READY)
	$(BIN)/python -m pytest -m smoke

long: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(BY_FILE) -m long

# Lines and branches that the tests run, also in the processes that they start.
coverage: $(READY)
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest $(BY_FILE)
	$(BIN)/coverage combine
	$(BIN)/coverage report

lint: $(READY)
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target types style

types: $(READY)
	$(BIN)/mypy

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror engine/*/*.[ch]
	$(BIN)/lint-imports --no-cache

# Known faults of the packages in use; passes where no advisory service can be asked.
audit: $(READY)
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) build dist demo
