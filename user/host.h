/* SPDX-License-Identifier: GPL-2.0-only */
/* The host: what deadhold needs of it, who it is, and what the agent gives back. */
#ifndef DEADHOLD_HOST_H
#define DEADHOLD_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "alert.h"

/*
 * Privilege, kernel types, lockdown, namespaces. Returns 0, or -errno and one line in why: what is
 * missing and what to do.
 */
int host_check(char *why, size_t why_bytes);

/*
 * Syscall tracepoints are attached by way of tracefs. Where it is not mounted, mounts it in a mount
 * namespace of the agent's own, so that the host stays as it was. 0 or -errno and one line in why.
 */
int host_tracefs(char *why, size_t why_bytes);

/* Fills run. 0 or -errno. */
int host_run(struct run *run);

/* CLOCK_REALTIME − CLOCK_MONOTONIC, ns: they drift apart while clocks are set. */
int64_t host_realtime_offset(void);
/* CLOCK_BOOTTIME − CLOCK_MONOTONIC, ns: never too small. */
int64_t host_boottime_offset(void);
uint64_t host_now(void); /* CLOCK_MONOTONIC, ns */

/* The kernel's start_boottime in the clock ticks of /proc/PID/stat. */
uint64_t host_ticks(uint64_t start_ns);

/* The process of thread `tid` of the host. 0: there is none. */
int32_t host_tgid(int32_t tid);

/*
 * After attaching: not dumpable, no new privileges, and only the capabilities that reading other
 * processes takes (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH), and on old kernels CAP_BPF. 0 or -errno.
 */
int host_drop(void);

#endif
