# demo       set up, build, then show stream tables being kept on a cluster made for the purpose
# test       set up, then every test
# test-long  the same tests with long runs: minutes of crashes, 100,000 random histories
# lint       formatting and clippy, no warning allowed
# bench      the benchmarks of docs/benchmarks.md
# setup      only what the others do first: packages, a Rust toolchain, RocksDB; each only where missing

CACHE ?= $(HOME)/.cache/tributary
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR ?= $(CACHE)/target
ROCKSDB := $(shell awk '/^name = "librocksdb-sys"/ { getline; gsub(/"/, "", $$3); print $$3 }' Cargo.lock)
export ROCKSDB_LIB_DIR ?= $(CACHE)/rocksdb-$(ROCKSDB)
export ROCKSDB_STATIC = 1
PACKAGES := libclang-dev gcc g++ openssl
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
PROFILE ?= dev

.PHONY: demo test test-long lint bench build setup packages rust rocksdb

demo: build
	$(CARGO_TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/tributary demo $(DEMO)

build: setup
	cargo build --locked --profile $(PROFILE) -p tributary

# The daemon that the suites start has its failpoints built in.
test: setup
	cargo build --locked -p tributary --features failpoints
ifeq ($(NEXTEST),yes)
	cargo nextest run --locked --no-fail-fast --workspace --features tributary/failpoints $(if $(TRIBUTARY_LONG),--profile long)
else
	cargo test --locked --workspace --features tributary/failpoints
endif

test-long: export TRIBUTARY_LONG = 1
test-long: test

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features tributary/failpoints -- -D warnings

bench: setup
	cargo build --locked --release -p tributary
	cargo run --locked --release -p tributary-tests --bin bench

setup: packages rust rocksdb

# Debian's packages, only those that are missing; any PostgreSQL server from 15 on will do.
packages:
	@missing=""; \
	for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q "ok installed" || missing="$$missing $$p"; done; \
	new=$$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1); \
	[ "$${new:-0}" -ge 15 ] || missing="$$missing postgresql-15 postgresql-client-15"; \
	command -v cargo >/dev/null || command -v curl >/dev/null || missing="$$missing curl ca-certificates"; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		root=""; [ "$$(id -u)" = 0 ] || root=sudo; \
		$$root apt-get update -q && DEBIAN_FRONTEND=noninteractive $$root apt-get install -q -y --no-install-recommends $$missing; \
	fi

# Debian's own toolchain is too old.
rust: | packages
	@command -v cargo >/dev/null || curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path

# RocksDB's C++ takes a quarter of an hour: built once a version, for every profile. Without what debuggers read, which is 30
# times as large and is written into every test that is linked.
rocksdb: $(CACHE)/rocksdb-$(ROCKSDB)/librocksdb.a

$(CACHE)/rocksdb-$(ROCKSDB)/librocksdb.a: | packages rust
	@echo "building RocksDB $(ROCKSDB) once, about 15 minutes on two cores"
	@mkdir -p $(CACHE)/rocksdb-build $(@D)
	env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC ROCKSDB_COMPILE=1 CARGO_TARGET_DIR=$(CACHE)/rocksdb-build \
		CARGO_PROFILE_RELEASE_DEBUG=false cargo build --locked --release -p librocksdb-sys
	cp "$$(find $(CACHE)/rocksdb-build -name librocksdb.a | head -n 1)" $@.part
	strip --strip-debug $@.part
	mv $@.part $@
	rm -rf $(CACHE)/rocksdb-build
