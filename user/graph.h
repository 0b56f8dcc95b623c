/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wait-for graph. A thread waits for one lock, or for one thread to end, or for neither; a lock has
 * one owner. So from each thread one path leads on, and this says where it ends.
 *
 * Plain structs in, plain structs out: no I/O, no clock. Threads and locks go by their places in the
 * arrays; NOBODY is none.
 */
#ifndef DEADHOLD_GRAPH_H
#define DEADHOLD_GRAPH_H

#include <stdbool.h>
#include <stddef.h>

#define NOBODY (-1)

enum owner_state { OWNER_UNKNOWN, OWNER_ALIVE, OWNER_DEAD };

struct graph_thread {
	int lock;   /* waits for it */
	int joins;  /* waits for the end of this thread */
	bool timed; /* gives up one day */
};

struct graph_lock {
	enum owner_state state;
	int owner; /* NOBODY: none of the threads */
};

enum path_end {
	PATH_NONE,    /* it waits for nothing of this */
	PATH_FREE,    /* a thread that lives and waits for nothing of this */
	PATH_DEAD,    /* a lock whose owner is dead */
	PATH_UNKNOWN, /* a lock whose owner is not known */
	PATH_CYCLE,
};

/* Where the path of a thread ends. */
struct graph_fate {
	enum path_end end;
	int at;	    /* free: the thread; dead, unknown: the lock; cycle: its number */
	bool timed; /* somebody on the path gives up one day: it can resolve itself */
	bool inner; /* a member of the cycle; else it waits for one */
};

struct graph_cycle {
	size_t n;
	int *thread; /* each waits for the next, the last for the first */
	bool timed;
};

struct graph {
	struct graph_fate *fate; /* of each thread */
	size_t n_cycles;
	struct graph_cycle *cycle;
};

/* 0 or -ENOMEM. */
int graph_find(const struct graph_thread *threads, size_t n_threads, const struct graph_lock *locks,
	       struct graph *graph);
void graph_free(struct graph *graph);

#endif
