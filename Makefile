# What there is to do, one a line. All of it is done by tasks.py, which needs no make and no shell:
# `python tasks.py run`. `make PYTHON=/path/to/python run` chooses the Python of .venv.
help: ## show this list
setup: ## a virtual environment in .venv with the locked packages; the others do it when needed
run: ## train, evaluate and draw, on the embedded sample: under ten minutes
test: ## lint, all tests, and all notebooks
lab: ## open JupyterLab at the first chapter
notebooks: ## run all notebooks anew and store what they show
site: ## the live rule, the chapters and the API as pages, in site/: a minute
workshop: ## a folder for a USB stick, in workshop/: chapters with stubs, and with solutions
bench: ## speed and memory beside the dense step and peers: minutes
results: ## evaluate the shipped rules, three seeds, and write README's tables: half an hour
weights: ## train every shipped file from nothing, go on where it stopped: hours
mutants: ## change the code on purpose and see whether the tests notice (not on Windows)
lint: ## ruff: lint and format
format: ## let ruff put the code in shape
lock: ## choose exact versions anew from requirements.txt (needs uv)
clean: ## remove the virtual environment and caches; runs stay

.PHONY: help setup run test lab notebooks site workshop bench results weights mutants lint format lock clean
help setup run test lab notebooks site workshop bench results weights mutants lint format lock clean:
	@$(or $(PYTHON),python3) tasks.py $@
