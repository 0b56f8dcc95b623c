// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "array.h"
#include "budget.h"
#include "cases.h"
#include "censuses.h"
#include "detect.h"
#include "table.h"

#define MS 1000000ull
#define S  1000000000ull

/* Threads often end together: wait for the others. */
#define GATHER_NS (20 * MS)
#define ASKED	  20
/* From the end of a pass over a process to the start of the next one. */
#define INTERVAL_NS S
/* How long a thread-directed signal, a cancel or an exception makes the ends of threads suspicious. */
#define SIGNAL_NS (10 * S)
/* A process about which nothing was heard for so long is forgotten. */
#define IDLE_NS (60 * S)
/* Kept of the CPU budget in quiet times: one gigabyte takes some 250 ms. */
#define RESERVE_NS (400 * MS)
/* What a pass after ordinary ends reads besides data and bss. */
#define BEYOND_BYTES (32ull << 20)
/* The kernel programs wake nobody for an ordinary end: where each counts, it is looked for this often. */
#define LOOK_NS (250 * MS)
/* Of the agent and of the kernel, to send a slice and to take its answer. */
#define SLICE_NS (100000ull)
/* More finds than this are no locks. */
#define FINDS 4096
/* Ends of threads that wait for a pass, of one process: then the first are left out. */
#define EXITS 65536
/* Numbers on each side of the wanted ones that say how much shape is worth here. */
#define STRANGERS 256
/* Processes that are waited for at a time: a fork bomb's are not. */
#define PROCESSES 4096

/* A process with ends of threads that no pass has answered yet. */
struct census_process {
	struct proc_key key;
	struct ev_task task; /* of one of its threads */
	UT_hash_handle hh;
	size_t n, room;
	uint32_t *dead;	    /* their numbers in the process's namespace */
	bool full;	    /* one of the ends was suspicious */
	unsigned int asked; /* how often for its C library, which was not known yet */
	uint64_t due_ns, heard_ns, signal_ns;
};

struct find {
	struct lock_state state;
	bool waited_for;
};

struct number_list {
	size_t n, room;
	uint32_t *at;
};

/* The pass that is under way. */
struct pass {
	struct proc_key key;
	struct ev_task task;
	struct census_ask ask;
	struct census_info info;
	struct number_list wanted, living, known; /* all of them are set in the reader's sets */
	uint64_t began_ns, due_ns;		  /* due: of the next slice; 0: one is being read */
	uint64_t last;				  /* address of the last find */
	size_t n, room;
	struct find *find;
};

struct censuses {
	struct agent *agent;
	struct census_process *processes;
	struct pass *pass; /* NULL: none is under way */
	struct budget budget;
	struct census_totals totals;
	bool hurry;
};

struct censuses *censuses_new(struct agent *agent)
{
	struct censuses *censuses = calloc(1, sizeof(*censuses));

	if (!censuses)
		return NULL;
	censuses->agent = agent;
	censuses->budget = (struct budget){ .share = agent->options->census_percent / 100,
					    .left_ns = RESERVE_NS,
					    .most_ns = RESERVE_NS,
					    .now_ns = host_now() };
	return censuses;
}

static void pass_free(struct pass *pass)
{
	if (!pass)
		return;
	free(pass->wanted.at);
	free(pass->living.at);
	free(pass->known.at);
	free(pass->find);
	free(pass);
}

static void process_free(struct censuses *censuses, struct census_process *process)
{
	HASH_DEL(censuses->processes, process);
	free(process->dead);
	free(process);
}

void censuses_free(struct censuses *censuses)
{
	struct census_process *process, *next;

	if (!censuses)
		return;
	HASH_ITER (hh, censuses->processes, process, next)
		process_free(censuses, process);
	pass_free(censuses->pass);
	free(censuses);
}

/* ---- what is heard ---- */

static struct census_process *process_get(struct censuses *censuses, const struct ev_task *task)
{
	struct census_process *process;

	HASH_FIND(hh, censuses->processes, &task->proc, sizeof(task->proc), process);
	if (!process && HASH_COUNT(censuses->processes) < PROCESSES) {
		process = calloc(1, sizeof(*process));
		if (!process)
			return NULL;
		process->key = task->proc;
		HASH_ADD(hh, censuses->processes, key, sizeof(process->key), process);
	}
	if (process) {
		process->task = *task;
		process->heard_ns = host_now();
	}
	return process;
}

static int numbers_add(struct number_list *list, uint32_t number)
{
	uint32_t *grown = array_grow(list->at, list->n, &list->room, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->at = grown;
	list->at[list->n++] = number;
	return 0;
}

static bool exit_suspicious(const struct censuses *censuses, const struct census_process *process,
			    const struct ev_exit *ev)
{
	struct exit_info exit;

	if (censuses->agent->options->census == CENSUS_EVERYTHING)
		return true;
	detect_exit(&exit, ev);
	if (exit.reason == EXIT_RAW || exit.reason == EXIT_CANCEL || exit.reason == EXIT_SECCOMP)
		return true;
	return process->signal_ns && process->signal_ns + SIGNAL_NS > ev->head.time_ns;
}

/* Would anything that is found be said? Of cgroup and the like it may be known only later. */
static bool exit_wanted(const struct censuses *censuses, const struct ev_task *task)
{
	const struct agent *agent = censuses->agent;
	struct alert alert = { .kind = ALERT_LOCK_ORPHANED };
	bool wanted;

	detect_process(&alert.process, task, agent->tick_ns);
	detect_thread(&alert.thread, task, agent->tick_ns);
	processes_fill(agent->processes, &task->proc, &alert.process);
	wanted = stream_wants(&agent->stream, &alert);
	alert.kind = ALERT_LOCK_SUSPECTED;
	return wanted || stream_wants(&agent->stream, &alert);
}

void censuses_exit(struct censuses *censuses, const struct ev_exit *ev)
{
	struct census_process *process;
	struct number_list dead;

	if (censuses->agent->options->census == CENSUS_OFF ||
	    ev->flags & (EXIT_IN_GROUP | EXIT_IN_EXEC))
		return;
	processes_ready(censuses->agent->processes, &ev->task.proc); /* asks */
	if (!exit_wanted(censuses, &ev->task))
		return;
	process = process_get(censuses, &ev->task);
	if (!process || process->n >= EXITS) {
		censuses->totals.exits++;
		return;
	}
	dead = (struct number_list){ process->n, process->room, process->dead };
	if (numbers_add(&dead, ev->task.ns_tid))
		censuses->totals.exits++;
	if (!process->n)
		process->due_ns = MAX(process->due_ns, host_now() + GATHER_NS);
	process->n = dead.n;
	process->room = dead.room;
	process->dead = dead.at;
	process->full |= exit_suspicious(censuses, process, ev);
}

void censuses_signal(struct censuses *censuses, const struct ev_signal *ev)
{
	struct census_process *process;

	if (censuses->agent->options->census != CENSUS_AUTO || ev->flags & SIGNAL_GROUP ||
	    ev->sender.tid == ev->target.tid)
		return;
	process = process_get(censuses, &ev->target);
	if (process)
		process->signal_ns = ev->head.time_ns;
}

void censuses_call(struct censuses *censuses, const struct ev_call *ev)
{
	struct census_process *process;

	if (censuses->agent->options->census != CENSUS_AUTO)
		return;
	process = process_get(censuses, &ev->caller); /* the target is of the same process */
	if (process)
		process->signal_ns = ev->head.time_ns;
}

void censuses_process_over(struct censuses *censuses, const struct proc_key *proc)
{
	struct census_process *process;

	HASH_FIND(hh, censuses->processes, proc, sizeof(*proc), process);
	if (process)
		process_free(censuses, process);
}

/* ---- a pass ---- */

static void numbers_mark(const struct number_list *list, struct tid_set *set, bool in)
{
	for (size_t i = 0; i < list->n; i++)
		tid_set_put(set, list->at[i], in);
}

/* The sets are the next pass's as they are this one's: what was put in is taken out. */
static void pass_mark(struct censuses *censuses, const struct pass *pass, bool in)
{
	struct tid_sets *sets = reader_tids(censuses->agent->reader);

	numbers_mark(&pass->living, &sets->known, in);
	numbers_mark(&pass->known, &sets->known, in);
	numbers_mark(&pass->wanted, &sets->wanted, in);
}

static void living_row(void *context, const struct task_row *row)
{
	if (!(row->flags & ROW_EXITING))
		numbers_add(context, row->task.ns_tid);
}

static void dead_each(void *context, const struct dead *dead)
{
	numbers_add(context, dead->key.ns_tid);
}

/* Words that name a stranger say how much shape is worth in this process, near these numbers. */
static void pass_range(struct pass *pass)
{
	uint32_t min = UINT32_MAX, max = 0;

	for (size_t i = 0; i < pass->wanted.n; i++) {
		min = MIN(min, pass->wanted.at[i]);
		max = MAX(max, pass->wanted.at[i]);
	}
	pass->ask.min = min > STRANGERS + 1 ? min - STRANGERS : MIN(min, 2);
	pass->ask.max = MIN(max + STRANGERS, LOCK_TID_LIMIT - 1);
}

static void pass_begin(struct censuses *censuses, struct census_process *process, uint64_t now)
{
	struct agent *agent = censuses->agent;
	struct pass *pass = calloc(1, sizeof(*pass));
	struct process_info info = { 0 };

	if (!pass) {
		process->due_ns = now + INTERVAL_NS;
		return;
	}
	pass->key = process->key;
	pass->task = process->task;
	pass->began_ns = pass->due_ns = now;
	pass->info.full = process->full;
	pass->wanted = (struct number_list){ process->n, process->room, process->dead };
	process->n = process->room = 0;
	process->dead = NULL;
	process->full = false;
	process->asked = 0;
	/* All who live now may hold locks, and those who died before may have left some. */
	hooks_snapshot(agent->hooks, pass->key.tgid, living_row, &pass->living);
	model_process_dead(&agent->model, &pass->key, dead_each, &pass->known);
	numbers_add(&pass->known, pass->task.ns_tgid);
	pass->ask = (struct census_ask){
		.tgid = pass->key.tgid,
		.start_ticks = pass->key.start_ns / agent->tick_ns,
		.musl_marks = processes_fill(agent->processes, &pass->key, &info) == LIBC_MUSL,
		.slice_bytes = CENSUS_SLICE_BYTES,
		/* One holds it, the others wait for conditions that go with it. */
		.users = pass->living.n + 1,
		.beyond_bytes = pass->info.full ? UINT64_MAX : BEYOND_BYTES,
	};
	pass_range(pass);
	pass_mark(censuses, pass, true);
	censuses->pass = pass;
}

/* Not those whose number a thread of the process has again, nor those forgotten. */
static const struct dead *find_dead(const struct censuses *censuses, uint32_t owner)
{
	struct owner_key key = { .proc = censuses->pass->key, .ns_tid = owner };
	const struct dead *dead = model_dead(&censuses->agent->model, &key);
	struct dead_row row;

	if (!dead || !hooks_dead(censuses->agent->hooks, &key, &row))
		return NULL;
	return row.exit_ns == dead->exit.time_ns ? dead : NULL;
}

/* Locks on which threads blocked while one that lives now held them. */
static void finds_waited_for(struct censuses *censuses)
{
	struct pass *pass = censuses->pass;
	struct owner_key key = { .proc = pass->key };
	struct candidate_row row;

	for (size_t i = 0; i < pass->living.n; i++) {
		key.ns_tid = pass->living.at[i];
		if (!hooks_candidates(censuses->agent->hooks, &key, &row))
			continue;
		for (size_t n = 0; n < pass->n * CANDIDATE_SLOTS; n++) {
			struct find *find = &pass->find[n / CANDIDATE_SLOTS];
			uint64_t word = row.lock[n % CANDIDATE_SLOTS] & PACK_ADDRESS;

			find->waited_for |= word >= find->state.address &&
					    word < find->state.address + LOCK_OBJECT_BYTES;
		}
	}
}

static int find_compare(const void *a, const void *b)
{
	const struct find *x = a, *y = b;

	if (x->state.owner != y->state.owner)
		return x->state.owner < y->state.owner ? -1 : 1;
	return x->state.address < y->state.address ? -1 : x->state.address > y->state.address;
}

/* The finds first to first + n have one owner. */
static void finds_hand(struct censuses *censuses, size_t first, size_t n)
{
	struct pass *pass = censuses->pass;
	uint32_t owner = pass->find[first].state.owner;
	struct census_lock *lock = calloc(n, sizeof(*lock));
	struct census_finds finds = {
		.task = &pass->task,
		.dead = owner ? find_dead(censuses, owner) : NULL,
		.census = &pass->info,
		.n = n,
		.lock = lock,
	};

	for (size_t i = 0; lock && i < n; i++)
		lock[i] = (struct census_lock){ pass->find[first + i].state,
						pass->find[first + i].waited_for };
	if (lock && (finds.dead || !owner))
		cases_census(censuses->agent->cases, &finds);
	free(lock);
}

static void finds_say(struct censuses *censuses)
{
	struct pass *pass = censuses->pass;
	size_t first, i;

	if (!pass->n)
		return;
	finds_waited_for(censuses);
	qsort(pass->find, pass->n, sizeof(*pass->find), find_compare);
	for (first = 0, i = 1; i <= pass->n; i++) {
		if (i < pass->n && pass->find[i].state.owner == pass->find[first].state.owner)
			continue;
		finds_hand(censuses, first, i - first);
		first = i;
	}
}

static void pass_end(struct censuses *censuses, int error)
{
	struct pass *pass = censuses->pass;
	struct census_process *process;
	uint64_t now = host_now();

	pass->info.seconds = (now - pass->began_ns) / 1e9;
	pass->info.error = -error;
	censuses->totals.passes++;
	censuses->totals.unfinished += error != 0;
	if (censuses->agent->options->verbose)
		fprintf(stderr, "deadhold: census of %u: %llu bytes, %zu finds%s%s\n",
			pass->key.tgid, (unsigned long long)pass->info.bytes.scanned, pass->n,
			error ? ", ended early: " : "", error ? strerror(-error) : "");
	if (error != -ESRCH)
		finds_say(censuses);
	HASH_FIND(hh, censuses->processes, &pass->key, sizeof(pass->key), process);
	if (process)
		process->due_ns = now + INTERVAL_NS;
	pass_mark(censuses, pass, false);
	pass_free(pass);
	censuses->pass = NULL;
}

/* False: no room, or too many to be locks. */
static bool pass_take(struct pass *pass, const struct census_answer *answer)
{
	for (uint32_t i = 0; i < answer->n; i++) {
		const struct lock_state *state = &answer->at[i].find.lock;
		struct find *grown = array_grow(pass->find, pass->n, &pass->room, sizeof(*grown));

		if (state->address <= pass->last) /* told twice: two slices overlap */
			continue;
		if (!grown || pass->n == FINDS)
			return false;
		pass->last = state->address;
		pass->find = grown;
		pass->find[pass->n++] = (struct find){ .state = *state };
	}
	return true;
}

static void pass_count(struct censuses *censuses, const struct census_answer *answer)
{
	struct census_info *info = &censuses->pass->info;
	struct census_totals *totals = &censuses->totals;

	memory_bytes_add(&info->bytes, &answer->bytes);
	info->strangers += answer->strangers;
	memory_bytes_add(&totals->bytes, &answer->bytes);
	totals->cpu_ns += answer->cpu_ns;
	totals->finds += answer->n;
}

static void slice_answered(void *context, const struct census_ask *ask,
			   const struct census_answer *answer)
{
	struct censuses *censuses = context;
	struct pass *pass = censuses->pass;
	uint64_t now = host_now();

	(void)ask;
	if (answer->error == -ECANCELED)
		return; /* the agent is ending; censuses_free() follows */
	/* The agent's own part is small: what it took on a busy host, and a little more. */
	budget_spend(&censuses->budget, now, answer->cpu_ns + answer->cpu_ns / 8 + SLICE_NS);
	pass_count(censuses, answer);
	if (answer->error) {
		pass_end(censuses, answer->error);
		return;
	}
	pass->ask.beyond_bytes -= MIN(pass->ask.beyond_bytes, answer->bytes.beyond);
	pass->ask.from = answer->next;
	pass->due_ns = now + answer->cpu_ns; /* a pause as long as it was at work */
	if (!pass_take(pass, answer))
		pass_end(censuses, -E2BIG);
	else if (!answer->next)
		pass_end(censuses, 0);
}

/* The next slice. */
static void pass_step(struct censuses *censuses)
{
	struct pass *pass = censuses->pass;

	pass->due_ns = 0;
	if (reader_census(censuses->agent->reader, &pass->ask, slice_answered, censuses))
		pass_end(censuses, -ENOMEM);
}

/* ---- when ---- */

static bool process_idle(const struct census_process *process, uint64_t now)
{
	return !process->n && process->heard_ns + IDLE_NS < now;
}

/* The one that has waited longest, as far as it is due. */
static struct census_process *process_next(struct censuses *censuses, uint64_t now)
{
	struct census_process *process, *next, *first = NULL;

	HASH_ITER (hh, censuses->processes, process, next) {
		if (process_idle(process, now)) {
			process_free(censuses, process);
			continue;
		}
		if (!process->n || (!censuses->hurry && process->due_ns > now))
			continue;
		if (!first || process->due_ns < first->due_ns)
			first = process;
	}
	return first;
}

static uint64_t affordable(struct censuses *censuses, uint64_t due, uint64_t now)
{
	return censuses->hurry ? now : MAX(due, budget_due(&censuses->budget, now));
}

/* Its C library tells which marks to look for. It was asked for at the end of the thread. */
static bool process_known(struct censuses *censuses, struct census_process *process, uint64_t now)
{
	if (censuses->hurry || process->asked == ASKED ||
	    processes_ready(censuses->agent->processes, &process->key))
		return true;
	process->asked++;
	process->due_ns = now + GATHER_NS;
	return false;
}

uint64_t censuses_due(struct censuses *censuses)
{
	struct census_process *process, *next;
	uint64_t now = host_now(), due = 0;

	if (censuses->pass)
		return censuses->pass->due_ns ? affordable(censuses, censuses->pass->due_ns, now)
					      : 0;
	HASH_ITER (hh, censuses->processes, process, next) {
		if (process->n && (!due || process->due_ns < due))
			due = process->due_ns;
	}
	if (due)
		return affordable(censuses, due, now);
	return censuses->agent->options->census == CENSUS_EVERYTHING ? now + LOOK_NS : 0;
}

void censuses_run_due(struct censuses *censuses)
{
	struct census_process *process;
	uint64_t due = censuses_due(censuses), now = host_now();

	if (!due || due > now)
		return;
	if (!censuses->pass) {
		process = process_next(censuses, now);
		if (process && process_known(censuses, process, now))
			pass_begin(censuses, process, now);
	}
	if (censuses->pass)
		pass_step(censuses);
}

void censuses_hurry(struct censuses *censuses)
{
	censuses->hurry = true;
}

bool censuses_pending(const struct censuses *censuses)
{
	const struct census_process *process;

	if (censuses->pass)
		return true;
	for (process = censuses->processes; process; process = process->hh.next) {
		if (process->n)
			return true;
	}
	return false;
}

bool censuses_answered(const struct censuses *censuses, const struct proc_key *proc)
{
	const struct census_process *process;

	if (censuses->pass && proc_equal(&censuses->pass->key, proc))
		return false;
	HASH_FIND(hh, censuses->processes, proc, sizeof(*proc), process);
	return !process || !process->n;
}

struct census_totals censuses_totals(const struct censuses *censuses)
{
	const struct census_process *process;
	struct census_totals totals = censuses->totals;

	totals.unfinished += censuses->pass != NULL;
	for (process = censuses->processes; process; process = process->hh.next)
		totals.exits += process->n;
	return totals;
}
