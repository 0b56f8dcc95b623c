/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sig_pdeath SIG: a process whose second thread asked for a signal when its parent dies and
 * gets it.
 *
 * The kernel sends it to that thread's process by the thread's number, as kill(2) at a TID would.
 * Says "asked" of the thread that asked, "parent" of the parent that will end, and "signalled" of
 * the thread that ran the handler; the steps are "end" (of the parent) and "finish".
 */
#include "say.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static struct gate asked, finish;
static int death_signal;
static int signalled_fds[2];

static void on_signal(int sig)
{
	int tid = (int)syscall(SYS_gettid);

	(void)sig;
	say_bytes(signalled_fds[1], (const char *)&tid, sizeof(tid));
}

static void *asker(void *arg)
{
	(void)arg;
	name_me("pdeath-asker");
	if (prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
		die("PR_SET_PDEATHSIG");
	say("asked", NOTHING);
	gate_open(&asked);
	gate_pass(&finish);
	return NULL;
}

static void child(void)
{
	struct sigaction action;
	pthread_t thread;
	int tid;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	if (sigaction(death_signal, &action, NULL) || pipe(signalled_fds) ||
	    pthread_create(&thread, NULL, asker, NULL))
		die("child");
	while (read(signalled_fds[0], &tid, sizeof(tid)) < 0)
		if (errno != EINTR)
			die("read");
	say("signalled", "'in_ns_tid': %d", tid);
	gate_pass(&finish);
	if (pthread_join(thread, NULL))
		die("pthread_join");
	_exit(0);
}

int main(int argc, char **argv)
{
	int status;
	pid_t parent;

	if (argc != 2)
		die("usage: sig_pdeath SIG");
	death_signal = atoi(argv[1]);
	gate_make(&asked);
	gate_make(&finish);
	/* The child comes back here when its parent ends. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	parent = fork();
	if (!parent) {
		pid_t pid = fork();

		if (!pid)
			child();
		if (pid < 0)
			die("fork");
		gate_pass(&asked);
		say("parent", NOTHING);
		expect_go("end");
		_exit(0);
	}
	if (parent < 0 || waitpid(parent, &status, 0) != parent || status)
		die("the parent ended with %d", status);
	expect_go("finish");
	gate_open(&finish);
	if (wait(&status) < 0 || status)
		die("the child ended with %d", status);
	return 0;
}
