// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "cases.h"
#include "detect.h"
#include "pythons.h"
#include "edges.h"
#include "origin.h"
#include "suspects.h"
#include "sweep.h"
#include "table.h"

#define SWEEP_NS	1000000000ull
#define SECOND_READ_NS	100000000ull
#define BLOCKED_LONG_NS 1000000000ull

/* A thread in a wait that looked like a parking place and is none: not looked at twice. */
struct judged {
	uint32_t tid;
	uint64_t switches;
	uint64_t pass;
	UT_hash_handle hh;
};

/* Waits for locks whose words were read, and whose owners may not be alive. */
struct stuck_list {
	size_t n, room;
	struct stuck *at;
};

/* The living threads of one process, by their numbers in its namespace, in order. */
struct living {
	size_t n, room;
	uint32_t *ns_tid;
	bool failed;
};

/*
 * A pass goes through the rows process by process: it reads the words of all their locks, one request
 * at a time, so that what the cases ask of the reader is not kept waiting behind a whole pass; then,
 * and not before, it reads who is alive.
 */
struct sweep {
	struct agent *agent;
	bool running;
	uint64_t pass;
	uint64_t due_ns;
	bool fresh; /* a first reading was made in this pass */
	size_t blocked;
	struct task_row *rows; /* by process, then by futex word */
	size_t n_rows, room;
	struct row_owner *owners;  /* of each row, for edges_tell(); NULL: no memory */
	uint64_t began_ns;	   /* the rows are as of then */
	size_t from, at;	   /* the rows, then the shared locks, of the request under way */
	struct stuck_list private; /* of the process that is being gone through */
	struct stuck_list shared;  /* of all */
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
	struct judged *judged, *other;

	if (!sweep)
		return;
	suspects_clear(&sweep->suspects);
	HASH_ITER (hh, sweep->judged, judged, other) {
		HASH_DEL(sweep->judged, judged);
		free(judged);
	}
	free(sweep->private.at);
	free(sweep->shared.at);
	free(sweep->rows);
	free(sweep->owners);
	free(sweep);
}

/* ---- who is alive ---- */

static void living_row(void *context, const struct task_row *row)
{
	struct living *living = context;
	uint32_t *grown;

	if (row->flags & ROW_EXITING)
		return;
	grown = array_grow(living->ns_tid, living->n, &living->room, sizeof(*grown));
	if (!grown) {
		living->failed = true;
		return;
	}
	living->ns_tid = grown;
	living->ns_tid[living->n++] = row->task.ns_tid;
}

static int number_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void living_read(struct sweep *sweep, struct living *living, uint32_t tgid)
{
	*living = (struct living){ 0 };
	if (hooks_snapshot(sweep->agent->hooks, tgid, living_row, living))
		living->failed = true;
	if (living->n)
		qsort(living->ns_tid, living->n, sizeof(*living->ns_tid), number_compare);
}

/* Not to be told counts as alive: no claim without knowing. */
static bool living_has(const struct living *living, uint32_t ns_tid)
{
	return living->failed || !living->n ||
	       bsearch(&ns_tid, living->ns_tid, living->n, sizeof(ns_tid), number_compare);
}

/* ---- findings ---- */

/* Said already, the lock and this waiter of it? */
static bool stuck_is_said(const struct sweep *sweep, const struct stuck *stuck)
{
	const struct ev_task *task = &stuck->row->task;
	struct place place = { .proc = task->proc,
			       .address = stuck->state.address,
			       .shared = stuck->shared };
	struct orphan_key key = orphan_key(&place, stuck->state.owner);
	struct orphan *orphan = model_orphan(&sweep->agent->model, &key);
	struct waiter_key waiter = { task->tid, task->start_ns };

	return orphan && model_waiter_said(orphan, &waiter);
}

/* A case finds all who wait for the lock in that process: one of them stands for all. */
static bool same_case(const struct stuck *a, const struct stuck *b)
{
	return !a->parked && !b->parked && a->state.address == b->state.address &&
	       a->state.owner == b->state.owner &&
	       proc_equal(&a->row->task.proc, &b->row->task.proc);
}

static void stuck_add(struct sweep *sweep, struct stuck_list *list, const struct stuck *stuck)
{
	struct stuck *grown;

	if (stuck_is_said(sweep, stuck) || (list->n && same_case(&list->at[list->n - 1], stuck)))
		return;
	grown = array_grow(list->at, list->n, &list->room, sizeof(*grown));
	if (!grown)
		return; /* the next pass has another try */
	list->at = grown;
	list->at[list->n++] = *stuck;
}

/* A first reading becomes a suspect, the second a case. */
static void stuck_note(struct sweep *sweep, struct stuck *stuck)
{
	const struct suspect_key key = {
		.start_ns = stuck->row->task.start_ns,
		.switches = stuck->row->switches,
		.waits_on = stuck->row->word,
		.word = stuck->word,
		.tid = stuck->row->task.tid,
		.owner = stuck->state.owner,
	};
	struct origin origin = { 0 };

	if (!suspects_again(&sweep->suspects, &key, sweep->pass)) {
		sweep->fresh = true;
		return;
	}
	if (!stuck->shared.inode && stuck->state.owner)
		origin = origin_of(sweep->agent, stuck);
	stuck->known = origin.known;
	stuck->forked = origin.forked;
	stuck->unsure = origin.unsure;
	if (!origin.held)
		cases_stuck(sweep->agent->cases, stuck);
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

static void park_suspected(struct sweep *sweep, const struct task_row *row)
{
	struct judged *judged;

	HASH_FIND(hh, sweep->judged, &row->task.tid, sizeof(row->task.tid), judged);
	if (judged) {
		HASH_DEL(sweep->judged, judged);
		free(judged);
	}
}

/* ---- private locks ---- */

/*
 * The owner lives. Where the thread blocked before the agent was there to see it, nobody noted the lock
 * for the owner's end.
 */
static void stuck_note_candidate(struct sweep *sweep, const struct stuck *stuck)
{
	struct owner_key key = { .proc = stuck->row->task.proc, .ns_tid = stuck->state.owner };

	if (!(stuck->row->flags & ROW_SINCE) && !stuck->parked)
		hooks_candidate_note(sweep->agent->hooks, &key, stuck->state.layout, stuck->word);
}

/* The words of all of them have been read: only now is it read who is alive. */
static void private_judge(struct sweep *sweep)
{
	struct stuck_list *list = &sweep->private;
	struct living living;
	size_t i;

	if (!list->n)
		return;
	living_read(sweep, &living, list->at[0].row->task.proc.tgid);
	for (i = 0; i < list->n; i++) {
		struct stuck *stuck = &list->at[i];

		if (stuck->state.owner && living_has(&living, stuck->state.owner)) {
			stuck_note_candidate(sweep, stuck);
			continue;
		}
		if (stuck->parked)
			park_suspected(sweep, stuck->row);
		stuck_note(sweep, stuck);
	}
	free(living.ns_tid);
	list->n = 0;
}

/* ---- shared locks ---- */

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
	return answer->owners == 1 && answer->owner_tid == (int32_t)stuck->row->task.tid &&
	       cases_claimed(sweep->agent->cases, &stuck->shared, stuck->state.owner);
}

static int place_compare(const struct shared_place *a, const struct shared_place *b)
{
	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	if (a->inode != b->inode)
		return a->inode < b->inode ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* By lock and owner: what one request answers. */
static int shared_compare(const struct stuck *a, const struct stuck *b)
{
	return place_compare(&a->shared, &b->shared)
		       ?: number_compare(&a->state.owner, &b->state.owner);
}

/* And then by process, as the rows are. */
static int shared_order(const void *a, const void *b)
{
	const struct stuck *x = a, *y = b;

	return shared_compare(x, y) ?: (x->row > y->row) - (x->row < y->row);
}

/* Whom they wait for: the one living thread of that number, if it is one. By process and lock. */
static void owner_note(struct sweep *sweep, const struct stuck *stuck,
		       const struct mappers_answer *answer)
{
	size_t i;

	if (!sweep->owners || answer->error || answer->unread || answer->foreign ||
	    answer->owners != 1)
		return;
	for (i = stuck->row - sweep->rows; i < sweep->n_rows; i++) {
		struct row_owner *owner = &sweep->owners[i];

		if (!proc_equal(&sweep->rows[i].task.proc, &stuck->row->task.proc))
			break;
		if (owner->shared && owner->ns_tid == stuck->state.owner &&
		    owner->address == stuck->state.address)
			owner->tid = answer->owner_tid;
	}
}

static void shared_step(struct sweep *sweep);

static void mappers_answered(void *context, const struct mappers *mappers,
			     const struct mappers_answer *answer)
{
	struct sweep *sweep = context;
	size_t i;

	(void)mappers;
	if (answer->error == -ECANCELED)
		return;
	for (i = sweep->from; i < sweep->at; i++) {
		owner_note(sweep, &sweep->shared.at[i], answer);
		if (owner_is_gone(sweep, &sweep->shared.at[i], answer))
			stuck_note(sweep, &sweep->shared.at[i]);
	}
	shared_step(sweep);
}

/* Who maps the next lock? False: no memory, the next pass has another try. */
static bool mappers_ask(struct sweep *sweep)
{
	const struct stuck *first = &sweep->shared.at[sweep->at];
	struct mappers mappers = { .device = first->shared.device,
				   .inode = first->shared.inode,
				   .offset = first->shared.offset,
				   .ns_tid = first->state.owner };

	sweep->from = sweep->at;
	while (sweep->at < sweep->shared.n && !shared_compare(first, &sweep->shared.at[sweep->at]))
		sweep->at++;
	return !reader_mappers(sweep->agent->reader, &mappers, mappers_answered, sweep);
}

static void pass_end(struct sweep *sweep);

/* One request for each lock that the pass has found waits for. */
static void shared_step(struct sweep *sweep)
{
	while (sweep->at < sweep->shared.n) {
		if (mappers_ask(sweep))
			return;
	}
	sweep->shared.n = 0;
	pass_end(sweep);
}

static void shared_begin(struct sweep *sweep)
{
	if (sweep->shared.n)
		qsort(sweep->shared.at, sweep->shared.n, sizeof(*sweep->shared.at), shared_order);
	sweep->at = 0;
	shared_step(sweep);
}

/* ---- rows and their words ---- */

static void rows_step(struct sweep *sweep);

/* FUTEX_PRIVATE_FLAG says that the lock is private; its lack says nothing: ask the mapping. */
static bool row_may_share(const struct task_row *row)
{
	return !(row->op & FUTEX_OP_PRIVATE);
}

static void row_read(struct sweep *sweep, const struct task_row *row,
		     const struct lock_words *words, const struct look_mapping *mapping)
{
	struct stuck stuck = { .row = row, .word = row->word };

	if (!words->have_at || lock_layout(row->op, row->val, row->timeout, row->word, words,
					   &stuck.state) == LAYOUT_NONE)
		return;
	if (!stuck.state.owner && (!stuck.state.owner_died || stuck.state.robust))
		return;
	stuck.shared = detect_place(mapping, stuck.state.address);
	if (sweep->owners && (!row_may_share(row) || mapping->known))
		sweep->owners[row - sweep->rows] =
			(struct row_owner){ .ns_tid = stuck.state.owner,
					    .shared = row_may_share(row) && mapping->shared,
					    .address = stuck.state.address };
	stuck_add(sweep, stuck.shared.inode ? &sweep->shared : &sweep->private, &stuck);
}

static void words_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct sweep *sweep = context;
	uint32_t word = 0;
	size_t i;

	if (answer->error == -ECANCELED)
		return;
	for (i = sweep->from; !answer->error && i < sweep->at; i++) {
		/* The words are in the order of the rows, each of them once: words_ask(). */
		word += look->address[word] != sweep->rows[i].word;
		row_read(sweep, &sweep->rows[i], &answer->at[word].words,
			 &answer->at[word].mapping);
	}
	rows_step(sweep);
}

/* Asks for the words of the next rows of one process. False: no memory, the next pass has another try. */
static bool words_ask(struct sweep *sweep)
{
	const struct task_row *first = &sweep->rows[sweep->at];
	struct look look = {
		.tgid = first->task.proc.tgid,
		.start_ticks = first->task.proc.start_ns / sweep->agent->tick_ns,
		.want = LOOK_WORDS,
	};

	for (sweep->from = sweep->at; sweep->at < sweep->n_rows; sweep->at++) {
		const struct task_row *row = &sweep->rows[sweep->at];

		if (!proc_equal(&row->task.proc, &first->task.proc) || detect_parked(row))
			break;
		if (!look.n || look.address[look.n - 1] != row->word) {
			if (look.n == LOOK_ADDRESSES)
				break;
			look.address[look.n++] = row->word;
		}
		if (row_may_share(row))
			look.want |= LOOK_MAPPINGS;
	}
	return !reader_look(sweep->agent->reader, &look, words_looked, sweep);
}

static void park_answered(void *context, const struct park *park, const struct park_answer *answer)
{
	struct sweep *sweep = context;
	const struct task_row *row = &sweep->rows[sweep->from];
	uint32_t i;

	(void)park;
	if (answer->error == -ECANCELED)
		return;
	if (!answer->error)
		park_judged(sweep, row); /* unless an owner turns out to be dead */
	for (i = 0; !answer->error && i < answer->n; i++) {
		const struct lock_state *state = &answer->lock[i];
		struct stuck stuck = { .row = row, .state = *state, .parked = true };

		stuck.word = state->address + lock_word_offset(state->layout);
		if (state->owner)
			stuck_add(sweep, &sweep->private, &stuck);
	}
	rows_step(sweep);
}

/* False: nothing is to be asked, or no memory. */
static bool park_ask(struct sweep *sweep)
{
	const struct task_row *row = &sweep->rows[sweep->at];
	struct park park = {
		.tgid = row->task.proc.tgid,
		.start_ticks = row->task.proc.start_ns / sweep->agent->tick_ns,
		.sp = row->sp,
		.word = row->word,
	};

	sweep->from = sweep->at++;
	memcpy(park.regs, row->regs, sizeof(park.regs));
	return !park_is_judged(sweep, row) &&
	       !reader_park(sweep->agent->reader, &park, park_answered, sweep);
}

/* The next request of the pass. A process whose rows have all been read is judged. */
static void rows_step(struct sweep *sweep)
{
	while (sweep->at < sweep->n_rows) {
		const struct task_row *row = &sweep->rows[sweep->at];

		if (sweep->at && !proc_equal(&row[-1].task.proc, &row->task.proc))
			private_judge(sweep);
		if (detect_parked(row) ? park_ask(sweep) : words_ask(sweep))
			return;
	}
	private_judge(sweep);
	shared_begin(sweep);
}

/* ---- a pass ---- */

static void blocked_row(void *context, const struct task_row *row)
{
	struct sweep *sweep = context;
	struct task_row *grown;

	pythons_row(sweep->agent->pythons, row);
	if (row->flags & ROW_SINCE && row->since_ns + BLOCKED_LONG_NS > host_now())
		return;
	sweep->blocked++;
	if (!lock_call(row->op, row->val) && !detect_parked(row))
		return;
	grown = array_grow(sweep->rows, sweep->n_rows, &sweep->room, sizeof(*grown));
	if (!grown)
		return; /* the next pass has another try */
	sweep->rows = grown;
	sweep->rows[sweep->n_rows++] = *row;
}

static int row_compare(const void *a, const void *b)
{
	const struct task_row *x = a, *y = b;

	if (x->task.proc.tgid != y->task.proc.tgid)
		return x->task.proc.tgid < y->task.proc.tgid ? -1 : 1;
	if (x->word != y->word)
		return x->word < y->word ? -1 : 1;
	return x->task.tid < y->task.tid ? -1 : x->task.tid > y->task.tid;
}

static void pass_end(struct sweep *sweep)
{
	sweep->running = false;
	if (sweep->owners)
		edges_tell(sweep->agent, sweep->rows, sweep->owners, sweep->n_rows,
			   sweep->began_ns);
	suspects_forget(&sweep->suspects, sweep->pass);
	judged_forget(sweep);
	sweep->due_ns = host_now() + (sweep->fresh ? SECOND_READ_NS : SWEEP_NS);
	if (sweep->agent->options->verbose)
		fprintf(stderr, "deadhold: sweep %llu: %zu threads blocked, %zu looked at\n",
			(unsigned long long)sweep->pass, sweep->blocked, sweep->n_rows);
}

int sweep_begin(struct sweep *sweep)
{
	int error;

	if (sweep->running)
		return 0;
	sweep->running = true;
	sweep->pass++;
	sweep->at = 0;
	sweep->n_rows = 0;
	sweep->blocked = 0;
	sweep->fresh = false;
	sweep->began_ns = host_now();
	error = hooks_snapshot(sweep->agent->hooks, 0, blocked_row, sweep);
	pythons_pass(sweep->agent->pythons);
	free(sweep->owners);
	sweep->owners = calloc(sweep->n_rows ?: 1, sizeof(*sweep->owners));
	if (sweep->n_rows)
		qsort(sweep->rows, sweep->n_rows, sizeof(*sweep->rows), row_compare);
	rows_step(sweep);
	return error;
}

size_t sweep_blocked(const struct sweep *sweep)
{
	return sweep->blocked;
}

bool sweep_running(const struct sweep *sweep)
{
	return sweep->running;
}

uint64_t sweep_passes(const struct sweep *sweep)
{
	return sweep->pass - sweep_running(sweep);
}

uint64_t sweep_due(const struct sweep *sweep)
{
	return sweep->running ? 0 : sweep->due_ns;
}
