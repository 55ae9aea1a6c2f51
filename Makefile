# Needs make, git and Python 3.11-3.14; gets everything else. `make` alone says what there is.
UV_VERSION := 0.13.9
UV := .tools/uv/bin/uv
BIN := .venv/bin
STAMP := .venv/.in-step-with-lock
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group dev --group browser --group fuzz

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format up lock bench bench-scan bench-scoring bench-import chaos cluster crash sim deploy-drill mutants fuzz clean restore-drill alerts

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## the environment in .venv, and a Temporal server
	@$(BIN)/python -m workers.temporal_server

demo: $(STAMP) ## a month of retention in a minute, with pages to look at (ARGS="--once" ends by itself)
	@./holdfast demo $(ARGS)

test: $(STAMP) ## every test, on all cores (ARGS="-k renewal" for some)
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(STAMP) ## format, lint, types, compose files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.production.yml

format: $(STAMP) ## put the code in shape
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

up: $(STAMP) ## worker, web and a Temporal server that keeps its data
	@./holdfast up $(ARGS)

bench: $(STAMP) ## the measurements in docs, again
	@$(BIN)/python -m bench $(ARGS)

mutants: $(STAMP) ## take each guard out, in a copy, and see its test go red
	@$(BIN)/python -m bench.mutants $(ARGS)

deploy-drill: $(STAMP) ## 200 sleeping runs meet a deploy that edits every playbook (ARGS="--runs 40" for fewer)
	@$(BIN)/python -m bench.deploy $(ARGS)

fuzz: $(STAMP) ## a million hostile inputs in some minutes (RUNS=10000 for fewer); what breaks is kept in tests/fuzz/found
	@$(BIN)/python -m tests.fuzz --runs $(or $(RUNS),1000000) $(ARGS)

chaos: $(STAMP) ## 5,000 real cases while everything is killed, stopped and cut off (CASES=300, SEED=2, ARGS=)
	@$(BIN)/python -m bench.chaos --cases $(or $(CASES),5000) --seed $(or $(SEED),1) $(ARGS)

cluster: $(STAMP) ## months of a crowd on the shape of production: a Temporal cluster on PostgreSQL, two of everything (CASES=, ARGS=)
	@$(BIN)/python -m bench.cluster --cases $(or $(CASES),400) $(ARGS)

crash: $(STAMP) ## a crash at every point of every playbook, and at any two (ARGS="--playbook renewal" for a part)
	@$(BIN)/python -m tests.crash $(ARGS)

sim: $(STAMP) ## two thousand seeded worlds with faults (SEEDS=100 for fewer); what breaks is kept in tests/sim/found
	@$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),2000) $(ARGS)

bench-scan: $(STAMP) ## a scan of 200,000 accounts (ARGS="--accounts 20000" for fewer)
	@$(BIN)/python -m bench.scan_usage $(ARGS)

bench-scoring: $(STAMP) ## the health scores of a million accounts, on both databases (ARGS="--accounts 100000" for fewer)
	@$(BIN)/python -m bench.scoring $(ARGS)

bench-import: $(STAMP) ## 100,000 accounts from CSV, twice
	@$(BIN)/python -m bench import

alerts: $(STAMP) .tools/promtool ## see every alert fire on what processes really show, by Prometheus' own promtool (needs Go, once)
	@$(BIN)/pytest tests/test_alerts.py tests/test_alert_rules.py $(ARGS)

restore-drill: $(STAMP) ## lose the database in mid-traffic, put an older copy back, and see that nothing is done twice
	@$(BIN)/pytest tests/deploys/test_restore_drill.py $(ARGS)

lock: $(UV) ## requirements.lock anew, within pyproject.toml's bounds
	@$(COMPILE) --upgrade pyproject.toml --output-file requirements.lock

clean: ## remove .venv and caches; keeps .tools (slow to get) and .holdfast (data)
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.tools/*' -prune -exec rm -rf {} +

$(STAMP): requirements.lock $(UV)
	@echo "Installing what requirements.lock names into .venv"
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(sh scripts/python)" .venv
	@$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

.tools/promtool: tools/promtool/go.mod
	@echo "Building promtool from source (5 to 10 minutes, once)"
	@cd tools/promtool && go build -o ../../$@ github.com/prometheus/prometheus/cmd/promtool

$(UV):
	@echo "Installing uv $(UV_VERSION) into .tools/uv"
	@python=$$(sh scripts/python) && "$$python" -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
