/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread is cancelled with a stream's lock in its hands.
 *
 *   stdio_cancel flockfile   it took the lock itself and sleeps in the write() below fflush()
 *   stdio_cancel compute     it took the lock itself, and computes: cancelled asynchronously
 *   stdio_cancel fwrite      fwrite() took it, and sleeps in write(): libc's own handler unlocks
 *
 * A pipe that nobody reads is behind the stream. Each step waits for its word on stdin: "wait" starts
 * a thread that wants the lock, "cancel" cancels the owner, "end".
 */
#include "say.h"
#include <pthread.h>

static FILE *stream;
static int full[2]; /* the pipe */
static const char *how;
static struct who owner, waiter;
static struct gate owner_runs, waiter_runs;

static void *lock_words(void)
{
	return stream->_lock;
}

static int sleeps_in_write(const void *arg)
{
	const struct who *who = arg;
	char text[64] = "";

	return pread(who->syscall_fd, text, sizeof(text) - 1, 0) > 0 && atol(text) == SYS_write &&
	       text[0] != 'r'; /* "running" */
}

static void *owner_run(void *arg)
{
	static char bytes[4 * BUFSIZ];
	int old;

	name_me("owner");
	owner = who_am_i();
	if (!strcmp(how, "compute"))
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	if (strcmp(how, "fwrite"))
		flockfile(stream);
	gate_open(&owner_runs);
	if (!strcmp(how, "compute"))
		for (;;)
			__asm__ volatile("");
	fwrite(bytes, 1, sizeof(bytes), stream);
	fflush(stream);
	return arg;
}

static void *waiter_run(void *arg)
{
	name_me("waiter");
	waiter = who_am_i();
	gate_open(&waiter_runs);
	flockfile(stream);
	say_of(&waiter, "through", "'lock': '%p'", lock_words());
	funlockfile(stream);
	return arg;
}

/* So that the next write() blocks. */
static void fill(int fd)
{
	static const char bytes[4096];

	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		die("O_NONBLOCK");
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	if (errno != EAGAIN || fcntl(fd, F_SETFL, 0))
		die("the pipe");
}

int main(int argc, char **argv)
{
	pthread_t thread, other;
	void *result;

	how = argc > 1 ? argv[1] : "";
	if (pipe2(full, O_CLOEXEC))
		die("pipe");
	fill(full[1]);
	stream = fdopen(full[1], "w");
	if (!stream)
		die("fdopen");
	gate_make(&owner_runs);
	gate_make(&waiter_runs);
	need(pthread_create(&thread, NULL, owner_run, NULL), "pthread_create");
	gate_pass(&owner_runs);
	if (strcmp(how, "compute"))
		wait_until(sleeps_in_write, &owner, "the owner to write");
	say_of(&owner, "owner", "'lock': '%p'", lock_words());
	expect_go("wait");
	need(pthread_create(&other, NULL, waiter_run, NULL), "pthread_create");
	gate_pass(&waiter_runs);
	wait_blocked(&waiter, lock_words(), 16);
	say_of(&waiter, "waiter", "'lock': '%p'", lock_words());
	expect_go("cancel");
	need(pthread_cancel(thread), "pthread_cancel");
	need(pthread_join(thread, &result), "pthread_join");
	if (result != PTHREAD_CANCELED)
		die("it was not cancelled");
	say_of(&owner, "cancelled", "'lock': '%p'", lock_words());
	expect_go("end");
	_exit(0);
}
