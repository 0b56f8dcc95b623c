// SPDX-License-Identifier: GPL-2.0-only
/* A table for which there is no memory: said, and a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static size_t rooms; /* so often there is memory */

#define uthash_malloc(bytes) (rooms ? rooms--, malloc(bytes) : NULL)

#include "table.h"

struct row {
	int key;
	UT_hash_handle hh;
};

/* What a process says that adds a row when there is memory so often, and its status in *status. */
static void add_said(size_t times, char *said, size_t size, int *status)
{
	struct row *all = NULL, row = { .key = 7 };
	int fds[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		rooms = times;
		HASH_ADD_INT(all, key, &row);
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], said, size - 1);
	said[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, status, 0), pid);
}

static void no_memory_is_said(void **state)
{
	char said[256];
	int status;

	(void)state;
	for (size_t times = 0; times < 2; times++) { /* for the table, and for its buckets */
		add_said(times, said, sizeof(said), &status);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		assert_ptr_equal(strstr(said, "deadhold: no memory"), said);
		assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
	}
	add_said(2, said, sizeof(said), &status);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_string_equal(said, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_memory_is_said),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
