# The tasks, one a line. tasks.py does them all and needs neither make nor a shell:
# `python tasks.py run`. `make PYTHON=/path/to/python run` chooses the Python of .venv.
help: ## show this list
setup: ## install all packages into .venv; the other tasks install what they need
run: ## train, evaluate and draw, on the embedded sample: under ten minutes
test: ## lint, all tests, and all notebooks
lab: ## open JupyterLab at the first chapter
notebooks: ## run all notebooks and store their outputs
site: ## the live model, the chapters and the API as pages, in site/: a minute
workshop: ## a folder for a USB stick, in workshop/: chapters with stubs, and with solutions
bench: ## speed and memory, compared with the dense step and other projects: minutes
results: ## evaluate the shipped models, three seeds, and write the tables: half an hour
weights: ## train every shipped file from nothing, or resume that: hours
mutants: ## mutation testing: do the tests notice small changes of the code? (not on Windows)
lint: ## ruff: lint and format
format: ## format the code with ruff
lock: ## choose exact versions again from requirements.txt (needs uv)
clean: ## remove the virtual environment and caches; runs stay

.PHONY: help setup run test lab notebooks site workshop bench results weights mutants lint format lock clean
help setup run test lab notebooks site workshop bench results weights mutants lint format lock clean:
	@$(or $(PYTHON),python3) tasks.py $@
