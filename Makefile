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

.PHONY: build run test check bench lab clean generate fuzz
.PHONY: format vet lint generated tidy portable race

build:
	go build -o bin/hbmfs ./cmd/hbmfs

# The whole way of the bytes on a real tree: SRC=dir, or Go's own sources.
run: build
	go run ./integration/run --hbmfs bin/hbmfs --src "$${SRC:-$$(go env GOROOT)}"

test:
	go test -count=1 -timeout 15m $(TESTFLAGS) ./...

check: format vet lint generated tidy portable race

format:
	@out=$$( { gofmt -l .; go tool goimports -local hbmfs -l .; } | grep -v '\.pb\.go$$' | sort -u || true); \
	if [ -n "$$out" ]; then echo "not formatted; run: go tool goimports -local hbmfs -w FILE"; echo "$$out"; exit 1; fi

vet:
	go vet ./...

lint: $(GOLANGCI)
	go tool staticcheck ./...
	$(GOLANGCI) run ./...

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

# Every package builds without a C compiler.
portable:
	CGO_ENABLED=0 go build ./...

race:
	go test -race -count=1 -timeout 20m $(TESTFLAGS) ./...

generate: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	$(call protoc,$(WIRE))

# Throughput and latency beside others; needs nbdkit, libnbd-bin, sshfs, iperf3, fio.
bench: build
	go run ./integration/peers $(BENCHFLAGS)

# Tests on RDMA and dma-bufs, in guests under QEMU: T=part for one part,
# SOAK=10m for longer soak tests. Needs root; says which packages are missing.
lab:
	go build -o bin/lab ./integration/lab
	bin/lab $(if $(T),--part $(T)) $(if $(SOAK),--soak $(SOAK)) $(LABFLAGS)

# Each fuzz target for FUZZTIME.
fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
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
