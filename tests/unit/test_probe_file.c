// SPDX-License-Identifier: GPL-2.0-only
/* Which files are looked at, and what is found in this test's own and in files that lie. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "probe_file.h"

static void kinds(void **state)
{
	static const struct {
		const char *path;
		uint32_t kind;
	} paths[] = {
		{ "/usr/lib/x86_64-linux-gnu/libc.so.6", PROBE_LIBC },
		{ "/lib/x86_64-linux-gnu/libc-2.31.so", PROBE_LIBC },
		{ "/lib/libpthread-2.31.so (deleted)", PROBE_LIBC },
		{ "/lib/ld-musl-x86_64.so.1", PROBE_LIBC },
		{ "/usr/lib/x86_64-linux-musl/libc.so", PROBE_LIBC },
		{ "/usr/lib/libpython3.12.so.1.0", PROBE_PYTHON },
		{ "/usr/bin/python3.11", PROBE_PROGRAM },
		{ "/srv/app (deleted)", PROBE_PROGRAM },
		{ "/memfd:runc (deleted)", PROBE_PROGRAM },
		{ "/usr/lib/libcrypto.so.3", 0 },
		{ "/usr/lib/ld-linux-x86-64.so.2", 0 },
		{ "/usr/lib/python3/_x.cpython-311-x86_64-linux-gnu.so", 0 },
		{ "[vdso]", 0 },
		{ "anon_inode:kvm-vcpu", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		assert_int_equal(probe_file_kind(paths[i].path, strlen(paths[i].path)),
				 paths[i].kind);
}

/* Found by its name in the symbol table of this test. */
__attribute__((noinline, used)) static int probe_me(int n)
{
	return n * 3;
}

static const struct probe_site sites[] = {
	{ "program", "probe_me", PROBE_PROGRAM, PROBE_ENTRY },
	{ "program", "probe_me", PROBE_PROGRAM, PROBE_ENTRY }, /* the same again: once */
	{ "another", "probe_me", PROBE_PROGRAM, PROBE_ENTRY },
	{ "program", "probe_me", PROBE_LIBC, PROBE_ENTRY },	     /* not in this kind of file */
	{ "program", "pthread_create", PROBE_PROGRAM, PROBE_ENTRY }, /* not defined here */
	{ "program", "no such function", PROBE_PROGRAM, PROBE_ENTRY },
};
static const struct probe_plan plan = { .sites = sites, .n_sites = 6 };

static struct probe_found found;

static ssize_t own_points(struct probe_point *points, size_t room)
{
	return probe_file_points(open("/proc/self/exe", O_RDONLY), PROBE_PROGRAM, &plan, points,
				 room, &found);
}

static void own_function(void **state)
{
	struct probe_point points[8];
	unsigned char code[8];
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	assert_int_equal(own_points(points, 8), 2);
	assert_int_equal(points[0].offset, points[1].offset);
	assert_string_equal(sites[points[0].site].program, "program");
	assert_string_equal(sites[points[1].site].program, "another");
	assert_int_equal(pread(fd, code, sizeof(code), points[0].offset), sizeof(code));
	assert_memory_equal(code, (void *)probe_me, sizeof(code));
	close(fd);
}

static void too_many(void **state)
{
	struct probe_point point;

	(void)state;
	assert_int_equal(own_points(&point, 1), -EFBIG);
}

static int file_of(const void *bytes, size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, size), size);
	return fd;
}

/* This test's own file, with `size` bytes at `at` overwritten by `byte`. */
static int file_damaged(size_t at, int byte, size_t size)
{
	int fd = open("/proc/self/exe", O_RDONLY), copy;
	struct stat st;
	char *bytes;

	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc(st.st_size);
	assert_int_equal(pread(fd, bytes, st.st_size, 0), st.st_size);
	if (at < (size_t)st.st_size)
		memset(bytes + at, byte,
		       size < (size_t)st.st_size - at ? size : (size_t)st.st_size - at);
	copy = file_of(bytes, st.st_size);
	free(bytes);
	close(fd);
	return copy;
}

static void no_program(void **state)
{
	struct probe_point points[8];

	(void)state;
	assert_int_equal(probe_file_points(file_of("", 0), PROBE_PROGRAM, &plan, points, 8, &found),
			 -EINVAL);
	assert_int_equal(probe_file_points(file_of("#!/bin/sh\n", 10), PROBE_PROGRAM, &plan, points,
					   8, &found),
			 -EINVAL);
	/* e_machine: another one */
	assert_int_equal(probe_file_points(file_damaged(18, 0x28, 1), PROBE_PROGRAM, &plan, points,
					   8, &found),
			 -ENOEXEC);
}

/* Whatever the file says: points within it, or an error, and in time. */
static void anything_goes(void **state)
{
	struct probe_point points[8];
	struct stat st;
	ssize_t n;

	(void)state;
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	srand(1);
	for (int i = 0; i < 200; i++) {
		size_t at = i % 2 ? (size_t)rand() % 64 : (size_t)rand() % st.st_size;

		n = probe_file_points(file_damaged(at, rand() & 0xff, 1 + rand() % 64),
				      PROBE_PROGRAM, &plan, points, 8, &found);
		assert_true(n <= 8);
		for (ssize_t p = 0; p < n; p++)
			assert_true(points[p].site < plan.n_sites);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),	 cmocka_unit_test(own_function),
		cmocka_unit_test(too_many),	 cmocka_unit_test(no_program),
		cmocka_unit_test(anything_goes),
	};

	alarm(240);
	return cmocka_run_group_tests_name("probe_file", tests, NULL, NULL);
}
