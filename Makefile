# convc: `make help` lists the targets.
PYTHON ?= python3
comma  := ,
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where the machine has no C compiler, the environment takes zig's from the package index.
ZIG    := $(if $(shell command -v cc || command -v gcc || command -v clang),,[zig])
# What the tests take. CUDA is compiled and emulated wherever its wheels are: on Linux.
EXTRAS := test,zig$(if $(filter Linux,$(shell uname -s)),$(comma)emit$(comma)nvcc)
STAMP  := $(VENV)/.installed
TESTS  := $(VENV)/.tests
WITNESS := $(VENV)/.witness
STUDY_ARGS ?=
PYTEST := $(BIN)/python -m pytest -rs -n auto --dist worksteal
# The slow tests' parts: the folders of tests/ that hold some. Each takes at most 30 minutes on two cores.
PARTS  := $(sort $(shell cd tests && grep -rl --include='*.py' 'mark\.slow' . | cut -d/ -f2))
PART   ?= $(PARTS)
# What runs on a GPU: a Python with PyCUDA, such as a GPU machine's own.
GPU_PYTHON ?= $(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help study test test-witness test-full parts check format golden bench gpu-test gpu-bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".$(ZIG)"
	@touch $@

# PyCUDA is C++ source: it is built once, without a CUDA toolkit, before the rest of its extra is installed.
CXX_HERE := $(if $(filter environment,$(origin CXX)),$(CXX),$(shell command -v c++ || command -v g++ || command -v clang++))
$(TESTS): $(STAMP)
	$(PIP) --editable ".[$(EXTRAS)]"
ifneq (,$(findstring emit,$(EXTRAS)))
ifneq (,$(CXX_HERE))
	$(BIN)/python -m convc.build.pycuda
	$(PIP) --editable ".[cuda]"
else
	@echo "There is no C++ compiler, so no PyCUDA: the tests that take it are skipped, and say so. Install g++ to run them."
endif
endif
	@touch $@

$(WITNESS): $(TESTS)
	$(PIP) --editable ".[witness]"
	@touch $@

study: $(STAMP) ## the learning-rate study: LeNet-5 on 5000 digits, five rates with three seeds, report in out/study
	$(BIN)/convc study --out out/study $(STUDY_ARGS)

test: $(TESTS) ## the tests, side by side on all cores
	$(PYTEST) -m "not slow and not witness"

test-witness: $(WITNESS) ## the tests that need PyTorch, which this installs
	$(PYTEST) -m "witness and not slow"

test-full: $(WITNESS) ## the slow tests, part by part; PART=cuda chooses one, `make parts` lists them
	@failed=; for part in $(PART); do \
	    echo "slow tests of tests/$$part"; $(PYTEST) -m slow --durations=5 tests/$$part || failed="$$failed $$part"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

parts: ## list the parts of the slow tests
	@printf 'make test-full PART=%s\n' $(PARTS)

check: $(TESTS) ## ruff, mypy and the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(TESTS) ## rewrite the code in the house format
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

golden: $(TESTS) ## write the golden files anew; then review the diff
	$(BIN)/python -m pytest tests/codegen --update-golden

bench: $(WITNESS) ## LeNet-5's train step beside PyTorch, which this installs, and what compiling it takes
	$(BIN)/python benchmarks/lenet_step.py
	$(BIN)/python benchmarks/cold_compile.py
	$(BIN)/python benchmarks/compile_time.py

gpu-test: ## the tests that need a GPU, then compute-sanitizer (GPU_PYTHON=python3 chooses the interpreter)
	CONVC_GPU_TESTS=1 $(GPU_PYTHON) -m pytest tests/gpu
	PYTHON=$(GPU_PYTHON) tools/gpu_sanitize.sh

gpu-bench: ## convolutions, LeNet-5's train step and study beside PyTorch on a GPU, into benchmarks/results
	PYTHONPATH="$$PYTHONPATH:." $(GPU_PYTHON) benchmarks/gpu.py

clean: ## remove what was made here: environment, caches, output
	rm -rf $(VENV) out build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
