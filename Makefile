# netfate's tasks. `make help` lists them. Everything is built below bin/.

# Go where its own instructions put it, if the shell has not been told.
export PATH := $(PATH):/usr/local/go/bin
GO ?= $(shell command -v go || echo /usr/local/go/bin/go)
export GO
# The programs that attach to the kernel run as root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,$(abspath tools/asroot))

# What the page is built with and tried in. Whoever has npm has it from somewhere,
# and Debian's would not go beside it.
UI_PACKAGES := chromium $(if $(shell command -v npm),,nodejs npm)
# Debian packages that tests and generators need; `make run` needs none.
CLANG_PACKAGES := clang-19 llvm-19 libbpf-dev
TEST_PACKAGES := $(CLANG_PACKAGES) clang-format-19 gcc g++ libc6-dev systemtap-sdt-dev curl libpcre2-8-0 \
	iproute2 nftables iperf3 tcpdump ethtool conntrack socat netcat-openbsd \
	iputils-ping iputils-arping procps hping3 python3 jq bpftool tshark nghttp2-client tcpreplay \
	dnsmasq-base bind9-dnsutils openssl openssh-client gnutls-bin podman runc rpm $(UI_PACKAGES)
# For tests, unpacked below bin/ and not installed.
WEB_PACKAGES := nginx wrk libluajit-5.1-2 android-libboringssl prometheus nfdump
# A server that the history of many hosts is tried with, and what it links.
CLICKHOUSE_PACKAGES := clickhouse-server clickhouse-common libboost-filesystem1.74.0 libboost-program-options1.74.0 libcapnp-0.9.2 libcctz2 libcpuinfo0 \
	libdouble-conversion3 libfarmhash0 libicu72 libjemalloc2 libmariadb3 libmetrohash1 libodbc2 libpocodata80 libpocodataodbc80 libpocofoundation80 \
	libpococrypto80 libpocojson80 libpocomongodb80 libpoconet80 libpoconetssl80 libpocoutil80 libpocoxml80 librdkafka1 libre2-9 libpcre3 libltdl7
# What netfate is measured beside, and what sends for it. softflowd and pmacct bring services, which docs/peers.md tells how to keep off.
PEER_PACKAGES := bpftrace tcpdump softflowd pmacct nethogs httpry ngrep tshark linux-perf socat nftables
VM_PACKAGES := busybox-static cpio kmod qemu-system-x86 xz-utils
DEMO_PACKAGES := iproute2 nftables iperf3 iputils-ping socat netcat-openbsd

# Packages below test/ drive the kernel and measure: one at a time, without the
# race detector. All others run under it, two at a time.
RACE_PACKAGES = $(shell $(GO) list ./... | grep -v '/netfate/test/')
# Whether this host's kernel is locked up (tools/locked): then tests run here
# without privileges, and only guests try the rest.
LOCKED := $(shell tools/locked)
# Kernels that `make test` tries in QEMU beside this host's, in the tests' short
# form: the oldest that netfate runs on, and another one each day. What sid brings
# changes by itself, so it is only in `make matrix`.
NEWER := 6.1 6.12
KERNELS ?= 5.10 $(word $(shell expr $$(date +%s) / 86400 % 2 + 1),$(NEWER))
# What tests have compiled on this host, for the guests.
COMPILED := $(abspath bin/compiled)
WITH_COMPILED = PATH="$(abspath bin/cached):$$PATH" NETFATE_COMPILED=$(COMPILED)
FUZZTIME ?= 10s
# The BTF that vmlinux.h is made from.
BTF ?= /sys/kernel/btf/vmlinux
# Arguments of netfate, as in `make run ARGS="drops --all"`; also for `make demo`.
ARGS ?=

C_FILES = $(shell git ls-files --cached --others --exclude-standard 'bpf/*.c' 'bpf/lib/*.h' 'bpf/http/*.h' 'bpf/tls/*.h' 'bpf/urls/*.h' \
	'bpf/examples/*.h' 'test/loader/testdata/*.c')
GO_DIRS := cmd internal test tools

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run build release sbom reproducible packages image chart examples test go-test ui ui-test kernel-test clients vm-test matrix check-format vet lint demo bench bench-peers prove fuzz vuln generate vmlinux \
	reference format site clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed 's/:.*## /\t/' | expand -t 16

run: ## build netfate and start its live view (ARGS="drops --all" for another command)
	@tools/need run
	@$(MAKE) --no-print-directory build
	$(AS_ROOT) bin/netfate $(ARGS)

# What glibc says of getpwuid and the like, which is not used.
QUIET := $(shell ld --help 2>/dev/null | grep -q -e --no-warnings && echo -Wl,--no-warnings)
# Static either way, so that it runs on every host. DuckDB, which keeps the history, is
# C++: its library is linked where there is a compiler to do it.
STATIC = -tags netgo,osusergo -ldflags '-s -w $(NAMED) -linkmode external -extldflags "-static $(QUIET)"'

build: ## build bin/netfate; needs nothing but Go, and g++ for the history
ifneq ($(shell command -v g++),)
	CGO_ENABLED=1 $(GO) build -trimpath $(STATIC) -o bin/netfate ./cmd/netfate
else
	@echo "make build: there is no g++, so this netfate has no history (netfate query, --since); apt-get install g++"
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/netfate ./cmd/netfate
endif

# What is given to others. It says what version it is (VERSION=1.2.0), and nothing of where and
# when it was built: the same sources, Go and g++ give the same bytes.
VERSION ?= $(shell tools/version)
RELEASE := bin/release

release: NAMED = -X main.release=$(VERSION)
release: ## build static programs for amd64 and arm64 in bin/release, with their SHA256SUMS
	@rm -rf $(RELEASE)
	CGO_ENABLED=1 GOARCH=amd64 $(GO) build -trimpath -buildvcs=false $(STATIC) -o $(RELEASE)/netfate-linux-amd64 ./cmd/netfate
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w $(NAMED)' -o $(RELEASE)/netfate-linux-arm64 ./cmd/netfate
	for arch in amd64 arm64; do tools/licences $(RELEASE)/netfate-linux-$$arch > $(RELEASE)/third-party-$$arch || exit; done
	cd $(RELEASE) && sha256sum netfate-* third-party-* > SHA256SUMS

sbom: release bin/sbom ## list what each program of the release was linked with, as CycloneDX beside it
	for arch in amd64 arm64; do tools/components $(RELEASE)/netfate-linux-$$arch $(VERSION) $(RELEASE)/netfate-linux-$$arch.cdx.json || exit; done
	cd $(RELEASE) && sha256sum netfate-* third-party-* > SHA256SUMS

bin/sbom: tools/sbom/go.mod tools/sbom/go.sum
	$(GO) -C tools/sbom build -o $(abspath $@) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

reproducible: ## build a release twice, in two directories with empty caches, and compare
	tools/reproducible

packages: release bin/nfpm ## make a deb and an rpm of each program of the release, in bin/packages
	@rm -f bin/packages/*.deb bin/packages/*.rpm
	tools/package bin/packages $(VERSION) amd64 $(RELEASE)/netfate-linux-amd64 $(RELEASE)/netfate-linux-amd64
	tools/package bin/packages $(VERSION) arm64 $(RELEASE)/netfate-linux-arm64 $(RELEASE)/netfate-linux-amd64

image: release bin/image ## make a container image of the release, as an OCI layout in bin/packages/image
	@mkdir -p bin/packages
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) bin/image $(RELEASE) LICENSE $(VERSION) bin/packages/image

chart: bin/chart ## check the Helm chart and pack it, with what it renders by itself, in bin/packages
	@mkdir -p bin/packages
	bin/chart packaging/helm/netfate $(VERSION) bin/packages > bin/packages/netfate.yaml

# Modules of their own, as the linters are.
bin/nfpm: tools/nfpm/go.mod tools/nfpm/go.sum
	$(GO) -C tools/nfpm build -o $(abspath $@) github.com/goreleaser/nfpm/v2/cmd/nfpm

bin/image bin/chart: bin/%: tools/%/main.go tools/%/go.mod tools/%/go.sum
	$(GO) -C tools/$* test ./...
	$(GO) -C tools/$* build -o $(abspath $@) .

# As bpf/examples/README.md says, which is for those who have no make.
examples: ## build bpf/examples as bin/examples/*.bpf.o
	@tools/need examples $(CLANG_PACKAGES)
	@$(MAKE) --no-print-directory $(patsubst bpf/examples/%.c,bin/examples/%.o,$(wildcard bpf/examples/*.bpf.c))

bin/examples/%.bpf.o: bpf/examples/%.bpf.c bpf/examples/url_map.h
	@mkdir -p $(@D)
	clang-19 -O2 -g -target bpf -I/usr/include/$(shell uname -m)-linux-gnu -c $< -o $@

test: ## run every check and every test, installing what they need
	@tools/need test $(TEST_PACKAGES) $(VM_PACKAGES)
	@$(MAKE) --no-print-directory check-format vet lint go-test ui-test kernel-test vm-test

ifeq ($(LOCKED),)
go-test: bin/cached/gcc bin/clickhouse
	$(WITH_COMPILED) CGO_ENABLED=1 $(GO) test -race -count=1 -p 2 -timeout 10m $(addprefix -exec=,$(AS_ROOT)) $(RACE_PACKAGES)

kernel-test: build bin/web bin/cached/gcc bin/nfpm
	$(WITH_COMPILED) NETFATE_BIN=$(abspath bin/netfate) $(GO) test -count=1 -p 1 -timeout 25m $(addprefix -exec=,$(AS_ROOT)) ./test/...
else
go-test: bin/cached/gcc bin/clickhouse
	@echo "make test: this host's kernel cannot load BPF programs any more: tests that need root run in QEMU only"
	$(WITH_COMPILED) CGO_ENABLED=1 $(GO) test -race -count=1 -p 2 -timeout 10m -exec=$(abspath tools/unprivileged) $(RACE_PACKAGES)

kernel-test:
endif

clients: bin/clients/goflow2 bin/clients/otelcol ## have OpenTelemetry's Collector and goflow2, built from their sources, read what is exported
	$(GO) test -tags clients -count=1 ./test/clients

bin/clients/goflow2: tools/clients/go.mod tools/clients/go.sum
	$(GO) -C tools/clients build -o $(abspath $@) github.com/netsampler/goflow2/v2/cmd/goflow2

bin/clients/otelcol: tools/clients/otelcol.yaml tools/clients/go.mod tools/clients/go.sum
	cd tools/clients && $(GO) tool builder --config otelcol.yaml
	cp $@.src/otelcol $@

vm-test: bin/vm-matrix bin/web bin/cached/gcc ## run the tests' short form in QEMU on two kernels (KERNELS="6.1 sid" for others)
	$(WITH_COMPILED) $(AS_ROOT) bin/vm-matrix -short $(KERNELS)

matrix: ## run every test in QEMU on every kernel, and the sensors' on arm64
	@tools/need matrix $(TEST_PACKAGES) $(VM_PACKAGES) qemu-system-arm
	@$(MAKE) --no-print-directory bin/vm-matrix bin/web bin/cached/gcc
	$(WITH_COMPILED) $(AS_ROOT) bin/vm-matrix 5.10 $(NEWER) sid
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test -count=1 -timeout 25m -exec="$(AS_ROOT) $(abspath test/vm/run) 6.12-arm64" ./test/sensor

ui: ## build the page from ui/ to internal/webui/dist
	@tools/need ui $(UI_PACKAGES)
	tools/ui build

ui-test: ## check the page's sources, build them anew, and try the page in Chromium
	@tools/need ui-test $(UI_PACKAGES)
	tools/ui test

bin/cached/gcc: tools/cached/main.go
	CGO_ENABLED=0 $(GO) build -o bin/cached/clang-19 ./tools/cached
	ln -sf clang-19 $@

.PHONY: bin/vm-matrix
bin/vm-matrix:
	$(GO) build -o $@ ./test/vm/matrix

bin/web: tools/unpack Makefile
	tools/unpack $@ $(WEB_PACKAGES)

bin/clickhouse: tools/unpack Makefile
	tools/unpack $@ $(CLICKHOUSE_PACKAGES)

check-format:
	@bad=$$(gofmt -l $(GO_DIRS)) && [ -z "$$bad" ] || { echo "gofmt would change (run make format):" $$bad; exit 1; }
	clang-format-19 --dry-run -Werror $(C_FILES)

format: ## format Go and C
	gofmt -w $(GO_DIRS)
	clang-format-19 -i $(C_FILES)

vet:
	$(GO) vet ./...

# The linters are a module of their own: netfate's go.mod stays free of them.
lint: bin/golangci-lint ## run golangci-lint
	bin/golangci-lint run ./...

bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	$(GO) -C tools/lint build -o $(abspath $@) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

vuln: bin/govulncheck ## look for known vulnerabilities (reads vuln.go.dev)
	bin/govulncheck ./...

bin/govulncheck: tools/vuln/go.mod tools/vuln/go.sum
	$(GO) -C tools/vuln build -o $(abspath $@) golang.org/x/vuln/cmd/govulncheck

site: ## write the documentation as web pages to bin/site
	$(GO) run ./tools/site bin/site

demo: ## network namespaces that talk and lose packets, and netfate on them
	@tools/need demo $(DEMO_PACKAGES)
	@$(MAKE) --no-print-directory build
	$(GO) build -o bin/demo ./test/scenario/demo
	$(AS_ROOT) bin/demo bin/netfate $(ARGS)

bench: ## measure what netfate costs and write docs/benchmarks.md
	@tools/need bench $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory build
	$(GO) build -o bin/bench ./test/bench
	$(GO) -C test/bench/sqlite build -o $(abspath bin/bench-sqlite) .
	$(AS_ROOT) bin/bench
	$(GO) test -count=1 -v $(addprefix -exec=,$(AS_ROOT)) -run TestMixed ./test/ledger -mixed 1m

# NETFATE_PWRU and NETFATE_RETIS are the paths of those two, which Debian has not.
bench-peers: ## measure netfate beside bpftrace, tcpdump, pmacct and others, and write docs/peers.md
	@tools/need bench-peers $(PEER_PACKAGES)
	@$(MAKE) --no-print-directory build
	$(GO) build -o bin/bench ./test/bench
	$(AS_ROOT) bin/bench -only peers

# How long the daemon is watched for growth.
SOAK ?= 1h

prove: ## faults, churn, hostile packets, overload and a soak (SOAK=1h) in their long form; writes docs/prove.md
	@tools/need prove $(TEST_PACKAGES) $(VM_PACKAGES)
	@$(MAKE) --no-print-directory build
	NETFATE_BIN=$(abspath bin/netfate) $(GO) test -count=1 -v -timeout 6h $(addprefix -exec=,$(AS_ROOT)) ./test/faults -long -soak $(SOAK) -page $(abspath docs/prove.md)
	CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 3h -exec="$(AS_ROOT) $(abspath test/vm/run) -t 9000 6.1" -run TestNothingIsLeft ./test/sensor -lifetimes 1000

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@tools/need fuzz $(CLANG_PACKAGES) gcc libc6-dev
	tools/fuzz $(FUZZTIME)

generate: ## rebuild every BPF object and every generated page
	@tools/need generate $(CLANG_PACKAGES)
	$(GO) generate ./...

vmlinux: ## write bpf/vmlinux/vmlinux.h from bpf/vmlinux/wanted.txt and BTF=
	$(GO) run ./tools/vmlinux -btf $(BTF) -wanted bpf/vmlinux/wanted.txt -out bpf/vmlinux/vmlinux.h

clean: ## remove what make built
	rm -rf bin
