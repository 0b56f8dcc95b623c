/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads with the same TID, one after the other: for process 1 of a PID namespace of its own.
 *
 *   lock_reuse COUNT
 *
 * COUNT times (multiplied by DEADHOLD_SCALE) a thread takes the lock, another thread waits for it, the
 * first releases it and ends, and its TID goes at once to the next. The last one keeps the lock, with
 * the other waiting, until told to "release". Nobody ever dies with it.
 */
#include "lock_kinds.h"

#define TID 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int turns[2],
	taken[2]; /* pipes: a byte lets the waiter try once; a byte back: it had the lock */
static struct who waiter;
static struct gate waiter_known;

struct holder {
	struct who who;
	struct gate holds, may_end;
	pthread_t thread;
};

static void *holder_run(void *arg)
{
	struct holder *holder = arg;

	name_me("holder");
	holder->who = who_am_i();
	need(pthread_mutex_lock(&lock), "pthread_mutex_lock");
	gate_open(&holder->holds);
	gate_pass(&holder->may_end);
	need(pthread_mutex_unlock(&lock), "pthread_mutex_unlock");
	return NULL;
}

static void *waiter_run(void *arg)
{
	char c;

	name_me("waiter");
	waiter = who_am_i();
	gate_open(&waiter_known);
	while (read(turns[0], &c, 1) == 1) {
		need(pthread_mutex_lock(&lock), "pthread_mutex_lock");
		need(pthread_mutex_unlock(&lock), "pthread_mutex_unlock");
		say_bytes(taken[1], "", 1);
	}
	return arg;
}

/* Lets the holder go, and waits until its TID is free. */
static void holder_end(struct holder *holder)
{
	int i;

	gate_open(&holder->may_end);
	need(pthread_join(holder->thread, NULL), "pthread_join");
	wait_gone(&holder->who);
	close(holder->who.syscall_fd);
	for (i = 0; i < 2; i++) {
		close(holder->holds.fds[i]);
		close(holder->may_end.fds[i]);
	}
}

/*
 * Makes a holder whose TID is TID: the namespace gives out the number after the last one. It may still
 * be taken by the one before, which is about to go.
 */
static void holder_make(struct holder *holder)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC), i;
	char last[16];

	if (fd < 0 && errno == ENOENT) {
		say("unsupported", "'why': 'the kernel has no ns_last_pid'");
		_exit(0);
	}
	snprintf(last, sizeof(last), "%d", TID - 1);
	for (i = 0; i < SAY_LIMIT_S * 500; i++) {
		gate_make(&holder->holds);
		gate_make(&holder->may_end);
		if (pwrite(fd, last, strlen(last), 0) < 0)
			die("ns_last_pid");
		need(pthread_create(&holder->thread, NULL, holder_run, holder), "pthread_create");
		gate_pass(&holder->holds);
		if (holder->who.ns_tid == TID) {
			close(fd);
			return;
		}
		holder_end(holder);
	}
	die("TID %d is never free", TID);
}

/* The waiter comes, and is blocked behind the holder. */
static void waiter_block(void)
{
	say_bytes(turns[1], "", 1);
	wait_blocked(&waiter, &lock, sizeof(lock));
}

static void waiter_through(void)
{
	char c;

	if (read(taken[0], &c, 1) != 1)
		die("the waiter");
}

int main(int argc, char **argv)
{
	static struct holder holder;
	long count, i;
	pthread_t thread;

	if (argc != 2 || getpid() != 1)
		die("usage: lock_pidns lock_reuse COUNT");
	if (pipe(turns) || pipe(taken))
		die("pipe");
	count = scaled(atol(argv[1]));
	gate_make(&waiter_known);
	need(pthread_create(&thread, NULL, waiter_run, NULL), "pthread_create");
	gate_pass(&waiter_known);
	say("started", "'count': %ld", count);
	for (i = 0;; i++) {
		holder_make(&holder);
		waiter_block();
		if (i == count)
			break;
		holder_end(&holder);
		waiter_through();
	}
	say_of(&holder.who, "holds", "'lock': '%p', 'owner': %d, 'rounds': %ld", (void *)&lock,
	       lock.__data.__owner, i);
	expect_go("release");
	holder_end(&holder);
	waiter_through();
	say("released", NOTHING);
	expect_go("end");
	return 0;
}
