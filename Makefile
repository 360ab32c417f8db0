# Two verbs matter: make run, make test. The rest is for those who work on Sluice.
SHELL := /bin/bash
GO ?= go
GOTEST = $(GO) run ./internal/tools/gotest -skips docs/skips.md
export CGO_ENABLED ?= 1

.PHONY: help run console build test unit race lint cross long clean kvssink install-kvssink deb

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

build: console ## the binary with the console in it, in build/sluice
	CGO_ENABLED=0 $(GO) build -trimpath -o build/sluice ./cmd/sluice

console: internal/console/dist/index.html ## the web console, into internal/console/dist

internal/console/dist/index.html: $(shell git ls-files web docs/troubleshooting.md 2>/dev/null)
	cd web && { cmp -s package-lock.json node_modules/.installed || { npm ci --fetch-retries=5 --no-audit --no-fund --loglevel=error && cp package-lock.json node_modules/.installed; }; }
	rm -rf internal/console/dist/assets
	cd web && npm run --silent build
	touch $@

run: build ## build, start a server with a demo camera; prints the URL of the console and what to try
	./build/sluice demo --data ./sluice-data

# Cameras, players and processes that are killed want the machine to themselves.
REALTIME = compat|producer|cmd/sluice|internal/bridge|internal/bench

test: ## install what the tests need, then run all of them
	scripts/install-test-tools.sh
	$(MAKE) --no-print-directory lint build
	$(GOTEST) -timeout 20m $$($(GO) list ./... | grep -vE '/($(REALTIME))$$')
	$(GOTEST) -p 1 -timeout 20m $$($(GO) list ./... | grep -E '/($(REALTIME))$$')
	$(GO) build -o build/gotest ./internal/tools/gotest
	cd gst && $(GO) vet ./... && ../build/gotest -skips ../docs/skips.md -timeout 15m ./...

unit: ## what needs only Go
	$(GO) test ./...

RACE_PACKAGES ?= ./internal/stream/... ./internal/ingest/... ./internal/egress/... ./internal/api/... ./producer/... ./parser/...
race: ## the packages with shared state under the race detector
	$(GO) run ./internal/tools/gotest -race -short -timeout 20m $(RACE_PACKAGES)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
lint: ## formatting, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

CROSS = linux/amd64 linux/arm64 linux/arm/7 linux/arm/6 windows/amd64 darwin/arm64 darwin/amd64
cross: ## the binary for every system, in build/cross; what no machine here runs is vetted
	@mkdir -p build/cross
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	@for t in $(CROSS); do IFS=/ read -r os arch arm <<< "$$t"; \
	  out=build/cross/sluice-$$os-$$arch$${arm:+v$$arm}$$([ $$os = windows ] && echo .exe); \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch GOARM=$$arm $(GO) build -trimpath -ldflags '-s -w' -o $$out ./cmd/sluice || exit 1; \
	  echo "$$out $$(stat -c %s $$out) bytes"; done

long: ## fuzzing, soaks and the large fault counts; one summary line a part
	scripts/long.sh

clean: ## remove what was built
	rm -rf build

kvssink: ## the GStreamer elements kvssink and kvssrc, in build/gst
	$(MAKE) --no-print-directory -C gst

install-kvssink: ## put them where GStreamer finds them
	$(MAKE) --no-print-directory -C gst install

deb: ## a Debian package of them, in build
	$(MAKE) --no-print-directory -C gst deb
