# What there is to do here. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The version of OpenZFS in the machine: 2.1, 2.3 or 2.4. Without effect on a computer that has ZFS.
ZFS ?= 2.3
export ZFS

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI_LINT_VERSION := v2.15.0
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/zfs-csi
LINT := $(CACHE)/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)-$(shell go env GOVERSION)
MACHINE := $(CURDIR)/bin/machine

# The race detector needs a C compiler.
RACE := $(if $(shell command -v "$$(go env CC)"),-race)

# What to test and how: make test PACKAGES=./zfs/... TESTFLAGS='-v -run Clone'
PACKAGES ?= ./...
TESTFLAGS ?=

# How many steps random histories have in all, and what they follow from; without, a new one.
STEPS ?= 1000
SEED ?=

# In how many random histories the power is cut.
N ?= 5

# In emulation everything is several times slower. The machine's own deadline comes
# after go test's, which tells more: it shows where the tests hang.
REAL_TIMEOUT ?= 40m
export ZFS_CSI_DEADLINE ?= 45m

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Variables: ZFS=2.1|2.3|2.4 (now $(ZFS)), PACKAGES=./zfs/..., TESTFLAGS="-v -run Clone"'

.PHONY: build
build: ## the driver: bin/zfs-csi
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/zfs-csi ./cmd/zfs-csi

.PHONY: machine
machine: ## build and save the machine with ZFS, if it is not in the cache yet
	@go build -buildvcs=false -o $(MACHINE) ./e2e/machine
	@$(MACHINE) build

.PHONY: test
test: check-fmt vet test-host test-zfs ## all tests, on real ZFS too

.PHONY: test-host
test-host: ## the tests that need no ZFS; the others are skipped
	go test $(RACE) $(TESTFLAGS) $(PACKAGES)

.PHONY: test-zfs
test-zfs: machine build ## all tests again, on real ZFS
	CGO_ENABLED=0 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi \
		$(MACHINE) run -- go test -count=1 -timeout=$(REAL_TIMEOUT) $(TESTFLAGS) -exec '$(MACHINE) exec' $(PACKAGES)

.PHONY: crash-test
crash-test: machine build ## let the driver die at each command of each operation, on real ZFS (half an hour)
	CGO_ENABLED=0 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi ZFS_CSI_CRASHES=all \
		$(MACHINE) run -- go test -count=1 -timeout=$(REAL_TIMEOUT) -v -run=TestCrashes -exec '$(MACHINE) exec' ./e2e/csi

.PHONY: soak
soak: machine build ## random histories on real ZFS: make soak STEPS=5000, and SEED=… to repeat one
	CGO_ENABLED=0 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi ZFS_CSI_DEADLINE=10000h \
		$(MACHINE) run -- go test -count=1 -timeout=0 -v -run TestOnPools $(TESTFLAGS) -exec '$(MACHINE) exec' \
		./e2e/history -steps=$(STEPS) $(if $(SEED),-rapid.seed=$(SEED))

.PHONY: power-test
power-test: machine build ## cut the power in random histories (two minutes each): make power-test N=20, and SEED=…
	ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi ZFS_CSI_POWER=$(MACHINE) \
		go test -count=1 -timeout=0 -v -run=TestPower ./e2e/history -rounds=$(N) $(if $(SEED),-rapid.seed=$(SEED))

.PHONY: demo
demo: machine build ## see the main job done on real ZFS, as a story
	@CGO_ENABLED=0 go build -buildvcs=false -o bin/demo ./e2e/demo
	@ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi $(MACHINE) run -- $(MACHINE) exec bin/demo

.PHONY: vm-shell
vm-shell: machine build ## a shell in a fresh machine with ZFS and the driver in its PATH
	@ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi $(MACHINE) shell

.PHONY: vet
vet:
	go vet ./...

.PHONY: fmt
fmt: ## format the sources
	gofmt -w $(shell git ls-files '*.go')

.PHONY: check-fmt
check-fmt:
	@unformatted="$$(gofmt -l cmd driver zfs e2e)"; \
	[ -z "$$unformatted" ] || { echo "not formatted, run make fmt: $$unformatted" >&2; exit 1; }

.PHONY: lint
lint: $(LINT) ## golangci-lint, built once (some minutes) and kept in the cache folder
	$(LINT) run ./...

$(LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once …"
	@mkdir -p $(@D)
	@work="$$(mktemp -d $(@D)/build-XXXXXX)"; trap 'rm -rf "$$work"' EXIT; \
	GOBIN="$$work" CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION); \
	mv "$$work/golangci-lint" $@

.PHONY: clean
clean: ## remove what was built here; the machine stays in the cache folder
	rm -rf bin
