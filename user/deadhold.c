// SPDX-License-Identifier: GPL-2.0-only
/* deadhold: finds the locks that dead threads still hold, and the signals aimed at single threads. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "explain.h"
#include "inspect.h"
#include "options.h"
#include "watch.h"

/*
 * A standard descriptor that is closed would be given to the first file that is opened. In place of
 * stdout comes one that can't be written to either. Was that one open?
 */
static bool standard_descriptors(void)
{
	bool open_stdout;

	if (fcntl(STDIN_FILENO, F_GETFD) < 0)
		open("/dev/null", O_RDONLY);
	open_stdout = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
	if (!open_stdout)
		open("/dev/null", O_RDONLY);
	if (fcntl(STDERR_FILENO, F_GETFD) < 0)
		open("/dev/null", O_WRONLY);
	return open_stdout;
}

int main(int argc, char **argv)
{
	struct options options;
	bool open_stdout = standard_descriptors();
	int error;

	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a failed write, with its line */
	tzset();		  /* reads a file: while we still may */
	error = options_parse(&options, argc, argv);
	if (error && error != -ECANCELED)
		return 2;
	if (!error && options.command == COMMAND_INSPECT)
		return inspect_run(&options);
	if (!open_stdout) {
		fprintf(stderr, "deadhold: standard output is closed: nothing can be said\n");
		return 1;
	}
	if (error)
		return 0;
	if (options.command == COMMAND_EXPLAIN)
		return explain_run(&options);
	if (options_check_host(&options))
		return 1;
	return options.command == COMMAND_CHECK ? check_run(&options) : watch_run(&options);
}
