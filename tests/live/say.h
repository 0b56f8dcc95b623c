/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a workload tells the test what it did, and waits to be told what to do next.
 *
 * One JSON object a line on stdout, written by one write(2): no stdio, whose own lock would make
 * futex calls that nobody asked for. Each step waits for a line on stdin, so that the test decides
 * the order, and every wait is for a condition, never for time to pass.
 *
 * Builds as C and C++, with glibc and musl. Include it first: it asks for the GNU extensions.
 */
#ifndef SAY_H
#define SAY_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAY_LIMIT_S 300 /* no condition takes so long, even in an emulated machine */
#define SAY_BYTES   4096

/*
 * A thread. pid and tid are the numbers of the namespace whose /proc is mounted here, the test's
 * own; ns_pid and ns_tid are those that the thread itself, and a lock word, knows.
 */
struct who {
	int pid, tid;
	int ns_pid, ns_tid;
	int syscall_fd; /* its /proc/…/syscall: stays readable whatever namespace asks */
};

static inline void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static inline void say_of(const struct who *who, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static inline void say_bytes(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			_exit(98);
		bytes += n;
		length -= (size_t)n;
	}
}

/* Ends the process. The message goes to stderr, which a failing test shows. */
static inline void die(const char *format, ...)
{
	char text[SAY_BYTES];
	va_list args;
	int n, error = errno;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text) - 64, format, args);
	va_end(args);
	n += snprintf(text + n, sizeof(text) - (size_t)n, " (errno %d)\n", error);
	say_bytes(2, text, (size_t)n);
	syscall(SYS_exit_group, 99);
	abort();
}

static inline void need(int error, const char *what)
{
	errno = error;
	if (error)
		die("%s", what);
}

/* The calling thread. Its descriptor stays open for as long as the process lives. */
static inline struct who who_am_i(void)
{
	struct who who;
	char path[64];
	ssize_t n = readlink("/proc/thread-self", path, sizeof(path) - 1);

	if (n < 0)
		die("/proc/thread-self");
	path[n] = '\0';
	if (sscanf(path, "%d/task/%d", &who.pid, &who.tid) != 2)
		die("/proc/thread-self is %s", path);
	who.ns_pid = (int)getpid();
	who.ns_tid = (int)syscall(SYS_gettid);
	who.syscall_fd = open("/proc/thread-self/syscall", O_RDONLY | O_CLOEXEC);
	if (who.syscall_fd < 0)
		die("/proc/thread-self/syscall");
	return who;
}

static inline void say_args(const struct who *who, const char *event, const char *format,
			    va_list args)
{
	char json[SAY_BYTES], text[SAY_BYTES];
	size_t i;
	int n, members;

	/* JSON in C is easier to read with single quotes. */
	for (i = 0; format[i] && i < sizeof(json) - 1; i++)
		json[i] = format[i] == '\'' ? '"' : format[i];
	json[i] = '\0';
	n = snprintf(
		text, sizeof(text),
		"{\"event\": \"%s\", \"pid\": %d, \"tid\": %d, \"ns_pid\": %d, \"ns_tid\": %d, ",
		event, who->pid, who->tid, who->ns_pid, who->ns_tid);
	members = vsnprintf(text + n, sizeof(text) - (size_t)n, json, args);
	if (members > (int)sizeof(text) - n - 4)
		die("event %s is too long", event);
	n += members ? members : -2; /* without members no comma */
	strcpy(text + n, "}\n");
	say_bytes(1, text, (size_t)n + 2);
}

/*
 * Says that an event happened to a thread. `format` holds further members of the object, with ' in
 * place of ": "'lock': '%p', 'owner': %u". NOTHING if there are none.
 */
#define NOTHING "%s", ""
static inline void say_of(const struct who *who, const char *event, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(who, event, format, args);
	va_end(args);
}

/* The same of the calling thread. */
#define say(event, ...)                               \
	do {                                          \
		struct who say_who = who_am_i();      \
		say_of(&say_who, event, __VA_ARGS__); \
		close(say_who.syscall_fd);            \
	} while (0)

/* Reads the next line from the test, without its newline. Ends the process where none comes. */
static inline void read_go(char *line, size_t size)
{
	size_t length = 0;

	for (;;) {
		char c;
		ssize_t n = read(0, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			syscall(SYS_exit_group, 97); /* the test is gone */
		if (c == '\n')
			break;
		if (length + 1 < size)
			line[length++] = c;
	}
	line[length] = '\0';
}

/* Waits until the test says this word. */
static inline void expect_go(const char *word)
{
	char line[128];

	read_go(line, sizeof(line));
	if (strcmp(line, word))
		die("told to %s, expected to be told to %s", line, word);
}

static inline void name_me(const char *name)
{
	if (prctl(PR_SET_NAME, name, 0, 0, 0))
		die("PR_SET_NAME %s", name);
}

/* Calls until(arg) every 2 ms until it is true. */
static inline void wait_until(int (*until)(const void *), const void *arg, const char *what)
{
	int i;

	for (i = 0; !until(arg); i++) {
		if (i >= SAY_LIMIT_S * 500)
			die("waited in vain: %s", what);
		poll(NULL, 0, 2);
	}
}

/* The address of the futex word in whose call the thread is asleep, or 0. */
static inline unsigned long blocked_on(const struct who *who)
{
	char text[256];
	unsigned long address;
	ssize_t n = pread(who->syscall_fd, text, sizeof(text) - 1, 0);
	long number;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* "running", or the number and six arguments in hexadecimal */
	if (sscanf(text, "%ld 0x%lx", &number, &address) != 2)
		return 0;
	if (number != SYS_futex && number != SYS_restart_syscall)
		return 0;
	return address;
}

/* Is the thread asleep in a futex call on an address in [from, from + bytes)? */
static inline int is_blocked(const struct who *who, const void *from, size_t bytes)
{
	unsigned long address = blocked_on(who);

	return address && address >= (unsigned long)from && address - (unsigned long)from < bytes;
}

struct say_range {
	const struct who *who;
	const void *from;
	size_t bytes;
};

static inline int say_is_blocked(const void *arg)
{
	const struct say_range *range = (const struct say_range *)arg;

	return is_blocked(range->who, range->from, range->bytes);
}

/* Waits until the thread is asleep in a futex call on that object. */
static inline void wait_blocked(const struct who *who, const void *from, size_t bytes)
{
	struct say_range range = { who, from, bytes };

	wait_until(say_is_blocked, &range, "a thread to block");
}

static inline int say_is_gone(const void *arg)
{
	const struct who *who = (const struct who *)arg;
	char text[512], path[64], *state;
	ssize_t n;
	int fd;

	if (pread(who->syscall_fd, text, sizeof(text), 0) < 0 && errno == ESRCH)
		return 1;
	/* A main thread that ended stays as a zombie until the others have ended. */
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", who->pid, who->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return errno == ESRCH;
	text[n] = '\0';
	state = strrchr(text, ')');
	return state && state[1] && state[2] == 'Z';
}

/* Waits until the thread has ended. */
static inline void wait_gone(const struct who *who)
{
	wait_until(say_is_gone, who, "a thread to end");
}

/* A door that threads and processes wait at until it is opened, once for all; no futex in it. */
struct gate {
	int fds[2];
};

static inline void gate_make(struct gate *gate)
{
	if (pipe2(gate->fds, O_CLOEXEC))
		die("pipe");
}

static inline void gate_open(struct gate *gate)
{
	/* Never read: it stays readable for everybody. */
	say_bytes(gate->fds[1], "", 1);
}

static inline void gate_pass(const struct gate *gate)
{
	struct pollfd fd = { gate->fds[0], POLLIN, 0 };

	while (poll(&fd, 1, -1) < 0)
		if (errno != EINTR)
			die("poll");
}

/* How often something is done: count times DEADHOLD_SCALE, at least once. Slow machines set it. */
static inline long scaled(long count)
{
	const char *scale = getenv("DEADHOLD_SCALE");
	double n = (double)count * (scale && *scale ? atof(scale) : 1.0);

	return n < 1.0 ? 1 : (long)n;
}

#endif
