# hbmfs: build, try, test. See README.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

TOOLS := bin/tools
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
WIRE := remote/wire
FUZZTIME ?= 10s
# More flags for go test, such as TESTFLAGS=-v.
TESTFLAGS ?=
# As --must-pass=FILE: tests that may not be left out.
SUITEFLAGS ?=

# Installs the Debian packages that a purpose wants.
install = go build -o bin/install ./integration/install && bin/install $(1)
# go, without cgo where RDMA can't be compiled.
GO := CGO_ENABLED=$$(.ci/cgo 2>/dev/null) go

.PHONY: build run test check bench lab chaos clean generate fuzz
.PHONY: format vet lint generated tidy portable race

# Says so where RDMA is left out.
build:
	@.ci/cgo >/dev/null
	$(GO) build -o bin/hbmfs ./cmd/hbmfs

# The whole way of the bytes on a real tree: SRC=dir, or Go's own sources.
run: build
	@$(GO) run ./integration/run --hbmfs bin/hbmfs --src "$${SRC:-$$(go env GOROOT)}"

# As root on Debian it first installs what the tests want; where that fails they
# run all the same, and what is left out is listed at the end.
test:
	@$(call install,test) || true
	@.ci/cgo >/dev/null
	@$(GO) run ./integration/suite $(SUITEFLAGS) -- -count=1 -timeout 15m $(TESTFLAGS) ./...

check: format vet lint generated tidy portable race

format:
	@out=$$( { gofmt -l .; go tool goimports -local hbmfs -l .; } | grep -v '\.pb\.go$$' | sort -u || true); \
	if [ -n "$$out" ]; then echo "not formatted; run: go tool goimports -local hbmfs -w FILE"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

lint: $(GOLANGCI)
	$(GO) tool staticcheck ./...
	CGO_ENABLED=$$(.ci/cgo 2>/dev/null) $(GOLANGCI) run ./...

# Generated code must be what its source generates. The versions that the
# generators write into their comments may differ.
generated: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(call protoc,$$dir); \
	for f in control.pb.go control_grpc.pb.go; do \
		diff -u -I '^//.*protoc' $(WIRE)/$$f "$$dir/$$f" || { echo "$(WIRE)/$$f is out of date; run: make generate"; exit 1; }; \
	done

tidy:
	go mod tidy -diff

# Every package builds without a C compiler, and for arm64; the client for 32 bits.
portable:
	CGO_ENABLED=0 go build ./...
	GOARCH=arm64 CGO_ENABLED=0 go vet ./...
	GOARCH=386 CGO_ENABLED=0 go build ./fs/client

race:
	$(GO) test -race -count=1 -timeout 20m $(TESTFLAGS) ./...

generate: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	$(call protoc,$(WIRE))

# Throughput and latency beside others, which it installs as root on Debian. It
# fails if a row is below its aim only with BENCHFLAGS=--strict.
bench: build
	@$(call install,bench) || true
	@$(GO) run ./integration/peers $(BENCHFLAGS)

# Tests on RDMA and dma-bufs, in guests under QEMU: T=part for one part,
# SOAK=10m for longer soak tests, KERNEL=7.3 for a newer kernel. Needs root; says
# which packages are missing.
lab:
	$(GO) build -o bin/lab ./integration/lab
	bin/lab $(if $(T),--part $(T)) $(if $(SOAK),--soak $(SOAK)) $(if $(KERNEL),--kernel $(KERNEL)) $(LABFLAGS)

# Readers, writers, and faults of mounts, targets and the network: ROUNDS rounds
# of LENGTH; then clients that come and go, for as long as CHURN says. SEED repeats
# the choices of a run. Needs root.
ROUNDS ?= 12
LENGTH ?= 50s
CHURN ?= 2m
chaos: build
	$(GO) build -o bin/chaos ./integration/chaos
	bin/chaos --rounds $(ROUNDS) --length $(LENGTH) --churn $(CHURN) $(if $(SEED),--seed $(SEED))

# Each fuzz target for FUZZTIME.
fuzz:
	@.ci/cgo >/dev/null
	@pkgs=$$($(GO) list ./...); \
	for pkg in $$pkgs; do \
		tests=$$($(GO) test -list '^Fuzz' $$pkg); \
		for target in $$(sed -n '/^Fuzz/p' <<<"$$tests"); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

clean:
	rm -rf bin

define protoc
protoc --proto_path=$(WIRE) \
	--plugin=$(TOOLS)/protoc-gen-go --plugin=$(TOOLS)/protoc-gen-go-grpc \
	--go_out="$(1)" --go_opt=paths=source_relative \
	--go-grpc_out="$(1)" --go-grpc_opt=paths=source_relative control.proto
endef

$(TOOLS)/protoc-gen-go: go.mod
	go build -o $@ google.golang.org/protobuf/cmd/protoc-gen-go

$(TOOLS)/protoc-gen-go-grpc: go.mod
	go build -o $@ google.golang.org/grpc/cmd/protoc-gen-go-grpc

# Of its own module graph: its dependencies are none of this module's.
$(GOLANGCI):
	GOFLAGS= GOBIN=$(CURDIR)/$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@
