// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that are cancelled, as told, one line a step:
 *
 *   start NAME HOW     a thread: spin (it computes, and comes upon a cancellation point now and then),
 *                      read (it blocks in read), masked (cancellation is disabled, until "go NAME")
 *   start NAME HOW l   the same, and it holds a mutex
 *   cancel NAME        by the main thread
 *   join NAME
 *   go NAME            it does what it was held back from
 *   self               a thread that cancels itself
 *   end NAME           it returns, and is not joined
 *   garbage            pthread_cancel of zeros
 *   burst N            N times (scaled): a thread is started, cancelled and joined
 */
#include "say.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define THREADS 8

struct thread {
	char name[16], how[16];
	int holds;
	pthread_t id;
	struct who who;
	struct gate ready, held_back;
	atomic_int may_end;
};

static struct thread threads[THREADS];
static int n_threads;
static int never[2]; /* a pipe to which nobody writes */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void *thread_run(void *arg)
{
	struct thread *t = arg;
	char c;
	int old;

	name_me(t->name);
	t->who = who_am_i();
	if (t->holds)
		need(pthread_mutex_lock(&lock), "pthread_mutex_lock");
	if (!strcmp(t->how, "masked"))
		need(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old), "setcancelstate");
	gate_open(&t->ready);
	if (!strcmp(t->how, "read"))
		return read(never[0], &c, 1) ? arg : NULL;
	if (!strcmp(t->how, "masked")) {
		gate_pass(&t->held_back);
		need(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old), "setcancelstate");
	}
	while (!atomic_load(&t->may_end))
		pthread_testcancel();
	return NULL;
}

static struct thread *find(const char *name)
{
	for (int i = 0; i < n_threads; i++)
		if (!strcmp(threads[i].name, name))
			return &threads[i];
	die("no thread %s", name);
}

static void start(const char *name, const char *how, int holds)
{
	struct thread *t = &threads[n_threads++];

	if (n_threads > THREADS)
		die("too many threads");
	snprintf(t->name, sizeof(t->name), "%s", name);
	snprintf(t->how, sizeof(t->how), "%s", how);
	t->holds = holds;
	gate_make(&t->ready);
	gate_make(&t->held_back);
	need(pthread_create(&t->id, NULL, thread_run, t), "pthread_create");
	gate_pass(&t->ready);
	say_of(&t->who, "started", "'ident': '%p', 'lock': '%p'", (void *)t->id, (void *)&lock);
}

static void cancel(struct thread *t)
{
	unsigned long long before = now_ns();
	int error = pthread_cancel(t->id);

	say("cancelled",
	    "'of': %d, 'error': %d, 'ident': '%p', 'before_ns': %llu, 'after_ns': %llu", t->who.tid,
	    error, (void *)t->id, before, now_ns());
}

static void *self_run(void *arg)
{
	name_me("self");
	say("self", NOTHING);
	need(pthread_cancel(pthread_self()), "pthread_cancel");
	pthread_testcancel();
	return arg;
}

static void self(void)
{
	pthread_t id;
	void *result;

	need(pthread_create(&id, NULL, self_run, NULL), "pthread_create");
	need(pthread_join(id, &result), "pthread_join");
	say("joined", "'cancelled': %d", result == PTHREAD_CANCELED);
}

static void garbage(void)
{
	static long zeros[1024];

	pthread_cancel((pthread_t)zeros);
	say("cancelled", "'ident': '%p'", (void *)zeros);
}

static void *spin_run(void *arg)
{
	for (;;)
		pthread_testcancel();
	return arg;
}

static void burst(long count)
{
	long n = scaled(count), i;
	void *result;

	for (i = 0; i < n; i++) {
		pthread_t id;

		need(pthread_create(&id, NULL, spin_run, NULL), "pthread_create");
		need(pthread_cancel(id), "pthread_cancel");
		need(pthread_join(id, &result), "pthread_join");
		if (result != PTHREAD_CANCELED)
			die("a thread was not cancelled");
	}
	say("burst", "'count': %ld", n);
}

static void join(struct thread *t)
{
	void *result;

	need(pthread_join(t->id, &result), "pthread_join");
	wait_gone(&t->who);
	say("joined", "'cancelled': %d", result == PTHREAD_CANCELED);
}

static void step(const char *verb, const char *name, const char *how, int holds)
{
	if (!strcmp(verb, "start")) {
		start(name, how, holds);
	} else if (!strcmp(verb, "cancel")) {
		cancel(find(name));
	} else if (!strcmp(verb, "join")) {
		join(find(name));
	} else if (!strcmp(verb, "go")) {
		gate_open(&find(name)->held_back);
		say("went", NOTHING);
	} else if (!strcmp(verb, "end")) {
		atomic_store(&find(name)->may_end, 1);
		wait_gone(&find(name)->who);
		say("gone", NOTHING);
	} else if (!strcmp(verb, "self")) {
		self();
	} else if (!strcmp(verb, "garbage")) {
		garbage();
	} else if (!strcmp(verb, "burst")) {
		burst(atol(name));
	} else {
		die("told to %s", verb);
	}
}

int main(void)
{
	char line[128], verb[16], name[16], how[16], holds[16];

	if (pipe(never))
		die("pipe");
	say("ready", NOTHING);
	for (;;) {
		read_go(line, sizeof(line));
		*name = *how = *holds = '\0';
		if (!strcmp(line, "quit"))
			return 0;
		if (sscanf(line, "%15s %15s %15s %15s", verb, name, how, holds) < 1)
			die("told nothing");
		step(verb, name, how, *holds == 'l');
	}
}
