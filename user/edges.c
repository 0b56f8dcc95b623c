// SPDX-License-Identifier: GPL-2.0-only
#include "edges.h"

#include <stdlib.h>

#include "cleanup.h"
#include "detect.h"

/* A row by the number of its thread in the process's namespace. */
struct numbered {
	uint32_t ns_tid;
	const struct task_row *row;
};

static int numbered_compare(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return (x->ns_tid > y->ns_tid) - (x->ns_tid < y->ns_tid);
}

static const struct task_row *row_find(const struct numbered *numbered, size_t n, uint32_t ns_tid)
{
	const struct numbered key = { .ns_tid = ns_tid };
	const struct numbered *found = bsearch(&key, numbered, n, sizeof(key), numbered_compare);

	return found ? found->row : NULL;
}

static bool edge_fill(const struct agent *agent, struct incident_edge *edge,
		      const struct task_row *row, const struct task_row *owner)
{
	if (!owner || row->timeout)
		return false;
	detect_thread(&edge->waiter, &row->task, agent->tick_ns);
	detect_thread(&edge->owner, &owner->task, agent->tick_ns);
	detect_wait(&edge->wait, row->op, row->flags & ROW_SINCE ? row->since_ns : 0, false, 0, 0,
		    0);
	return true;
}

/* Those of one process. An owner who is stuck is blocked as well: it has a row. */
static void process_tell(const struct agent *agent, const struct task_row *rows,
			 const uint32_t *owner, size_t n, uint64_t seen_ns)
{
	_cleanup_free_ struct numbered *by_number = calloc(n, sizeof(*by_number));
	_cleanup_free_ struct incident_edge *edges = calloc(n, sizeof(*edges));
	struct process_info process;
	size_t n_edges = 0, i;

	if (!by_number || !edges)
		return; /* the next sweep has another try */
	for (i = 0; i < n; i++)
		by_number[i] = (struct numbered){ rows[i].task.ns_tid, &rows[i] };
	qsort(by_number, n, sizeof(*by_number), numbered_compare);
	for (i = 0; i < n; i++) {
		const struct task_row *of = owner[i] ? row_find(by_number, n, owner[i]) : NULL;

		n_edges += edge_fill(agent, &edges[n_edges], &rows[i], of);
	}
	detect_process(&process, &rows[0].task, agent->tick_ns);
	processes_fill(agent->processes, &rows[0].task.proc, &process);
	if (n_edges)
		incidents_behind(agent->stream.incidents, &process, edges, n_edges, seen_ns);
}

void edges_tell(const struct agent *agent, const struct task_row *rows, const uint32_t *owner,
		size_t n, uint64_t seen_ns)
{
	size_t from, to;

	for (from = 0; agent->stream.incidents && from < n; from = to) {
		const struct proc_key *proc = &rows[from].task.proc;

		for (to = from + 1; to < n && proc_equal(&rows[to].task.proc, proc);)
			to++;
		if (incidents_concern(agent->stream.incidents, proc->tgid,
				      proc->start_ns / agent->tick_ns))
			process_tell(agent, rows + from, owner + from, to - from, seen_ns);
	}
}
