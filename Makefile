# make sweep   sets up .venv and runs the main job
# make test    sets up .venv and runs the tests
# make bench   measures beside peers
# make mutants falsifies the code in small and asks whether a test notices; make fuzz calls the library with random inputs
# make reproduce runs every experiment, after an estimate; make figures draws the docs' figures from their tables
# Needs Python >= 3.11 with pip and venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/sigma-sweep
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Small torch operations run many times slower with active waiting when another process uses a core.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: sweep reproduce figures bench test install lint types docs hunt mutants fuzz clean

sweep: $(VENV)/experiments
	$(BIN)/python -m experiments sigma-sweep --out $(OUT)

reproduce: $(VENV)/test
	$(BIN)/python -m experiments reproduce

figures: $(VENV)/experiments
	$(BIN)/python -m experiments figures

bench: $(VENV)/bench
	$(BIN)/python -m experiments bench distances
	$(BIN)/python -m experiments bench lipschitz
	$(BIN)/python -m experiments bench search
	$(BIN)/python -m experiments bench certificates
	$(BIN)/python -m experiments bench generators
	$(BIN)/python -m experiments bench training

test: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

mutants: $(VENV)/test
	$(BIN)/python -m tests.mutants

fuzz: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --cases 100000

hunt: $(VENV)/test
	LIPBOUNDS_PROFILE=hunt $(BIN)/python -m pytest

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/lint
	$(BIN)/mypy

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W -b html docs docs/_build

install: $(VENV)/experiments

# One stamp for each set of extras; a change of the project's files installs again.
$(VENV)/created:
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/experiments: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) --editable '.[experiments]'
	touch $@

$(VENV)/test: $(VENV)/experiments
	$(PIP) --editable '.[experiments,test,zoo]'
	touch $@

$(VENV)/lint: $(VENV)/test
	$(PIP) --editable '.[experiments,test,zoo,lint]'
	touch $@

$(VENV)/bench: $(VENV)/experiments
	$(PIP) --editable '.[experiments,bench]'
	touch $@

$(VENV)/docs: $(VENV)/experiments
	$(PIP) --editable '.[experiments,docs]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build *.egg-info
