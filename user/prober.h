/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prober: child processes that find the files to probe and attach uprobes to them. Attaching takes
 * the mmap lock of every process that maps the file, and opening files can hang: the agent never waits
 * for it. It keeps the rights that this takes, which the agent gives up, and dies with the agent.
 *
 *   the agent ── the keeper: holds the probes, and restarts the worker without the file at which it
 *                    │       died or got stuck; what had been attached stays attached
 *                    └── the worker: looks at all processes, then at each new executable mapping
 *                            └── a child without any rights for each file: reads its symbols
 *
 * Probes are at entries or at plain instructions; never on returns (probe_attach.h).
 */
#ifndef DEADHOLD_PROBER_H
#define DEADHOLD_PROBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"
#include "hooks.h"

/* Kinds of files, by their names. Bits. */
enum probe_file {
	PROBE_LIBC = 1,	   /* libc.so.6, libc-2.31.so, libpthread-2.31.so, ld-musl-*.so.1 */
	PROBE_PYTHON = 2,  /* libpython3.11.so.1.0 */
	PROBE_PROGRAM = 4, /* no library: it may have either one built in */
};

enum probe_where {
	PROBE_ENTRY,
	PROBE_RETURNS, /* each return instruction of the function */
};

/* A function to be probed. A site whose program is not loaded is left out. */
struct probe_site {
	const char *program; /* of the kernel object */
	const char *symbol;
	uint32_t files; /* enum probe_file: where it is looked for */
	enum probe_where where;
	enum lock_libc libc; /* only in files of this C library; LIBC_UNKNOWN: in all */
	uint64_t cookie;     /* for bpf_get_attach_cookie() */
};

#define PROBE_PLANS 8
#define PROBE_SITES 128 /* of a plan; what is at most attached to in one file is PROBE_POINTS */
#define PROBE_PIDS  (FOLLOWED + 64) /* of a plan: what -p can name, and children */

/*
 * What to probe, and for whom: for all processes (n 0), or for these alone. In one file the sites are
 * attached to in their order.
 */
struct probe_plan {
	const struct probe_site *sites;
	size_t n_sites;
	size_t n;
	int32_t pid[PROBE_PIDS]; /* 0: nobody */
};

/* What the rare calls need, for all processes. */
extern const struct probe_plan probe_calls;

struct prober;

/*
 * Starts it. To be called when the kernel programs are loaded and before the rights are given up. The
 * plans are copied; what they point to must live. NULL with errno. With n_plans 0 there is nothing to
 * do, and nothing is started.
 */
struct prober *prober_new(const struct hooks *hooks, const struct probe_plan *plans,
			  size_t n_plans);
void prober_free(struct prober *prober);

/*
 * What becomes of the plans that are for some processes alone: each file, each site that is in the file
 * and can't be attached to, and the end of the first look at a process or of one that was ordered.
 */
struct prober_told {
	enum { TOLD_FILE, TOLD_MISSING, TOLD_DONE } what;
	uint32_t plan;
	int32_t pid;
	int32_t tid; /* FILE: the thread whose end is the end of the probes */
	uint64_t n;  /* FILE: probes; MISSING: the site; DONE: 0, an ordered look saw none */
	int error;   /* -errno. DONE: the process could not be looked at */
	uint64_t start, end; /* FILE: where the process maps its code */
	uint32_t python;     /* FILE: its Py_Version; 0: none */
	const char *path;
};
typedef void prober_listener(void *context, const struct prober_told *told);
void prober_listen(struct prober *prober, prober_listener *listener, void *context);

/* To be watched for EPOLLIN. -1: nothing comes any more. */
int prober_fd(const struct prober *prober);
/* Takes what it says. Never blocks. */
void prober_dispatch(struct prober *prober, bool verbose);

/*
 * Adds a process to a plan that is for some alone. One that has it is looked at again; `anew`: and what
 * had been attached there is taken away first. 0, and TOLD_DONE will come; or -errno.
 */
int prober_pid_add(struct prober *prober, uint32_t plan, int32_t pid, bool anew);
/* The process has ended. Nothing is told of it any more. */
int prober_pid_remove(struct prober *prober, uint32_t plan, int32_t pid);

#define PROBER_FAILED 8 /* are kept by name */
struct prober_state {
	bool looked; /* at all processes there were at the start */
	int refused; /* -errno: nothing can be probed here */
	bool over;   /* it has ended: nothing is probed any more */
	int follow_error; /* -errno: new mappings are not told by the kernel, and looked for now and then */
	uint64_t files, sites; /* that are attached to */
	uint64_t n_failed;     /* files that could not be probed */
	struct {
		char path[PATH_BYTES];
		int error;
	} failed[PROBER_FAILED];
	/* After the first look: failures, restarts, lost records of mappings. */
	uint64_t losses;
};
const struct prober_state *prober_state(const struct prober *prober);

/* Why a file could not be probed, in words. */
const char *prober_why(int error);

#endif
