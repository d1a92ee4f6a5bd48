# `make serve` runs the example, `make test` the tests; both make their environment first. `make help` lists all.

PYTHON ?= python3
# One environment per interpreter, so that several live side by side: .venv/cpython-313, .venv/pypy39, ...
VENV ?= .venv/$(shell $(PYTHON) -c "import sys; print(sys.implementation.cache_tag)")
APP ?= examples.hello:app
ARGS ?=
# How many processes run the tests: those that have to be alone wait for the others. 0: all in one, for a debugger.
JOBS ?= auto
export ASGISERVE_EXTENSIONS ?= auto

BIN := $(VENV)/bin
PY := $(BIN)/python
ENV_STAMP := $(VENV)/.environment
BUILD_STAMP := $(VENV)/.built
TOOLS_STAMP := $(VENV)/.tools
BENCH_STAMP := $(VENV)/.bench
DOCS_STAMP := $(VENV)/.docs
SANITIZED := build/sanitized
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SOURCES := setup.py build_llhttp.py $(wildcard asgiserve/_core/*.py asgiserve/_speedups/*.p[xy]*)
PYTEST := $(abspath $(PY)) -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile
INSTALL := ASGISERVE_EXTENSIONS=off $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation
CYTHON := $(shell $(PYTHON) -c "import platform; print('cython>=3.1' * (platform.python_implementation() == 'CPython'))")

# A build made under another ASGISERVE_EXTENSIONS is out of date.
ifneq ($(shell cat $(BUILD_STAMP) 2>/dev/null),$(ASGISERVE_EXTENSIONS))
$(BUILD_STAMP): FORCE
endif

.DEFAULT_GOAL := help
.PHONY: FORCE help environment serve test test-fast lint format types build bench bench-all bench-http bench-websocket instructions sanitize autobahn reference docs annotate sdist wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1 	/' | expand -t 16
	@echo 'Variables: PYTHON=$(PYTHON) VENV=$(VENV) ASGISERVE_EXTENSIONS=$(ASGISERVE_EXTENSIONS) (auto, require, off)'
	@echo '           APP=$(APP) for serve; ARGS= for serve, test and the bench targets; JOBS=$(JOBS) for test'

environment: $(ENV_STAMP) ## make the environment of this interpreter, with all that the tests need

serve: $(BUILD_STAMP) ## run the example application: make serve APP=module:attribute ARGS='--port 9000'
	$(BIN)/asgiserve $(APP) $(ARGS)

test: $(BUILD_STAMP) ## run the whole test suite over every stack that is built
	$(PYTEST) $(ARGS)

test-fast: $(BUILD_STAMP) ## run the tests but the slow ones
	$(PYTEST) -m "not slow" $(ARGS)

# A copy of its own, so that the compiled stack in place stays what it is. Python's allocator would hide what is done to
# memory that has been freed.
sanitize: $(ENV_STAMP) ## run the tests of the compiled core under AddressSanitizer and UBSan; needs gcc on Linux
	rm -rf $(SANITIZED)
	CFLAGS="$(SANITIZERS) -g -fno-omit-frame-pointer" LDFLAGS="$(SANITIZERS)" ASGISERVE_EXTENSIONS=require \
		$(PY) setup.py -q build --build-base $(SANITIZED) --build-lib $(SANITIZED)
	cp -r tests pyproject.toml $(SANITIZED)
	cd $(SANITIZED) && env PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		$(PYTEST) -q --stack=compiled tests/core $(ARGS)

autobahn: $(BUILD_STAMP) ## run the Autobahn WebSocket test suite over every stack; ARGS=--short for most of it in half a minute
	$(PY) tests/autobahn $(ARGS)

build: $(BUILD_STAMP) ## compile the extensions in place

lint: $(TOOLS_STAMP) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(TOOLS_STAMP) ## apply style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(TOOLS_STAMP) ## check types
	$(BIN)/mypy

bench: $(BENCH_STAMP) $(BUILD_STAMP) ## run the micro benchmarks
	$(PY) -m pytest bench/micro $(ARGS)

bench-all: bench-http bench-websocket ## all comparisons under load, one after the other

bench-http: $(BENCH_STAMP) $(BUILD_STAMP) ## compare with other servers under load; needs a C compiler
	$(PY) -m bench.http $(ARGS)

bench-websocket: $(BENCH_STAMP) $(BUILD_STAMP) ## compare with other servers over WebSocket; needs a C compiler
	$(PY) -m bench.websocket $(ARGS)

instructions: $(BUILD_STAMP) ## check that no request has become dearer, in machine instructions; needs valgrind
	$(PY) -m bench.instructions --check $(ARGS)

reference: $(ENV_STAMP) ## write docs/reference.md from the option table
	$(PY) docs/generate.py

docs: $(DOCS_STAMP) ## build the documentation into build/site; warnings are errors
	$(PY) -m mkdocs build --strict

annotate: $(ENV_STAMP) ## write annotated Cython sources to build/annotate
	$(PY) setup.py -q annotate
	@ls build/annotate/asgiserve/*/*.html

sdist: $(ENV_STAMP) ## make dist/asgiserve-*.tar.gz
	$(PY) -m build --sdist

wheel: $(ENV_STAMP) ## make the sdist, and from it dist/asgiserve-*.whl for this interpreter
	$(PY) -m build

clean: ## remove builds, caches and the environments below .venv
	rm -rf build dist .venv *.egg-info asgiserve/_speedups/*.so asgiserve/_speedups/*.pyd
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find asgiserve tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The package itself is linked pure here: the next rule compiles it where its warnings are seen, which pip hides.
$(ENV_STAMP): pyproject.toml
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'No venv module: try "apt-get install python3-venv"' >&2; exit 1; }
	$(INSTALL) 'setuptools>=77' $(if $(CYTHON),'$(CYTHON)')
	$(INSTALL) -e '.[standard,test]'
	@touch $@

# Like the first, each further install links the package pure, and removes what was compiled: build after it.
$(TOOLS_STAMP): $(ENV_STAMP)
	$(INSTALL) -e '.[dev]'
	@rm -f $(BUILD_STAMP)
	@touch $@

$(BENCH_STAMP): $(ENV_STAMP)
	$(INSTALL) -e '.[bench]'
	@rm -f $(BUILD_STAMP)
	@touch $@

$(DOCS_STAMP): $(ENV_STAMP)
	$(INSTALL) -e '.[docs]'
	@rm -f $(BUILD_STAMP)
	@touch $@

$(BUILD_STAMP): $(ENV_STAMP) $(SOURCES)
	$(PY) setup.py -q build_ext --inplace
	@echo $(ASGISERVE_EXTENSIONS) > $@

FORCE:
