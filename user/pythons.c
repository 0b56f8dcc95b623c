// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include <utlist.h>

#include "cases.h"
#include "pythons_parts.h"

/* As in censuses.c: what is kept of the CPU budget. */
#define RESERVE_NS (400 * MS)
/* Of other processes nothing is told: a fork bomb's. */
#define PROCESSES 4096
/* Programs that are remembered to have begun: where more run at a time, the oldest are not. */
#define IMAGES 16384

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

void python_wait_free(struct python_process *process, struct python_wait *wait)
{
	HASH_DEL(process->waits, wait);
	free(wait);
}

static void process_free(struct pythons *pythons, struct python_process *process)
{
	struct python_told *told, *next;

	while (process->waits)
		python_wait_free(process, process->waits);
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

struct python_process *pythons_process(struct pythons *pythons, const struct proc_key *key)
{
	struct python_process *process;

	HASH_FIND(hh, pythons->processes, key, sizeof(*key), process);
	return process;
}

/* NULL: no memory, or too many. The next pass has another try. */
static struct python_process *process_get(struct pythons *pythons, const struct proc_key *key)
{
	struct python_process *process = pythons_process(pythons, key);

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

bool python_wait_is_of(const struct python_wait *wait, const struct task_row *row)
{
	return wait->row.task.start_ns == row->task.start_ns &&
	       wait->row.switches == row->switches && wait->row.word == row->word;
}

bool python_wait_parks(const struct python_wait *wait)
{
	return python_parks(wait->row.word, wait->row.sp);
}

struct lock_wait python_wait_lock(const struct python_wait *wait)
{
	return (struct lock_wait){
		.lock = !python_wait_parks(wait)       ? wait->row.word
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
	struct lock_wait lock = python_wait_lock(wait);

	takers_left(&process->takers, &lock, &wait->row.task, pythons->pass);
	python_wait_free(process, wait);
}

static void wait_note(struct pythons *pythons, struct python_process *process,
		      const struct task_row *row)
{
	struct python_wait *wait;

	HASH_FIND(hh, process->waits, &row->task.tid, sizeof(row->task.tid), wait);
	if (wait && !python_wait_is_of(wait, row)) {
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
	       (python_wait_lock(wait).lock == told->lock || !wait->searched);
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
		struct lock_wait lock = python_wait_lock(wait);

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
	struct python_process *process = pythons_process(pythons, proc);
	struct image *image = image_find(pythons, proc);

	if (image)
		image_free(pythons, image);
	if (process)
		process_free(pythons, process);
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
		if (pythons_objects_look(pythons, process))
			return;
	}
	if (budget_due(&pythons->budget, now) > now) {
		pythons->due_ns = budget_due(&pythons->budget, now);
		return;
	}
	HASH_ITER (hh, pythons->processes, process, next) {
		if (pythons_search(pythons, process, now))
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
		pythons_search_on(pythons);
}

bool pythons_pending(const struct pythons *pythons)
{
	return pythons->busy;
}

struct python_totals pythons_totals(const struct pythons *pythons)
{
	return pythons->totals;
}
