# MCR: build, test, measure, install. `make help` lists the targets.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARIES   := $(addprefix $(TARGET_DIR)/release/,mcrd mcrctl mcrgen)

export CARGO

.PHONY: help build deps test bench check lint deny demo install
.DEFAULT_GOAL := build

help:
	@echo "make build     release binaries in $(TARGET_DIR)/release"
	@echo "make demo      generator, relay and two receivers in namespaces (root)"
	@echo "make test      unit, property, doc and namespace tests (root, or the last are skipped)"
	@echo "make bench     throughput and latency floors (root)"
	@echo "make check     formatting, lints, licences, sources and duplicates of dependencies"
	@echo "make install   mcrd to PREFIX/sbin, mcrctl and mcrgen to PREFIX/bin; takes PREFIX, DESTDIR"
	@echo "make deps      the programs that the tests run, by apt, only what is absent"

build:
	$(CARGO) build --release --locked --bins

deps:
	@scripts/deps build test

# What is tested is the development profile, in which an overflow panics; no release build is needed.
test: deps
	@scripts/test

bench: deps build
	$(CARGO) bench --locked -p mcr --bench floors

check: lint deny

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check bans licenses sources

demo:
	@scripts/demo

# Builds only what is absent, so that `sudo make install` after `make build` needs no Rust.
$(BINARIES) &:
	$(CARGO) build --release --locked --bins

install: $(BINARIES)
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(TARGET_DIR)/release/mcrd $(DESTDIR)$(PREFIX)/sbin/mcrd
	install -m 0755 $(TARGET_DIR)/release/mcrctl $(TARGET_DIR)/release/mcrgen $(DESTDIR)$(PREFIX)/bin
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml ]; then \
		echo "$(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml is there and stays as it is"; \
	else \
		set -x; \
		install -d $(DESTDIR)$(SYSCONFDIR)/mcr && \
		install -m 0644 dist/mcr.toml $(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml; \
	fi
