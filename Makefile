# make            set up and run the default pipeline (embedded data, minutes); prints where the report is
# make test       set up and run the fast tests                  make test-slow   the slow ones
# make bench      speed of attacks and training beside their peers, on MNIST (downloaded); over an hour on 2 cores
# make gpu        what a GPU must show, on one, in 8 minutes; make gpu SHORT=1 in 3 (benchmarks/README.md)
# make lock       rewrite requirements.lock from pyproject.toml   make clean       remove results (not data)
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
export PYTHONNOUSERSITE := 1

.PHONY: run setup test test-slow bench gpu lint lock clean
run: setup
	$(BIN)/snakemake --cores all
	@echo "The report is $$(pwd)/results/demo/report.pdf"

setup: $(STAMP)

# --no-deps: the lock is complete, and pip would object to what pyproject.toml overrides
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Touchstone's lock is for Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slow: setup
	$(BIN)/python -m pytest -m slow -n 2 --dist loadgroup

bench: setup
	$(BIN)/snakemake --configfile configs/laptop.yaml --cores 1 --quiet -- data/prepared/mnist.safetensors
	$(BIN)/python -m benchmarks

gpu: setup
	$(BIN)/python -m benchmarks.gpu.trainings configs/paper.yaml results/gpu/trainings.json
	$(BIN)/python -m benchmarks.gpu $(if $(SHORT),--short)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy

lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
	{ printf 'channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n'; \
	  sed -nE '/^(adv-lib|torchattacks)==/d; s/^([a-z0-9.-]*==[^ ;\\]*).*/      - \1/p' requirements.lock; } > envs/touchstone.yaml

clean:
	rm -rf results .snakemake
