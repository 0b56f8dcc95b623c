// SPDX-License-Identifier: GPL-2.0-only
#include "edges.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "detect.h"

/* The rows in another order. An owner who is stuck is blocked as well: it has a row. */
struct index {
	const struct task_row **row;
	size_t n;
};

#define _cleanup_index_ _cleanup_(index_free)

static void index_free(struct index *index)
{
	free(index->row);
}

static int number_compare(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

static int by_tid(const void *a, const void *b)
{
	const struct task_row *const *x = a, *const *y = b;

	return number_compare((*x)->task.tid, (*y)->task.tid);
}

static int by_ns_tid(const void *a, const void *b)
{
	const struct task_row *const *x = a, *const *y = b;

	return number_compare((*x)->task.proc.tgid, (*y)->task.proc.tgid)
		       ?: number_compare((*x)->task.ns_tid, (*y)->task.ns_tid);
}

typedef int row_order(const void *a, const void *b);

static struct index index_new(const struct task_row *rows, size_t n, row_order *order)
{
	struct index index = { .row = calloc(n, sizeof(struct task_row *)), .n = n };

	for (size_t i = 0; index.row && i < n; i++)
		index.row[i] = &rows[i];
	if (index.row)
		qsort(index.row, n, sizeof(struct task_row *), order);
	return index;
}

static const struct task_row *index_find(const struct index *index, const struct task_row *like,
					 row_order *order)
{
	const struct task_row **found = bsearch(&like, index->row, index->n,
						sizeof(struct task_row *), order);

	return found ? *found : NULL;
}

static const struct task_row *owner_row(const struct index *tids, const struct index *ns_tids,
					const struct task_row *row, const struct row_owner *owner)
{
	struct task_row like = { .task = { .tid = owner->tid,
					   .ns_tid = owner->ns_tid,
					   .proc.tgid = row->task.proc.tgid } };

	if (owner->shared)
		return owner->tid ? index_find(tids, &like, by_tid) : NULL;
	return owner->ns_tid ? index_find(ns_tids, &like, by_ns_tid) : NULL;
}

static void edge_fill(const struct agent *agent, struct incident_edge *edge,
		      const struct task_row *row, const struct task_row *owner)
{
	struct process_info process;

	detect_thread(&edge->waiter, &row->task, agent->tick_ns);
	detect_thread(&edge->owner, &owner->task, agent->tick_ns);
	detect_wait(&edge->wait, row->op, row->flags & ROW_SINCE ? row->since_ns : 0, false, 0, 0,
		    0);
	detect_process(&process, &owner->task, agent->tick_ns);
	edge->owner_process = (struct process_name){ .pid = process.pid,
						     .start_ticks = process.start_ticks };
	memcpy(edge->owner_process.comm, process.comm, sizeof(process.comm));
}

/* The waiter's process, the same one for all edges of it; NULL: no memory. */
static struct process_info *process_new(const struct agent *agent, const struct ev_task *task)
{
	struct process_info *process = malloc(sizeof(*process));

	if (!process)
		return NULL;
	detect_process(process, task, agent->tick_ns);
	processes_fill(agent->processes, &task->proc, process);
	return process;
}

static void edges_free(struct incident_edge *edges, size_t n)
{
	const struct process_info *process = NULL;

	for (size_t i = 0; i < n; i++) {
		if (edges[i].process != process)
			free((void *)edges[i].process);
		process = edges[i].process;
	}
	free(edges);
}

void edges_tell(const struct agent *agent, const struct task_row *rows,
		const struct row_owner *owner, size_t n, uint64_t seen_ns)
{
	_cleanup_index_ struct index tids = { 0 }, ns_tids = { 0 };
	struct incident_edge *edges;
	const struct task_row *last = NULL, *of;
	size_t n_edges = 0, i;

	if (!n || !agent->stream.incidents || !incidents_anybody_stuck(agent->stream.incidents))
		return;
	tids = index_new(rows, n, by_tid);
	ns_tids = index_new(rows, n, by_ns_tid);
	edges = calloc(n, sizeof(*edges));
	for (i = 0; tids.row && ns_tids.row && edges && i < n; i++) {
		struct incident_edge *edge = &edges[n_edges];

		of = rows[i].timeout ? NULL : owner_row(&tids, &ns_tids, &rows[i], &owner[i]);
		if (!of)
			continue;
		edge->process = last && proc_equal(&last->task.proc, &rows[i].task.proc)
					? edge[-1].process
					: process_new(agent, &rows[i].task);
		if (!edge->process)
			break; /* the next sweep has another try */
		edge_fill(agent, edge, &rows[i], of);
		last = &rows[i];
		n_edges++;
	}
	if (n_edges)
		incidents_behind(agent->stream.incidents, edges, n_edges, seen_ns);
	edges_free(edges, n_edges);
}
