// SPDX-License-Identifier: GPL-2.0-only
/* deadhold: finds the locks that dead threads still hold, and the signals aimed at single threads. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "inspect.h"
#include "options.h"
#include "watch.h"

/* A standard descriptor that is closed would be given to the first file that is opened. */
static int standard_descriptors(void)
{
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		fprintf(stderr, "deadhold: standard output is closed: nothing can be said\n");
		return -EBADF;
	}
	if (fcntl(STDIN_FILENO, F_GETFD) < 0)
		open("/dev/null", O_RDONLY);
	if (fcntl(STDERR_FILENO, F_GETFD) < 0)
		open("/dev/null", O_WRONLY);
	return 0;
}

int main(int argc, char **argv)
{
	struct options options;
	int error;

	if (standard_descriptors())
		return 1;
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a failed write, with its line */
	tzset();		  /* reads a file: while we still may */
	error = options_parse(&options, argc, argv);
	if (error)
		return error == -ECANCELED ? 0 : 2;
	if (options.command == COMMAND_INSPECT)
		return inspect_run(&options);
	if (options_check_host(&options))
		return 1;
	return options.command == COMMAND_CHECK ? check_run(&options) : watch_run(&options);
}
