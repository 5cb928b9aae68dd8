# `make demo` shows Updraft at work; `make test` runs every test. Both install what is missing first.

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint unit sim conformance browser bench clean

PYTHON := $(CURDIR)/.venv/bin/python
RELEASE := target/release/updraft
export UPDRAFT_TEST_PYTHON := $(PYTHON)

help: ## Lists the targets.
	@grep -E '^[a-z]+:.*##' Makefile | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Installs what building and testing needs.
	@scripts/setup

build: setup ## Builds the binary, target/release/updraft.
	cargo build --release --locked

demo: build ## Runs an example pipeline to its end, with live progress.
	@scripts/demo

test: setup lint unit sim conformance browser ## Runs every test.

lint: ## Formatting and lints; warnings are errors.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked

unit: ## Unit, golden, property and end-to-end tests, with the real binary and the real Task SDK.
	PROPTEST_RNG_SEED=1 cargo test --workspace --locked

sim: ## 2,500 simulated histories with crashes; a failure prints its seed.
	cargo run --release --locked -p sim -- --count 2500

conformance: build ## Dags, schedules and the API, compared with recordings of Airflow.
	$(PYTHON) conformance/run.py --updraft $(RELEASE) --python $(PYTHON)

browser: build ## Airflow's web UI in Chromium: every page opens, the everyday actions are clicked through.
	@scripts/setup-browser
	node browser/run.mjs --updraft $(RELEASE) --python $(PYTHON)

bench: build ## Our times beside Airflow's and beside what the machine can do at best.
	$(PYTHON) bench/run.py --updraft $(RELEASE) --python $(PYTHON) --wide

clean: ## Removes what was built and installed here.
	cargo clean
	rm -rf .venv .demo browser/node_modules
