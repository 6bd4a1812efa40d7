# Each target sets up what it needs: a virtual environment in .venv with the locked packages.
PYTHON ?=
BIN = .venv/bin
STAMP = .venv/.installed
# A python that runs (not a pyenv shim without its version), is one of ours, and can make a venv.
WORKS = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help run test lab notebooks bench results lint format lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | \
		while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -c 'import pip; $(WORKS)' 2>/dev/null && exit; \
	for p in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
		"$$p" -c '$(WORKS)' 2>/dev/null || continue; \
		rm -rf .venv; echo "a virtual environment in .venv, by $$p"; \
		"$$p" -m venv .venv; exit; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 with venv is needed: make PYTHON=/path/to/python" >&2; exit 2
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

run: $(STAMP) ## train, evaluate and draw, on the embedded sample: under ten minutes
	$(BIN)/python -m nca_lib run --preset quick --resume

test: lint ## lint, all tests, and all notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --nbval --nbval-current-env \
		--nbval-sanitize-with=tests/nbval_sanitize.cfg --nbval-cell-timeout=300 notebooks

lab: $(STAMP) ## open JupyterLab at the first chapter
	$(BIN)/python -m jupyterlab notebooks/01_anatomy_of_a_rule.ipynb

notebooks: $(STAMP) ## run all notebooks anew and store what they show
	OMP_NUM_THREADS=1 $(BIN)/python tools/run_notebooks.py

bench: $(STAMP) .venv-peers/.tried ## speed and memory beside the dense step and peers: minutes
	$(BIN)/python benchmarks/bench.py

.venv-peers/.tried: benchmarks/peers.txt $(STAMP)
	@rm -rf .venv-peers; mkdir .venv-peers
	@for p in python3.13 python3.12; do \
		"$$p" -c '$(WORKS)' 2>/dev/null && exec "$$p" -m venv .venv-peers; done || true
	@.venv-peers/bin/python -m pip install --quiet -r $< || \
		{ rm -rf .venv-peers/bin; echo "the peers cannot be installed: measured without them"; }
	@touch $@

results: $(STAMP) ## evaluate the shipped rules, three seeds, and write README's tables: an hour
	@for seed in 0 1 2; do for name in unified restore; do \
		$(BIN)/python -m nca_lib evaluate --weights $$name --preset full --seed $$seed \
			--json experiments/results/$$name-$$seed.json || exit; done; done
	@for digit in 0 1 2 3 4 5 6 7 8 9; do \
		$(BIN)/python -m nca_lib evaluate --weights digit-$$digit --preset full \
			--json experiments/results/digit-$$digit.json || exit; done
	$(BIN)/python tools/results.py

lint: $(STAMP) ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## choose exact versions anew from requirements.txt (needs uv)
	uv pip compile --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		--no-emit-index-url requirements.txt -o requirements.lock

clean: ## remove the virtual environment and caches; runs stay
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find nca_lib tests tools -name __pycache__ -prune -exec rm -rf {} +
