# Every module of the repository, and the one with what funnel is compared to,
# which is large and is built and vetted only.
MODULES := . examples benchmarks
PEERS := benchmarks/peers

# The race detector needs a C compiler.
RACE := $(shell CC="$$(go env CC)"; command -v "$${CC%% *}" >/dev/null 2>&1 && echo -race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

FUZZTIME ?= 30s
BENCHTIME ?= 1x

# bench-compare compares the working tree to the revision BASE: the benchmarks that
# match BENCH, in ROUNDS alternating runs.
BASE ?= HEAD
BENCH ?= Cases
ROUNDS ?= 10

.PHONY: help
help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Run a pipeline over real data (examples/quickstart)
	@echo "in examples/: go run ./quickstart $(ARGS)"
	@cd examples && go run ./quickstart $(ARGS)

.PHONY: ci
ci: ## Check everything, as for each change (.ci/run)
	.ci/run

.PHONY: test
test: ## Run the tests of every module but that of the peers
	@if [ -z "$(RACE)" ]; then echo "there is no C compiler: the tests run without the race detector"; fi
	@for m in $(MODULES); do echo "go test $(RACE) ./... in $$m"; (cd $$m && go test $(RACE) ./...) || exit 1; done

.PHONY: cover
cover: ## Show which statements of the engine no test reaches
	go test -coverpkg=./... -coverprofile=cover.out ./...
	go tool cover -func=cover.out | grep -v '100.0%'

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$f in $$p"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

.PHONY: bench
bench: ## Measure the engine, a loop and the peers; renew the tables and the plot
	cd $(PEERS) && go run .
	cd benchmarks && go run . && go run . -render

.PHONY: bench-compare
bench-compare: ## Benchmark the revision BASE (HEAD) and the working tree in turns, with benchstat
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
	go run $(BENCHSTAT) base="$$dir/base.txt" new="$$dir/new.txt"

.PHONY: bench-test
bench-test: ## Run each benchmark of the engine for BENCHTIME (1x)
	@for m in $(MODULES); do (cd $$m && go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./...) || exit 1; done

.PHONY: generate
generate: ## Make the generated files anew
	go generate ./...
	cd benchmarks && go generate ./...

.PHONY: fmt
fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: lint
lint: ## Check format, vet, static analysis and tidy modules
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not formatted: $$files"; exit 1; fi
	@for m in $(MODULES) $(PEERS); do \
		echo "vet, staticcheck and tidy in $$m"; \
		(cd $$m && go vet ./... && go run $(STATICCHECK) ./... && go mod tidy -diff) || exit 1; \
	done

.PHONY: clean
clean: ## Remove what the other targets have made
	rm -rf cover.out examples/out
