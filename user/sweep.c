// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#include "cases.h"
#include "detect.h"
#include "sweep.h"

#define SWEEP_NS	1000000000ull
#define SECOND_READ_NS	100000000ull
#define BLOCKED_LONG_NS 1000000000ull

/* A first reading: this thread, in this block, waits for a lock whose owner is not alive. */
struct suspect {
	struct stuck stuck;
	uint64_t pass;
	struct suspect *prev, *next;
};

/* A thread in a wait that looked like a parking place and is none: not looked at twice. */
struct judged {
	uint32_t tid;
	uint64_t switches;
	uint64_t pass;
	UT_hash_handle hh;
};

/* Rows of one process that are read together. */
struct batch {
	struct sweep *sweep;
	size_t n;
	struct task_row row[LOOK_ADDRESSES];
};

/* One row whose lock is shared: who maps it? Or one that may be parked. */
struct inquiry {
	struct sweep *sweep;
	struct stuck stuck;
};

/* The living threads of one process, for a short time. */
struct living {
	uint32_t tgid;
	size_t n, room;
	struct {
		uint32_t ns_tid;
		uint64_t start_ns;
	} * thread;
	bool failed;
};

struct sweep {
	struct agent *agent;
	struct task_row *rows;
	size_t n_rows, room;
	size_t blocked;
	size_t outstanding;
	uint64_t pass;
	uint64_t due_ns;
	bool fresh; /* a first reading was made in this pass */
	struct suspect *suspects;
	struct judged *judged;
};

struct sweep *sweep_new(struct agent *agent)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));

	if (sweep)
		sweep->agent = agent;
	return sweep;
}

void sweep_free(struct sweep *sweep)
{
	struct suspect *suspect, *next;
	struct judged *judged, *other;

	if (!sweep)
		return;
	DL_FOREACH_SAFE(sweep->suspects, suspect, next)
	{
		free(suspect);
	}
	HASH_ITER (hh, sweep->judged, judged, other) {
		HASH_DEL(sweep->judged, judged);
		free(judged);
	}
	free(sweep->rows);
	free(sweep);
}

/* ---- who is alive ---- */

static void living_row(void *context, const struct task_row *row)
{
	struct living *living = context;

	if (row->flags & ROW_EXITING)
		return;
	if (living->n == living->room) {
		size_t room = living->room ? living->room * 2 : 64;
		void *grown = reallocarray(living->thread, room, sizeof(*living->thread));

		if (!grown) {
			living->failed = true;
			return;
		}
		living->thread = grown;
		living->room = room;
	}
	living->thread[living->n].ns_tid = row->task.ns_tid;
	living->thread[living->n++].start_ns = row->task.start_ns;
}

static void living_read(struct sweep *sweep, struct living *living, uint32_t tgid)
{
	*living = (struct living){ .tgid = tgid };
	living->failed = hooks_snapshot(sweep->agent->hooks, tgid, living_row, living) != 0;
}

/* Not to be told counts as alive: no claim without knowing. */
static bool living_has(const struct living *living, uint32_t ns_tid)
{
	size_t i;

	for (i = 0; i < living->n; i++) {
		if (living->thread[i].ns_tid == ns_tid)
			return true;
	}
	return living->failed || !living->n;
}

/* ---- findings ---- */

static bool same_reading(const struct stuck *a, const struct stuck *b)
{
	return a->row.task.tid == b->row.task.tid && a->row.task.start_ns == b->row.task.start_ns &&
	       a->row.switches == b->row.switches && a->row.word == b->row.word &&
	       a->word == b->word && a->owner == b->owner;
}

/* A first reading becomes a suspect, the second a case. */
static void suspect_note(struct sweep *sweep, const struct stuck *stuck)
{
	struct suspect *suspect;

	DL_FOREACH(sweep->suspects, suspect)
	{
		if (!same_reading(&suspect->stuck, stuck))
			continue;
		if (suspect->pass == sweep->pass)
			return;
		DL_DELETE(sweep->suspects, suspect);
		free(suspect);
		cases_stuck(sweep->agent->cases, stuck);
		return;
	}
	suspect = malloc(sizeof(*suspect));
	if (!suspect)
		return;
	*suspect = (struct suspect){ .stuck = *stuck, .pass = sweep->pass };
	DL_APPEND(sweep->suspects, suspect);
	sweep->fresh = true;
}

/* Said already, the lock and this waiter of it? */
static bool stuck_is_said(struct sweep *sweep, const struct stuck *stuck)
{
	struct place place = { .proc = stuck->row.task.proc,
			       .address = stuck->state.address,
			       .shared = stuck->shared };
	struct orphan *orphan = model_orphan(&sweep->agent->model, &place, stuck->owner);

	return orphan && model_waiter_said(orphan, stuck->row.task.tid, stuck->row.task.start_ns);
}

struct ancestor {
	uint32_t owner;
	uint64_t before_ns;
	bool found;
};

static void ancestor_row(void *context, const struct task_row *row)
{
	struct ancestor *ancestor = context;

	ancestor->found |= row->task.ns_tid == ancestor->owner &&
			   row->task.start_ns < ancestor->before_ns;
}

/* Of the threads that ended since the start, was none forgotten? */
static bool dead_all_known(const struct agent *agent)
{
	uint64_t losses[LOSSES], recursion;

	hooks_losses(agent->hooks, losses, &recursion);
	return !agent->dead_forgotten && !agent->dead_unknown && !losses[LOSS_DEAD_THREADS] &&
	       !recursion;
}

/*
 * Did the owner never live in this process, so that the lock came by fork? Certain if the process is
 * younger than the agent, which saw none of its threads of that number end and forgot none; or if the parent has a
 * thread of that number that is older than the process: one number, one thread at a time.
 */
static bool owner_is_forked(struct sweep *sweep, const struct stuck *stuck)
{
	const struct ev_task *task = &stuck->row.task;
	struct owner_key key = { .proc = task->proc, .ns_tid = stuck->owner };
	struct ancestor ancestor = { .owner = stuck->owner, .before_ns = task->proc.start_ns };
	struct dead_row dead;

	if (hooks_dead(sweep->agent->hooks, &key, &dead) || model_dead(&sweep->agent->model, &key))
		return false;
	if (task->proc.start_ns > sweep->agent->started_boot_ns && dead_all_known(sweep->agent))
		return true;
	if (task->ppid)
		hooks_snapshot(sweep->agent->hooks, task->ppid, ancestor_row, &ancestor);
	return ancestor.found;
}

/* ---- private locks ---- */

static void private_judge(struct sweep *sweep, struct stuck *stuck, const struct living *living)
{
	if (stuck->owner && living_has(living, stuck->owner))
		return;
	stuck->forked = stuck->owner && owner_is_forked(sweep, stuck);
	suspect_note(sweep, stuck);
}

/* ---- shared locks ---- */

static void sweep_done(struct sweep *sweep);

/*
 * No living thread among those that map the object has the owner's number. One exception: numbers of
 * different namespaces look alike. Where a dying thread's own exit hook read its number in the word,
 * a living thread of that number that is itself blocked on this very lock is not the holder.
 */
static bool owner_is_gone(const struct sweep *sweep, const struct stuck *stuck,
			  const struct mappers_answer *answer)
{
	if (answer->error || answer->unread)
		return false;
	if (!answer->owners)
		return true;
	return answer->owners == 1 && answer->owner_tid == (int32_t)stuck->row.task.tid &&
	       cases_claimed(sweep->agent->cases, &stuck->shared, stuck->owner);
}

static void mappers_answered(void *context, const struct mappers *mappers,
			     const struct mappers_answer *answer)
{
	struct inquiry *inquiry = context;
	struct sweep *sweep = inquiry->sweep;

	(void)mappers;
	if (answer->error == -ECANCELED) {
		free(inquiry);
		return;
	}
	if (owner_is_gone(sweep, &inquiry->stuck, answer))
		suspect_note(sweep, &inquiry->stuck);
	free(inquiry);
	sweep_done(sweep);
}

static void shared_judge(struct sweep *sweep, const struct stuck *stuck)
{
	struct inquiry *inquiry = malloc(sizeof(*inquiry));
	struct mappers mappers = { .device = stuck->shared.device,
				   .inode = stuck->shared.inode,
				   .offset = stuck->shared.offset,
				   .ns_tid = stuck->owner };

	if (!inquiry)
		return;
	*inquiry = (struct inquiry){ .sweep = sweep, .stuck = *stuck };
	if (reader_mappers(sweep->agent->reader, &mappers, mappers_answered, inquiry))
		free(inquiry);
	else
		sweep->outstanding++;
}

/* ---- rows and their words ---- */

static void row_judge(struct sweep *sweep, const struct task_row *row,
		      const struct look_answer *answer, size_t i, const struct living *living)
{
	const struct look_mapping *mapping = &answer->at[i].mapping;
	struct stuck stuck = { .row = *row, .word = row->word };

	if (!answer->at[i].words.have_at ||
	    lock_layout(row->op, row->val, row->word, &answer->at[i].words, &stuck.state) ==
		    LAYOUT_NONE)
		return;
	stuck.owner = stuck.state.owner;
	if (!stuck.owner && (!stuck.state.owner_died || stuck.state.robust))
		return;
	if (mapping->known && mapping->shared && mapping->inode)
		stuck.shared = (struct shared_place){
			.device = mapping->device,
			.inode = mapping->inode,
			.offset = mapping->offset + stuck.state.address - mapping->start,
		};
	if (stuck_is_said(sweep, &stuck))
		return;
	if (stuck.shared.inode)
		shared_judge(sweep, &stuck);
	else
		private_judge(sweep, &stuck, living);
}

static void batch_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct batch *batch = context;
	struct sweep *sweep = batch->sweep;
	struct living living;
	size_t i;

	if (answer->error == -ECANCELED) {
		free(batch);
		return;
	}
	if (!answer->error) {
		living_read(sweep, &living, look->tgid);
		for (i = 0; i < batch->n; i++)
			row_judge(sweep, &batch->row[i], answer, i, &living);
		free(living.thread);
	}
	free(batch);
	sweep_done(sweep);
}

/* FUTEX_PRIVATE_FLAG says that the lock is private; its lack says nothing: ask the mapping. */
static bool row_may_share(const struct task_row *row)
{
	return !(row->op & FUTEX_OP_PRIVATE);
}

/* Sends rows [from, from + n) of one process; returns how many were taken. */
static size_t batch_send(struct sweep *sweep, size_t from)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	const struct task_row *first = &sweep->rows[from];
	struct look look = {
		.tgid = first->task.proc.tgid,
		.start_ticks = first->task.proc.start_ns / sweep->agent->tick_ns,
		.want = LOOK_WORDS,
	};
	size_t n;

	for (n = 0; from + n < sweep->n_rows && n < LOOK_ADDRESSES; n++) {
		const struct task_row *row = &sweep->rows[from + n];

		if (row->task.proc.tgid != first->task.proc.tgid)
			break;
		if (batch)
			batch->row[n] = *row;
		look.address[n] = row->word;
		if (row_may_share(row))
			look.want |= LOOK_MAPPINGS;
	}
	look.n = n;
	if (!batch)
		return n;
	batch->sweep = sweep;
	batch->n = n;
	if (reader_look(sweep->agent->reader, &look, batch_looked, batch))
		free(batch);
	else
		sweep->outstanding++;
	return n;
}

/* ---- parked threads ---- */

static void park_judged(struct sweep *sweep, const struct task_row *row)
{
	struct judged *judged;

	HASH_FIND(hh, sweep->judged, &row->task.tid, sizeof(row->task.tid), judged);
	if (!judged) {
		judged = calloc(1, sizeof(*judged));
		if (!judged)
			return;
		judged->tid = row->task.tid;
		HASH_ADD(hh, sweep->judged, tid, sizeof(judged->tid), judged);
	}
	judged->switches = row->switches;
	judged->pass = sweep->pass;
}

/* Was this very wait looked at? Keeps the mark for another pass. */
static bool park_is_judged(struct sweep *sweep, const struct task_row *row)
{
	struct judged *judged;

	HASH_FIND(hh, sweep->judged, &row->task.tid, sizeof(row->task.tid), judged);
	if (!judged || judged->switches != row->switches)
		return false;
	judged->pass = sweep->pass;
	return true;
}

static void judged_forget(struct sweep *sweep)
{
	struct judged *judged, *next;

	HASH_ITER (hh, sweep->judged, judged, next) {
		if (judged->pass == sweep->pass)
			continue;
		HASH_DEL(sweep->judged, judged);
		free(judged);
	}
}

static void park_answered(void *context, const struct park *park, const struct park_answer *answer)
{
	struct inquiry *inquiry = context;
	struct sweep *sweep = inquiry->sweep;
	struct living living;
	bool suspected = false;
	uint32_t i;

	if (answer->error == -ECANCELED) {
		free(inquiry);
		return;
	}
	living_read(sweep, &living, park->tgid);
	for (i = 0; !answer->error && i < answer->n; i++) {
		struct stuck stuck = inquiry->stuck;

		stuck.state = answer->lock[i];
		stuck.owner = stuck.state.owner;
		stuck.word = stuck.state.address + lock_word_offset(stuck.state.layout);
		if (!stuck.owner || living_has(&living, stuck.owner))
			continue;
		suspected = true;
		if (!stuck_is_said(sweep, &stuck))
			private_judge(sweep, &stuck, &living);
	}
	free(living.thread);
	if (!answer->error && !suspected)
		park_judged(sweep, &inquiry->stuck.row);
	free(inquiry);
	sweep_done(sweep);
}

static void park_ask(struct sweep *sweep, const struct task_row *row)
{
	struct inquiry *inquiry;
	struct park park = {
		.tgid = row->task.proc.tgid,
		.start_ticks = row->task.proc.start_ns / sweep->agent->tick_ns,
		.sp = row->sp,
	};

	if (park_is_judged(sweep, row))
		return;
	inquiry = malloc(sizeof(*inquiry));
	if (!inquiry)
		return;
	*inquiry = (struct inquiry){ .sweep = sweep, .stuck = { .row = *row, .parked = true } };
	memcpy(park.regs, row->regs, sizeof(park.regs));
	if (reader_park(sweep->agent->reader, &park, park_answered, inquiry))
		free(inquiry);
	else
		sweep->outstanding++;
}

/* ---- a pass ---- */

static void blocked_row(void *context, const struct task_row *row)
{
	struct sweep *sweep = context;

	if (row->flags & ROW_SINCE && row->since_ns + BLOCKED_LONG_NS > host_now())
		return;
	sweep->blocked++;
	if (!lock_call(row->op, row->val) && !detect_parked(row))
		return;
	if (sweep->n_rows == sweep->room) {
		size_t room = sweep->room ? sweep->room * 2 : 256;
		void *grown = reallocarray(sweep->rows, room, sizeof(*sweep->rows));

		if (!grown)
			return; /* the next pass has another try */
		sweep->rows = grown;
		sweep->room = room;
	}
	sweep->rows[sweep->n_rows++] = *row;
}

static int row_compare(const void *a, const void *b)
{
	const struct task_row *x = a, *y = b;

	if (x->task.proc.tgid != y->task.proc.tgid)
		return x->task.proc.tgid < y->task.proc.tgid ? -1 : 1;
	return x->task.tid < y->task.tid ? -1 : x->task.tid > y->task.tid;
}

/* Suspects that were not seen again are cleared of it. */
static void suspects_forget(struct sweep *sweep)
{
	struct suspect *suspect, *next;

	DL_FOREACH_SAFE(sweep->suspects, suspect, next)
	{
		if (suspect->pass == sweep->pass)
			continue;
		DL_DELETE(sweep->suspects, suspect);
		free(suspect);
	}
}

/* One request of the pass is answered; after the last one the pass is over. */
static void sweep_done(struct sweep *sweep)
{
	if (--sweep->outstanding)
		return;
	suspects_forget(sweep);
	judged_forget(sweep);
	sweep->due_ns = host_now() + (sweep->fresh ? SECOND_READ_NS : SWEEP_NS);
	if (sweep->agent->options->verbose)
		fprintf(stderr, "deadhold: sweep %llu: %zu threads blocked, %zu looked at\n",
			(unsigned long long)sweep->pass, sweep->blocked, sweep->n_rows);
}

int sweep_begin(struct sweep *sweep)
{
	size_t i, kept = 0;
	int error;

	if (sweep->outstanding)
		return 0;
	sweep->pass++;
	sweep->n_rows = 0;
	sweep->blocked = 0;
	sweep->fresh = false;
	sweep->outstanding = 1; /* this function itself */
	error = hooks_snapshot(sweep->agent->hooks, 0, blocked_row, sweep);
	for (i = 0; i < sweep->n_rows; i++) {
		if (detect_parked(&sweep->rows[i]))
			park_ask(sweep, &sweep->rows[i]);
		else
			sweep->rows[kept++] = sweep->rows[i];
	}
	sweep->n_rows = kept;
	qsort(sweep->rows, kept, sizeof(*sweep->rows), row_compare);
	for (i = 0; i < kept;)
		i += batch_send(sweep, i);
	sweep_done(sweep);
	return error;
}

size_t sweep_blocked(const struct sweep *sweep)
{
	return sweep->blocked;
}

bool sweep_running(const struct sweep *sweep)
{
	return sweep->outstanding;
}

uint64_t sweep_passes(const struct sweep *sweep)
{
	return sweep->pass - sweep_running(sweep);
}

uint64_t sweep_due(const struct sweep *sweep)
{
	return sweep->outstanding ? 0 : sweep->due_ns;
}
