# MCR: build, test, measure, install. `make help` lists the targets.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARIES   := $(addprefix $(TARGET_DIR)/release/,mcrd mcrctl mcrgen)
SHARE      := $(DESTDIR)$(PREFIX)/share
# Where each shell looks by itself; a distribution's own zsh and fish files have folders of their own.
ZSH        ?= zsh/site-functions
FISH       ?= fish/vendor_completions.d

# Reports of measurements name it.
MCR_COMMIT := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null)

export CARGO MCR_COMMIT

.PHONY: help build deps test bench peers engine instructions soak check lint deny demo install completions deb test-deb test-old-kernel fuzz
.DEFAULT_GOAL := build

help:
	@echo "make build     release binaries in $(TARGET_DIR)/release"
	@echo "make demo      generator, relay and two receivers in namespaces (root)"
	@echo "make test      unit, property, doc and namespace tests (root, or the last are skipped)"
	@echo "make bench     both of these; with ROWS=rate,latency those rows of the second (root)"
	@echo "make peers     MCR beside other relays, by the adapters in bench/ (root)"
	@echo "make engine    MCR against what it must reach; takes ROWS (root)"
	@echo "make instructions  instructions of a worker's loop for each datagram, by valgrind"
	@echo "make soak      a relay under traffic, disturbed for SOAK_SECONDS (7200) (root)"
	@echo "make check     formatting, lints, licences, sources and duplicates of dependencies"
	@echo "make install   programs, unit, manual pages and completions below PREFIX; takes PREFIX, DESTDIR"
	@echo "make deb       a Debian package in $(TARGET_DIR)/debian"
	@echo "make test-deb  installs, runs, upgrades, removes and purges it in a system of its own (root, network)"
	@echo "make test-old-kernel  the tests under Debian 12's kernel in an emulator (root, network, hours)"
	@echo "make completions  writes dist/completions anew"
	@echo "make fuzz      each fuzz target for FUZZ_SECONDS (3600); takes cargo-fuzz"
	@echo "make deps      the programs that the tests run, by apt, only what is absent"

build:
	$(CARGO) build --release --locked --bins

deps:
	@scripts/deps build test

# What is tested is the development profile, in which an overflow panics; no release build is needed.
test: deps
	@scripts/test

# One after the other, whatever -j says: what is measured has the machine to itself.
bench:
	$(if $(ROWS),,$(MAKE) peers)
	$(MAKE) engine

peers: build
	@scripts/deps build test bench
	$(CARGO) bench --locked -p mcr --bench rates -- peers

engine: build
	@scripts/deps build test bench
	$(CARGO) bench --locked -p mcr --bench rates -- engine

# The runner must be of the crate's own version.
GUNGRAUN := $(shell sed -n 's/^gungraun = "=\(.*\)"/\1/p' Cargo.toml)

instructions:
	@scripts/deps build instructions
	@gungraun-runner --version 2>/dev/null | grep -qw "$(GUNGRAUN)" || \
		$(CARGO) install --locked gungraun-runner --version $(GUNGRAUN)
	$(CARGO) bench --locked -p dataplane --bench instructions

# Not part of `make test`: two hours, unless SOAK_SECONDS says otherwise.
soak: deps build
	$(CARGO) bench --locked -p mcr --bench soak

test-old-kernel:
	@scripts/test-old-kernel

# Not part of `make test`: it takes cargo-fuzz, and as long as one lets it.
FUZZ_TARGETS := $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 3600

fuzz:
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target; \
		$(CARGO) fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=30 || exit 1; \
	done

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

completions:
	WRITE_COMPLETIONS=1 $(CARGO) test --locked -p mcr --test shipped completions

deb: build
	@scripts/deps deb
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	$(CARGO) deb --locked --no-build --strip -p mcr -o $(TARGET_DIR)/debian/mcr.deb

test-deb: deb
	@scripts/test-deb $(TARGET_DIR)/debian/mcr.deb

install: $(BINARIES)
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(TARGET_DIR)/release/mcrd $(DESTDIR)$(PREFIX)/sbin/mcrd
	install -m 0755 $(TARGET_DIR)/release/mcrctl $(TARGET_DIR)/release/mcrgen $(DESTDIR)$(PREFIX)/bin
	install -d $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man8
	install -m 0644 man/*.1 $(SHARE)/man/man1
	install -m 0644 man/*.5 $(SHARE)/man/man5
	install -m 0644 man/*.8 $(SHARE)/man/man8
	install -d $(SHARE)/bash-completion/completions $(SHARE)/$(ZSH) $(SHARE)/$(FISH)
	for program in mcrd mcrctl mcrgen; do \
		install -m 0644 dist/completions/$$program.bash $(SHARE)/bash-completion/completions/$$program && \
		install -m 0644 dist/completions/_$$program $(SHARE)/$(ZSH) && \
		install -m 0644 dist/completions/$$program.fish $(SHARE)/$(FISH) || exit; \
	done
	for folder in systemd/system sysusers.d tmpfiles.d; do install -d $(DESTDIR)$(PREFIX)/lib/$$folder || exit; done
	sed 's|=/usr/|=$(PREFIX)/|' dist/mcrd.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/mcrd.service
	install -m 0644 dist/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/mcr.conf
	install -m 0644 dist/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/mcr.conf
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml ]; then \
		echo "$(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml is there and stays as it is"; \
	else \
		set -x; \
		install -d $(DESTDIR)$(SYSCONFDIR)/mcr && \
		install -m 0644 dist/mcr.toml $(DESTDIR)$(SYSCONFDIR)/mcr/mcr.toml; \
	fi
