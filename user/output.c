// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text that was queued stays queued through any error, and goes out with a later flush if the error
 * passes (a full disk); after -EPIPE nothing ever does. SIGPIPE must be ignored: writes to pipes have
 * no flag that suppresses it. output_new() sees to that.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

/* Lines are written together up to so many bytes: what a pipe holds. */
#define OUTPUT_TOGETHER 65536

/* Of what a backlog took so much is kept. */
#define OUTPUT_KEPT (16 * OUTPUT_TOGETHER)

/* How a write is kept from blocking. */
enum output_way {
	WAY_PLAIN,  /* an own non-blocking description, or a file, which does not block */
	WAY_SOCKET, /* a flag with every send */
	WAY_POLL,   /* ask first, then write what a pipe that takes anything takes whole */
};

struct output {
	int fd;	      /* what is written to */
	int given_fd; /* what was handed over; it may be the same */
	enum output_way way;
	int broken; /* -EPIPE once the reader is gone */
	size_t limit, start, used;
	size_t most; /* that waited since memory was last given back */
	char ring[];
};

/*
 * O_NONBLOCK belongs to the open file description, which the shell that started us shares, and all
 * else that it started on that terminal or pipe. Opened once more, we have our own.
 */
static int reopen_nonblocking(int fd)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void output_open(struct output *output)
{
	struct stat st;
	int own;

	output->fd = output->given_fd;
	output->way = WAY_POLL;
	if (fstat(output->given_fd, &st))
		return;
	if (S_ISSOCK(st.st_mode)) {
		output->way = WAY_SOCKET;
		return;
	}
	/* A second description of a file would have its own position, and so would overwrite it. */
	if (S_ISREG(st.st_mode)) {
		output->way = WAY_PLAIN;
		return;
	}
	own = reopen_nonblocking(output->given_fd);
	if (own < 0)
		return;
	output->fd = own;
	output->way = WAY_PLAIN;
}

struct output *output_new(int fd, size_t limit_bytes)
{
	struct output *output;

	if (fcntl(fd, F_GETFD) < 0)
		return NULL;
	output = malloc(sizeof(*output) + limit_bytes); /* pages are taken when they are used */
	if (!output)
		return NULL;
	*output = (struct output){ .given_fd = fd, .limit = limit_bytes };
	output_open(output);
	signal(SIGPIPE, SIG_IGN);
	return output;
}

void output_stderr_unblock(void)
{
	struct stat st;
	int own;

	if (fstat(STDERR_FILENO, &st) || S_ISREG(st.st_mode))
		return;
	own = reopen_nonblocking(STDERR_FILENO);
	if (own < 0)
		return;
	dup2(own, STDERR_FILENO);
	close(own);
}

void output_free(struct output *output)
{
	if (!output)
		return;
	if (output->fd != output->given_fd)
		close(output->fd);
	close(output->given_fd);
	free(output);
}

/* What poll(2) says of it now: with POLLOUT, a pipe takes PIPE_BUF bytes. */
static int output_events(int fd)
{
	struct pollfd now = { .fd = fd, .events = POLLOUT };

	return poll(&now, 1, 0) > 0 ? now.revents : 0;
}

/* Bytes that went out, or -errno; -EAGAIN where it would have blocked. */
static ssize_t output_put(const struct output *output, const char *text, size_t len)
{
	ssize_t n;

	switch (output->way) {
	case WAY_SOCKET:
		n = send(output->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case WAY_POLL:
		if (!output_events(output->fd)) /* an error: the write says which */
			return -EAGAIN;
		n = write(output->fd, text, len < PIPE_BUF ? len : PIPE_BUF);
		break;
	default:
		n = write(output->fd, text, len);
	}
	return n < 0 ? -errno : n;
}

/* The whole pages of the ring beyond what is kept. What is written there again gets new ones. */
static void output_give_back(struct output *output)
{
	uintptr_t page = sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)output->ring + OUTPUT_KEPT + page - 1) / page * page;
	uintptr_t to = (uintptr_t)(output->ring + output->limit) / page * page;

	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
	output->most = 0;
}

/* All is out. Begins anew: walked through from end to end the ring would have all its pages, for good. */
static void output_rewind(struct output *output)
{
	output->start = 0;
	if (output->most > OUTPUT_KEPT)
		output_give_back(output);
}

static int output_push(struct output *output)
{
	while (output->used && !output->broken) {
		size_t in_a_row = output->limit - output->start;
		ssize_t n = output_put(output, output->ring + output->start,
				       output->used < in_a_row ? output->used : in_a_row);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return 0;
		if (n == -EPIPE || n == -ECONNRESET)
			output->broken = -EPIPE;
		if (n < 0)
			return output->broken ? output->broken : n;
		output->start = (output->start + n) % output->limit;
		output->used -= n;
		if (!output->used)
			output_rewind(output);
	}
	return output->broken;
}

int output_flush(struct output *output)
{
	/* Who has nothing to write hears of a reader that went away only by asking. */
	if (!output->used && output_events(output->fd) & (POLLERR | POLLHUP))
		output->broken = -EPIPE;
	return output_push(output);
}

static void output_queue(struct output *output, const char *text, size_t len)
{
	size_t end = (output->start + output->used) % output->limit;
	size_t in_a_row = output->limit - end;

	if (in_a_row > len)
		in_a_row = len;
	memcpy(output->ring + end, text, in_a_row);
	memcpy(output->ring, text + in_a_row, len - in_a_row);
	output->used += len;
	if (output->used > output->most)
		output->most = output->used;
}

int output_write(struct output *output, const char *text, size_t len)
{
	size_t together = output->limit < OUTPUT_TOGETHER ? output->limit : OUTPUT_TOGETHER;

	if (output->used + len > together && output_push(output) == -EPIPE)
		return -EPIPE;
	if (len > output->limit - output->used)
		return -ENOBUFS;
	if (len)
		output_queue(output, text, len);
	return output->broken;
}

size_t output_pending(const struct output *output)
{
	return output->used;
}

int output_fd(const struct output *output)
{
	return output->fd;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

int output_drain(struct output *output, int timeout_ms)
{
	int64_t until = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd ready = { .fd = output->fd, .events = POLLOUT };
		int64_t left;
		int err = output_push(output);

		if (err || !output->used)
			return err;
		left = until - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&ready, 1, left) < 0 && errno != EINTR)
			return -errno;
	}
}
