# twill: build, try out, test. `make` alone lists the targets. Everything lands below target/.

# One set of packages and one profile everywhere, so that each dependency is compiled once.
CARGO_ALL := --release --workspace
BIN := target/release
HAVE_NPM := $(shell command -v npm 2>/dev/null)
say = @printf '\n==> %s\n' "$(1)"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build tools web daemon plugins examples kit demo test test-long lint unit lab web-test grafana e2e bench bench-plugins clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: tools web daemon plugins ## the daemon at target/release/twill, the plugins in target/plugins
	$(call say,built $(BIN)/twill and target/plugins; try: make demo)

demo: build ## three nodes with pods on this machine, proved by real traffic; ends with Ctrl-C (ONCE=1: after the proof)
	@tests/setup.sh lab
	@$(BIN)/twill-demo $(if $(ONCE),--once)

test: lint build examples unit web-test kit e2e ## format, lints, licences, unit, property, dashboard and end-to-end tests

test-long: export TWILL_LONG = 1
# Cases of each property test and fuzzer, unless it says how many itself.
test-long: export PROPTEST_CASES = 20000
test-long: test ## the same with the full rounds and measurements: 30 minutes more

bench: build ## speed beside VXLAN, routing, wireguard-go, nebula, flanneld (FLANNELD=path); start-up and memory (ARGS='--quick path')
	@tests/setup.sh lab
	@tests/setup.sh bench || true
	@$(BIN)/twill-bench $(ARGS)

bench-plugins: build ## what plugins cost, beside the same logic called natively; leaves web/docs/plugins-cost.md
	@$(BIN)/twill-bench-plugins

tools:
	@tests/setup.sh build
	@tests/setup.sh web

# npm writes node_modules/.package-lock.json when an installation is complete.
web/node_modules/.package-lock.json: web/package-lock.json
	$(call say,installing what the dashboard is built with)
	@npm --prefix web ci --no-audit --no-fund
	@touch $@

web: $(if $(HAVE_NPM),web/node_modules/.package-lock.json)
ifneq ($(HAVE_NPM),)
	$(call say,building the dashboard)
	@npm --prefix web run --silent build
endif

daemon:
	$(call say,building the daemon (the first time takes some minutes))
	@cargo build $(CARGO_ALL)

plugins: daemon
	$(call say,building the plugins)
	@$(BIN)/twill-componentize --out target/plugins
	@$(BIN)/twill-componentize --guests tests/plugins --out target/test-plugins

examples: daemon ## plugins in Python and JavaScript into target/example-plugins, where their tools can be had
	$(call say,building the plugins in other languages)
	@tests/setup.sh languages
	@$(MAKE) --no-print-directory -C plugins/examples
	$(call say,checking them (and compiling them for the labs))
	@for plugin in target/example-plugins/*.wasm; do [ ! -f $$plugin ] || TWILL_CACHE_DIR=target/lab-cache/twill $(BIN)/twill plugin check $$plugin || exit 1; done

kit: ## new projects in every language, and the guide, command by command
	$(call say,the developer kit: projects and the guide)
	@cargo test $(CARGO_ALL) --test kit

lint: tools ## formatting, clippy, licences and sources of dependencies
	$(call say,checking the format)
	@cargo fmt --all --check
	$(call say,clippy)
	@cargo clippy $(CARGO_ALL) --all-targets -- -D warnings
	@cargo clippy $(CARGO_ALL) --test e2e --test kit -- -D warnings
	@tests/setup.sh deny
	$(call say,licences and sources of dependencies)
	@tests/deny.sh

unit: $(if $(TWILL_COMPLETE),lab) ## unit and property tests, and the direction of dependencies
	$(call say,unit and property tests)
	@cargo test $(CARGO_ALL)

# Unit tests use some of its programs where they are there; with TWILL_COMPLETE they have to be.
lab:
	@tests/setup.sh lab

web-test: $(if $(HAVE_NPM),web/node_modules/.package-lock.json) ## the dashboard's own tests
ifneq ($(HAVE_NPM),)
	$(call say,testing the dashboard)
	@npm --prefix web test --silent
else
	@echo 'skipped: dashboard tests (npm is missing)'
	@[ -z "$$TWILL_COMPLETE" ]
endif

grafana: ## the Grafana dashboard, held against Grafana's schema, and the page that draws it with Grafana's libraries
	@tests/setup.sh grafana

e2e: lab grafana ## end-to-end tests after a build; T='words' runs those whose names hold the words
	$(call say,end-to-end tests: real daemons in labs of their own)
	@cargo test $(CARGO_ALL) --test e2e -- $(if $(T),'$(T)')

clean: ## removes target/ and what npm installed
	@rm -rf target web/node_modules web/dist tests/grafana/node_modules
