// SPDX-License-Identifier: GPL-2.0-only
#include "origin.h"

#include "detect.h"

struct ancestor {
	uint32_t owner;
	uint64_t before_ns;
	bool found;
	uint64_t robust_list;
};

static void ancestor_row(void *context, const struct task_row *row)
{
	struct ancestor *ancestor = context;

	if (row->task.ns_tid != ancestor->owner || row->task.start_ns >= ancestor->before_ns)
		return;
	ancestor->found = true;
	ancestor->robust_list = row->robust_list;
}

/* The parent's thread of that number that is older than the process: one number, one thread at a time. */
static struct ancestor ancestor_find(struct agent *agent, const struct stuck *stuck)
{
	const struct ev_task *task = &stuck->row->task;
	struct ancestor ancestor = { .owner = stuck->state.owner,
				     .before_ns = task->proc.start_ns };

	if (task->ppid)
		hooks_snapshot(agent->hooks, task->ppid, ancestor_row, &ancestor);
	return ancestor;
}

struct main_thread {
	const struct stuck *stuck;
	bool unlocks;
	uint64_t robust_list;
};

static void main_row(void *context, const struct task_row *row)
{
	struct main_thread *main = context;

	if (row->task.tid != row->task.proc.tgid || row->flags & ROW_EXITING)
		return;
	main->unlocks = !(row->flags & ROW_BLOCKED) || row->word != main->stuck->word;
	main->robust_list = row->robust_list;
}

/* The copy of the thread that forked: could it unlock this lock, if that thread held it? */
static struct main_thread main_find(struct agent *agent, const struct stuck *stuck)
{
	struct main_thread main = { .stuck = stuck };

	if (detect_unlocks_after_fork(&stuck->state))
		hooks_snapshot(agent->hooks, stuck->row->task.proc.tgid, main_row, &main);
	return main;
}

static bool was_seen_dead(const struct agent *agent, const struct owner_key *key)
{
	struct dead_row dead;

	return hooks_dead(agent->hooks, key, &dead) || model_dead(&agent->model, key);
}

struct origin origin_of(struct agent *agent, const struct stuck *stuck)
{
	const struct ev_task *task = &stuck->row->task;
	struct owner_key key = { .proc = task->proc, .ns_tid = stuck->state.owner };
	struct origin origin = { .known = was_seen_dead(agent, &key) };
	struct main_thread main;
	struct ancestor ancestor;
	bool tell;

	if (origin.known)
		return origin;
	ancestor = ancestor_find(agent, stuck);
	origin.known = ancestor.found;
	/* Of a process that is younger than the agent all ends are known. */
	origin.forked = ancestor.found || (task->proc.start_ns > agent->started_boot_ns &&
					   agent_dead_all_known(agent));
	main = main_find(agent, stuck);
	if (!main.unlocks || (!origin.forked && stuck->state.owner > task->ns_tgid))
		return origin;
	tell = ancestor.found && ancestor.robust_list && main.robust_list;
	origin.held = tell && ancestor.robust_list == main.robust_list;
	origin.unsure = !tell;
	return origin;
}
