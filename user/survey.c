// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of the readings is what makes a claim true: threads, memory, threads, memory. A thread that
 * slept in the same call in both, without having run in between, waited all the time; a lock whose
 * memory was the same in both was held all the time; an owner who lived in neither is dead.
 */
#include "survey_parts.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array.h"
#include "host.h"
#include "look.h"
#include "runtime.h"
#include "symbol.h"
#include "words.h"

/* ---- saying what it does ---- */

void survey_step(struct survey *survey, enum survey_step what, int32_t at)
{
	survey->page->step = what;
	survey->page->at = at;
	survey->page->steps++;
}

void survey_progress(void *context)
{
	const struct survey *survey = context;

	survey->page->steps++;
}

const char *survey_step_name(enum survey_step step)
{
	static const char *const names[SURVEY_STEPS] = {
		[STEP_PROCESS] = "what /proc says of it",
		[STEP_THREADS] = "its threads",
		[STEP_MEMORY] = "its memory",
		[STEP_MAPPINGS] = "its mappings",
		[STEP_MAPPERS] = "who shares its memory",
		[STEP_PAUSE] = "its end",
		[STEP_CENSUS] = "its memory",
		[STEP_OUTPUT] = "the result",
	};

	return (unsigned int)step < SURVEY_STEPS ? names[step] : "it";
}

/* ---- threads ---- */

int survey_thread_add(struct survey *survey, int32_t tgid, const struct thread *thread)
{
	struct inspection *out = survey->out;
	size_t room = survey->room_threads;
	struct seen_thread *seen;
	struct thread *reading;

	reading = array_grow(survey->reading, out->n_threads, &room, sizeof(*reading));
	if (!reading)
		return -ENOMEM;
	survey->reading = reading;
	seen = array_grow(out->threads, out->n_threads, &survey->room_threads, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	out->threads = seen;
	survey->reading[out->n_threads] = *thread;
	out->threads[out->n_threads++] = (struct seen_thread){
		.tgid = tgid,
		.info = thread->info,
		.state = thread->state,
		.wait = thread->error ? (struct wait){ .number = -1 }
				      : wait_of_call(thread->state, &thread->call),
		.timeout_ns = -1,
		.lock = NOBODY,
		.joins = NOBODY,
	};
	return 0;
}

static bool is_wanting(const struct thread *thread)
{
	return thread->error == -EPERM || thread->error == -EACCES;
}

static int threads_take(struct survey *survey)
{
	int err = roster_read(survey->task.process, survey_progress, survey, &survey->first);

	for (size_t i = 0; !err && i < survey->first.n; i++) {
		if (is_wanting(&survey->first.at[i]))
			return -EPERM;
		err = survey_thread_add(survey, survey->task.tgid, &survey->first.at[i]);
	}
	survey->out->n_own = survey->out->n_threads;
	return err;
}

/* ---- how long they will wait ---- */

static void timeout_set(struct seen_thread *thread, const struct look_answer *answer, uint32_t i)
{
	uint32_t cmd = thread->wait.op & FUTEX_OP_MASK;

	thread->has_timeout = true;
	if (!answer->at[i].has_timespec)
		return;
	thread->timeout_ns = answer->at[i].timespec_ns;
	thread->absolute = cmd != FUTEX_OP_WAIT;
	if (thread->absolute && !(thread->wait.op & FUTEX_OP_REALTIME) && cmd != FUTEX_OP_LOCK_PI)
		thread->timeout_ns += host_realtime_offset();
}

static void timeouts_read(struct survey *survey)
{
	static struct look_answer answer;

	for (size_t i = 0; i < survey->out->n_threads; i++) {
		struct seen_thread *thread = &survey->out->threads[i];
		struct look look = { .tgid = thread->tgid, .want = LOOK_TIMESPEC, .n = 1 };

		if ((thread->lock == NOBODY && thread->joins == NOBODY) ||
		    !wait_timed(&thread->wait))
			continue;
		look.address[0] = thread->wait.timeout;
		survey_step(survey, STEP_MEMORY, thread->tgid);
		look_read(&look, 0, &answer);
		timeout_set(thread, &answer, 0);
	}
}

/* ---- all of it ---- */

/* The system calls and locks of 32-bit programs are others. */
static bool is_32_bit(struct survey *survey)
{
	_cleanup_close_ int fd = symbol_file_open(survey->task.thread, "exe", false);
	unsigned char ident[EI_NIDENT];

	return fd >= 0 && read(fd, ident, sizeof(ident)) == sizeof(ident) &&
	       ident[EI_CLASS] == ELFCLASS32;
}

static int process_read(struct survey *survey)
{
	static struct look_answer answer;
	struct look look = {
		.tgid = survey->task.tgid,
		.start_ticks = survey->task.stat.start_ticks,
		.want = LOOK_PROCESS | (survey->ask->cmdline ? LOOK_CMDLINE : 0),
	};
	struct process_info *process = &survey->out->process;

	if (survey->task.stat.flags & PROC_FLAG_KTHREAD)
		return -EINVAL;
	survey_step(survey, STEP_PROCESS, look.tgid);
	look_read(&look, 0, &answer);
	if (answer.error)
		return answer.error;
	if (is_32_bit(survey))
		return -ENOEXEC;
	*process = answer.process;
	survey->out->libc = answer.libc;
	survey->runtimes = answer.runtimes;
	proc_cgroup_unit(process->cgroup, process->unit, sizeof(process->unit));
	proc_cgroup_container(process->cgroup, process->container_id,
			      sizeof(process->container_id));
	return 0;
}

/* Threads, then their locks, then who holds these: which may be threads of other processes. */
static int first_reading(struct survey *survey)
{
	size_t locks = 0;
	int err = threads_take(survey);

	while (!err && survey->judged < survey->out->n_threads) {
		bool own = !survey->judged, census = survey->ask->census_s > 0 && own;

		err = survey_waits(survey);
		if (!err && own)
			err = survey_gil(survey);
		if (!err && own)
			err = survey_python(survey);
		if (!err && census)
			err = survey_census(survey);
		if (err)
			break;
		survey_map(survey);
		err = survey_owners(survey, locks);
		locks = survey->out->n_locks;
	}
	return err ?: survey_park_rings(survey);
}

static size_t waits_count(const struct inspection *out, enum wait_what what)
{
	size_t n = 0;

	for (size_t i = 0; i < out->n_own; i++)
		n += out->threads[i].wait.what == what;
	return n;
}

/* Somebody waits for what is, or may be, a lock; or the GIL is held. */
static bool needs_second(const struct survey *survey)
{
	const struct inspection *out = survey->out;

	return survey->n_gils || out->n_locks || out->verdict != VERDICT_OK ||
	       waits_count(out, WAIT_FUTEX);
}

/* They may be locks of a make that is not known: "ok" would promise too much. */
static void futexes_unclear(struct survey *survey)
{
	size_t n = waits_count(survey->out, WAIT_FUTEX);

	if (n)
		inspection_unclear(survey->out, "nothing that is known waits like that",
				   "for what %zu thread%s wait%s on a futex", n, plural(n),
				   n == 1 ? "s" : "");
}

/* These make their own locks of other things: an idle thread and one that hangs look alike. */
static void runtimes_unclear(struct survey *survey)
{
	size_t semaphores = waits_count(survey->out, WAIT_SEMAPHORE);
	size_t conditions = waits_count(survey->out, WAIT_CONDITION);

	if (survey->runtimes & RUNTIME_PYTHON && semaphores)
		inspection_unclear(survey->out,
				   "no object of Python's was found for which they wait",
				   "whether %zu thread%s at semaphores wait%s for a lock",
				   semaphores, plural(semaphores), semaphores == 1 ? "s" : "");
	if (survey->runtimes & RUNTIME_JVM && conditions)
		inspection_unclear(survey->out,
				   "Java's own locks are made of these, and jstack knows them",
				   "whether %zu thread%s on condition variables wait%s for a lock",
				   conditions, plural(conditions), conditions == 1 ? "s" : "");
}

/*
 * Of the program that it runs: where exec put things (AT_RANDOM, AT_BASE, AT_EXECFN …), which addresses
 * differ by chance each time. Length 0: not to be told.
 */
static void image_read(const struct survey *survey, struct survey_image *image)
{
	ssize_t n = task_read_file(survey->task.process, "auxv", image->auxv, sizeof(image->auxv));

	image->len = n > 0 ? n : 0;
}

bool survey_image_changed(const struct survey *survey)
{
	struct survey_image now;

	image_read(survey, &now);
	return now.len && survey->image.len &&
	       (now.len != survey->image.len || memcmp(now.auxv, survey->image.auxv, now.len) != 0);
}

static int survey_do(struct survey *survey)
{
	int err = task_open(&survey->task, survey->ask->pid, 0);

	if (!err)
		image_read(survey, &survey->image);

	if (!err)
		err = process_read(survey);
	if (!err)
		err = first_reading(survey);
	if (!err)
		err = inspection_judge(survey->out);
	if (!err && needs_second(survey))
		err = survey_again(survey);
	if (!err)
		timeouts_read(survey);
	if (!err)
		survey_since(survey);
	if (!err) {
		futexes_unclear(survey);
		runtimes_unclear(survey);
	}
	survey->out->time_ns = host_now() + host_realtime_offset();
	/* Whatever went wrong, if it has ended, or execed, that is why. */
	if (survey->task.process >= 0 && survey_image_changed(survey))
		err = -ESTALE;
	if (survey->task.process >= 0 && task_check(&survey->task) == -ESRCH)
		err = -ESRCH;
	return err;
}

int survey_read(const struct survey_ask *ask, struct survey_page *page,
		struct inspection *inspection)
{
	struct survey survey = {
		.ask = ask,
		.page = page,
		.out = inspection,
		.task = TASK_CLOSED,
	};
	int err;

	*inspection = (struct inspection){ 0 };
	err = survey_do(&survey);
	task_close(&survey.task);
	roster_free(&survey.first);
	roster_free(&survey.parent);
	free(survey.spots);
	free(survey.reading);
	free(survey.place);
	free(survey.gil_wait);
	return err;
}
