# What one types here is what CI runs. A target that grows an `if` becomes a script.

# Everything is run from target/.
unexport CARGO_TARGET_DIR

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up build test unit servers e2e faults chaos lint fuzz mutants grpc check-up tools clean need-cargo need-engine

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: need-cargo tools build ## run everything on this machine's Docker Engine; Ctrl-C ends it; flags: make up ARGS="--node here"
	@exec env DECKWATCH_TOOLS_DIR=$(CURDIR)/.tools/bin target/release/deckwatch up $(ARGS)

build: need-cargo ## build the program, target/release/deckwatch
	cargo build --release --package cli

test: need-engine servers e2e ## run all tests; needs root and a Docker Engine

unit: need-cargo ## run the tests that need neither root nor an engine
	cargo test --workspace

# The unit tests are among them: what is built for both is built once.
servers: need-cargo need-engine tools ## run the unit tests, and those that need servers and an engine
	@scripts/tools e2e
	scripts/with-engine cargo test --workspace --features producer/e2e,projector/servers

e2e: need-engine build ## run the end-to-end tests with real servers and containers; flags: make e2e ARGS="-k oom"
	scripts/with-engine scripts/e2e $(ARGS)

faults: build ## run each fault once, on real servers under load; flags: make faults ARGS="-k nats"
	@scripts/tools e2e
	.tools/venv/bin/python -m pytest tests/chaos
	.tools/venv/bin/python tests/chaos $(ARGS)

# So many seconds, unless told otherwise.
SECONDS = 600
chaos: build ## run faults at random: make chaos SECONDS=1800 SEED=1 ARGS="--servers 3"
	@scripts/tools e2e
	.tools/venv/bin/python tests/chaos --seconds $(SECONDS) $(SEED:%=--seed %) $(ARGS)

lint: need-cargo ## check format, lints, licences, unused dependencies and scripts
	@scripts/tools lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	.tools/bin/cargo-deny --all-features check --hide-inclusion-graph bans licenses sources
	.tools/bin/cargo-machete
	.tools/bin/shellcheck scripts/* deploy/nats-health .ci/run

fuzz: need-cargo ## fuzz one target for a minute: names, messages, engine or spool; flags: make fuzz ARGS="engine -max_total_time=600"
	@scripts/tools fuzz
	scripts/fuzz $(ARGS)

mutants: need-cargo ## put each deliberate fault into the code, and see a test fail; one: make mutants ARGS=<name>
	scripts/mutants $(ARGS)

grpc: need-cargo ## check the gateway's services, which are behind a feature
	cargo check --package proto --features grpc --all-targets

check-up: need-cargo need-engine ## check `make up` as a newcomer types it
	@scripts/with-engine scripts/check-up

tools: ## fetch the servers into .tools/
	@scripts/tools

clean: ## remove what was built and fetched
	rm -rf target .tools

need-cargo:
	@scripts/need cargo

need-engine:
	@scripts/need engine
