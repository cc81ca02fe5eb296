# All modules of the repository. Those in RELEASE are released together, at one version,
# and the others never. PEERS has large dependencies: it is only built and vetted.
RELEASE := . position/bolt connector/file connector/file/parquet otel metrics/prometheus runner
UNRELEASED := examples examples/host benchmarks internal/crash internal/release
MODULES := $(RELEASE) $(UNRELEASED)
PEERS := benchmarks/peers
ROOT := github.com/conduitio/funnel

# The race detector needs a C compiler.
RACE := $(shell CC="$$(go env CC)"; command -v "$${CC%% *}" >/dev/null 2>&1 && echo -race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

FUZZTIME ?= 30s
BENCHTIME ?= 1x

# bench-compare compares the working tree to the revision BASE: the benchmarks that
# match BENCH (write $$ for $), in ROUNDS alternating runs.
BASE ?= HEAD
BENCH ?= Cases
ROUNDS ?= 10

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Run a pipeline over real data (examples/quickstart)
	@echo "in examples/: go run ./quickstart $(ARGS)"
	@cd examples && go run ./quickstart $(ARGS)

.PHONY: service
service: ## Run three pipelines with pages to look at (examples/service)
	@echo "in examples/: go run ./service -dir out/service -customers 20 $(ARGS)"
	@echo "break it: echo oops > examples/out/service/prices.json && curl -X POST localhost:8080/restart/pricing"
	@echo "mend it:  rm examples/out/service/prices.json"
	@cd examples && go build -o out/bin/ ./service && exec out/bin/service -dir out/service -customers 20 $(ARGS)

.PHONY: modules
modules:
	@echo $(MODULES)

.PHONY: ci
ci: ## Run the checks that every change must pass (.ci/run)
	.ci/run

.PHONY: test
test: ## Run the tests of every module except the peers
	@if [ -z "$(RACE)" ]; then echo "there is no C compiler: the tests run without the race detector"; fi
	@for m in $(MODULES); do echo "go test $(RACE) ./... in $$m"; (cd $$m && go test $(RACE) ./...) || exit 1; done

.PHONY: cover
cover: ## Show functions that tests do not fully cover
	go test -coverpkg=$$(go list ./... | grep -v internal/fake | tr '\n' ,) -coverprofile=cover.out ./...
	go tool cover -func=cover.out | grep -v '100.0%'

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$f in $$p"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

# crash survives KILLS kills.
KILLS ?= 1000

.PHONY: crash
crash: ## Kill real pipelines KILLS times (1000), and check that nothing is lost
	cd internal/crash && go run . -kills $(KILLS) $(ARGS)

.PHONY: bench
bench: ## Measure the engine, the loop and the peers; update tables and plot
	cd $(PEERS) && go run .
	cd benchmarks && go run . && go run . -render
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	(cd $(PEERS) && go build -o "$$dir/benthos" ./load) && \
	cd benchmarks/load && go run . -benthos "$$dir/benthos" -o ../results/load.json && go run . -render

.PHONY: bench-compare
bench-compare: ## Compare the working tree to the revision BASE (HEAD) with benchstat
	@dir=$$(mktemp -d) && trap 'git worktree remove --force "$$dir/base"; rm -rf "$$dir"' EXIT && \
	git worktree add --quiet --detach "$$dir/base" $(BASE) && \
	(cd "$$dir/base/benchmarks" && go test -c -o "$$dir/base.test" .) && \
	(cd benchmarks && go test -c -o "$$dir/new.test" .) && \
	for i in $$(seq $(ROUNDS)); do \
		echo "round $$i of $(ROUNDS)"; \
		for side in base new; do \
			(cd benchmarks && "$$dir/$$side.test" -test.run '^$$' -test.bench '$(BENCH)' -test.benchtime 100ms) >> "$$dir/$$side.txt" || exit 1; \
		done; \
	done && \
	{ grep -q ns/op "$$dir/new.txt" || { echo "no benchmark matches $(BENCH)"; exit 1; }; } && \
	go run $(BENCHSTAT) base="$$dir/base.txt" new="$$dir/new.txt"

.PHONY: bench-test
bench-test: ## Run each benchmark of the engine for BENCHTIME (1x)
	@for m in $(MODULES); do (cd $$m && go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./...) || exit 1; done

.PHONY: generate
generate: ## Regenerate the generated files
	go generate ./...
	cd benchmarks && go generate ./...

.PHONY: fmt
fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: lint
lint: ## Check formatting, vet, staticcheck and go.mod
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not formatted: $$files"; exit 1; fi
	@if go list -deps ./connector ./log ./metrics/... | grep -x '$(ROOT)'; then echo "the vocabulary must not import the engine"; exit 1; fi
	@for m in $(MODULES) $(PEERS); do \
		echo "vet, staticcheck and tidy in $$m"; \
		(cd $$m && go vet ./... && go run $(STATICCHECK) ./... && go mod tidy -diff) || exit 1; \
	done

.PHONY: release-check
release-check: ## Use the modules of HEAD from outside, as version VERSION
	@go run -C internal/release . -repo ../.. -release '$(RELEASE)' -never '$(UNRELEASED) $(PEERS)' $(ARGS) '$(VERSION)'

.PHONY: clean
clean: ## Remove files that other targets have made
	rm -rf cover.out examples/out
