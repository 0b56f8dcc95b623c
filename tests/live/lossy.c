// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does more than deadhold has room for, or what it cannot read:
 *
 *   lossy exits N        N threads that end, one after the other
 *   lossy signals N      N processes that each signal themselves with every signal that they can
 *                        ignore, and live on
 *   lossy list HOW       a thread that ends with a list of robust locks: "nowhere" (not mapped),
 *                        "circle" (no end), "broken" (an entry that is not mapped), or "empty" (in order)
 */
#include "say.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL_STACK 16384
#define UNMAPPED    4096 /* below what the kernel lets anybody map */

static void *nothing(void *arg)
{
	return arg;
}

static void exits(long n)
{
	pthread_attr_t attr;
	pthread_t thread;
	long i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, SMALL_STACK);
	for (i = 0; i < n; i++) {
		need(pthread_create(&thread, &attr, nothing, NULL), "pthread_create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	pthread_attr_destroy(&attr);
	say("done", "'count': %ld", n);
}

/* libc keeps 32 and 33 (glibc) for itself: raise() would refuse them. */
static int ignorable(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33;
}

static long signal_myself(void)
{
	long sent = 0;
	int sig;

	for (sig = 1; sig <= 64; sig++) {
		if (!ignorable(sig))
			continue;
		signal(sig, SIG_IGN);
		if (raise(sig))
			die("raise %d", sig);
		sent++;
	}
	return sent;
}

static void signals(long n)
{
	long sent = 0, one, i;
	int done[2];

	if (pipe(done))
		die("pipe");
	for (i = 0; i < n; i++) {
		switch (fork()) {
		case -1:
			die("fork");
			break;
		case 0:
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
			one = signal_myself();
			say_bytes(done[1], (const char *)&one, sizeof(one));
			for (;;)
				pause();
		}
	}
	for (i = 0; i < n; i++) {
		if (read(done[0], &one, sizeof(one)) != sizeof(one))
			die("read");
		sent += one;
	}
	say("done", "'count': %ld", sent);
}

static struct robust_list_head head;
static struct robust_list one, other;

static void *list_run(void *arg)
{
	const char *how = arg;
	void *list = &head;

	head.list.next = &one;
	one.next = &head.list;
	head.futex_offset = sizeof(one); /* a word that is 0: nobody's */
	if (!strcmp(how, "nowhere")) {
		list = (void *)UNMAPPED;
	} else if (!strcmp(how, "circle")) {
		one.next = &other;
		other.next = &one;
	} else if (!strcmp(how, "broken")) {
		one.next = (void *)UNMAPPED;
	}
	if (syscall(SYS_set_robust_list, list, sizeof(head)))
		die("set_robust_list");
	syscall(SYS_exit, 0);
	return NULL;
}

static void list_leave(char *how)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, list_run, how), "pthread_create");
	need(pthread_join(thread, NULL), "pthread_join");
	say("done", NOTHING);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		die("usage: lossy exits|signals N, or list HOW");
	say("started", NOTHING);
	expect_go("go");
	if (!strcmp(argv[1], "exits"))
		exits(atol(argv[2]));
	else if (!strcmp(argv[1], "signals"))
		signals(atol(argv[2]));
	else
		list_leave(argv[2]);
	expect_go("end");
	return 0;
}
