# make run | test | lab   set up .venv where needed, then execute the notebooks, run the tests, open JupyterLab.
# Other Python: make PYTHON=python3.12 run. Arguments: make run ARGS="03 --seed 1", make test ARGS="-k flip".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# metadata that editors and papermill write into notebooks, besides what nbstripout removes on its own
STRIPPED := metadata.papermill metadata.vscode metadata.toc $(addprefix metadata.language_info.,codemirror_mode \
	file_extension mimetype nbconvert_exporter pygments_lexer version) \
	$(addprefix cell.metadata.,papermill jupyter editable slideshow trusted vscode)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# threads of numerical libraries sleep while they wait; a kernel may import torch before koa_kit can say so
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 3000

.PHONY: run test test-floors test-newest faults lab lint format pins licences clean help
.DEFAULT_GOAL := help

help:
	@sed -n '1,2s/^# //p' Makefile

run: $(STAMP)
	@$(BIN)/koa run $(ARGS)

test: $(STAMP)
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# The lowest and the newest versions that pyproject.toml allows, each in an environment of its own.
test-floors: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-floors test-newest:
	@test -x .venv-$@/bin/uv || { $(PYTHON) -m venv .venv-$@ && .venv-$@/bin/pip install -q uv; }
	@VIRTUAL_ENV=.venv-$@ .venv-$@/bin/uv pip install -q --upgrade --resolution $(RESOLUTION) -e '.[all]'
	@.venv-$@/bin/pytest -n auto --maxprocesses 4 --dist loadfile -m 'not series and not browser and not pins' $(ARGS)

lab: $(STAMP)
	@$(BIN)/jupyter lab notebooks $(ARGS)

faults: $(STAMP)
	@KOA_FAULTS=$(or $(FAULTS),2000) $(BIN)/pytest -n auto --maxprocesses 4 tests/faults $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python -m nbstripout --keep-id --extra-keys '$(STRIPPED)' notebooks/*.ipynb
	@$(BIN)/python -m koa_kit.series.contract notebooks/*.ipynb

pins: $(STAMP)
	@sed -n '/^#/p' constraints.txt > constraints.tmp
	@$(BIN)/pip freeze --exclude-editable | grep -vE '^(#|nvidia-|cuda-|triton=)' | LC_ALL=C sort -f >> constraints.tmp
	@mv constraints.tmp constraints.txt

licences: $(STAMP)
	@$(BIN)/python -m docs.make_licences

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis

# Written when pip succeeded, so an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "koa_kit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
	  echo "  to do: name another, for example: make PYTHON=python3.12 $(or $(MAKECMDGOALS),run)"; exit 1; }
	@test -x $(BIN)/pip || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what pyproject.toml names, as pinned in constraints.txt (some minutes the first time)"
	@$(BIN)/pip install -q -c constraints.txt -e '.[all]'
	@touch $@
