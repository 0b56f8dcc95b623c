// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "budget.h"
#include "calls.h"
#include "cases.h"
#include "detect.h"
#include "pythons.h"
#include "table.h"
#include "takers.h"

#define MS 1000000ull

/* A wait that is looked into has lasted so long. */
#define LONG_NS (1000 * MS)
/* From the first reading of a lock to the second. */
#define SECOND_READ_NS (100 * MS)
/* As in censuses.c: what is kept of the CPU budget, and the agent's own part of a slice. */
#define RESERVE_NS (400 * MS)
#define SLICE_NS   100000ull
/* Of other processes nothing is told: a fork bomb's. */
#define PROCESSES 4096
/* Programs that are remembered to have begun: where more run at a time, the oldest are not. */
#define IMAGES 16384

/* One wait of one thread, as long as it lasts. */
struct python_wait {
	uint32_t tid;
	struct task_row row; /* of the last pass */
	uint64_t pass, first_pass;
	uint64_t first_ns; /* seen */
	bool searched;	   /* type and object are known, or it is known that nothing is */
	enum python_type type;
	uint64_t object;
	uint64_t round;	  /* in which its object was read last */
	uint64_t suspect; /* whose lock it was at the first reading: suspect_of(); 0: nobody's */
	uint64_t suspect_ns;
	uint64_t still; /* the last struct tell that saw it go on */
	bool said;
	UT_hash_handle hh;
};

/* A thread that was said to be stuck on a Lock that a dead thread may hold. */
struct python_told {
	struct ev_task task;
	uint64_t object, lock;
	unsigned int missed; /* passes in a row in which it did not wait for it */
	struct python_told *prev, *next;
};

struct python_process {
	struct proc_key key;
	uint64_t pass;
	bool known, python; /* is it Python? */
	bool armed;	    /* it lost a thread, or was there at the start */
	struct python_wait *waits;
	struct takers takers;
	struct python_told *told;
	bool realtime; /* a thread was seen that may be woken out of its turn */
	UT_hash_handle hh;
};

/* A program that was seen to begin. */
struct image {
	struct proc_key key;
	UT_hash_handle hh; /* in order of insertion */
};

struct pythons {
	struct agent *agent;
	struct python_process *processes;
	struct image *images;
	struct budget budget;
	struct python_totals totals;
	uint64_t pass, round;
	uint64_t pass_ns;   /* the end of the last pass */
	uint64_t before_ns; /* and of the one before */
	uint64_t tells;	    /* looks at all threads before something was told */
	bool busy;	    /* a request is under way */
	bool work;	    /* there may be something to do */
	uint64_t due_ns;    /* of the next slice, or of second readings; 0: none */
	/* The search under way, and what it found so far. */
	bool searching;
	struct proc_key key;
	struct python_ask ask;
	struct python_answer found;
};

struct pythons *pythons_new(struct agent *agent)
{
	struct pythons *pythons = calloc(1, sizeof(*pythons));

	if (!pythons)
		return NULL;
	pythons->agent = agent;
	pythons->budget = (struct budget){ .share = agent->options->census_percent / 100,
					   .left_ns = RESERVE_NS,
					   .most_ns = RESERVE_NS,
					   .now_ns = host_now() };
	return pythons;
}

static void wait_free(struct python_process *process, struct python_wait *wait)
{
	HASH_DEL(process->waits, wait);
	free(wait);
}

static void process_free(struct pythons *pythons, struct python_process *process)
{
	struct python_told *told, *next;

	while (process->waits)
		wait_free(process, process->waits);
	DL_FOREACH_SAFE(process->told, told, next)
	{
		free(told);
	}
	takers_clear(&process->takers);
	HASH_DEL(pythons->processes, process);
	free(process);
}

static void image_free(struct pythons *pythons, struct image *image)
{
	HASH_DEL(pythons->images, image);
	free(image);
}

void pythons_free(struct pythons *pythons)
{
	if (!pythons)
		return;
	while (pythons->processes)
		process_free(pythons, pythons->processes);
	while (pythons->images)
		image_free(pythons, pythons->images);
	free(pythons);
}

/* ---- what the sweep sees ---- */

static struct python_process *process_find(struct pythons *pythons, const struct proc_key *key)
{
	struct python_process *process;

	HASH_FIND(hh, pythons->processes, key, sizeof(*key), process);
	return process;
}

/* NULL: no memory, or too many. The next pass has another try. */
static struct python_process *process_get(struct pythons *pythons, const struct proc_key *key)
{
	struct python_process *process = process_find(pythons, key);

	if (process || HASH_COUNT(pythons->processes) >= PROCESSES)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->key = *key;
	process->armed = pythons->pass == 0;
	HASH_ADD(hh, pythons->processes, key, sizeof(process->key), process);
	return process;
}

/* The same wait still: the thread has not run in between. */
static bool wait_is_of(const struct python_wait *wait, const struct task_row *row)
{
	return wait->row.task.start_ns == row->task.start_ns &&
	       wait->row.switches == row->switches && wait->row.word == row->word;
}

static bool wait_parks(const struct python_wait *wait)
{
	return python_parks(wait->row.word, wait->row.sp);
}

/* What all that wait for the same lock have in common: a semaphore, or what they park for. */
static struct lock_wait wait_lock(const struct python_wait *wait)
{
	return (struct lock_wait){
		.lock = !wait_parks(wait)	       ? wait->row.word
			: wait->type != PYTHON_NOTHING ? wait->object
						       : 0,
		.first = wait->first_pass,
		.timed = wait->row.timeout,
	};
}

/* It goes on no longer. */
static void wait_over(struct pythons *pythons, struct python_process *process,
		      struct python_wait *wait)
{
	struct lock_wait lock = wait_lock(wait);

	takers_left(&process->takers, &lock, &wait->row.task, pythons->pass);
	wait_free(process, wait);
}

static void wait_note(struct pythons *pythons, struct python_process *process,
		      const struct task_row *row)
{
	struct python_wait *wait;

	HASH_FIND(hh, process->waits, &row->task.tid, sizeof(row->task.tid), wait);
	if (wait && !wait_is_of(wait, row)) {
		wait_over(pythons, process, wait);
		wait = NULL;
	}
	if (!wait) {
		wait = calloc(1, sizeof(*wait));
		if (!wait)
			return;
		wait->tid = row->task.tid;
		wait->first_ns = host_now();
		wait->first_pass = pythons->pass;
		HASH_ADD(hh, process->waits, tid, sizeof(wait->tid), wait);
	}
	wait->row = *row;
	wait->pass = pythons->pass;
}

void pythons_row(struct pythons *pythons, const struct task_row *row)
{
	struct python_process *process;

	if (row->flags & ROW_COMPAT || !(row->flags & ROW_BLOCKED) ||
	    !python_waits(row->op, row->val, row->word))
		return;
	process = process_get(pythons, &row->task.proc);
	if (!process)
		return;
	process->pass = pythons->pass;
	if (!process->known || process->python)
		wait_note(pythons, process, row);
}

static void dead_seen(void *context, const struct dead *dead)
{
	bool *seen = context;

	(void)dead;
	*seen = true;
}

static bool told_waits(const struct python_process *process, const struct python_told *told)
{
	struct python_wait *wait;

	HASH_FIND(hh, process->waits, &told->task.tid, sizeof(told->task.tid), wait);
	return wait && wait->row.task.start_ns == told->task.start_ns &&
	       (wait_lock(wait).lock == told->lock || !wait->searched);
}

/* Out of a wait for ever there is one way but with the lock: to be ended in it. */
static bool told_was_ended(const struct pythons *pythons, const struct python_told *told)
{
	struct owner_key key = { .proc = told->task.proc, .ns_tid = told->task.ns_tid };
	const struct dead *dead = model_dead(&pythons->agent->model, &key);

	return dead && dead->exit.reason != EXIT_RETURN;
}

static void told_free(struct python_process *process, struct python_told *told)
{
	DL_DELETE(process->told, told);
	free(told);
}

/* Nothing is left to be told of that lock. */
static void told_forget(struct python_process *process, uint64_t object)
{
	struct python_told *told, *next;

	DL_FOREACH_SAFE(process->told, told, next)
	{
		if (told->object == object)
			told_free(process, told);
	}
}

/*
 * Who was stuck on a Lock and is no longer has got it: it was released. A thread that a debugger stopped is
 * out of its wait for a moment: so two passes.
 */
static void told_pass(struct pythons *pythons, struct python_process *process)
{
	struct python_told *told, *next;
	uint64_t released = 0;

	DL_FOREACH_SAFE(process->told, told, next)
	{
		if (told_waits(process, told))
			told->missed = 0;
		else if (++told->missed < 2)
			continue;
		else if (told_was_ended(pythons, told))
			told_free(process, told);
		else
			released = told->object; /* of several: the next pass has the others */
	}
	if (released) {
		told_forget(process, released);
		cases_python_released(pythons->agent->cases, &process->key, released);
	}
}

static void process_pass(struct pythons *pythons, struct python_process *process)
{
	struct python_wait *wait, *next;

	HASH_ITER (hh, process->waits, wait, next) {
		if (wait->pass != pythons->pass)
			wait_over(pythons, process, wait);
	}
	HASH_ITER (hh, process->waits, wait, next) {
		struct lock_wait lock = wait_lock(wait);

		takers_waits(&process->takers, &lock, pythons->pass);
	}
	takers_pass(&process->takers, pythons->pass);
	told_pass(pythons, process);
	model_process_dead(&pythons->agent->model, &process->key, dead_seen, &process->armed);
}

void pythons_pass(struct pythons *pythons)
{
	struct python_process *process, *next;

	HASH_ITER (hh, pythons->processes, process, next) {
		process_pass(pythons, process);
		/* It is asked again whether it is Python if it ever sleeps like that again. */
		if (process->pass != pythons->pass && !process->told)
			process_free(pythons, process);
	}
	pythons->before_ns = pythons->pass_ns;
	pythons->pass_ns = host_now();
	pythons->pass++;
	pythons->round++;
	pythons->work = true;
}

static struct image *image_find(const struct pythons *pythons, const struct proc_key *proc)
{
	struct image *image;

	HASH_FIND(hh, pythons->images, proc, sizeof(*proc), image);
	return image;
}

void pythons_exec(struct pythons *pythons, const struct proc_key *proc)
{
	struct image *image = image_find(pythons, proc) ? NULL : calloc(1, sizeof(*image));

	if (!image)
		return;
	if (HASH_COUNT(pythons->images) >= IMAGES)
		image_free(pythons, pythons->images);
	image->key = *proc;
	HASH_ADD(hh, pythons->images, key, sizeof(image->key), image);
}

bool pythons_image_seen(const struct pythons *pythons, const struct proc_key *proc)
{
	return image_find(pythons, proc);
}

void pythons_process_over(struct pythons *pythons, const struct proc_key *proc)
{
	struct python_process *process = process_find(pythons, proc);
	struct image *image = image_find(pythons, proc);

	if (image)
		image_free(pythons, image);
	if (process)
		process_free(pythons, process);
}

/* ---- what they wait for ---- */

static bool wait_wants_search(const struct python_wait *wait, uint64_t now)
{
	return !wait->searched && wait->first_ns + LONG_NS <= now;
}

/* Those that sleep on semaphores are looked for in memory: not where that is not wanted. */
static bool searches_memory(const struct pythons *pythons)
{
	return pythons->agent->options->census != CENSUS_OFF;
}

/* Fills the request with the words of waits that are new. Returns how many. */
static uint32_t ask_fill(struct pythons *pythons, struct python_process *process, uint64_t now)
{
	struct python_ask *ask = &pythons->ask;
	struct python_wait *wait, *next;

	*ask = (struct python_ask){
		.tgid = process->key.tgid,
		.start_ticks = process->key.start_ns / pythons->agent->tick_ns,
		.slice_bytes = CENSUS_SLICE_BYTES,
	};
	for (int parked = 1; parked >= 0; parked--) {
		HASH_ITER (hh, process->waits, wait, next) {
			if (ask->n < PYTHON_WORDS && wait_wants_search(wait, now) &&
			    wait_parks(wait) == parked && (parked || searches_memory(pythons)))
				ask->word[ask->n++] = wait->row.word;
		}
		if (parked)
			ask->n_parked = ask->n = word_sort(ask->word, ask->n);
	}
	ask->n = ask->n_parked + word_sort(ask->word + ask->n_parked, ask->n - ask->n_parked);
	return ask->n;
}

/* Two objects with the same semaphore: nothing is told. */
static void wait_resolve(const struct pythons *pythons, struct python_wait *wait, uint32_t word)
{
	const struct python_answer *found = &pythons->found;
	size_t n = 0;

	wait->searched = true;
	for (uint32_t i = 0; i < found->n; i++) {
		if (found->at[i].word != word)
			continue;
		wait->type = found->at[i].type;
		wait->object = found->at[i].address;
		n++;
	}
	if (n != 1)
		wait->type = PYTHON_NOTHING;
}

static void search_end(struct pythons *pythons)
{
	struct python_process *process = process_find(pythons, &pythons->key);
	struct python_wait *wait, *next;

	pythons->searching = false;
	pythons->work = true;
	pythons->totals.searches += pythons->found.python;
	if (!process)
		return;
	process->known = true;
	process->python = pythons->found.python;
	HASH_ITER (hh, process->waits, wait, next) {
		for (uint32_t i = 0; i < pythons->ask.n; i++) {
			if (pythons->ask.word[i] == wait->row.word && !wait->searched)
				wait_resolve(pythons, wait, i);
		}
		if (!process->python)
			wait_free(process, wait);
	}
}

static void found_add(struct python_answer *found, const struct python_find *find)
{
	for (uint32_t i = 0; i < found->n; i++) {
		if (found->at[i].word == find->word && found->at[i].address == find->address)
			return;
	}
	if (found->n < PYTHON_WORDS)
		found->at[found->n++] = *find;
}

static void slice_answered(void *context, const struct python_ask *ask,
			   const struct python_answer *answer)
{
	struct pythons *pythons = context;
	uint64_t now = host_now();

	(void)ask;
	if (answer->error == -ECANCELED)
		return;
	pythons->busy = false;
	budget_spend(&pythons->budget, now, answer->cpu_ns + SLICE_NS);
	pythons->totals.scanned_bytes += answer->scanned_bytes;
	pythons->totals.unread_bytes += answer->unread_bytes;
	pythons->totals.cpu_ns += answer->cpu_ns;
	if (!answer->error && !pythons->ask.from)
		pythons->found.python = answer->python;
	for (uint32_t i = 0; i < answer->n; i++)
		found_add(&pythons->found, &answer->at[i]);
	pythons->ask.from =
		answer->next; /* 0 after an error: it is over, or the reader counted it */
	if (!answer->next)
		search_end(pythons);
	else
		pythons->due_ns = now + answer->cpu_ns; /* a pause as long as it was at work */
}

/* The next slice. */
static void search_step(struct pythons *pythons)
{
	pythons->busy = !reader_python(pythons->agent->reader, &pythons->ask, slice_answered,
				       pythons);
	if (!pythons->busy)
		search_end(pythons);
}

static bool search_begin(struct pythons *pythons, struct python_process *process, uint64_t now)
{
	if ((process->known && !(process->python && process->armed)) ||
	    !ask_fill(pythons, process, now))
		return false;
	pythons->key = process->key;
	pythons->found.n = 0;
	pythons->found.python = process->python;
	pythons->searching = true;
	search_step(pythons);
	return true;
}

/* ---- who holds it ---- */

/*
 * Who got that Lock last, and ended with it: only where an exception was thrown into it before, for who
 * returns of its own accord may have left the release to another thread, by design. In a wait without a
 * limit only the main thread can be stopped, by a signal's handler.
 */
static const struct dead *lock_taker(struct pythons *pythons, const struct python_process *process,
				     const struct python_wait *wait)
{
	const struct taker *taker = takers_last(&process->takers, wait_lock(wait).lock);
	struct agent *agent = pythons->agent;
	struct owner_key key = { .proc = process->key };
	struct thread_info thread;
	const struct dead *dead;
	struct cause_info cause;

	if (!taker || process->realtime || taker->task.tid == process->key.tgid)
		return NULL;
	key.ns_tid = taker->task.ns_tid;
	dead = model_dead(&agent->model, &key);
	detect_thread(&thread, &taker->task, agent->tick_ns);
	/* What the last pass saw, it saw after the end. */
	if (!dead || dead->thread.tid != thread.tid ||
	    dead->thread.start_ticks != thread.start_ticks ||
	    dead->exit.time_ns > pythons->before_ns ||
	    !calls_cause(agent->calls, &key, &dead->exit, &cause) ||
	    cause.kind != CAUSE_ASYNC_EXCEPTION)
		return NULL;
	return dead;
}

/* Whom the lock, which reads so now, was left by: something that tells one from the other; 0: by nobody. */
static uint64_t suspect_of(struct pythons *pythons, const struct python_process *process,
			   const struct python_wait *wait, const struct lock_words *words,
			   struct lock_state *state)
{
	const struct dead *dead;

	if (!lock_owner(python_layout(wait->type), wait->object, words, state) || !state->held)
		return 0;
	if (wait->type == PYTHON_RLOCK)
		return state->owner_died ? state->thread : 0;
	dead = lock_taker(pythons, process, wait);
	return dead ? dead->exit.time_ns : 0;
}

/* Is woken before those that came before it. */
static bool is_realtime(uint32_t tid)
{
	int policy = sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;

	return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

/* A look at all threads of a process, just before something is told of it. */
struct tell {
	struct python_process *process;
	uint64_t number;
};

static void still_row(void *context, const struct task_row *row)
{
	struct tell *tell = context;
	struct python_wait *wait;

	tell->process->realtime |= is_realtime(row->task.tid);
	HASH_FIND(hh, tell->process->waits, &row->task.tid, sizeof(row->task.tid), wait);
	if (wait && row->flags & ROW_BLOCKED && wait_is_of(wait, row)) {
		wait->row = *row;
		wait->still = tell->number;
	} else if (wait) {
		wait->suspect = 0;
	}
}

/*
 * All that waited for the lock do so still, in the same wait, and so do those of whom nobody knows what they
 * wait for, if they may have waited for it before others: it was not released.
 */
static bool lock_rests(const struct tell *tell, uint64_t lock)
{
	const struct taker *taker = takers_last(&tell->process->takers, lock);
	struct python_wait *wait, *next;

	HASH_ITER (hh, tell->process->waits, wait, next) {
		struct lock_wait other = wait_lock(wait);

		if (wait->still != tell->number &&
		    (other.lock == lock ||
		     (!other.lock && taker && other.first <= taker->first + 1)))
			return false;
	}
	return taker;
}

/* Who may come out of the wait without the lock tells nothing by it. The lock itself is read all the same. */
static void told_add(struct python_process *process, const struct python_wait *wait)
{
	struct python_told *told;

	if (wait->row.timeout || wait->tid == process->key.tgid)
		return;
	told = calloc(1, sizeof(*told));
	if (!told)
		return;
	told->task = wait->row.task;
	told->object = wait->object;
	told->lock = wait_lock(wait).lock;
	DL_APPEND(process->told, told);
}

/* That wait of the object's, which is unsaid, was looked into twice, and goes on? */
static bool wait_is_ripe(const struct python_wait *wait, const struct tell *tell, uint64_t object,
			 uint64_t suspect, uint64_t now)
{
	return !wait->said && wait->object == object && wait->suspect == suspect &&
	       wait->suspect_ns + SECOND_READ_NS <= now && wait->still == tell->number;
}

/* Twice the same dead owner, and all the while the threads did not run: that is a case. */
static void orphan_tell(struct pythons *pythons, struct python_process *process,
			const struct lock_state *state, uint64_t suspect, uint64_t now)
{
	struct task_row *rows = calloc(HASH_COUNT(process->waits) + 1, sizeof(*rows));
	struct tell tell = { .process = process, .number = ++pythons->tells };
	struct python_wait *wait, *next;
	const struct dead *dead = NULL;
	size_t n = 0;

	if (!rows)
		return;
	hooks_snapshot(pythons->agent->hooks, process->key.tgid, still_row, &tell);
	HASH_ITER (hh, process->waits, wait, next) {
		if (!wait_is_ripe(wait, &tell, state->address, suspect, now))
			continue;
		if (wait->type == PYTHON_LOCK) {
			dead = lock_rests(&tell, wait_lock(wait).lock)
				       ? lock_taker(pythons, process, wait)
				       : NULL;
			if (!dead)
				break;
			told_add(process, wait);
		}
		wait->said = true;
		rows[n++] = wait->row;
	}
	if (n)
		cases_python(pythons->agent->cases, state, dead, rows, n);
	free(rows);
}

/* An RLock is looked at when somebody waits for it, a Lock when a dead thread may have it. */
static bool wait_is_looked_into(struct pythons *pythons, const struct python_process *process,
				const struct python_wait *wait)
{
	if (!wait->searched || wait->said)
		return false;
	return wait->type == PYTHON_RLOCK ||
	       (wait->type == PYTHON_LOCK && lock_taker(pythons, process, wait));
}

/* What the lock at this address says now, of all who wait for it. */
static void object_looked(struct pythons *pythons, struct python_process *process, uint64_t object,
			  const struct lock_words *words)
{
	uint64_t now = host_now(), suspect, found = 0;
	struct python_wait *wait, *next;
	struct lock_state state, found_state;
	bool second = false;

	HASH_ITER (hh, process->waits, wait, next) {
		if (!wait->searched || wait->said || wait->object != object)
			continue;
		suspect = suspect_of(pythons, process, wait, words, &state);
		if (!suspect || wait->suspect != suspect) {
			wait->suspect = suspect;
			wait->suspect_ns = now;
		} else if (wait->suspect_ns + SECOND_READ_NS <= now) {
			second = true;
			found = suspect;
			found_state = state;
		}
	}
	if (second)
		orphan_tell(pythons, process, &found_state, found, now);
}

static void objects_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct pythons *pythons = context;
	struct python_process *process;
	struct proc_key key = pythons->key;
	uint32_t i;

	if (answer->error == -ECANCELED)
		return;
	pythons->busy = false;
	pythons->work = true;
	for (i = 0; !answer->error && i < look->n; i++) {
		process = process_find(pythons, &key);
		if (process)
			object_looked(pythons, process, look->address[i], &answer->at[i].words);
	}
}

static bool look_has(const struct look *look, uint64_t address)
{
	for (uint32_t i = 0; i < look->n; i++) {
		if (look->address[i] == address)
			return true;
	}
	return false;
}

/* Reads the locks that are looked into, each once a round. False: there is none, or no memory. */
static bool objects_look(struct pythons *pythons, struct python_process *process)
{
	struct look look = {
		.tgid = process->key.tgid,
		.start_ticks = process->key.start_ns / pythons->agent->tick_ns,
		.want = LOOK_WORDS,
	};
	struct python_wait *wait, *next;

	HASH_ITER (hh, process->waits, wait, next) {
		if (wait->round == pythons->round || !wait_is_looked_into(pythons, process, wait))
			continue;
		if (!look_has(&look, wait->object)) {
			if (look.n == LOOK_ADDRESSES)
				continue;
			look.objects |= 1u << look.n;
			look.address[look.n++] = wait->object;
		}
		wait->round = pythons->round;
	}
	if (!look.n)
		return false;
	pythons->key = process->key;
	pythons->busy = !reader_look(pythons->agent->reader, &look, objects_looked, pythons);
	return pythons->busy;
}

/* ---- time ---- */

static bool suspects_any(const struct pythons *pythons)
{
	struct python_process *process, *other;
	struct python_wait *wait, *next;

	HASH_ITER (hh, pythons->processes, process, other) {
		HASH_ITER (hh, process->waits, wait, next) {
			if (wait->suspect && !wait->said)
				return true;
		}
	}
	return false;
}

static void work_next(struct pythons *pythons, uint64_t now)
{
	struct python_process *process, *next;

	HASH_ITER (hh, pythons->processes, process, next) {
		if (objects_look(pythons, process))
			return;
	}
	if (budget_due(&pythons->budget, now) > now) {
		pythons->due_ns = budget_due(&pythons->budget, now);
		return;
	}
	HASH_ITER (hh, pythons->processes, process, next) {
		if (search_begin(pythons, process, now))
			return;
	}
	pythons->work = false;
	if (suspects_any(pythons))
		pythons->due_ns = now + SECOND_READ_NS;
}

uint64_t pythons_due(struct pythons *pythons)
{
	if (pythons->busy)
		return 0;
	if (pythons->due_ns)
		return pythons->due_ns;
	return pythons->work ? 1 : 0;
}

void pythons_run_due(struct pythons *pythons)
{
	uint64_t now = host_now();

	if (pythons->busy || (pythons->due_ns && pythons->due_ns > now) ||
	    (!pythons->due_ns && !pythons->work))
		return;
	if (pythons->due_ns && !pythons->work && !pythons->searching)
		pythons->round++; /* second readings */
	pythons->due_ns = 0;
	if (!pythons->searching)
		work_next(pythons, now);
	else if (budget_due(&pythons->budget, now) > now)
		pythons->due_ns = budget_due(&pythons->budget, now);
	else
		search_step(pythons);
}

bool pythons_pending(const struct pythons *pythons)
{
	return pythons->busy;
}

struct python_totals pythons_totals(const struct pythons *pythons)
{
	return pythons->totals;
}
