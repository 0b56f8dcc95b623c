# SPDX-License-Identifier: GPL-2.0-only
# deadhold. `make run` and `make test` do all the set-up; `make` alone builds and needs no root.

VERSION := 0.1.0
BUILD   := build
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /sbin/bpftool) bpftool)
CXX     ?= g++
PREFIX  ?= /usr/local
DESTDIR ?=

ARCH := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	    -Wno-missing-field-initializers
ALL_CFLAGS = $(CFLAGS) -std=gnu11 -D_GNU_SOURCE -DDEADHOLD_VERSION='"$(VERSION)"' $(WARNINGS) \
	     -Ibpf -Iuser -I$(BUILD) -MMD -MP
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LIBS      := -lbpf -lelf -lz -lcap -lcapstone

BPF_CFLAGS := -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -target bpf \
	      -D__TARGET_ARCH_$(ARCH) -Ivmlinux -Ibpf -MMD -MP

BPF_OBJECTS  := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
USER_OBJECTS := $(patsubst user/%.c,$(BUILD)/user/%.o,$(wildcard user/*.c))
OLD_OBJECTS  := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/old/%.bpf.o,$(wildcard bpf/*.bpf.c))
SKELETON     := $(BUILD)/deadhold.skel.h $(BUILD)/deadhold_old.skel.h

LIVE_C    := $(filter-out tests/live/musl_%.c,$(wildcard tests/live/*.c))
LIVE_MUSL := $(wildcard tests/live/musl_*.c)
LIVE_CC   := $(wildcard tests/live/*.cc)
LIVE      := $(patsubst tests/live/%.c,$(BUILD)/live/%,$(LIVE_C) $(LIVE_MUSL)) \
	     $(patsubst tests/live/%.cc,$(BUILD)/live/%,$(LIVE_CC)) \
	     $(addprefix $(BUILD)/live/,call_steps_static lock_steps_static lock_steps_stripped \
		lock_deep_static lock_deep_stripped) \
	     $(addprefix $(BUILD)/live/musl_,call_steps_dynamic steps_dynamic deep_dynamic \
		deep_stripped)
# Threads of other runtimes: built where their compilers are; the tests say what was not built.
LIVE_RUST := $(if $(shell command -v rustc),$(BUILD)/live/rust_threads)
LIVE_GO   := $(if $(shell command -v go),$(BUILD)/live/go_threads $(BUILD)/live/cgo_threads)
LIVE      += $(LIVE_RUST) $(LIVE_GO)
UNIT      := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))

.DELETE_ON_ERROR:
.PHONY: all run test test-unit test-live test-vm test-vm-all pythons libbpf demo bench bench-long static \
	install uninstall format format-check lint clean vmlinux

all: $(BUILD)/deadhold

# `make V=1` shows whole commands.
Q = $(if $(filter 1,$(V)),,@echo "  $(1) $@";)

# Looked for once: what is missing is said in one line, before a compiler says it in fifty.
HEADERS := stdio.h bpf/libbpf.h libelf.h zlib.h sys/capability.h uthash.h capstone/capstone.h

$(BUILD)/toolchain: | $(BUILD)
	@for tool in $(CLANG) $(BPFTOOL) $(CC); do command -v $$tool >/dev/null || \
		{ echo "$$tool is missing: run tools/packages build" >&2; exit 1; }; done
	@for header in $(HEADERS); do echo "#include <$$header>" | $(CC) -E - >/dev/null 2>&1 || \
		{ echo "the header $$header is missing: run tools/packages build" >&2; exit 1; }; done
	@touch $@

# --- the kernel programs: one object a hook family, linked into one, and its skeleton; the same again for
# --- old kernels (bpf/compat.bpf.h)

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c vmlinux/vmlinux.h | $(BUILD)/bpf $(BUILD)/toolchain
	$(call Q,BPF   )$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/bpf/old/%.bpf.o: bpf/%.bpf.c vmlinux/vmlinux.h | $(BUILD)/bpf/old $(BUILD)/toolchain
	$(call Q,BPF   )$(CLANG) $(BPF_CFLAGS) -DOLD_KERNEL -c $< -o $@

$(BUILD)/deadhold.bpf.o: $(BPF_OBJECTS)
	$(call Q,LINK  )$(BPFTOOL) gen object $@ $^

$(BUILD)/deadhold_old.bpf.o: $(OLD_OBJECTS)
	$(call Q,LINK  )$(BPFTOOL) gen object $@ $^

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(call Q,SKEL  )$(BPFTOOL) gen skeleton $< name $*_bpf > $@

# --- the agent

$(BUILD)/user/%.o: user/%.c Makefile | $(BUILD)/user $(BUILD)/toolchain
	$(call Q,CC    )$(CC) $(ALL_CFLAGS) $(HARDENING) -c $< -o $@

$(BUILD)/user/hooks.o $(BUILD)/user/object.o: $(SKELETON)

# The pages of `explain` as one C string.
$(BUILD)/explain.inc: docs/explain.txt | $(BUILD)
	@sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' $< > $@

$(BUILD)/user/pages.o $(BUILD)/unit/pages.o: $(BUILD)/explain.inc

$(BUILD)/deadhold: $(USER_OBJECTS)
	$(call Q,LINK  )$(CC) $(CFLAGS) $(LDFLAGS) -pie -Wl,-z,relro,-z,now $^ -o $@ $(LIBS)

# One file for hosts where nothing can be installed.
static: $(BUILD)/deadhold-static

$(BUILD)/deadhold-static: $(USER_OBJECTS)
	$(call Q,LINK  )$(CC) $(CFLAGS) $(LDFLAGS) -static-pie $^ -o $@ $(LIBS)

$(BUILD) $(BUILD)/bpf $(BUILD)/bpf/old $(BUILD)/user $(BUILD)/live $(BUILD)/unit $(BUILD)/bench:
	@mkdir -p $@

# The kernel types, derived anew from the running kernel's. Committed: building needs no BTF.
vmlinux:
	vmlinux/derive > $(BUILD)/vmlinux.h
	mv $(BUILD)/vmlinux.h vmlinux/vmlinux.h

# --- set-up and run

run:
	tools/packages build
	$(MAKE) all
	tools/as-root $(BUILD)/deadhold $(ARGS)

demo:
	tools/packages build demo
	$(MAKE) all
	tools/as-root tests/demo/run

# --- tests

# BESIDE=vm: the VMs of test-vm at the same time, where processors are left over.
test:
	tools/packages build test $(BESIDE)
	$(MAKE) all static $(LIVE) $(UNIT) pythons libbpf
	tests/run unit contract docs build live rungs glibc $(addprefix --beside ,$(BESIDE))

test-unit: all $(UNIT)
	tests/run unit contract docs

test-live: all static $(LIVE) pythons libbpf
	tests/run live rungs glibc

test-vm:
	tools/packages build test vm
	$(MAKE) all static $(LIVE)
	tests/run vm

# The VMs of test-vm, and the lock tests on the lower rungs of the exit hook there.
test-vm-all:
	tools/packages build test vm
	$(MAKE) all static $(LIVE)
	tests/run vm_all

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
UNIT_MODULES := $(filter-out user/deadhold.c user/hooks.c user/watch.c user/check.c user/cases.c \
		  user/censuses.c user/inspect.c user/object.c user/sweep.c user/origin.c user/signals.c user/edges.c user/calls.c \
		  user/deep.c user/killed.c user/probe_attach.c user/prober.c user/prober_keeper.c \
		  user/prober_worker.c user/pythons.c user/pythons_owner.c user/pythons_search.c,\
		  $(wildcard user/*.c))
UNIT_OBJECTS := $(patsubst user/%.c,$(BUILD)/unit/%.o,$(UNIT_MODULES))

.SECONDARY: $(UNIT_OBJECTS)

$(BUILD)/unit/%.o: user/%.c Makefile | $(BUILD)/unit
	$(call Q,CC    )$(CC) $(ALL_CFLAGS) -O1 $(SANITIZE) -c $< -o $@

$(BUILD)/unit/test_%: tests/unit/test_%.c $(UNIT_OBJECTS)
	$(call Q,CC    )$(CC) $(ALL_CFLAGS) -O1 $(SANITIZE) $< $(UNIT_OBJECTS) -o $@ -pthread -lcmocka -lelf -lz -ljansson -lcap -lcapstone

# CPythons of other suites, for the live tests. Where they are not to be had, these say so.
pythons:
	-@tests/python/get trixie 3.13
	-@tests/python/get sid 3.14

# The newest libbpf, likewise.
libbpf: $(BUILD)/deadhold
	-@tests/libbpf sid

WORKLOAD := -O1 -g -D_GNU_SOURCE -Wall -Wextra -Werror -MMD -MP

$(BUILD)/live/musl_%: tests/live/musl_%.c | $(BUILD)/live
	$(call Q,MUSL  )musl-gcc $(WORKLOAD) -std=gnu11 -static $< -o $@

$(BUILD)/live/%: tests/live/%.c | $(BUILD)/live
	$(call Q,CC    )$(CC) $(WORKLOAD) -std=gnu11 -pthread $< -o $@

$(BUILD)/live/%: tests/live/%.cc | $(BUILD)/live
	$(call Q,CXX   )$(CXX) $(WORKLOAD) -std=c++20 -pthread $< -o $@

$(BUILD)/live/%: tests/live/runtimes/%.rs | $(BUILD)/live
	$(call Q,RUST  )rustc --edition 2021 -O -D warnings $< -o $@

$(BUILD)/live/%: tests/live/runtimes/%.go | $(BUILD)/live
	$(call Q,GO    )GO111MODULE=off go build -o $@ $<

# The other way round: the C library's functions in the program itself, and in musl's shared library.
$(BUILD)/live/%_static: tests/live/%.c | $(BUILD)/live
	$(call Q,CC    )$(CC) $(WORKLOAD) -std=gnu11 -DSTATIC -pthread -static $< -o $@

# And where nothing names them.
$(BUILD)/live/%_stripped: tests/live/%.c | $(BUILD)/live
	$(call Q,CC    )$(CC) $(WORKLOAD) -std=gnu11 -DSTATIC -pthread -static -s $< -o $@

$(BUILD)/live/musl_%_stripped: tests/live/musl_%.c | $(BUILD)/live
	$(call Q,MUSL  )musl-gcc $(WORKLOAD) -std=gnu11 -static -s $< -o $@

$(BUILD)/live/musl_%_dynamic: tests/live/musl_%.c | $(BUILD)/live
	$(call Q,MUSL  )musl-gcc $(WORKLOAD) -std=gnu11 $< -o $@

$(BUILD)/live/lock_places: $(BUILD)/live/lock_data.so

$(BUILD)/live/lock_data.so: tests/live/lib/lock_data.c | $(BUILD)/live
	$(call Q,CC    )$(CC) $(WORKLOAD) -std=gnu11 -fPIC -shared $< -o $@

# The agent's own programs, without the agent.
$(BUILD)/live/verifier: tests/live/verifier.c user/policy.c user/object.c $(SKELETON) | $(BUILD)/live
	$(call Q,CC    )$(CC) $(ALL_CFLAGS) $< user/policy.c user/object.c -o $@ -lbpf -lelf -lz

# --- measuring

bench:
	tools/packages build
	$(MAKE) all $(BUILD)/bench/bench $(BUILD)/bench/bpf $(BUILD)/bench/census
	tools/as-root tests/bench/run

bench-long:
	tools/packages build
	$(MAKE) all $(BUILD)/bench/bench $(BUILD)/bench/bpf $(BUILD)/bench/census
	tools/as-root tests/bench/run --long

$(BUILD)/bench/bpf: tests/bench/bpf.c | $(BUILD)/bench
	$(call Q,CC    )$(CC) -O2 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror $< -o $@ -lbpf -lelf -lz

$(BUILD)/bench/bench: tests/bench/bench.c | $(BUILD)/bench
	$(call Q,CC    )$(CC) -O2 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -pthread $< -o $@

# The census's own modules, without sanitizers: it is measured.
CENSUS := user/census.c user/census_read.c user/memory.c user/resident.c user/userfault.c \
	user/task.c user/proc.c

$(BUILD)/bench/census: tests/bench/census.c $(CENSUS) | $(BUILD)/bench
	$(call Q,CC    )$(CC) $(ALL_CFLAGS) $< $(CENSUS) -o $@

# --- good order

SOURCES := $(wildcard bpf/*.c bpf/*.h user/*.c user/*.h tests/*/*.c tests/*/*.h tests/*/*.cc tests/*/*/*.c)

format:
	clang-format -i $(SOURCES)

format-check:
	tools/packages lint
	clang-format --dry-run --Werror $(SOURCES)

lint:
	tools/packages build lint
	$(MAKE) $(SKELETON) $(BUILD)/explain.inc
	tools/lint

install: all
	install -D -m 0755 $(BUILD)/deadhold $(DESTDIR)$(PREFIX)/sbin/deadhold
	install -D -m 0644 docs/deadhold.8 $(DESTDIR)$(PREFIX)/share/man/man8/deadhold.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/deadhold \
		docs/alerts.schema.json docs/inspect.schema.json

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/deadhold $(DESTDIR)$(PREFIX)/share/man/man8/deadhold.8
	rm -rf $(DESTDIR)$(PREFIX)/share/deadhold

clean:
	rm -rf $(BUILD)

-include $(wildcard $(BUILD)/bpf/*.d $(BUILD)/bpf/old/*.d $(BUILD)/user/*.d $(BUILD)/unit/*.d $(BUILD)/live/*.d)
