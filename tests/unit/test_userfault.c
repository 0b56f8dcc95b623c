// SPDX-License-Identifier: GPL-2.0-only
/* Which mappings of this process a userfaultfd stands behind, wherever the descriptor is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include <cmocka.h>

#include "task.h"
#include "userfault.h"

#define PAGE  4096ul
#define PAGES 5

static char *pages;

/* The descriptor, or -1 where this host does not give one. */
static int userfault_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		print_message("no right to userfaultfd(2) here\n");
	else
		assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static void userfault_put(int fd, size_t page)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)pages + page * PAGE, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &range), 0);
}

static bool serves(const struct userfaults *faults, size_t page, size_t n)
{
	uint64_t at = (uintptr_t)pages + page * PAGE;

	return userfaults_serve(faults, at, at + n * PAGE);
}

static void learn(struct userfaults *faults, bool anew)
{
	_cleanup_task_ struct task self = TASK_CLOSED;

	assert_int_equal(task_open(&self, getpid(), 0), 0);
	assert_int_equal(userfaults_learn(faults, &self, anew), 0);
}

static int pages_map(void **state)
{
	(void)state;
	pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	return pages == MAP_FAILED;
}

static int pages_unmap(void **state)
{
	(void)state;
	return munmap(pages, PAGES * PAGE);
}

static void ranges(void **state)
{
	_cleanup_(userfaults_forget) struct userfaults faults = { 0 };
	int fd = userfault_open();

	(void)state;
	learn(&faults, true);
	assert_false(serves(&faults, 0, PAGES));
	if (fd < 0)
		skip();
	userfault_put(fd, 1);
	userfault_put(fd, 3);
	learn(&faults, true);
	assert_true(faults.n >= 2);
	for (size_t i = 0; i < PAGES; i++)
		assert_int_equal(serves(&faults, i, 1), i % 2);
	assert_true(serves(&faults, 0, PAGES));
	assert_true(serves(&faults, 2, 2));
	assert_false(userfaults_serve(&faults, 0, 8));
	assert_false(userfaults_serve(&faults, UINT64_MAX - 8, UINT64_MAX));
	close(fd);
}

/* A walk's later slices have what its first one learnt. */
static void kept(void **state)
{
	_cleanup_(userfaults_forget) struct userfaults faults = { 0 };
	int fd = userfault_open();

	(void)state;
	if (fd < 0)
		skip();
	userfault_put(fd, 1);
	learn(&faults, true);
	close(fd);
	learn(&faults, false);
	assert_true(serves(&faults, 1, 1));
	faults.start_ticks++; /* another process, of which nothing is known */
	learn(&faults, false);
	assert_false(serves(&faults, 1, 1));
}

/* It is closed here, and another process has it: it serves this one's memory all the same. */
static void elsewhere(void **state)
{
	_cleanup_(userfaults_forget) struct userfaults faults = { 0 };
	int fd = userfault_open(), end[2];
	pid_t child;

	(void)state;
	if (fd < 0)
		skip();
	userfault_put(fd, 2);
	assert_int_equal(pipe(end), 0);
	child = fork();
	if (!child) {
		char byte;

		close(end[1]);
		_exit(read(end[0], &byte, 1) != 0);
	}
	close(end[0]);
	close(fd);
	learn(&faults, true);
	assert_true(serves(&faults, 2, 1));
	close(end[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	learn(&faults, true);
	assert_false(serves(&faults, 2, 1));
}

static void none(void **state)
{
	(void)state;
	assert_true(userfaults_text_none("0\n"));
	assert_true(userfaults_text_none("0 N0=0\n"));
	assert_true(userfaults_text_none("0"));
	assert_false(userfaults_text_none("42 N0=42\n"));
	assert_false(userfaults_text_none("07\n"));
	assert_false(userfaults_text_none(""));
	assert_false(userfaults_text_none("\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ranges, pages_map, pages_unmap),
		cmocka_unit_test_setup_teardown(kept, pages_map, pages_unmap),
		cmocka_unit_test_setup_teardown(elsewhere, pages_map, pages_unmap),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
