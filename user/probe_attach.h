/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Uprobes by file and offset. Only entry probes: a return probe replaces the return address, and an
 * unwinder that comes upon it runs none of the program's cleanup handlers.
 */
#ifndef DEADHOLD_PROBE_ATTACH_H
#define DEADHOLD_PROBE_ATTACH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROBE_ALL (-1)

/*
 * Attaches a loaded program at this offset of a file, for the process of this thread, up to the thread's
 * end, or (PROBE_ALL) for all that map it, now or later. Returns a descriptor whose last close takes the
 * probe away again, or -errno. May block for as long as somebody holds the mmap lock of a process that
 * maps the file, or takes other probes away.
 */
int probe_attach(int program, pid_t pid, const char *path, uint64_t offset, uint64_t cookie);

/* Attaches to the caller's own text, for itself or for all, and takes it away again. 0 or -errno. */
int probe_try(int program, bool for_all);

/*
 * What a program that is attached for all processes must say, before it is loaded, that it expects
 * (enum bpf_attach_type): an attachment of uprobes of its own (6.6), where the kernel has that, or 0: a
 * perf event, as for a single process. To take a perf event away costs several grace periods under a
 * lock that each attaching waits for.
 *
 * Not for single processes: only a perf event takes the breakpoints that a child inherits out of it.
 */
int probe_all_type(void);

#endif
