// SPDX-License-Identifier: GPL-2.0-only
#include "graph.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

struct walk {
	const struct graph_thread *threads;
	const struct graph_lock *locks;
	struct graph *graph;
	int *path; /* the threads that were passed since the walk began */
	size_t n;
	int *place; /* of a thread in the path, + 1; 0: not in it; DONE: its fate is known */
};

#define DONE (-1)

/* The thread that this one waits for; NOBODY: the path ends here, *fate says how. */
static int next_thread(const struct walk *walk, int at, struct graph_fate *fate)
{
	const struct graph_thread *thread = &walk->threads[at];
	const struct graph_lock *lock;

	*fate = (struct graph_fate){ .end = PATH_FREE, .at = at };
	if (thread->lock == NOBODY)
		return thread->joins;
	lock = &walk->locks[thread->lock];
	if (lock->state == OWNER_ALIVE && lock->owner != NOBODY)
		return lock->owner;
	fate->end = lock->state == OWNER_DEAD ? PATH_DEAD : PATH_UNKNOWN;
	fate->at = thread->lock;
	return NOBODY;
}

static int cycle_add(struct walk *walk, size_t from, struct graph_fate *fate)
{
	struct graph *graph = walk->graph;
	struct graph_cycle cycle = { .n = walk->n - from }, *grown;

	cycle.thread = malloc(cycle.n * sizeof(*cycle.thread));
	grown = reallocarray(graph->cycle, graph->n_cycles + 1, sizeof(*grown));
	if (grown)
		graph->cycle = grown;
	if (!grown || !cycle.thread) {
		free(cycle.thread);
		return -ENOMEM;
	}
	for (size_t i = 0; i < cycle.n; i++) {
		cycle.thread[i] = walk->path[from + i];
		cycle.timed |= walk->threads[cycle.thread[i]].timed;
	}
	*fate = (struct graph_fate){ PATH_CYCLE, graph->n_cycles, cycle.timed, true };
	graph->cycle[graph->n_cycles++] = cycle;
	return 0;
}

/* All that were passed come to the same end. from: the first of a cycle, or where there is none, n. */
static void path_settle(struct walk *walk, size_t from, struct graph_fate fate)
{
	while (walk->n) {
		int thread = walk->path[--walk->n];

		if (walk->n < from) {
			fate.inner = false;
			fate.timed |= walk->threads[thread].timed;
		}
		walk->graph->fate[thread] = fate;
		walk->place[thread] = DONE;
	}
}

static int walk_from(struct walk *walk, int at)
{
	struct graph_fate fate = { 0 };
	size_t from;
	int err = 0;

	while (at != NOBODY && !walk->place[at]) {
		walk->path[walk->n++] = at;
		walk->place[at] = walk->n;
		at = next_thread(walk, at, &fate);
	}
	from = walk->n;
	if (at != NOBODY && walk->place[at] == DONE) {
		fate = walk->graph->fate[at];
		if (fate.end == PATH_NONE)
			fate = (struct graph_fate){ .end = PATH_FREE, .at = at };
	} else if (at != NOBODY) {
		from = walk->place[at] - 1;
		err = cycle_add(walk, from, &fate);
	} else if (fate.end == PATH_FREE) {
		/* Its last thread waits for nothing; the others wait for that one. */
		int last = walk->path[--walk->n];

		walk->graph->fate[last] = (struct graph_fate){ .end = PATH_NONE, .at = last };
		walk->place[last] = DONE;
	}
	path_settle(walk, from, fate);
	return err;
}

int graph_find(const struct graph_thread *threads, size_t n_threads, const struct graph_lock *locks,
	       struct graph *graph)
{
	_cleanup_free_ int *path = calloc(n_threads + 1, sizeof(*path));
	_cleanup_free_ int *place = calloc(n_threads + 1, sizeof(*place));
	struct walk walk = { threads, locks, graph, path, 0, place };
	int err = 0;

	*graph = (struct graph){ .fate = calloc(n_threads + 1, sizeof(*graph->fate)) };
	if (!path || !place || !graph->fate)
		return -ENOMEM;
	for (size_t i = 0; !err && i < n_threads; i++)
		if (place[i] != DONE)
			err = walk_from(&walk, i);
	return err;
}

void graph_free(struct graph *graph)
{
	for (size_t i = 0; i < graph->n_cycles; i++)
		free(graph->cycle[i].thread);
	free(graph->cycle);
	free(graph->fate);
	*graph = (struct graph){ 0 };
}
