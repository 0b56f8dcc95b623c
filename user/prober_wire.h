/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What agent, keeper and worker of the prober say to each other: packets over SOCK_SEQPACKET, and a
 * page that keeper and worker both map. All of them are one program, forked: no versions.
 */
#ifndef DEADHOLD_PROBER_WIRE_H
#define DEADHOLD_PROBER_WIRE_H

#include <sys/types.h>

#include "prober.h"

#define PROBE_POINTS   8192	      /* in one file for one plan */
#define PROBE_LINKS    128	      /* descriptors in one packet */
#define PROBE_IDLE_NS  30000000000ull /* it has something to do more often than that */
#define PROBE_STUCK_NS 5000000000ull
/* Attaching waits for others who attach or take away, 0.1 s a probe of theirs; nobody waits in vain. */
#define PROBE_ATTACH_NS 60000000000ull
#define PROBE_RESTARTS	16 /* for so many things it was at when it died or hung: then no more */

/* A file that is probed, for one plan: as /proc/PID/maps tells it. */
struct probe_key {
	uint64_t device, inode;
	int32_t pid; /* 0: for all who map it */
	uint32_t plan;
};

/* Which content of it. */
struct probe_version {
	int64_t ctime_ns;
	int64_t bytes;
};

enum report_type {
	REPORT_LINKS, /* worker to keeper alone: probes, as descriptors with the packet */
	REPORT_DROP, /* worker to keeper: the file is out of use; keeper to agent: sites are gone */
	REPORT_FILE, /* a file was probed, or (error) could not be */
	REPORT_LOOKED,	/* at all processes, for the first time */
	REPORT_REFUSED, /* nothing can be probed here */
	REPORT_FOLLOW,	/* error: how new mappings are noticed */
	REPORT_LOST,	/* records of mappings: it looks at all processes again */
	REPORT_MISSING, /* a site (n) that is in the file and can't be attached to */
	REPORT_DONE,	/* with an order */
	REPORT_RESTART, /* the worker died at this file, or (-ETIMEDOUT) hung */
};

struct prober_report {
	uint32_t type; /* enum report_type */
	int32_t error;
	uint64_t n; /* sites; lost records; DONE: are there any probes in what it maps? */
	struct probe_key key;
	struct probe_version version;
	int32_t tid;  /* REPORT_FILE: as in prober_told */
	int32_t what; /* REPORT_DONE: of the order, as the number is */
	uint32_t number;
	uint32_t python;
	uint64_t start, end;
	char path[PATH_BYTES];
};

/* Agent to keeper to worker. */
struct prober_order {
	enum {
		ORDER_LOOK,
		ORDER_ANEW, /* what is attached is taken away first */
		ORDER_REMOVE,
	} what;
	uint32_t plan;
	int32_t pid;
	uint32_t number;
};

/* So many can be on their way: they fit into what a socket holds. */
#define PROBE_ORDERS 16

/* What the worker is at, from since_ns on; 0: at nothing that could block. */
struct prober_page {
	volatile uint64_t since_ns;
	volatile uint64_t limit_ns;  /* that much later it is stuck */
	volatile uint64_t turned_ns; /* when its loop last went round */
	struct probe_key key;	     /* inode 0: the process `pid` alone */
	char path[PATH_BYTES];
};

struct plans {
	size_t n;
	struct probe_plan plan[PROBE_PLANS];
	int program[PROBE_PLANS][PROBE_SITES]; /* descriptors; -1: the site is left out */
};

/* Whom a plan is for, from this order on: for the worker, and for the workers to come. */
void plan_order(struct probe_plan *plan, const struct prober_order *order);
bool plan_has(const struct probe_plan *plan, int32_t pid);

/* What keeps a new worker from doing again what is done, or what cost the last one its life. */
struct probed {
	struct probe_key key;
	struct probe_version version;
};

struct prober_past {
	size_t n_probed, n_avoided;
	struct probed *probed;
	struct probe_key avoided[PROBE_RESTARTS];
};

/*
 * Keeps only `fd`, as CONFINE_FD, the programs, and the rights that probing takes. Ends the process
 * where that can't be done.
 */
void prober_confine(int fd, pid_t parent, const char *name, const struct plans *plans);

/* The lives of the two processes, from right after fork() on. `fd`: to the one above. */
void prober_keep(int fd, pid_t agent, struct plans *plans) __attribute__((noreturn));
void prober_work(int fd, pid_t keeper, struct plans *plans, struct prober_page *page,
		 const struct prober_past *past) __attribute__((noreturn));

#endif
