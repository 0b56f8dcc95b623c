/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs another program as process 1 of a new PID namespace: lock_pidns PROGRAM ARG... */
#include "say.h"
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc < 2)
		die("usage: lock_pidns PROGRAM ARG...");
	if (unshare(CLONE_NEWPID))
		die("unshare");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[1], argv + 1);
		die("%s", argv[1]);
	}
	/* The program's input and output are its own. */
	close(0);
	close(1);
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
