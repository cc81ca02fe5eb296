# Every module of the repository, and the one with what funnel is compared to,
# which is large and is built and vetted only.
MODULES := . examples benchmarks
PEERS := benchmarks/peers

# The race detector needs a C compiler.
RACE := $(shell CC="$$(go env CC)"; command -v "$${CC%% *}" >/dev/null 2>&1 && echo -race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

FUZZTIME ?= 30s
BENCHTIME ?= 1x

.PHONY: help
help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Run a pipeline over real data (examples/quickstart)
	@echo "in examples/: go run ./quickstart $(ARGS)"
	@cd examples && go run ./quickstart $(ARGS)

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
bench: ## Measure the engine, a loop and the peers; renew README's table and the plot
	cd $(PEERS) && go run .
	cd benchmarks && go run . && go run . -render

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
