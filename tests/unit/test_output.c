// SPDX-License-Identifier: GPL-2.0-only
/* output.c against pipes that are full or closed, sockets, files, terminals. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "output.h"

#define LIMIT 65536

struct pipes {
	int in, out;
};

static struct pipes pipe_open(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 4096) > 0);
	assert_true(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	return (struct pipes){ fds[0], fds[1] };
}

/* Numbered lines, so that order and wholeness show. */
static size_t line_make(char *line, size_t size, int number)
{
	return snprintf(
		line, size, "line %d %.*s\n", number, number % 97,
		"................................................................................"
		"....................");
}

/* Writes lines until one is refused. Returns how many were taken. */
static int lines_write(struct output *output, int first)
{
	char line[256];
	int n = first;

	for (;; n++) {
		int err = output_write(output, line, line_make(line, sizeof(line), n));

		if (err == -ENOBUFS)
			return n - first;
		assert_int_equal(err, 0);
	}
}

/* Reads what is there and checks that it goes on with line *next, byte for byte. */
struct checker {
	int next;
	char rest[256];
	size_t have;
};

static void lines_check(struct checker *checker, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char want[256];
		size_t n;

		assert_true(checker->have < sizeof(checker->rest));
		checker->rest[checker->have++] = text[i];
		if (text[i] != '\n')
			continue;
		n = line_make(want, sizeof(want), checker->next++);
		assert_int_equal(checker->have, n);
		assert_memory_equal(checker->rest, want, n);
		checker->have = 0;
	}
}

static void lines_read(int fd, struct checker *checker)
{
	char text[4096];
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0)
		lines_check(checker, text, n);
}

/* Whatever is there to be read now, up to 256 KiB, is so many bytes. */
static void assert_readable(int fd, ssize_t bytes)
{
	char *text = malloc(1 << 18);

	assert_int_equal(read(fd, text, 1 << 18), bytes);
	free(text);
}

static void goes_out_with_flush(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);
	char text[16];

	(void)state;
	assert_non_null(output);
	assert_int_equal(output_write(output, "one\n", 4), 0);
	assert_int_equal(output_write(output, "two\n", 4), 0);
	assert_int_equal(output_pending(output), 8);
	assert_readable(pipes.in, -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(output_flush(output), 0);
	assert_int_equal(output_pending(output), 0);
	assert_int_equal(read(pipes.in, text, sizeof(text)), 8);
	assert_memory_equal(text, "one\ntwo\n", 8);
	assert_int_equal(output_write(output, "", 0), 0);
	assert_int_equal(output_flush(output), 0);
	assert_readable(pipes.in, -1);
	output_free(output);
	assert_int_equal(read(pipes.in, text, sizeof(text)), 0); /* its end is closed */
	close(pipes.in);
}

/* Who never comes to flush: what has come together goes out once it is a pipe full, in whole. */
static void goes_out_when_much(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, 1 << 20);
	static char line[1000];
	int lines = 0;

	(void)state;
	assert_true(fcntl(pipes.out, F_SETPIPE_SZ, 1 << 17) >= 1 << 17);
	memset(line, 'x', sizeof(line));
	while (output_pending(output) == lines * sizeof(line)) {
		assert_int_equal(output_write(output, line, sizeof(line)), 0);
		assert_true(++lines < 100);
	}
	assert_int_equal(lines, 65536 / sizeof(line) + 1);
	assert_int_equal(output_pending(output), sizeof(line));
	assert_readable(pipes.in, (lines - 1) * sizeof(line));
	output_free(output);
	close(pipes.in);
}

/* Nothing is lost, doubled or torn, whatever the reader's pace; what is refused is refused whole. */
static void slow_reader(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);
	struct checker checker = { 0 };
	int written = 0;

	(void)state;
	for (int round = 0; round < 20; round++) {
		char some[1000];
		ssize_t n;

		written += lines_write(output, written);
		assert_true(output_pending(output) > LIMIT - 256);
		n = read(pipes.in, some, round * 50 + 1);
		assert_true(n > 0);
		lines_check(&checker, some, n);
		assert_int_equal(output_flush(output), 0);
	}
	while (output_pending(output)) {
		lines_read(pipes.in, &checker);
		assert_int_equal(output_flush(output), 0);
	}
	lines_read(pipes.in, &checker);
	assert_int_equal(checker.next, written);
	assert_int_equal(checker.have, 0);
	output_free(output);
	close(pipes.in);
}

static void refused(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, 100);
	char text[101];

	(void)state;
	memset(text, 'x', sizeof(text));
	/* More than may ever wait: even though the pipe had room for it. */
	assert_int_equal(output_write(output, text, 101), -ENOBUFS);
	assert_int_equal(output_pending(output), 0);
	assert_int_equal(read(pipes.in, text, sizeof(text)), -1);
	assert_int_equal(output_write(output, text, 100), 0);
	output_free(output);
	close(pipes.in);

	pipes = pipe_open();
	output = output_new(pipes.out, 0);
	assert_int_equal(output_write(output, text, 1), -ENOBUFS);
	assert_int_equal(output_flush(output), 0);
	output_free(output);
	close(pipes.in);
}

/* The waiting end is told by poll(2) when there is room again. */
static void writable_again(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);
	struct pollfd ready = { .fd = output_fd(output), .events = POLLOUT };
	struct checker checker = { 0 };

	(void)state;
	lines_write(output, 0);
	assert_int_equal(poll(&ready, 1, 0), 0);
	lines_read(pipes.in, &checker);
	assert_int_equal(poll(&ready, 1, 0), 1);
	assert_int_equal(ready.revents, POLLOUT);
	output_free(output);
	close(pipes.in);
}

static void reader_gone(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);

	(void)state;
	close(pipes.in);
	assert_int_equal(output_write(output, "x\n", 2), 0);
	assert_int_equal(output_flush(output), -EPIPE); /* and no SIGPIPE */
	assert_int_equal(output_write(output, "x\n", 2), -EPIPE);
	assert_int_equal(output_flush(output), -EPIPE);
	assert_int_equal(output_drain(output, 1000), -EPIPE);
	output_free(output);
}

static void reader_goes_with_lines_waiting(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);

	(void)state;
	lines_write(output, 0);
	close(pipes.in);
	assert_int_equal(output_flush(output), -EPIPE);
	assert_int_equal(output_drain(output, 1000), -EPIPE);
	output_free(output);
}

/* With nothing to write, too: an agent that has nothing to say must not stay for ever. */
static void reader_gone_in_silence(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);
	struct pollfd told = { .fd = output_fd(output), .events = 0 };

	(void)state;
	assert_int_equal(output_flush(output), 0);
	close(pipes.in);
	assert_int_equal(poll(&told, 1, 0), 1);
	assert_true(told.revents & POLLERR);
	assert_int_equal(output_flush(output), -EPIPE);
	output_free(output);
}

/* The description that others share keeps its mode. */
static void others_not_affected(void **state)
{
	struct pipes pipes = pipe_open();
	int shared = dup(pipes.out);
	struct output *output = output_new(pipes.out, LIMIT);

	(void)state;
	assert_int_not_equal(output_fd(output), pipes.out);
	lines_write(output, 0);
	assert_int_equal(fcntl(shared, F_GETFL) & O_NONBLOCK, 0);
	assert_int_not_equal(fcntl(output_fd(output), F_GETFL) & O_NONBLOCK, 0);
	output_free(output);
	close(shared);
	close(pipes.in);
}

/*
 * A pipe that can't be opened once more (somebody else's, and no right to it): poll first, then what
 * surely fits. Where the test runs with all rights, those have to be given up: in a child.
 */
static int without_reopening(void)
{
	int fds[2], null = open("/dev/null", O_RDWR);
	struct checker checker = { 0 };
	struct output *output;
	int written;

	if (null < 0 || pipe2(fds, 0) || fcntl(fds[0], F_SETFL, O_NONBLOCK) || fchmod(fds[1], 0) ||
	    setresuid(65534, 65534, 65534))
		return 77;
	output = output_new(fds[1], LIMIT);
	if (!output || output_fd(output) != fds[1])
		return 1;
	/* An ordinary write would block here for ever; alarm(2) ends that. */
	alarm(30);
	written = lines_write(output, 0);
	while (output_pending(output)) {
		lines_read(fds[0], &checker);
		if (output_flush(output))
			return 2;
	}
	lines_read(fds[0], &checker);
	if (fcntl(fds[1], F_GETFL) & O_NONBLOCK)
		return 3;
	output_free(output);
	return checker.next == written ? 0 : 4;
}

static void cannot_reopen(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	if (geteuid())
		skip(); /* the owner of a pipe can always open it */
	pid = fork();
	if (!pid)
		_exit(without_reopening());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void sockets(void **state)
{
	struct checker checker = { 0 };
	struct output *output;
	int pair[2], written;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	output = output_new(pair[1], LIMIT);
	written = lines_write(output, 0);
	while (output_pending(output)) {
		lines_read(pair[0], &checker);
		assert_int_equal(output_flush(output), 0);
	}
	lines_read(pair[0], &checker);
	assert_int_equal(checker.next, written);
	assert_int_equal(fcntl(pair[1], F_GETFL) & O_NONBLOCK, 0);
	close(pair[0]);
	assert_int_equal(output_write(output, "x\n", 2), 0);
	assert_int_equal(output_flush(output), -EPIPE);
	output_free(output);
}

/* What the shell's > file and >> file give: the position is shared with it. */
static void files(void **state)
{
	int fd = memfd_create("output", MFD_CLOEXEC), shared = dup(fd);
	struct output *output;
	char text[32];

	(void)state;
	assert_int_equal(write(fd, "before\n", 7), 7);
	output = output_new(fd, LIMIT);
	assert_int_equal(output_write(output, "a\n", 2), 0);
	assert_int_equal(output_flush(output), 0);
	assert_int_equal(output_pending(output), 0);
	assert_int_equal(write(shared, "after\n", 6), 6);
	assert_int_equal(output_write(output, "b\n", 2), 0);
	assert_int_equal(output_flush(output), 0);
	assert_int_equal(pread(shared, text, sizeof(text), 0), 17);
	assert_memory_equal(text, "before\na\nafter\nb\n", 17);
	output_free(output);
	close(shared);
}

/* No reader went away; the disk is full. What was taken waits for better times. */
static void disk_full(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct output *output;

	(void)state;
	if (fd < 0)
		skip();
	output = output_new(fd, LIMIT);
	assert_int_equal(output_write(output, "a\n", 2), 0);
	assert_int_equal(output_flush(output), -ENOSPC);
	assert_int_equal(output_pending(output), 2);
	assert_int_equal(output_flush(output), -ENOSPC);
	assert_int_equal(output_drain(output, 1000), -ENOSPC);
	output_free(output);
}

static void no_descriptor(void **state)
{
	(void)state;
	assert_null(output_new(-1, LIMIT));
	assert_int_equal(errno, EBADF);
	output_free(NULL);
}

static void drain_times_out(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);

	(void)state;
	assert_int_equal(output_drain(output, 0), 0);
	lines_write(output, 0);
	assert_int_equal(output_drain(output, 0), -ETIMEDOUT);
	assert_int_equal(output_drain(output, 20), -ETIMEDOUT);
	output_free(output);
	close(pipes.in);
}

/* A reader that comes late: all of it arrives, in order. */
static void drain_waits(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, LIMIT);
	int written = lines_write(output, 0), status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		struct checker checker = { 0 };
		struct pollfd ready = { .fd = pipes.in, .events = POLLIN };

		output_free(output);
		while (checker.next < written) {
			poll(&ready, 1, -1);
			lines_read(pipes.in, &checker);
		}
		_exit(0);
	}
	assert_int_equal(output_drain(output, 60000), 0);
	assert_int_equal(output_pending(output), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	output_free(output);
	close(pipes.in);
}

#define PLENTY (8 << 20)

/* Bytes of an output's memory that are there. */
static size_t resident(const struct output *output, size_t bytes)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), from = (uintptr_t)output / page * page;
	static unsigned char there[PLENTY / 1024];
	size_t pages = bytes / page, n = 0, i;

	assert_true(pages < sizeof(there));
	assert_int_equal(mincore((void *)from, pages * page, there), 0);
	for (i = 0; i < pages; i++)
		n += there[i] & 1;
	return n * page;
}

/* However much goes through it. */
static void takes_the_memory_that_waits(void **state)
{
	struct output *output = output_new(open("/dev/null", O_WRONLY | O_CLOEXEC), PLENTY);
	char line[256];
	int i;

	(void)state;
	for (i = 0; i < 200000; i++)
		assert_int_equal(output_write(output, line, line_make(line, sizeof(line), i)), 0);
	assert_int_equal(output_flush(output), 0);
	assert_true(resident(output, PLENTY) <= LIMIT * 2);
	output_free(output);
}

/* After it was read, most of what a backlog took is given back, and nothing is amiss in what follows. */
static void gives_a_backlog_back(void **state)
{
	struct pipes pipes = pipe_open();
	struct output *output = output_new(pipes.out, PLENTY);
	struct checker checker = { 0 };
	int written, round;

	(void)state;
	for (round = 0; round < 2; round++) {
		written = lines_write(output, checker.next) + checker.next;
		assert_true(resident(output, PLENTY) > PLENTY - LIMIT);
		while (checker.next < written) {
			lines_read(pipes.in, &checker);
			assert_int_equal(output_flush(output), 0);
		}
		assert_int_equal(output_pending(output), 0);
		assert_true(resident(output, PLENTY) <= LIMIT * 18);
	}
	output_free(output);
	close(pipes.in);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_out_with_flush),
		cmocka_unit_test(goes_out_when_much),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(refused),
		cmocka_unit_test(writable_again),
		cmocka_unit_test(reader_gone),
		cmocka_unit_test(reader_goes_with_lines_waiting),
		cmocka_unit_test(reader_gone_in_silence),
		cmocka_unit_test(others_not_affected),
		cmocka_unit_test(cannot_reopen),
		cmocka_unit_test(sockets),
		cmocka_unit_test(files),
		cmocka_unit_test(disk_full),
		cmocka_unit_test(no_descriptor),
		cmocka_unit_test(drain_times_out),
		cmocka_unit_test(drain_waits),
		cmocka_unit_test(takes_the_memory_that_waits),
		cmocka_unit_test(gives_a_backlog_back),
	};

	alarm(120);
	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
