# Every target works from a fresh checkout: all but help and clean set up first.
.DEFAULT_GOAL := help
.PHONY: help setup build package lambda install uninstall demo test check bench chaos up down logs status clean initial-sync incremental-sync daemon test-workflow

# Runs a command with the repository's own Node first on PATH, if it has one.
RUN := scripts/with-node.sh

PREFIX ?= /usr/local

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing (Node, Redis, npm packages) and build
	@scripts/setup.sh

build: setup ## Compile the packages (the last step of setup)

package: setup ## Make dist/drover-VERSION.tgz, for npm install -g
	@$(RUN) scripts/package.sh

lambda: setup ## Make dist/lambda, the AWS Lambda function that posts notifications
	@npm run --silent build:lambda

install: package ## Put drover into PREFIX (/usr/local), with a Node if there is none
	@scripts/install.sh install "$(PREFIX)" dist/drover-*.tgz

uninstall: ## Remove what install put there
	@scripts/install.sh uninstall "$(PREFIX)"

demo: setup ## Move some files and watch it happen
	@$(RUN) scripts/demo.sh

test: setup ## Run all tests against a real Redis
	@$(RUN) npm test

check: setup ## Lint, formatting, types and shell scripts: what CI runs
	@$(RUN) npm run check

bench: setup ## Measure throughput
	@$(RUN) bench/run.sh

chaos: setup ## Play seeds with a fleet under fire, and with two-way syncs (SEED=1 MINUTES=10 WHAT=pairs)
	@$(RUN) scripts/chaos.sh

up: ## Start a fleet in containers with all around it (ALERTS=alertmanager)
	@scripts/compose.sh up

down: ## Stop it; its volumes stay
	@scripts/compose.sh down

logs: ## Show what its containers log (SERVICE=worker)
	@scripts/compose.sh logs $(SERVICE)

status: ## Show how its containers are
	@scripts/compose.sh status

initial-sync: setup ## Mirror: list all of the source, copy it, and record it
	@./sync_cli.sh initial-sync

incremental-sync: setup ## Mirror: follow the events that wait, and apply what differs
	@./sync_cli.sh incremental-sync

daemon: setup ## Mirror: sync by the clock until Ctrl-C
	@./sync_cli.sh daemon

test-workflow: setup ## Mirror: check connections, a sync, an export and the final state
	@./sync_cli.sh test

clean: ## Remove everything built, keep what was installed
	@rm -rf dist packages/*/dist packages/cli/bundle* packages/*/*.tsbuildinfo tests/dist reports coverage demo-files bench/.work
