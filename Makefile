# Two commands do all the set-up: `make demo` is the main job, `make test` the proof.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST ?= .venv-oldest

.PHONY: demo test lint types layers unit docs wheel kernels oldest models gpu bench clean

demo: $(VENV)/.demo
	$(BIN)/python docs/examples/sentence_similarity.py

test: lint types layers unit docs wheel
	@echo "all checks passed"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist worksteal

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet

wheel: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --quiet --wheel
	$(BIN)/python tests/wheel_smoke.py dist/*.whl

kernels: $(VENV)/.dev
	$(BIN)/python -m benchmarks.kernel_resources

oldest: $(OLDEST)/.dev
	$(OLDEST)/bin/pytest -n 2 --dist worksteal tests/backends tests/compiler
	$(OLDEST)/bin/python -m benchmarks.kernel_resources 'cuda:90/bfloat16/64/*/1000' --table docs/kernels-3.6.csv

models: $(VENV)/.dev
	ATTNC_MODELS=all $(BIN)/pytest -n 2 tests/zoo/test_torch_tools.py
	ATTNC_MODELS=all $(BIN)/pytest tests/zoo/test_zoo.py -k generated_kernels

gpu: $(VENV)/.dev
	$(BIN)/pytest -m gpu
	$(BIN)/python -m benchmarks.kernels_gpu

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.checking
	$(BIN)/python -m benchmarks.cpu_models
	$(BIN)/python -m benchmarks.attention_cpu
	$(BIN)/python -m benchmarks.zoo_cpu

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo

$(OLDEST)/.dev: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip setuptools
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
