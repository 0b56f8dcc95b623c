// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "calls.h"
#include "cases.h"
#include "cleanup.h"
#include "deep.h"
#include "detect.h"
#include "pythons.h"
#include "proc.h"
#include "runtime.h"
#include "killed.h"

/*
 * An exit record is reserved just after the row by which a waiter finds the dead: a wait record that
 * overtook it waits this long for the dead one's name.
 */
#define EXIT_GRACE_NS 100000000ull
/* A held lock's exit record follows it in the ring, or was lost. */
#define HELD_NS 10000000000ull
/* Shared locks of a process that ended count only if somebody outlives it by this. */
#define OUTLIVE_NS 1000000000ull
/*
 * A private lock on which nobody is stuck is told this late, and not at all if its process has ended by
 * itself by then: some end so. A JVM's VM thread, for one, ends with the lock of all threads in its hands,
 * just before the process does: there those that are told this late, too, on which somebody is stuck.
 */
#define QUIET_NS 200000000ull
/* A claim without a taker is forgotten after this. */
#define CLAIM_NS 10000000000ull
#define CLAIMS	 16384 /* at a time: some 30 MB */

/* One lock of a case. */
struct found {
	uint64_t word;
	struct lock_state state;
	enum lock_proof proof;
	bool certain; /* the kernel saw it, whatever the memory says by now */
	bool unread;  /* neither the kernel nor the reader could read it */
	bool dropped;
	bool waited_for; /* of a find of the census */
	bool suspected;
	uint64_t pc;   /* of a thread that waits for it, where that has to be known; 0: not known */
	bool unproven; /* nobody saw a thread of the owner's number: the lock itself must be one */
	bool doubted;  /* whose code it is that waits could not be told */
	bool unsure;   /* the process's main thread may hold it: origin.h */
	uint64_t semaphore;    /* of a Python object: what its waiters sleep on; 0: they park */
	struct deep_hold deep; /* row.tid 0: deep mode did not see it */
	struct place place;
	struct lock_info info;
};

/* A thread that is stuck on one of the case's locks. */
struct stuck_row {
	struct task_row row;
	size_t lock; /* index of found */
	bool timed_known;
	bool counted; /* beyond those that the text of lock-orphaned lists */
	uint64_t timeout_ns;
	uint64_t address, map_start; /* of a shared lock, in the thread's own process */
};

/* Threads of other processes that may wait for a shared lock: a limit, the sweep finds the rest. */
#define NEIGHBOURS 64

struct orphan_case {
	struct cases *cases;
	struct proc_key proc; /* through whose memory the locks are read */
	struct process_info process;
	struct thread_info owner;
	struct exit_info exit;
	uint32_t owner_ns_tid;
	uint64_t owner_thread; /* its descriptor, where its end was seen */
	uint64_t time_ns;
	size_t n_found, looked, placed, called;
	struct found *found;
	size_t n_stuck, timed; /* up to there the timeouts were read */
	struct stuck_row *stuck;
	size_t n_neighbours, asked;
	struct task_row *neighbour;
	uint64_t owner_address; /* of the one shared lock in the dead process; 0: as read */
	bool shown;		/* the filters let its lock-orphaned through */
	bool parked;		/* the waiter is given: it does not wait on the lock's own word */
	bool over, killed;	/* its process has ended: by itself, by a signal */
	uint64_t due_ns;	/* all is known and nobody is stuck: QUIET_NS; 0: not so */
	const char *missing;
	bool java;	    /* the process is a JVM */
	bool objects_known; /* which of Python's objects have the semaphores: case_objects() */
	struct python_ask *objects;
	bool by_census;
	struct census_info census;
	struct orphan_case *prev, *next;
};

/* A lock of a thread whose exit record has not come yet. */
struct held {
	struct ev_held ev;
	uint64_t due_ns;
	struct held *prev, *next;
};

/* A wait whose dead owner is not known by name yet. */
struct overtaken {
	struct ev_wait_dead ev;
	uint64_t due_ns;
	struct overtaken *prev, *next;
};

/*
 * A shared lock that a dying process left. It becomes an orphan when a waiter turns up, or when after
 * a second some living process still maps it.
 */
struct claim {
	struct shared_place shared;
	struct lock_state state;
	enum lock_proof proof;
	struct process_info process;
	struct thread_info owner;
	struct exit_info exit;
	struct proc_key proc;
	uint64_t word;
	uint64_t due_ns;
	bool asked, ambiguous;
	struct claim *prev, *next;
};

struct cases {
	struct agent *agent;
	struct orphan_case *open;
	struct held *held;
	struct overtaken *overtaken;
	struct claim *claims;
	size_t n_claims;
	size_t rereads; /* requests under way for open orphans and claims */
};

static void case_look(struct orphan_case *c);
static void case_timeouts(struct orphan_case *c);

struct cases *cases_new(struct agent *agent)
{
	struct cases *cases = calloc(1, sizeof(*cases));

	if (cases)
		cases->agent = agent;
	return cases;
}

static void case_free(struct orphan_case *c)
{
	DL_DELETE(c->cases->open, c);
	free(c->found);
	free(c->stuck);
	free(c->neighbour);
	free(c->objects);
	free(c);
}

void cases_free(struct cases *cases)
{
	struct held *held, *next_held;
	struct overtaken *overtaken, *next_overtaken;
	struct claim *claim, *next_claim;

	if (!cases)
		return;
	while (cases->open)
		case_free(cases->open);
	DL_FOREACH_SAFE(cases->held, held, next_held)
	{
		free(held);
	}
	DL_FOREACH_SAFE(cases->overtaken, overtaken, next_overtaken)
	{
		free(overtaken);
	}
	DL_FOREACH_SAFE(cases->claims, claim, next_claim)
	{
		free(claim);
	}
	free(cases);
}

static struct orphan_case *case_new(struct cases *cases, const struct proc_key *proc,
				    size_t n_found)
{
	struct orphan_case *c = calloc(1, sizeof(*c));

	if (c)
		c->found = calloc(n_found ?: 1, sizeof(*c->found));
	if (!c || !c->found) {
		cases->agent->unsaid.no_memory++;
		free(c);
		return NULL;
	}
	c->cases = cases;
	c->proc = *proc;
	DL_APPEND(cases->open, c);
	return c;
}

/* The same lock twice (robust list and candidate) counts once. */
static void case_add(struct orphan_case *c, const struct ev_held *held)
{
	static const enum lock_proof proofs[] = {
		[HELD_ROBUST_LIST] = PROOF_ROBUST_LIST, [HELD_CANDIDATE] = PROOF_OWNER_WORD,
		[HELD_OWNER_DIED] = PROOF_OWNER_DIED,	[HELD_UNREAD] = PROOF_OWNER_WORD,
		[HELD_INFERRED] = PROOF_INFERRED,
	};
	bool inferred = held->from == HELD_INFERRED;
	struct found *found = &c->found[c->n_found];
	size_t i;

	for (i = 0; i < c->n_found; i++) {
		if (c->found[i].state.address == held->lock.address)
			return;
	}
	*found = (struct found){
		.word = held->word,
		.state = held->lock,
		.proof = proofs[held->from],
		.certain = held->from != HELD_UNREAD && !inferred,
		.unread = held->from == HELD_UNREAD || inferred,
		.suspected = inferred,
		.place = { .proc = held->proc, .address = held->lock.address },
	};
	c->n_found++;
}

/* What deep mode saw it take. Of the n_held that the kernel came upon, too, only where that was is new. */
static void case_add_deep(struct orphan_case *c, const struct deep_hold *hold, size_t n_held)
{
	static const struct lock_words unread = { 0 };
	uint32_t layout = deep_layout(hold, &unread);
	size_t i;

	for (i = 0; i < n_held; i++) {
		if (c->found[i].state.address == hold->key.lock) {
			c->found[i].deep = *hold;
			return;
		}
	}
	c->found[c->n_found++] = (struct found){
		.word = hold->key.lock + lock_word_offset(layout),
		.state = { .address = hold->key.lock, .layout = layout },
		.proof = deep_names_owner(hold) ? PROOF_OWNER_WORD : PROOF_PROBE,
		.unread = true,
		.deep = *hold,
		.place = { .proc = c->proc, .address = hold->key.lock },
	};
}

/* ---- the memory of the locks ---- */

static void found_map(struct found *found, const struct look_mapping *mapping)
{
	if (mapping->known)
		found->place.shared = detect_mapping(&found->info, mapping);
}

/*
 * Has nobody had the owner's number since its end, which the case is about? Once a new thread of the
 * process had it, a word that is read afterwards may name that one. Asked after the reading.
 */
static bool owner_is_dead(const struct orphan_case *c)
{
	struct owner_key key = { .proc = c->proc, .ns_tid = c->owner_ns_tid };
	struct dead_row row;

	return hooks_dead(c->cases->agent->hooks, &key, &row) && row.exit_ns == c->time_ns;
}

static void found_vanish(struct orphan_case *c, struct found *found)
{
	found->dropped = true;
	/* Deep mode also notes whom a thread asked in vain. */
	c->cases->agent->unsaid.vanished += !found->deep.row.tid;
}

/* Of what deep mode saw, the memory says which kind of mutex it is. */
static uint32_t found_layout(const struct found *found, const struct lock_words *words)
{
	return found->unread && found->deep.row.tid ? deep_layout(&found->deep, words)
						    : found->state.layout;
}

/* The memory was read just now. Is it the dead owner's, and nobody's who came later? */
static bool found_is_owners(const struct orphan_case *c, const struct found *found,
			    const struct lock_state *now)
{
	if (found->proof == PROOF_PROBE)
		return deep_certain(c->cases->agent->deep, &found->deep);
	return !c->owner_ns_tid ||
	       (owner_is_dead(c) && (!now->thread || now->thread == c->owner_thread));
}

/* What the memory says now. What the kernel saw at the exit stays true of that moment. */
static void found_read(struct orphan_case *c, struct found *found, const struct lock_words *words)
{
	struct lock_state now;

	if (!words->have_at)
		return;
	if (!lock_owner(found_layout(found, words), found->word, words, &now) ||
	    !detect_left_by(&now, c->owner_ns_tid) ||
	    (found->proof == PROOF_SHAPE && !lock_shape(words, &now)) ||
	    (found->unread && !found_is_owners(c, found, &now))) {
		if (!found->certain)
			found_vanish(c, found);
		return;
	}
	if (found->unread && !now.owner && found->proof == PROOF_OWNER_WORD)
		found->proof = PROOF_OWNER_DIED; /* libc's mark, not the thread's number */
	found->state = now;
	found->unread = false;
}

/* How sure is what was found by its shape? */
static void found_weigh(const struct orphan_case *c, struct found *found,
			const struct look_mapping *mapping)
{
	found->info.evidence = detect_evidence(&found->state, mapping, found->waited_for,
					       c->census.strangers);
	found->suspected = !detect_evidence_enough(found->info.evidence, c->java);
}

/* What speaks, of a lock that was got, against its having been released. */
static uint32_t found_went_on(const struct found *found)
{
	return found->state.layout == LAYOUT_PYTHON_LOCK ? EVIDENCE_NOT_WOKEN : EVIDENCE_NO_WAKE;
}

static void case_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct orphan_case *c = context;
	struct found *found;
	enum lock_libc libc;
	uint32_t i;

	if (answer->error == -ECANCELED)
		return; /* the agent is ending; cases_free() follows */
	if (answer->error == -ETIMEDOUT)
		c->missing = "the process's memory and mappings: reading them took too long";
	else if (answer->error && answer->error != -ESRCH)
		c->missing = "the process's memory and mappings could not be read";
	else if (answer->error)
		c->missing = "the process's mappings: it had ended";
	if (!answer->error && look->want & LOOK_PROCESS) {
		processes_learn(c->cases->agent->processes, &c->proc, answer);
		c->java = answer->runtimes & RUNTIME_JVM;
	}
	libc = processes_fill(c->cases->agent->processes, &c->proc, &c->process);
	for (i = 0; i < look->n; i++) {
		found = &c->found[c->looked + i];
		if (!answer->error && i < answer->n)
			found_read(c, found, &answer->at[i].words);
		else if (answer->error == -ESRCH && found->unread)
			found_vanish(c, found); /* with its process */
		detect_lock(&found->info, &found->state, found->proof, libc);
		if (found->proof == PROOF_INFERRED)
			found->info.evidence = EVIDENCE_GOT | found_went_on(found);
		else if (!found->info.owner_tid && !lock_is_nameless(found->state.layout))
			found->info.owner_tid = c->owner_ns_tid;
		if (!answer->error && i < answer->n)
			found_map(found, &answer->at[i].mapping);
		if (found->proof == PROOF_SHAPE)
			found_weigh(c, found, &answer->at[i].mapping);
	}
	c->looked += look->n;
	case_look(c);
}

/* ---- where they were taken ---- */

static bool found_placed(const struct found *found)
{
	return !found->dropped && !found->unread && found->deep.row.tid;
}

/* The place in code that an address of a process is. */
static void frame_fill(struct frame_info *frame, uint64_t address,
		       const struct look_mapping *mapping)
{
	*frame = (struct frame_info){ .address = address };
	if (!mapping)
		return;
	memcpy(frame->symbol, mapping->symbol, sizeof(frame->symbol));
	memcpy(frame->module, mapping->path, sizeof(frame->module));
	memcpy(frame->build_id, mapping->build_id, sizeof(frame->build_id));
	frame->has_offset = mapping->has_vaddr;
	frame->offset = mapping->vaddr;
}

static void case_placed(void *context, const struct look *look, const struct look_answer *answer)
{
	struct orphan_case *c = context;
	uint32_t i = 0;

	if (answer->error == -ECANCELED)
		return;
	/* The same order in which case_place() asked. */
	for (; i < look->n; c->placed++) {
		struct found *found = &c->found[c->placed];

		if (!found_placed(found))
			continue;
		found->info.acquired.time_ns = found->deep.row.call_ns;
		frame_fill(&found->info.acquired.frame, look->address[i],
			   answer->error ? NULL : &answer->at[i].mapping);
		i++;
	}
	case_look(c);
}

/* Asks for the next ones. False: there are none left, or no memory for it. */
static bool case_place(struct orphan_case *c)
{
	struct look look = {
		.tgid = c->proc.tgid,
		.start_ticks = c->proc.start_ns / c->cases->agent->tick_ns,
		.want = LOOK_MAPPINGS,
		.code = ~0u,
	};
	size_t i;

	for (i = c->placed; i < c->n_found && look.n < LOOK_ADDRESSES; i++) {
		if (found_placed(&c->found[i]))
			look.address[look.n++] = c->found[i].deep.row.caller;
	}
	return look.n && !reader_look(c->cases->agent->reader, &look, case_placed, c);
}

/* ---- what Python has its semaphores for ---- */

/* Deep mode saw the thread take it. */
static bool found_is_semaphore(const struct found *found)
{
	return !found->dropped && found->state.layout == LAYOUT_SEMAPHORE;
}

static bool case_has_semaphores(const struct orphan_case *c)
{
	for (size_t i = 0; i < c->n_found; i++)
		if (found_is_semaphore(&c->found[i]))
			return true;
	return false;
}

/* A SimpleQueue that was found empty has its own taken, for whoever puts something into it to release. */
static void object_take(struct orphan_case *c, const struct python_find *find)
{
	for (size_t i = 0; i < c->n_found && find->type == PYTHON_QUEUE; i++)
		if (found_is_semaphore(&c->found[i]) &&
		    c->found[i].word == c->objects->word[find->word])
			c->found[i].dropped = true;
}

static void case_objects(struct orphan_case *c);

static void objects_found(void *context, const struct python_ask *ask,
			  const struct python_answer *answer)
{
	struct orphan_case *c = context;

	(void)ask;
	if (answer->error == -ECANCELED)
		return;
	for (uint32_t i = 0; i < answer->n; i++)
		object_take(c, &answer->at[i]);
	c->objects->from = answer->next; /* 0 after an error, too */
	case_objects(c);
}

/* Slice by slice, through the memory of the process. Of more than one request holds the first are asked. */
static void case_objects(struct orphan_case *c)
{
	struct python_ask *ask = c->objects;

	if (!ask) {
		ask = c->objects = calloc(1, sizeof(*ask));
		if (ask)
			*ask = (struct python_ask){
				.tgid = c->proc.tgid,
				.start_ticks = c->proc.start_ns / c->cases->agent->tick_ns,
				.slice_bytes = CENSUS_SLICE_BYTES,
			};
		for (size_t i = 0; ask && i < c->n_found && ask->n < PYTHON_WORDS; i++)
			if (found_is_semaphore(&c->found[i]))
				ask->word[ask->n++] = c->found[i].word;
		if (ask)
			ask->n = word_sort(ask->word, ask->n);
	} else if (!ask->from) {
		c->objects_known = true;
	}
	if (!ask || c->objects_known ||
	    reader_python(c->cases->agent->reader, ask, objects_found, c)) {
		c->objects_known = true;
		case_look(c);
	}
}

/* ---- who is stuck on them ---- */

static int stuck_add(struct orphan_case *c, const struct task_row *row, size_t lock)
{
	struct stuck_row *grown = reallocarray(c->stuck, c->n_stuck + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->stuck = grown;
	c->stuck[c->n_stuck++] = (struct stuck_row){ .row = *row, .lock = lock };
	return 0;
}

/*
 * Does the thread wait for this lock, at this word? Who sleeps in FUTEX_LOCK_PI is handed it by the
 * kernel, a moment after the hook at the owner's exit: seen in between it looks stuck, and is not.
 */
static bool found_waited_for(const struct found *found, uint64_t word, const struct task_row *row)
{
	uint32_t cmd = row->op & FUTEX_OP_MASK;

	if (!found->state.robust && (cmd == FUTEX_OP_LOCK_PI || cmd == FUTEX_OP_LOCK_PI2))
		return false;
	return !found->dropped && detect_waits_for(row, word, found->state.layout);
}

static void stuck_row(void *context, const struct task_row *row)
{
	struct orphan_case *c = context;
	size_t i;

	for (i = 0; i < c->n_found; i++) {
		if (found_waited_for(&c->found[i], c->found[i].word, row)) {
			stuck_add(c, row, i);
			c->found[i].pc = row->pc;
			return;
		}
	}
}

static bool case_is_shared(const struct orphan_case *c)
{
	size_t i;

	for (i = 0; i < c->n_found; i++) {
		if (!c->found[i].dropped && c->found[i].place.shared.inode)
			return true;
	}
	return false;
}

/* A thread of another process in a call that may be for a shared lock. */
static void neighbour_row(void *context, const struct task_row *row)
{
	struct orphan_case *c = context;

	if (row->task.proc.tgid == c->proc.tgid || row->op & FUTEX_OP_PRIVATE ||
	    !lock_call(row->op, row->val) || c->n_neighbours == NEIGHBOURS)
		return;
	if (!c->neighbour)
		c->neighbour = calloc(NEIGHBOURS, sizeof(*c->neighbour));
	if (c->neighbour)
		c->neighbour[c->n_neighbours++] = *row;
}

/* Does this thread, whose futex word lies in this mapping, wait for one of the case's shared locks? */
static struct found *neighbour_lock(struct orphan_case *c, const struct look_mapping *mapping,
				    const struct task_row *row)
{
	size_t i;

	for (i = 0; i < c->n_found && mapping->known && mapping->shared; i++) {
		const struct shared_place *place = &c->found[i].place.shared;
		uint64_t word = mapping->start + place->offset - mapping->offset +
				lock_word_offset(c->found[i].state.layout);

		if (place->inode && place->inode == mapping->inode &&
		    place->device == mapping->device && found_waited_for(&c->found[i], word, row))
			return &c->found[i];
	}
	return NULL;
}

static void neighbour_ask(struct orphan_case *c);

static void neighbour_looked(void *context, const struct look *look,
			     const struct look_answer *answer)
{
	struct orphan_case *c = context;
	const struct task_row *row = &c->neighbour[c->asked];
	struct stuck_row *stuck;
	struct found *found;

	if (answer->error == -ECANCELED)
		return;
	found = answer->error ? NULL : neighbour_lock(c, &answer->at[0].mapping, row);
	if (found && !stuck_add(c, row, found - c->found)) {
		stuck = &c->stuck[c->n_stuck - 1];
		stuck->address = answer->at[0].mapping.start + found->place.shared.offset -
				 answer->at[0].mapping.offset;
		stuck->map_start = answer->at[0].mapping.start;
		if (look->n > 1 && answer->at[1].has_timespec) {
			stuck->timed_known = true;
			stuck->timeout_ns = answer->at[1].timespec_ns;
		}
	}
	c->asked++;
	neighbour_ask(c);
}

/* Who in other processes waits for a shared lock? One after the other; then on to the timeouts. */
static void neighbour_ask(struct orphan_case *c)
{
	const struct task_row *row;
	struct look look;

	if (c->asked == c->n_neighbours) {
		case_timeouts(c);
		return;
	}
	row = &c->neighbour[c->asked];
	look = (struct look){
		.tgid = row->task.proc.tgid,
		.start_ticks = row->task.proc.start_ns / c->cases->agent->tick_ns,
		.want = LOOK_MAPPINGS | (row->timeout ? LOOK_TIMESPEC : 0),
		.n = row->timeout ? 2 : 1,
		.address = { row->word, row->timeout },
	};
	if (reader_look(c->cases->agent->reader, &look, neighbour_looked, c)) {
		c->n_neighbours = c->asked; /* no memory: the sweep finds them */
		case_timeouts(c);
	}
}

/* ---- whose code waits ---- */

/* To those who wait it looks like a lock of glibc's. Deep mode saw glibc lock it. */
static bool found_needs_caller(const struct found *found)
{
	return !found->dropped && !found->deep.row.tid && found->pc &&
	       lock_needs_caller(found->state.layout);
}

static void found_called(struct found *found, enum caller caller)
{
	found->dropped = caller == CALLER_OTHER; /* then it is something else */
	found->doubted = caller == CALLER_UNKNOWN;
	found->suspected |= found->doubted && found->unproven;
}

static void callers_ask(struct orphan_case *c);

static void callers_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct orphan_case *c = context;
	uint32_t i = 0;

	if (answer->error == -ECANCELED)
		return;
	/* The same order in which callers_ask() asked. */
	for (; i < look->n; c->called++)
		if (found_needs_caller(&c->found[c->called]))
			found_called(&c->found[c->called], answer->at[i++].caller);
	callers_ask(c);
}

/* Asks for the next ones; then on to those who wait in other processes. */
static void callers_ask(struct orphan_case *c)
{
	struct look look = {
		.tgid = c->proc.tgid,
		.start_ticks = c->proc.start_ns / c->cases->agent->tick_ns,
		.want = LOOK_MAPPINGS | LOOK_CALLERS,
		.code = ~0u,
	};
	size_t i;

	for (i = c->called; i < c->n_found && look.n < LOOK_ADDRESSES; i++)
		if (found_needs_caller(&c->found[i]))
			look.address[look.n++] = c->found[i].pc;
	if (!look.n)
		neighbour_ask(c);
	else if (reader_look(c->cases->agent->reader, &look, callers_looked, c))
		case_free(c); /* no memory: the sweep comes upon it again */
}

/* ---- saying it ---- */

static void wait_of(struct orphan_case *c, const struct stuck_row *stuck, struct wait_info *wait)
{
	const struct task_row *row = &stuck->row;

	detect_wait(wait, row->op, row->flags & ROW_SINCE ? row->since_ns : 0, row->timeout != 0,
		    stuck->timeout_ns, host_now(), c->cases->agent->run.realtime_offset_ns);
	/* The kernel programs note no waits on semaphores. */
	wait->unseen = detect_object(c->found[stuck->lock].state.layout) ||
		       c->found[stuck->lock].state.layout == LAYOUT_SEMAPHORE;
}

/* A timed wait whose length could not be read would look like one for ever: not said. */
static bool stuck_sayable(const struct stuck_row *stuck)
{
	return !stuck->row.timeout || stuck->timed_known;
}

/*
 * Deep mode sees a thread take the semaphore, not the object of Python's that has it. It told of that when
 * the thread ended, of the same owner if both know one.
 */
static struct orphan *semaphore_orphan(const struct orphan_case *c, const struct found *found)
{
	struct orphan *orphan, *next;

	HASH_ITER (hh, c->cases->agent->model.orphans, orphan, next) {
		if (orphan->layout == LAYOUT_SEMAPHORE && orphan->via_word == found->semaphore &&
		    proc_equal(&orphan->via, &c->proc) &&
		    (!c->owner_ns_tid || orphan->key.owner_ns_tid == c->owner_ns_tid) &&
		    deep_still(c->cases->agent->deep, &orphan->deep))
			return orphan;
	}
	return NULL;
}

/* What was told of the lock already. */
static struct orphan *found_orphan(struct orphan_case *c, const struct found *found)
{
	struct orphan_key key = orphan_key(&found->place, c->owner_ns_tid);
	struct orphan *orphan = found->semaphore ? semaphore_orphan(c, found) : NULL;

	return orphan ? orphan : model_orphan(&c->cases->agent->model, &key);
}

/* What is suspected though a thread waits for it. */
static void found_doubt(struct found *found)
{
	if (found->unsure)
		found->info.doubt = DOUBT_FORK;
	else if (found->doubted && found->unproven)
		found->info.doubt = DOUBT_STATIC;
	if (found->info.doubt)
		found->info.evidence = EVIDENCE_FIELDS | EVIDENCE_WAITED_FOR;
}

/*
 * A thread that is stuck on what was found by its shape proves it to be a lock. What was suspected
 * before, and is proven now, is reported anew.
 */
static void case_confirm(struct orphan_case *c)
{
	size_t i;

	for (i = 0; i < c->n_found; i++)
		found_doubt(&c->found[i]);
	for (i = 0; i < c->n_stuck; i++) {
		struct found *found = &c->found[c->stuck[i].lock];

		if (found->proof == PROOF_SHAPE && !found->doubted) {
			found->proof = found->info.proof = PROOF_WAITER;
			found->info.evidence = 0;
			found->suspected = false;
		}
	}
	for (i = 0; i < c->n_found; i++) {
		struct orphan *orphan = found_orphan(c, &c->found[i]);

		if (orphan && orphan->suspected && !c->found[i].suspected)
			model_orphan_close(&c->cases->agent->model, orphan);
	}
}

/* A waiter raises what the census found: from here on it is known by that. */
static void orphan_raise(struct orphan *orphan)
{
	if (orphan->lock.proof != PROOF_SHAPE)
		return;
	orphan->lock.proof = PROOF_WAITER;
	orphan->lock.evidence = 0;
}

static void waits_say(struct orphan_case *c)
{
	struct agent *agent = c->cases->agent;
	size_t i;

	for (i = 0; i < c->n_stuck; i++) {
		const struct task_row *row = &c->stuck[i].row;
		const struct found *found = &c->found[c->stuck[i].lock];
		struct orphan *orphan = found_orphan(c, found);
		struct waiter_key waiter = { row->task.tid, row->task.start_ns };
		struct lock_info lock;
		struct alert alert = { .kind = ALERT_ORPHAN_WAIT, .n_locks = 1, .locks = &lock };

		if (!orphan || orphan->suspected || !stuck_sayable(&c->stuck[i]) ||
		    !model_waiter_new(orphan, &waiter))
			continue;
		orphan_raise(orphan);
		lock = orphan->lock;
		if (c->stuck[i].address) { /* the same object, at this process's address */
			lock.address = c->stuck[i].address;
			lock.map_start = c->stuck[i].map_start;
		} else if (orphan->lock.shared) {
			lock.address = found->info.address;
			lock.map_start = found->info.map_start;
		}
		detect_process(&alert.process, &row->task, agent->tick_ns);
		processes_fill(agent->processes, &row->task.proc, &alert.process);
		detect_thread(&alert.thread, &row->task, agent->tick_ns);
		memcpy(alert.orphan_id, orphan->id, sizeof(alert.orphan_id));
		alert.owner = orphan->owner;
		if ((orphan->owner.tid || orphan->owner.ns_tid) &&
		    orphan->process.pid != alert.process.pid)
			alert.owner_process = orphan->process;
		alert.exit = orphan->exit;
		wait_of(c, &c->stuck[i], &alert.wait);
		alert.counted = c->shown && c->stuck[i].counted;
		alert.time_ns = row->flags & ROW_SINCE && row->since_ns > c->time_ns ? row->since_ns
										     : c->time_ns;
		alert.severity = lock.robust || alert.wait.has_timeout ? SEVERITY_WARNING
								       : SEVERITY_CRITICAL;
		stream_say(&agent->stream, &alert);
	}
}

/* The threads that are stuck on the locks that are told; told[i]: found i's place among them, or −1. */
static size_t waiters_fill(struct orphan_case *c, struct waiter_info *waiters, const ssize_t *told)
{
	struct agent *agent = c->cases->agent;
	size_t i, n = 0;

	for (i = 0; i < c->n_stuck; i++) {
		const struct task_row *row = &c->stuck[i].row;

		if (!stuck_sayable(&c->stuck[i]) || told[c->stuck[i].lock] < 0)
			continue;
		waiters[n].lock = told[c->stuck[i].lock];
		if ((int32_t)row->task.proc.tgid != c->process.pid) {
			detect_process(&waiters[n].process, &row->task, agent->tick_ns);
			processes_fill(agent->processes, &row->task.proc, &waiters[n].process);
		}
		detect_thread(&waiters[n].thread, &row->task, agent->tick_ns);
		wait_of(c, &c->stuck[i], &waiters[n].wait);
		c->stuck[i].counted = n >= TEXT_WAITERS;
		n++;
	}
	return n;
}

static struct owner_key case_owner(const struct orphan_case *c)
{
	return (struct owner_key){ .proc = c->proc, .ns_tid = c->owner_ns_tid };
}

static void orphan_open(struct orphan_case *c, const struct found *found, const char *id)
{
	const struct owner_key owner = case_owner(c);
	struct orphan orphan = {
		.key = orphan_key(&found->place, c->owner_ns_tid),
		.layout = found->state.layout,
		.thread = found->state.thread,
		.lock = found->info,
		.process = c->process,
		.owner = c->owner,
		.exit = c->exit,
		.via = c->proc,
		.via_word = found->word,
		.suspected = found->suspected,
		.deep = found->deep,
	};
	bool evicting;

	snprintf(orphan.id, sizeof(orphan.id), "%s", id);
	if (!model_orphan_open(&c->cases->agent->model, &orphan, &evicting) || evicting)
		c->cases->agent->unsaid.no_memory++; /* once: it, or the one that made room */
	if (!found->suspected)
		killed_lock(c->cases->agent->killed, &owner, c->exit.time_ns);
}

static void orphans_shown(struct orphan_case *c, const ssize_t *told)
{
	struct orphan *orphan;
	size_t i;

	for (i = 0; i < c->n_found; i++) {
		orphan = told[i] < 0 ? NULL : found_orphan(c, &c->found[i]);
		if (orphan)
			orphan->shown = true;
	}
}

#define LOCKS_LISTED 2048 /* in one alert: 1 MB, and half of the orphans that are followed */

enum { NOT_TOLD = -1, TO_BE_TOLD = -2 };

/*
 * Opens the locks that are told in this alert: told[i] is found i's place among them, or NOT_TOLD. Where
 * there are too many, those that somebody waits for go first; *more: are not listed. Returns how many are.
 */
static size_t locks_open(struct orphan_case *c, bool suspected, const char *id, ssize_t *told,
			 uint64_t *more)
{
	size_t i, room = LOCKS_LISTED, n = 0, eligible = 0;

	for (i = 0; i < c->n_found; i++) {
		bool is = !c->found[i].dropped && c->found[i].suspected == suspected &&
			  !found_orphan(c, &c->found[i]);

		told[i] = is ? TO_BE_TOLD : NOT_TOLD;
		eligible += is;
	}
	*more = eligible > room ? eligible - room : 0;
	for (i = 0; *more && i < c->n_stuck && room; i++) {
		ssize_t *place = &told[c->stuck[i].lock];

		room -= *place == TO_BE_TOLD;
		*place = *place == NOT_TOLD ? NOT_TOLD : 0;
	}
	for (i = 0; i < c->n_found; i++) {
		bool found_room = told[i] == TO_BE_TOLD && room;

		room -= found_room;
		if ((told[i] < 0 && !found_room) ||
		    found_orphan(c, &c->found[i])) /* mapped twice */
			told[i] = NOT_TOLD;
		else
			told[i] = n++;
		if (told[i] != NOT_TOLD)
			orphan_open(c, &c->found[i], id);
	}
	return n;
}

/* All locks of the case that are proven, or (suspected) all that are not. */
static void orphaned_say(struct orphan_case *c, bool suspected)
{
	struct agent *agent = c->cases->agent;
	struct lock_info *locks = calloc(c->n_found ?: 1, sizeof(*locks));
	struct waiter_info *waiters = calloc(c->n_stuck ?: 1, sizeof(*waiters));
	ssize_t *told = calloc(c->n_found ?: 1, sizeof(*told));
	struct alert alert = { .kind = suspected ? ALERT_LOCK_SUSPECTED : ALERT_LOCK_ORPHANED,
			       .time_ns = c->time_ns };
	const struct owner_key owner = case_owner(c);
	struct cause_info cause;
	size_t i;
	bool shown;

	if (!locks || !waiters || !told) {
		agent->unsaid.no_memory++;
		goto out;
	}
	snprintf(alert.orphan_id, sizeof(alert.orphan_id), "%s:o%llu", agent->run.id,
		 (unsigned long long)agent->orphan_number + 1);
	alert.n_locks = locks_open(c, suspected, alert.orphan_id, told, &alert.locks_more);
	if (!alert.n_locks)
		goto out;
	for (i = 0; i < c->n_found; i++) {
		struct lock_info *lock = &locks[told[i] < 0 ? 0 : told[i]];

		if (told[i] < 0)
			continue;
		*lock = c->found[i].info;
		if (c->owner_address) {
			lock->address = c->owner_address;
			lock->map_start = 0;
		}
	}
	agent->orphan_number++;
	alert.process = c->process;
	alert.thread = c->owner;
	alert.exit = c->exit;
	if (calls_cause(agent->calls, &owner, &c->exit, &cause))
		alert.cause = &cause;
	alert.locks = locks;
	alert.waiters = waiters;
	alert.n_waiters = waiters_fill(c, waiters, told);
	alert.severity = suspected
				 ? SEVERITY_WARNING
				 : detect_severity(locks, alert.n_locks, waiters, alert.n_waiters);
	alert.missing = c->missing;
	alert.census = c->by_census ? &c->census : NULL;
	shown = stream_say(&agent->stream, &alert);
	if (shown)
		orphans_shown(c, told);
	c->shown |= shown && !suspected; /* waiters are those of proven ones */
out:
	free(locks);
	free(waiters);
	free(told);
}

/* What was only seen to be taken, and released since the thread's end: a lock that was handed over. */
static void case_drop_released(struct orphan_case *c)
{
	for (size_t i = 0; i < c->n_found; i++)
		if (c->found[i].proof == PROOF_PROBE &&
		    !deep_certain(c->cases->agent->deep, &c->found[i].deep))
			c->found[i].dropped = true;
}

static void case_say(struct orphan_case *c)
{
	case_drop_released(c);
	calls_flush(c->cases->agent->calls, false); /* what preceded it is said before it */
	case_confirm(c);
	orphaned_say(c, false);
	orphaned_say(c, true);
	waits_say(c);
	case_free(c);
}

/* Its timeout is to be read, through the case's own process. */
static bool stuck_is_timed(const struct orphan_case *c, const struct stuck_row *stuck)
{
	return stuck->row.timeout && stuck->row.task.proc.tgid == c->proc.tgid;
}

static void timeouts_looked(void *context, const struct look *look,
			    const struct look_answer *answer)
{
	struct orphan_case *c = context;
	uint32_t i;

	if (answer->error == -ECANCELED)
		return;
	/* The same order in which case_timeouts() asked. */
	for (i = 0; i < look->n; c->timed++) {
		struct stuck_row *stuck = &c->stuck[c->timed];

		if (!stuck_is_timed(c, stuck))
			continue;
		stuck->timed_known = !answer->error && answer->at[i].has_timespec;
		stuck->timeout_ns = answer->at[i++].timespec_ns;
	}
	case_timeouts(c);
}

/* The lengths of timed waits, LOOK_ADDRESSES at a time; then all is known. */
static void case_timeouts(struct orphan_case *c)
{
	struct look look = {
		.tgid = c->proc.tgid,
		.start_ticks = c->proc.start_ns / c->cases->agent->tick_ns,
		.want = LOOK_TIMESPEC,
	};
	size_t s;

	for (s = c->timed; s < c->n_stuck && look.n < LOOK_ADDRESSES; s++) {
		if (stuck_is_timed(c, &c->stuck[s]))
			look.address[look.n++] = c->stuck[s].row.timeout;
	}
	if (!look.n || reader_look(c->cases->agent->reader, &look, timeouts_looked, c))
		case_say(c);
}

static bool case_is_empty(const struct orphan_case *c)
{
	size_t i;

	for (i = 0; i < c->n_found; i++) {
		/* What only looked like a lock is no loss: nobody knows that it was one. */
		if (!c->found[i].dropped && c->found[i].unread && c->found[i].proof != PROOF_SHAPE)
			c->cases->agent->unsaid.unread++;
		if (!c->found[i].dropped && !c->found[i].unread)
			return false;
	}
	return true;
}

/* What nobody could read is no claim. */
static void case_drop_unread(struct orphan_case *c)
{
	size_t i;

	for (i = 0; i < c->n_found; i++)
		c->found[i].dropped |= c->found[i].unread;
}

/* Who is stuck? Where nobody is, it has time. */
static void case_stuck(struct orphan_case *c)
{
	struct agent *agent = c->cases->agent;
	bool rested = c->due_ns;

	c->due_ns = 0;
	if (!c->parked) {
		c->n_stuck = 0;
		hooks_snapshot(agent->hooks, c->proc.tgid, stuck_row, c);
	}
	if (case_is_shared(c)) {
		hooks_snapshot(agent->hooks, 0, neighbour_row, c);
	} else if (c->over) {
		case_free(c); /* and its private locks with it */
		return;
	} else if ((!c->n_stuck || c->java || case_has_semaphores(c)) && !c->by_census && !rested &&
		   !c->killed) {
		c->due_ns = host_now() + QUIET_NS;
		return;
	}
	callers_ask(c);
}

/* More is known of that process's locks: what was known before is told first, with its own proof. */
static void cases_rouse(struct cases *cases, const struct proc_key *proc)
{
	struct orphan_case *c, *next;

	DL_FOREACH_SAFE(cases->open, c, next)
	{
		if (c->due_ns && proc_equal(&c->proc, proc))
			case_stuck(c);
	}
}

/* The next part of the locks, or on to who is stuck. */
static void case_look(struct orphan_case *c)
{
	struct agent *agent = c->cases->agent;
	struct look look = {
		.tgid = c->proc.tgid,
		.start_ticks = c->proc.start_ns / agent->tick_ns,
		.want = LOOK_WORDS | LOOK_MAPPINGS | (c->looked ? 0 : LOOK_PROCESS) |
			(agent->options->cmdline && !c->looked ? LOOK_CMDLINE : 0),
	};

	while (c->looked + look.n < c->n_found && look.n < LOOK_ADDRESSES) {
		look.address[look.n] = c->found[c->looked + look.n].word;
		look.into[look.n] = lock_word_offset(c->found[c->looked + look.n].state.layout);
		look.objects |= detect_object(c->found[c->looked + look.n].state.layout) << look.n;
		look.n++;
	}
	if (look.n) {
		if (reader_look(agent->reader, &look, case_looked, c))
			case_free(c); /* no memory: the sweep comes upon it again */
		return;
	}
	if (case_is_empty(c)) {
		case_free(c);
		return;
	}
	case_drop_unread(c);
	if (!c->objects_known && case_has_semaphores(c))
		case_objects(c);
	else if (!case_place(c))
		case_stuck(c);
}

/* ---- how cases begin ---- */

void cases_held(struct cases *cases, const struct ev_held *held)
{
	struct held *kept = malloc(sizeof(*kept));

	if (!kept) {
		cases->agent->unsaid.no_memory++;
		return;
	}
	kept->ev = *held;
	kept->due_ns = host_now() + HELD_NS;
	DL_APPEND(cases->held, kept);
}

static bool held_by(const struct held *held, const struct ev_task *task)
{
	return held->ev.tid == task->tid && proc_equal(&held->ev.proc, &task->proc);
}

static void held_free(struct cases *cases, struct held *held)
{
	DL_DELETE(cases->held, held);
	free(held);
}

/*
 * Locks whose exit record was lost. (That their process is over says nothing: of two threads that end
 * at once, one may say so before the other one's record.)
 */
static void held_forget(struct cases *cases, uint64_t now)
{
	while (cases->held && cases->held->due_ns < now)
		held_free(cases, cases->held);
}

/*
 * The same, of an earlier bearer of the number: the time of an exit record is taken before its locks
 * are read.
 */
static void held_forget_before(struct cases *cases, const struct ev_exit *ev)
{
	struct held *held, *next;

	DL_FOREACH_SAFE(cases->held, held, next)
	{
		if (held_by(held, &ev->task) && held->ev.head.time_ns < ev->head.time_ns)
			held_free(cases, held);
	}
}

static void dead_keep(struct agent *agent, const struct owner_key *key,
		      const struct thread_info *thread, const struct exit_info *exit)
{
	struct owner_key evicted;
	bool evicting;

	if (model_dead_add(&agent->model, key, thread, exit, &evicting, &evicted)) {
		agent->dead_unknown++;
		return;
	}
	if (evicting) {
		hooks_dead_remove(agent->hooks, &evicted);
		agent->dead_forgotten++;
	}
}

static void dead_note(struct cases *cases, const struct ev_exit *ev, const struct exit_info *exit)
{
	struct owner_key key = { .proc = ev->task.proc, .ns_tid = ev->task.ns_tid };
	struct thread_info thread;

	detect_thread(&thread, &ev->task, cases->agent->tick_ns);
	dead_keep(cases->agent, &key, &thread, exit);
	model_dead_descriptor(&cases->agent->model, &key, ev->thread_pointer);
}

/* A dead thread whose exit record was lost: known by its number alone. */
static void dead_adopt(void *context, const struct owner_key *key, const struct dead_row *row)
{
	struct exit_info exit = { .reason = EXIT_UNKNOWN, .time_ns = row->exit_ns };
	struct thread_info thread = { .ns_tid = (int32_t)key->ns_tid };
	struct cases *cases = context;

	if (!model_dead(&cases->agent->model, key))
		dead_keep(cases->agent, key, &thread, &exit);
}

void cases_records_lost(struct cases *cases)
{
	hooks_dead_each(cases->agent->hooks, dead_adopt, cases);
}

static struct claim *claim_find(const struct cases *cases, const struct shared_place *shared,
				uint32_t owner)
{
	struct claim *claim;

	DL_FOREACH(cases->claims, claim)
	{
		if (claim->shared.device == shared->device &&
		    claim->shared.inode == shared->inode &&
		    claim->shared.offset == shared->offset && claim->state.owner == owner)
			return claim;
	}
	return NULL;
}

/* The process ends with it: its shared locks are claims until somebody is seen to outlive it. */
static void claim_add(struct cases *cases, const struct ev_exit *ev, const struct ev_held *held,
		      const struct exit_info *exit)
{
	struct agent *agent = cases->agent;
	struct shared_place shared = held->place;
	struct claim *claim;

	shared.offset -= lock_word_offset(held->lock.layout);
	/* The same lock twice (robust list and candidate) counts once. */
	claim = claim_find(cases, &shared, held->lock.owner);
	if (claim && proc_equal(&claim->proc, &held->proc))
		return;
	claim = NULL;
	if (cases->n_claims < CLAIMS)
		claim = calloc(1, sizeof(*claim));
	if (!claim) {
		agent->unsaid.no_memory++;
		return;
	}
	claim->shared = shared;
	claim->state = held->lock;
	claim->proof = held->from == HELD_ROBUST_LIST ? PROOF_ROBUST_LIST : PROOF_OWNER_WORD;
	claim->proc = held->proc;
	claim->word = held->word;
	detect_process(&claim->process, &ev->task, agent->tick_ns);
	processes_fill(agent->processes, &ev->task.proc, &claim->process);
	detect_thread(&claim->owner, &ev->task, agent->tick_ns);
	claim->exit = *exit;
	claim->due_ns = ev->head.time_ns + OUTLIVE_NS;
	DL_APPEND(cases->claims, claim);
	cases->n_claims++;
}

/*
 * What is inferred needs all wakes to have been seen, and a thread that was not cut off in its wait: what
 * left that in any other way may never have had the lock.
 */
static bool held_is_sayable(struct cases *cases, const struct ev_held *held,
			    const struct exit_info *exit)
{
	uint64_t losses[LOSSES], recursion;

	if (held->from != HELD_INFERRED)
		return true;
	hooks_losses(cases->agent->hooks, losses, &recursion);
	return exit->reason == EXIT_RETURN && !recursion;
}

void cases_exit(struct cases *cases, const struct ev_exit *ev)
{
	bool dying = ev->flags & (EXIT_IN_GROUP | EXIT_IN_EXEC);
	struct orphan_case *c = NULL;
	_cleanup_free_ struct deep_hold *holds = NULL;
	struct held *held, *next;
	struct exit_info exit;
	size_t n = 0, n_deep, i;

	detect_exit(&exit, ev);
	if (!dying)
		dead_note(cases, ev, &exit);
	held_forget_before(cases, ev);
	DL_FOREACH(cases->held, held)
	{
		n += held_by(held, &ev->task);
	}
	n_deep = dying ? 0 : deep_holds(cases->agent->deep, ev, &holds);
	if (n + n_deep && !dying)
		c = case_new(cases, &ev->task.proc, n + n_deep);
	DL_FOREACH_SAFE(cases->held, held, next)
	{
		if (!held_by(held, &ev->task))
			continue;
		if (dying)
			claim_add(cases, ev, &held->ev, &exit);
		else if (c && held_is_sayable(cases, &held->ev, &exit))
			case_add(c, &held->ev);
		held_free(cases, held);
	}
	n = c ? c->n_found : 0;
	for (i = 0; c && i < n_deep; i++)
		case_add_deep(c, &holds[i], n);
	if (c) {
		c->time_ns = ev->head.time_ns;
		c->exit = exit;
		c->owner_ns_tid = ev->task.ns_tid;
		c->owner_thread = ev->thread_pointer;
		detect_process(&c->process, &ev->task, cases->agent->tick_ns);
		detect_thread(&c->owner, &ev->task, cases->agent->tick_ns);
		case_look(c);
	}
	cases_run_due(cases, false);
}

/* The dead owner by its number in the process; what is not known of it stays unknown. */
static void owner_fill(struct orphan_case *c, const struct ev_task *waiter)
{
	struct owner_key key = { .proc = c->proc, .ns_tid = c->owner_ns_tid };
	const struct dead *dead = model_dead(&c->cases->agent->model, &key);

	if (dead) {
		c->owner = dead->thread;
		c->exit = dead->exit;
	} else {
		c->exit = (struct exit_info){ .reason = EXIT_UNKNOWN };
		c->owner = (struct thread_info){ .ns_tid = c->owner_ns_tid };
	}
	/* In the host's own namespace the number is the host's too. */
	if (!c->owner.tid && waiter->ns_tid == waiter->tid)
		c->owner.tid = c->owner_ns_tid;
}

static void wait_begin(struct cases *cases, const struct ev_wait_dead *ev)
{
	struct orphan_case *c;

	cases_rouse(cases, &ev->task.proc);
	c = case_new(cases, &ev->task.proc, 1);
	if (!c)
		return;
	c->time_ns = ev->head.time_ns;
	c->owner_ns_tid = ev->owner;
	detect_process(&c->process, &ev->task, cases->agent->tick_ns);
	owner_fill(c, &ev->task);
	c->n_found = 1;
	c->found[0] = (struct found){
		.word = ev->word,
		.state = ev->lock,
		.proof = ev->lock.owner ? PROOF_WAITER : PROOF_OWNER_DIED,
		.pc = ev->pc,
		.place = { .proc = ev->task.proc, .address = ev->lock.address },
	};
	case_look(c);
}

static bool wait_owner_known(struct cases *cases, const struct ev_wait_dead *ev)
{
	struct owner_key key = { .proc = ev->task.proc, .ns_tid = ev->owner };

	return !ev->owner || model_dead(&cases->agent->model, &key);
}

void cases_wait(struct cases *cases, const struct ev_wait_dead *ev)
{
	struct overtaken *overtaken = NULL;

	if (!wait_owner_known(cases, ev))
		overtaken = malloc(sizeof(*overtaken));
	if (!overtaken) {
		wait_begin(cases, ev);
		return;
	}
	overtaken->ev = *ev;
	overtaken->due_ns = ev->head.time_ns + EXIT_GRACE_NS;
	DL_APPEND(cases->overtaken, overtaken);
}

bool cases_claimed(const struct cases *cases, const struct shared_place *shared, uint32_t owner)
{
	return claim_find(cases, shared, owner) != NULL;
}

/* The case is about the dead process, though the lock is read through another one's memory. */
static void claim_apply(struct orphan_case *c, const struct claim *claim)
{
	c->owner_address = claim->state.address;
	c->process = claim->process;
	c->owner = claim->owner;
	c->exit = claim->exit;
	c->time_ns = claim->exit.time_ns;
}

static void claim_free(struct cases *cases, struct claim *claim)
{
	DL_DELETE(cases->claims, claim);
	cases->n_claims--;
	free(claim);
}

void cases_stuck(struct cases *cases, const struct stuck *stuck)
{
	struct claim *claim = NULL;
	struct orphan_case *c;

	cases_rouse(cases, &stuck->row->task.proc);
	c = case_new(cases, &stuck->row->task.proc, 1);
	if (!c)
		return;
	if (stuck->shared.inode)
		claim = claim_find(cases, &stuck->shared, stuck->state.owner);
	c->time_ns = host_now();
	c->owner_ns_tid = stuck->state.owner;
	detect_process(&c->process, &stuck->row->task, cases->agent->tick_ns);
	if (claim) {
		claim_apply(c, claim);
	} else if (stuck->forked && !stuck->unsure) {
		c->exit.reason = EXIT_FORK;
	} else if (stuck->shared.inode) {
		/* Which process it was nobody saw: the number alone names no thread. */
		c->exit.reason = EXIT_UNKNOWN;
	} else {
		owner_fill(c, &stuck->row->task);
	}
	c->n_found = 1;
	c->found[0] = (struct found){
		.word = stuck->word,
		.state = stuck->state,
		.proof = claim || stuck->parked ? PROOF_OWNER_WORD
			 : stuck->state.owner	? PROOF_WAITER
						: PROOF_OWNER_DIED,
		.pc = stuck->row->pc,
		.unproven = !claim && !stuck->known,
		.unsure = stuck->unsure,
		.suspected = stuck->unsure,
		.place = { .proc = stuck->row->task.proc,
			   .address = stuck->state.address,
			   .shared = stuck->shared },
	};
	c->parked = stuck->parked;
	if (c->parked)
		stuck_add(c, stuck->row, 0);
	if (claim)
		claim_free(cases, claim);
	case_look(c);
}

/* Those that ended with this descriptor, of one process. */
struct descriptor_search {
	uint64_t descriptor;
	const struct dead *dead;
	size_t n;
};

static void descriptor_match(void *context, const struct dead *dead)
{
	struct descriptor_search *search = context;

	if (dead->descriptor != search->descriptor)
		return;
	search->dead = dead;
	search->n++;
}

/*
 * Did that thread live, with that descriptor, when a wait was seen that has gone on since? To Python it was
 * the owner then, whoever had taken the lock by that descriptor before.
 */
static bool owner_was_waited_for(const struct orphan_case *c, const struct dead *dead,
				 uint64_t waits_ns)
{
	uint64_t waits_boot_ns = waits_ns + host_boottime_offset();
	uint64_t after_start_ns = (dead->thread.start_ticks + 1) * c->cases->agent->tick_ns;

	return waits_ns && dead->thread.start_ticks && after_start_ns < waits_boot_ns &&
	       waits_ns < dead->exit.time_ns;
}

/*
 * A descriptor is used again by later threads. So the one that ended with it is the owner only if no
 * other can be: all ends since deadhold began are known, there was one, and the program was seen to begin
 * or somebody waited for it while it lived. In a process that began by fork alone the lock may have come
 * with it: if nobody ended with that descriptor, it has.
 */
static void owner_fill_descriptor(struct orphan_case *c, uint64_t descriptor, uint64_t waits_ns)
{
	struct agent *agent = c->cases->agent;
	struct descriptor_search search = { .descriptor = descriptor };
	bool young = c->proc.start_ns >= agent->started_boot_ns;
	bool image_seen = pythons_image_seen(agent->pythons, &c->proc);

	c->exit = (struct exit_info){ .reason = EXIT_UNKNOWN };
	if (!agent_dead_all_known(agent))
		return;
	model_process_dead(&agent->model, &c->proc, descriptor_match, &search);
	if (search.n == 1 &&
	    ((young && image_seen) || owner_was_waited_for(c, search.dead, waits_ns))) {
		c->owner = search.dead->thread;
		c->exit = search.dead->exit;
		c->owner_ns_tid = search.dead->key.ns_tid;
	} else if (young && !search.n && !image_seen) {
		c->exit.reason = EXIT_FORK;
	}
}

void cases_python(struct cases *cases, const struct lock_state *state, const struct dead *dead,
		  const struct task_row *rows, size_t n, uint64_t waits_ns)
{
	struct orphan_case *c = case_new(cases, &rows->task.proc, 1);
	size_t i;

	if (!c)
		return;
	c->time_ns = host_now();
	detect_process(&c->process, &rows->task, cases->agent->tick_ns);
	if (dead) {
		c->owner = dead->thread;
		c->exit = dead->exit;
		c->owner_ns_tid = dead->key.ns_tid;
	} else {
		owner_fill_descriptor(c, state->thread, waits_ns);
	}
	c->n_found = 1;
	c->found[0] = (struct found){
		.word = state->address,
		.state = *state,
		.proof = dead ? PROOF_INFERRED : PROOF_WAITER,
		.suspected = dead,
		.semaphore = python_parks(rows->word, rows->sp) ? 0 : rows->word,
		.place = { .proc = c->proc, .address = state->address },
	};
	c->parked = true;
	for (i = 0; i < n; i++)
		stuck_add(c, &rows[i], 0);
	case_look(c);
}

static struct found found_of_census(const struct census_finds *finds,
				    const struct census_lock *lock)
{
	return (struct found){
		.word = lock->state.address + lock_word_offset(lock->state.layout),
		.state = lock->state,
		.proof = PROOF_SHAPE,
		.unread = true, /* read again, or not said */
		.waited_for = lock->waited_for,
		.place = { .proc = finds->task->proc, .address = lock->state.address },
	};
}

void cases_census(struct cases *cases, const struct census_finds *finds)
{
	struct orphan_case *c;
	size_t i;

	cases_rouse(cases, &finds->task->proc);
	c = case_new(cases, &finds->task->proc, finds->n);
	if (!c)
		return;
	detect_process(&c->process, finds->task, cases->agent->tick_ns);
	c->by_census = true;
	c->census = *finds->census;
	c->time_ns = finds->dead ? finds->dead->exit.time_ns : host_now();
	if (finds->dead) {
		c->owner_ns_tid = finds->dead->key.ns_tid;
		c->owner = finds->dead->thread;
		c->exit = finds->dead->exit;
	}
	for (i = 0; i < finds->n; i++) {
		c->found[c->n_found] = found_of_census(finds, &finds->lock[i]);
		c->n_found += !found_orphan(c, &c->found[c->n_found]); /* said already */
	}
	case_look(c);
}

/* ---- how orphans end ---- */

static void cleared_say(struct cases *cases, struct orphan *orphan, enum cleared_how how,
			uint64_t time_ns)
{
	struct alert alert = {
		.kind = ALERT_ORPHAN_CLEARED,
		.severity = SEVERITY_INFO,
		.time_ns = time_ns,
		.process = orphan->process,
		.thread = orphan->owner,
		.locks = &orphan->lock,
		.n_locks = 1,
		.how = how,
		.follows = orphan->shown,
	};

	memcpy(alert.orphan_id, orphan->id, sizeof(alert.orphan_id));
	stream_say(&cases->agent->stream, &alert);
	model_orphan_close(&cases->agent->model, orphan);
}

void cases_python_released(struct cases *cases, const struct proc_key *proc, uint64_t address)
{
	struct orphan *orphan, *next;

	HASH_ITER (hh, cases->agent->model.orphans, orphan, next) {
		if (orphan->layout == LAYOUT_PYTHON_LOCK && orphan->key.place.address == address &&
		    proc_equal(&orphan->via, proc))
			cleared_say(cases, orphan, CLEARED_FOREIGN_UNLOCK, host_now());
	}
}

static void dead_removed(void *context, const struct owner_key *key)
{
	hooks_dead_remove(context, key);
}

void cases_process_over(struct cases *cases, const struct proc_key *proc, enum cleared_how how,
			bool killed, uint64_t time_ns)
{
	struct agent *agent = cases->agent;
	struct orphan *orphan, *next;
	struct orphan_case *c, *next_case;

	DL_FOREACH_SAFE(cases->open, c, next_case)
	{
		if (!proc_equal(&c->proc, proc))
			continue;
		c->killed = killed;
		c->over = !killed;
		if (c->due_ns)
			case_stuck(c);
	}
	HASH_ITER (hh, agent->model.orphans, orphan, next) {
		/* Others may map a shared one: orphan_rehome() looks for them. */
		if (proc_equal(&orphan->via, proc) && !orphan->key.place.shared.inode)
			cleared_say(cases, orphan, how, time_ns);
	}
	model_process_gone(&agent->model, proc, dead_removed, agent->hooks);
}

/* One request for open orphans: by value, since they may be closed before the answer. */
struct reread {
	struct cases *cases;
	struct orphan_key orphan[LOOK_ADDRESSES];
};

static struct reread *reread_new(struct cases *cases)
{
	struct reread *reread = malloc(sizeof(*reread));

	if (reread) /* without memory they are asked for at the next tick */
		reread->cases = cases;
	return reread;
}

/* The i-th one. NULL: the orphan was closed meanwhile. */
static struct orphan *reread_orphan(const struct reread *reread, size_t i)
{
	return model_orphan(&reread->cases->agent->model, &reread->orphan[i]);
}

static void reread_end(struct reread *reread)
{
	reread->cases->rereads--;
	free(reread);
}

static void orphan_rehomed(void *context, const struct mappers *mappers,
			   const struct mappers_answer *answer)
{
	struct reread *reread = context;
	struct cases *cases = reread->cases;
	struct orphan *orphan = reread_orphan(reread, 0);

	(void)mappers;
	reread_end(reread);
	if (!orphan || answer->error || (!answer->count && answer->unread))
		return;
	if (!answer->count) {
		cleared_say(cases, orphan, CLEARED_PROCESS_EXIT, host_now());
		return;
	}
	orphan->via = (struct proc_key){
		.tgid = answer->first_pid,
		.start_ns = answer->first_start_ticks * cases->agent->tick_ns,
	};
	orphan->via_word = answer->first_address + lock_word_offset(orphan->layout);
}

/* The process through which a shared orphan was read is gone: who else maps it? */
static void orphan_rehome(struct cases *cases, const struct orphan *orphan)
{
	struct reread *reread = reread_new(cases);
	const struct shared_place *shared = &orphan->key.place.shared;
	struct mappers mappers = { .device = shared->device,
				   .inode = shared->inode,
				   .offset = shared->offset,
				   .ns_tid = orphan->key.owner_ns_tid };

	if (reread)
		reread->orphan[0] = orphan->key;
	if (!reread || reader_mappers(cases->agent->reader, &mappers, orphan_rehomed, reread))
		free(reread);
	else
		cases->rereads++;
}

static void orphan_reread(struct cases *cases, struct orphan *orphan, uint64_t word, int error,
			  const struct lock_words *words)
{
	enum cleared_how how;

	if (error == -ESRCH && orphan->key.place.shared.inode)
		orphan_rehome(cases, orphan);
	else if (error == -ESRCH)
		cleared_say(cases, orphan, CLEARED_PROCESS_EXIT, host_now());
	else if (!error && detect_orphan(orphan->layout, word, orphan->key.owner_ns_tid,
					 orphan->thread, words, &how) == ORPHAN_CLEARED)
		cleared_say(cases, orphan, how, host_now());
	else if (!error && lock_is_nameless(orphan->layout) &&
		 !deep_still(cases->agent->deep, &orphan->deep))
		cleared_say(cases, orphan, CLEARED_FOREIGN_UNLOCK, host_now());
	/* Any other error is counted by the reader; asked again at the next tick. */
}

static void orphans_reread(void *context, const struct look *look, const struct look_answer *answer)
{
	struct reread *reread = context;
	struct orphan *orphan;
	uint32_t i;

	for (i = 0; i < look->n; i++) {
		orphan = reread_orphan(reread, i);
		if (orphan)
			orphan_reread(reread->cases, orphan, look->address[i], answer->error,
				      &answer->at[i].words);
	}
	reread_end(reread);
}

/* Orphans in a row that are read through the same process go with one look. Returns the next one. */
static const struct orphan *orphans_look(struct cases *cases, const struct orphan *orphan)
{
	struct reread *reread = reread_new(cases);
	const struct orphan *next = orphan;
	struct look look = {
		.tgid = orphan->via.tgid,
		.start_ticks = orphan->via.start_ns / cases->agent->tick_ns,
		.want = LOOK_WORDS,
	};

	for (; next && look.n < LOOK_ADDRESSES && proc_equal(&next->via, &orphan->via);
	     next = next->hh.next) {
		if (reread)
			reread->orphan[look.n] = next->key;
		look.objects |= detect_object(next->layout) << look.n;
		look.address[look.n++] = next->via_word;
	}
	if (!reread || reader_look(cases->agent->reader, &look, orphans_reread, reread))
		free(reread);
	else
		cases->rereads++;
	return next;
}

/* ---- shared locks of processes that ended ---- */

static void claim_case(struct cases *cases, struct claim *claim,
		       const struct mappers_answer *answer)
{
	struct proc_key via = { .tgid = answer->first_pid };
	struct orphan_case *c;

	via.start_ns = answer->first_start_ticks * cases->agent->tick_ns;
	c = case_new(cases, &via, 1);
	if (!c)
		return;
	claim_apply(c, claim);
	c->owner_ns_tid = claim->state.owner;
	c->n_found = 1;
	c->found[0] = (struct found){
		.word = answer->first_address + lock_word_offset(claim->state.layout),
		.state = claim->state,
		.proof = claim->proof,
		.place = { .proc = via, .address = answer->first_address, .shared = claim->shared },
	};
	c->found[0].state.address = answer->first_address;
	case_look(c);
}

static void claim_asked(void *context, const struct mappers *mappers,
			const struct mappers_answer *answer)
{
	struct cases *cases = context;
	struct shared_place shared = { .device = mappers->device,
				       .inode = mappers->inode,
				       .offset = mappers->offset };
	struct claim *claim = claim_find(cases, &shared, mappers->ns_tid);

	cases->rereads--;
	if (!claim || answer->error == -ECANCELED)
		return; /* a waiter turned up meanwhile */
	if (answer->owners) {
		claim->ambiguous = true; /* a waiter may still settle it: sweep.c */
		return;
	}
	if (answer->error || answer->unread)
		cases->agent->unsaid.unread++;
	else if (answer->count)
		claim_case(cases, claim, answer);
	claim_free(cases, claim);
}

static void claims_look(struct cases *cases, uint64_t now)
{
	struct claim *claim, *next;

	DL_FOREACH_SAFE(cases->claims, claim, next)
	{
		struct mappers mappers = { .device = claim->shared.device,
					   .inode = claim->shared.inode,
					   .offset = claim->shared.offset,
					   .ns_tid = claim->state.owner };

		if (claim->due_ns + CLAIM_NS < now) {
			cases->agent->unsaid.ambiguous += claim->ambiguous;
			claim_free(cases, claim);
		} else if (claim->due_ns <= now && !claim->asked) {
			claim->asked = !reader_mappers(cases->agent->reader, &mappers, claim_asked,
						       cases);
			cases->rereads += claim->asked;
		}
	}
}

/* ---- locks that name nobody ---- */

/* No word tells the kernel that their owner is dead: those who come to wait are looked for. */
static void nameless_row(void *context, const struct task_row *row)
{
	struct cases *cases = context;
	struct waiter_key waiter = { row->task.tid, row->task.start_ns };
	struct orphan *orphan, *next;

	HASH_ITER (hh, cases->agent->model.orphans, orphan, next) {
		if (lock_is_nameless(orphan->layout) && proc_equal(&orphan->via, &row->task.proc) &&
		    detect_waits_for(row, orphan->via_word, orphan->layout) &&
		    !model_waiter_said(orphan, &waiter))
			orphan->awaited = true;
	}
}

/* Another case of the same orphan, for those who have come. */
static void orphan_again(struct cases *cases, const struct orphan *orphan)
{
	struct orphan_case *c = case_new(cases, &orphan->via, 1);

	if (!c)
		return;
	c->process = orphan->process;
	c->owner = orphan->owner;
	c->exit = orphan->exit;
	c->owner_ns_tid = orphan->key.owner_ns_tid;
	c->time_ns = host_now();
	c->shown = orphan->shown;
	c->n_found = 1;
	c->found[0] = (struct found){
		.word = orphan->via_word,
		.state = { .address = orphan->lock.address, .layout = orphan->layout },
		.proof = orphan->lock.proof,
		.unread = true,
		.deep = orphan->deep,
		.place = orphan->key.place,
	};
	case_look(c);
}

static void nameless_look(struct cases *cases)
{
	struct orphan *orphan, *next;
	bool any = false;

	HASH_ITER (hh, cases->agent->model.orphans, orphan, next)
		any |= lock_is_nameless(orphan->layout);
	if (!any)
		return;
	hooks_snapshot(cases->agent->hooks, 0, nameless_row, cases);
	HASH_ITER (hh, cases->agent->model.orphans, orphan, next) {
		if (orphan->awaited)
			orphan_again(cases, orphan);
		orphan->awaited = false;
	}
}

void cases_tick(struct cases *cases)
{
	const struct orphan *orphan = cases->agent->model.orphans;

	held_forget(cases, host_now());
	claims_look(cases, host_now());
	nameless_look(cases);
	while (orphan)
		orphan = orphans_look(cases, orphan);
}

/* ---- time ---- */

uint64_t cases_due(const struct cases *cases)
{
	uint64_t due = cases->overtaken ? cases->overtaken->due_ns : 0;
	const struct orphan_case *c;

	DL_FOREACH(cases->open, c)
	{
		if (c->due_ns && (!due || c->due_ns < due))
			due = c->due_ns;
	}
	return due;
}

void cases_run_due(struct cases *cases, bool all)
{
	struct overtaken *overtaken, *next;
	struct orphan_case *c, *next_case;
	uint64_t now = host_now();

	DL_FOREACH_SAFE(cases->overtaken, overtaken, next)
	{
		if (!all && overtaken->due_ns > now && !wait_owner_known(cases, &overtaken->ev))
			continue;
		DL_DELETE(cases->overtaken, overtaken);
		wait_begin(cases, &overtaken->ev);
		free(overtaken);
	}
	DL_FOREACH_SAFE(cases->open, c, next_case)
	{
		if (c->due_ns && (all || c->due_ns <= now))
			case_stuck(c);
	}
}

bool cases_about(const struct cases *cases, const struct owner_key *key)
{
	struct orphan_case *c;

	DL_FOREACH(cases->open, c)
	{
		if (c->owner_ns_tid == key->ns_tid && proc_equal(&c->proc, &key->proc))
			return true;
	}
	return false;
}

size_t cases_pending(const struct cases *cases)
{
	struct orphan_case *c;
	size_t n = cases->rereads;

	DL_FOREACH(cases->open, c)
	{
		n++;
	}
	return n + !!cases->overtaken;
}
