# Every target sets up the environment that it runs in; PYTHON chooses the interpreter the environment is made from.

PYTHON ?= python3
UV = uv==0.13.8
# TensorFlow Data Validation: the wheels of 1.21 need glibc 2.39, and those of 1.16 need Python 3.11 or older.
GLIBC := $(lastword $(shell getconf GNU_LIBC_VERSION 2>/dev/null))
TFDV := $(shell printf '%s\n' 2.39 '$(GLIBC)' | sort -VC && echo 1.21 || echo 1.16)

# Two files at a time, in the order of their names: pytest-xdist starts files with few tests last, which are the longest.
IN_PARALLEL = -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv train train-multi-worker test lint docs bench bench-gpu \
	results requirements test-2.16 test-keras3 test-validation validate-env libtensorflow-2.20 engines clean
.DELETE_ON_ERROR:

help: ## Lists the targets.
	@sed -n 's/^\([a-z][a-z0-9.-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS='	' read -r target text; do \
		printf '  make %-24s %s\n' "$$target" "$$text"; done

venv: .venv/.package ## Sets up .venv with the newest TensorFlow.
	@:

train: .venv/.package ## Trains: make train ARGS="CONFIG.yaml section.key=value". Without ARGS: AttRec on generated data.
	@.venv/bin/python -m tfrec_attn.train $(ARGS)

train-multi-worker: .venv/.package ## The same with two processes of this machine that share each batch.
	@.venv/bin/python -m tfrec_attn.local_cluster $(ARGS)

test: .venv/.package ## Runs the tests, two files at a time; ARGS go to pytest.
	@.venv/bin/python -m pytest $(IN_PARALLEL) $(ARGS)

lint: .venv/.package ## Checks the source and its format.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

docs: .venv-docs/.requirements ## Builds the documentation as a site in site/; ARGS go to mkdocs build.
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict $(ARGS)

results: .venv/.package ## Writes docs/results.md: make results DATA=FOLDER; ARGS go to docs/make_results.py.
	@.venv/bin/python docs/make_results.py $(if $(DATA),--data $(DATA)) $(ARGS)

bench: .venv/.package ## Runs every benchmark but those of GPUs and engines; ARGS go to each.
	@for file in $(filter-out benchmarks/gpu.py benchmarks/engines.py,$(wildcard benchmarks/[a-z]*.py)); do echo "$$file"; .venv/bin/python "$$file" $(ARGS) || exit 1; done

bench-gpu: .venv/.package ## Runs the benchmark of GPUs: make bench-gpu ARGS="--models sasrec".
	@.venv/bin/python -m benchmarks.gpu $(ARGS)

test-2.16: .venv-2.16/.package ## Runs the tests with the oldest TensorFlow, in .venv-2.16; ARGS go to pytest.
	@.venv-2.16/bin/python -m pytest $(IN_PARALLEL) $(ARGS)

test-keras3: .venv-keras3/.package ## Runs the tests under Keras 3, in .venv-keras3 with KerasHub and Keras Recommenders; ARGS go to pytest.
	@TF_USE_LEGACY_KERAS=0 .venv-keras3/bin/python -m pytest $(IN_PARALLEL) $(ARGS)

validate-env: .venv-validation/.package ## Sets up .venv-validation with TensorFlow Data Validation, and imports it.
	@TF_CPP_MIN_LOG_LEVEL=3 .venv-validation/bin/python -W ignore -c \
		'import tfrec_attn, tensorflow_data_validation as tfdv; print("tensorflow-data-validation", tfdv.__version__)'

test-validation: .venv-validation/.package ## Runs the tests in .venv-validation; ARGS go to pytest.
	@.venv-validation/bin/python -m pytest $(IN_PARALLEL) $(ARGS)

libtensorflow-2.20: .libtensorflow-2.20/.complete ## Fetches what TFREC_LIBTENSORFLOW=.libtensorflow-2.20 make test runs exports with.
	@:

engines: ## Fetches Flink, Spark and Prism for Apache Beam into .engines; says which cannot be had.
	@$(PYTHON) requirements/engines/fetch.py .engines

PIN = .venv-tools/bin/uv pip compile --quiet --generate-hashes --no-strip-extras --no-emit-index-url \
	--custom-compile-command "make requirements"
COMPILE = $(PIN) --extra test --extra serving --extra search --extra plot --extra beam --extra onnx --extra litert
requirements: .venv-tools/bin/uv ## Pins requirements/ again after a change of setup.cfg; ARGS=--upgrade for the newest versions.
	@for set in tensorflow-2.21 tensorflow-2.16; do \
		$(COMPILE) --universal --python-version 3.10 $(ARGS) setup.cfg requirements/$$set.in -o requirements/$$set.txt >/dev/null || exit 1; done
	@$(COMPILE) --python-version 3.11 --python-platform x86_64-manylinux_2_28 -c requirements/tensorflow-2.21.txt $(ARGS) \
		setup.cfg requirements/keras3.in -o requirements/keras3.txt >/dev/null
	@$(COMPILE) --extra validation --universal --python-version 3.10 $(ARGS) setup.cfg requirements/validation-1.21.in \
		-o requirements/validation-1.21.txt >/dev/null
	@$(COMPILE) --extra validation --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--only-binary pyarrow --only-binary grpcio $(ARGS) setup.cfg requirements/validation-1.16.in -o requirements/validation-1.16.txt >/dev/null
	@$(PIN) --universal --python-version 3.10 $(ARGS) requirements/docs.in -o requirements/docs.txt >/dev/null

clean: ## Removes environments, caches and builds; keeps runs/ and servables/.
	@rm -rf .venv .venv-* .libtensorflow-* .engines .pytest_cache .ruff_cache .hypothesis .coverage build dist site *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} +

# An environment is set up again when its pinned set changes, and the package is installed in it again when its metadata change. uv
# installs TensorFlow Data Validation in one minute, pip in ten.
.venv/.requirements: requirements/tensorflow-2.21.txt
.venv/.requirements: pythons = 3.10 3.11 3.12 3.13
.venv-2.16/.requirements: requirements/tensorflow-2.16.txt
.venv-2.16/.requirements: pythons = 3.10 3.11 3.12
.venv-keras3/.requirements: requirements/keras3.txt
.venv-keras3/.requirements: pythons = 3.11
.venv-validation/.requirements: requirements/validation-$(TFDV).txt
.venv-validation/.requirements: pythons = $(if $(filter 1.16,$(TFDV)),3.11,3.10 3.11 3.12 3.13)
.venv-docs/.requirements: requirements/docs.txt
.venv-docs/.requirements: pythons = 3.10 3.11 3.12 3.13

%/.requirements: | .venv-tools/bin/uv
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; v in sys.argv[1:] or sys.exit(f"$(PYTHON) is Python {v}, but $* needs " \
		+ " or ".join(sys.argv[1:]) + ": make ... PYTHON=python3.11")' $(pythons)
	@echo "Setting up $* from $^ ..."
	@$(PYTHON) -m venv --clear $*
	@.venv-tools/bin/uv pip install -q --compile-bytecode --python $*/bin/python --require-hashes -r $^ \
		|| $*/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $^
	@touch $@

%/.package: %/.requirements setup.cfg pyproject.toml
	@$*/bin/python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# The two libraries do not depend on the Python of the wheel that they come in.
.libtensorflow-2.20/.complete: requirements/libtensorflow-2.20.txt | .venv-tools/bin/uv
	@rm -rf $(@D)
	@.venv-tools/bin/python -m pip download -qq --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		--python-version 3.11 --platform manylinux2014_x86_64 --dest $(@D)/wheel -r $<
	@.venv-tools/bin/python -c 'import pathlib, shutil, sys, zipfile; folder = pathlib.Path(sys.argv[1]); \
		wheel = zipfile.ZipFile(next(folder.glob("wheel/*.whl"))); \
		[shutil.copyfileobj(wheel.open(f"tensorflow/{name}"), open(folder / name, "wb")) \
		for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")]' $(@D)
	@rm -r $(@D)/wheel
	@touch $@

.venv-tools/bin/uv: Makefile
	@$(PYTHON) -m venv --clear .venv-tools
	@.venv-tools/bin/python -m pip install -qq --disable-pip-version-check $(UV)
	@touch $@
