# Every target works from a fresh checkout: all but help and clean set up first.
.DEFAULT_GOAL := help
.PHONY: help setup build package lambda install uninstall demo mirror-demo test check bench chaos up down logs logs-sync shell status clean initial-sync incremental-sync daemon test-workflow

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

mirror-demo: setup ## Keep a bucket in a file manager and watch it happen, without containers
	@$(RUN) scripts/mirror-demo.sh

up: ## Start a fleet in containers with all around it (MIRROR=yes ALERTS=alertmanager DEV=yes)
	@scripts/compose.sh up

down: ## Stop it; its volumes stay
	@scripts/compose.sh down

logs: ## Show what its containers log (SERVICE=worker FOLLOW=1)
	@scripts/compose.sh logs $(SERVICE)

logs-sync: ## Show what the mirror logs (FOLLOW=1)
	@scripts/compose.sh logs sync-service

shell: ## Open a shell in the container of the mirror (SERVICE=api)
	@scripts/compose.sh exec $(or $(SERVICE),sync-service) sh

status: ## Show how its containers and the mirror are
	@scripts/compose.sh status

initial-sync: ## Mirror: list all of the source, copy it, and record it
	@./sync_cli.sh initial-sync

incremental-sync: ## Mirror: follow the events that wait, and apply what differs
	@./sync_cli.sh incremental-sync

daemon: ## Mirror: sync by the clock until Ctrl-C
	@./sync_cli.sh daemon

test-workflow: ## Mirror: check connections, a sync, an export and the final state
	@./sync_cli.sh test

clean: ## Remove everything built and the containers, keep what was installed (VOLUMES=1 removes their volumes)
	@scripts/compose.sh clean
	@rm -rf dist packages/*/dist packages/cli/bundle* packages/*/*.tsbuildinfo tests/dist reports coverage demo-files bench/.work
