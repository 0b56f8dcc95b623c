/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Uprobes by file and offset. Only entry probes: a return probe replaces the return address, and an
 * unwinder that comes upon it runs none of the program's cleanup handlers.
 */
#ifndef DEADHOLD_PROBE_ATTACH_H
#define DEADHOLD_PROBE_ATTACH_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Attaches a loaded program at this offset of a file, for the process of this thread, up to the thread's
 * end, or (pid −1) for all that map it,
 * now or later. Returns a descriptor whose last close takes the probe away again, or -errno. May block
 * for as long as somebody holds the mmap lock of a process that maps the file.
 */
int probe_attach(int program, pid_t pid, const char *path, uint64_t offset, uint64_t cookie);

/* Attaches to the caller's own text and takes it away again. 0 or -errno. */
int probe_try(int program);

#endif
