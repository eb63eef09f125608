# What there is to do here. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The version of OpenZFS in the machine: 2.1, 2.3 or 2.4. Without effect on a computer that has ZFS.
ZFS ?= 2.3
export ZFS

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The container image: its name, as in the chart's values, and the archive that make image writes.
IMAGE ?= zfs-csi/zfs-csi:$(VERSION)
IMAGE_ARCHIVE := bin/image.tar
GOLANGCI_LINT_VERSION := v2.15.0
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/zfs-csi
LINT := $(CACHE)/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)-$(shell go env GOVERSION)
HELM := $(CURDIR)/bin/helm
MACHINE := $(CURDIR)/bin/machine

# How e2e/machine builds what a cluster is made of. Kubernetes takes minutes to compile, so that nothing
# compiles it in another way.
AS_TOOL := CGO_ENABLED=0 GOFLAGS='$(strip $(shell go env GOFLAGS) -trimpath -buildvcs=false)'

# The race detector needs a C compiler.
RACE := $(if $(shell command -v "$$(go env CC)"),-race)

# What to test and how: make test PACKAGES=./zfs/... TESTFLAGS='-v -run Clone'
PACKAGES ?= ./...
TESTFLAGS ?=

# Test programs are sent into the machine: without what only debuggers read they are a third smaller.
SMALL := -ldflags='-s -w'

# Those that take minutes come first, lest one of them is left for the end, when nothing runs beside it.
longest-first = $(filter %/e2e/csi %/zfs,$(1)) $(filter %/e2e/history,$(1)) $(filter-out %/e2e/csi %/zfs %/e2e/history,$(1))

# The tests that are run exhaustively.
RUN ?= TestLocal|TestCrashes|TestDeleteOrders|TestFull|TestOutOfSpace|TestSuspendedMeanwhile

# How many steps random histories have in all, and what they follow from; without, a new one.
STEPS ?= 1000
SEED ?=

# How long clients work side by side.
CLIENTS ?= 5m

# In how many random histories the power is cut.
N ?= 5

# Of the storage suite: which specs, how many at once, for how long in one call (3h, say; the
# next call goes on), and whether to run again what is done.
FOCUS ?=
PROCS ?= 4
LIMIT ?= 0
AGAIN ?=
# Those of e2e/cluster that do not take all of Kubernetes to be built.
CLUSTER_PROGRAMS := ./specs ./smoke
WITH_DRIVER = e2e/cluster/with-driver $(MACHINE) $(IMAGE) $(IMAGE_ARCHIVE)
SUITE = $(CURDIR)/bin/specs -suite $(CURDIR)/bin/suite.test -ginkgo $(CURDIR)/bin/ginkgo -sources $(CURDIR)/e2e/cluster/suite -procs $(PROCS)
# Results are of one revision: what another one has passed proves nothing.
SPECS = $(SUITE) -results $(CURDIR)/bin/e2e/$(VERSION) -focus '$(FOCUS)' -limit $(LIMIT) $(if $(AGAIN),-again)

# In emulation everything is several times slower. The machine's own deadline comes
# after go test's, which tells more: it shows where the tests hang.
REAL_TIMEOUT ?= 40m
export ZFS_CSI_DEADLINE ?= 45m

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Variables: ZFS=2.1|2.3|2.4 (now $(ZFS)), PACKAGES=./zfs/..., TESTFLAGS="-v -run Clone"'

.PHONY: build
build: ## the driver: bin/zfs-csi
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/zfs-csi ./cmd/zfs-csi

.PHONY: image
image: machine-program build ## the container image, built without a registry: bin/image.tar
	@$(MACHINE) image bin/zfs-csi $(IMAGE) $(IMAGE_ARCHIVE)
	@echo "$(IMAGE) is in $(IMAGE_ARCHIVE); docker load, kind load image-archive and ctr images import take it"

.PHONY: machine
machine: machine-program ## build and save the machine with ZFS, if it is not in the cache yet
	@$(MACHINE) build

.PHONY: machine-program
machine-program:
	@go build -buildvcs=false -o $(MACHINE) ./e2e/machine

.PHONY: test
test: check-fmt vet test-host test-zfs ## all tests, on real ZFS too

.PHONY: test-host
test-host: ## the tests that need no ZFS; the others are skipped
	go test $(RACE) $(TESTFLAGS) $(call longest-first,$(shell go list $(PACKAGES)))
	$(AS_TOOL) go -C e2e/cluster test ./specs

# The machine has two processors, however many this computer has: more packages at once would only make each other late.
.PHONY: test-zfs
test-zfs: machine build ## the tests that use ZFS, on real ZFS
	$(if $(filter %/e2e/machine,$(shell go list $(PACKAGES))),ZFS_CSI_BUILT_MACHINE=$(MACHINE) \
		go test -count=1 -run=TestInterrupted $(TESTFLAGS) ./e2e/machine)
	CGO_ENABLED=0 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi \
		$(MACHINE) run -- go test -count=1 -p=2 -timeout=$(REAL_TIMEOUT) $(SMALL) $(TESTFLAGS) -exec '$(MACHINE) exec' \
		$(call longest-first,$(filter-out %/e2e/chart %/e2e/machine %/e2e/story %/zfs/fake,$(shell go list $(PACKAGES))))

.PHONY: test-exhaustive
test-exhaustive: machine build ## all that test-zfs leaves out in emulation (more than an hour): RUN=TestCrashes for a part
	CGO_ENABLED=0 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi ZFS_CSI_EXHAUSTIVE=1 ZFS_CSI_DEADLINE=3h \
		$(MACHINE) run -- go test -count=1 -p=1 -timeout=2h $(SMALL) -v -run='$(RUN)' $(TESTFLAGS) -exec '$(MACHINE) exec' ./zfs ./e2e/csi

# The binary is static: the machine has another C library than this computer.
.PHONY: race-test
race-test: machine build ## sixteen clients on the same volumes, with the race detector, on real ZFS: make race-test CLIENTS=5m
	CGO_ENABLED=1 ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi ZFS_CSI_DEADLINE=10000h \
		$(MACHINE) run -- go test -race -tags=netgo,osusergo -ldflags='-linkmode=external -extldflags=-static' \
		-count=1 -timeout=0 -v -run=TestClients -exec '$(MACHINE) exec' ./e2e/history -clients=$(CLIENTS)

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

# How many volumes and snapshots the full parent holds, how often each call is measured, and which rows.
SCALE ?= 1000
TIMES ?= 15
ROWS ?=
BENCH = CGO_ENABLED=0 ZFS_CSI_DEADLINE=10000h $(MACHINE) run --

.PHONY: bench
bench: machine build bench-program ## the driver beside raw ZFS, on real ZFS (15 minutes): make bench SCALE=1000 TIMES=15 ROWS=clone
	@ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi $(BENCH) $(MACHINE) exec bin/bench -scale=$(SCALE) -times=$(TIMES) -only='$(ROWS)' \
		-revision='$(VERSION)' >bin/bench.json
	@mkdir -p docs/bench && cp bin/bench.json docs/bench/bench.json
	@bin/bench -report=docs/bench/bench.json -as=svg >docs/bench/bench.svg
	@echo 'the figures are in docs/bench/bench.json, the plot in docs/bench/bench.svg'

.PHONY: bench-program
bench-program:
	@CGO_ENABLED=0 go build -buildvcs=false -o bin/bench ./e2e/bench

# What to compare with, and how often the two take turns.
BASE ?= HEAD~1
TURNS ?= 3
BENCHSTAT := golang.org/x/perf/cmd/benchstat@latest

.PHONY: bench-compare
bench-compare: machine build bench-program ## two revisions in turn on one machine, and benchstat's verdict: make bench-compare BASE=HEAD~1 ROWS=clone
	@e2e/bench/compare '$(BASE)' $(TURNS) $(MACHINE) $(BENCHSTAT) -scale=$(if $(filter command line,$(origin SCALE)),$(SCALE),0) -data=0 -times=$(TIMES) -only='$(ROWS)'

.PHONY: vm-shell
vm-shell: machine build ## a shell in a fresh machine with ZFS and the driver in its PATH
	@ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi $(MACHINE) shell

.PHONY: cluster
cluster: image ## a shell with kubectl and helm, and a fresh cluster of one node on real ZFS, with the driver in it
	@$(MACHINE) run --cluster -- $(WITH_DRIVER) $(MACHINE) shell --cluster

.PHONY: demo-cluster
demo-cluster: image ## see volumes cloned, grown, snapshotted and restored in a cluster, with kubectl, as a story
	@$(MACHINE) run --cluster -- $(WITH_DRIVER) e2e/cluster/demo

.PHONY: cluster-test
cluster-test: machine-program ## the cluster itself: the node is ready, pods run, a service answers
	@cd e2e/cluster && $(AS_TOOL) $(MACHINE) run --cluster -- go test -count=1 -v ./smoke

.PHONY: test-cluster
test-cluster: image ## the driver in a cluster: installed with Helm, tested by that, and the story through kubectl
	@$(MACHINE) run --cluster -- $(WITH_DRIVER) bash -euo pipefail -c \
		'helm test zfs-csi -n zfs-csi --timeout 10m; e2e/cluster/nothing-left; \
		CGO_ENABLED=0 go test -count=1 -timeout=40m -v $(TESTFLAGS) ./e2e/story; e2e/cluster/nothing-left'

# The ways that README.md offers: a pool in a file, and one of the reader's.
WAY ?= file yours

.PHONY: test-readme
test-readme: machine-program ## README.md's install section, word by word, each of its ways in a fresh cluster: make test-readme WAY=yours
	@for way in $(WAY); do $(MACHINE) run --cluster -- e2e/cluster/readme-run $(MACHINE) "$$way"; done

.PHONY: test-kind
test-kind: image ## the chart's test and the story on a node like kind's: a /dev of its own without udev, mounts in a namespace of their own
	@$(MACHINE) run --cluster -- bash -euo pipefail -c \
		'$(MACHINE) sh "sh -s" <e2e/cluster/like-kind.sh; exec $(WITH_DRIVER) e2e/cluster/kind-run'

.PHONY: smoke
smoke: image e2e-programs ## in one cluster: the chart's test, the story, and nine specs of Kubernetes' storage suite
	@$(MACHINE) run --cluster -- $(WITH_DRIVER) e2e/cluster/smoke-run bin/smoke $(SUITE) -results $(CURDIR)/bin/smoke/specs -again -procs 2

.PHONY: e2e
e2e: image e2e-programs ## Kubernetes' storage suite, as far as it is not done: make e2e FOCUS='pvc data source' AGAIN=1
	@$(MACHINE) run --cluster -- $(WITH_DRIVER) $(SPECS)

.PHONY: e2e-list
e2e-list: e2e-programs ## the specs of that suite
	@$(SPECS) -list

.PHONY: e2e-programs
e2e-programs:
	@echo 'building the suite (the first time this takes some minutes) …'
	@$(AS_TOOL) go -C e2e/cluster test -c -ldflags='-s -w' -o $(CURDIR)/bin/suite.test ./suite
	@$(AS_TOOL) go -C e2e/cluster build -o $(CURDIR)/bin/ ./specs github.com/onsi/ginkgo/v2/ginkgo

# The driver is for arm64 too, where nothing here runs it: there it has to compile and link at least.
.PHONY: vet
vet:
	go vet ./...
	CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -buildvcs=false -o /dev/null ./cmd/zfs-csi

.PHONY: fmt
fmt: ## format the sources
	gofmt -w $(shell git ls-files '*.go')

.PHONY: check-fmt
check-fmt:
	@unformatted="$$(gofmt -l cmd driver zfs e2e)"; \
	[ -z "$$unformatted" ] || { echo "not formatted, run make fmt: $$unformatted" >&2; exit 1; }

# It vets too, and what belongs to the cluster only here: for that go vet has Kubernetes' API and client compiled, which takes minutes from nothing.
.PHONY: lint
lint: $(LINT) ## golangci-lint, built once (some minutes) and kept in the cache folder
	$(LINT) run ./...
	cd e2e/cluster && $(AS_TOOL) $(LINT) run $(CLUSTER_PROGRAMS)

$(LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once …"
	@mkdir -p $(@D)
	@work="$$(mktemp -d $(@D)/build-XXXXXX)"; trap 'rm -rf "$$work"' EXIT; \
	GOBIN="$$work" CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION); \
	mv "$$work/golangci-lint" $@

.PHONY: lint-chart
lint-chart: build helm ## the Helm chart and the examples, without a cluster
	ZFS_CSI_HELM=$(HELM) ZFS_CSI_BINARY=$(CURDIR)/bin/zfs-csi go test -count=1 ./e2e/chart

.PHONY: helm
helm: ## Helm, as the cluster has it: bin/helm
	@echo 'building helm (the first time this takes some minutes) …'
	@$(AS_TOOL) go -C e2e/cluster/addons build -ldflags='-s -w' -o $(HELM) helm.sh/helm/v3/cmd/helm

.PHONY: clean
clean: ## remove what was built here; the machine stays in the cache folder
	rm -rf bin
