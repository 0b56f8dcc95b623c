/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Standard output as a queue: a slow reader of the stream never holds the agent up. Whole lines are
 * written as far as the descriptor takes them; the rest waits here, up to a limit, and what does not
 * fit is refused (the caller counts it).
 */
#ifndef DEADHOLD_OUTPUT_H
#define DEADHOLD_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct output;

/*
 * Takes over fd (made non-blocking on an own open file description where that is possible, so that
 * a shell or another program sharing the terminal or pipe is not affected; else poll() before each
 * write of at most PIPE_BUF bytes). limit_bytes: what may wait. NULL with errno.
 */
struct output *output_new(int fd, size_t limit_bytes);
void output_free(struct output *output); /* does not flush */

/*
 * The same for standard error, where that is possible: a line that nobody reads is dropped, and the
 * agent goes on. Sockets stay as they are.
 */
void output_stderr_unblock(void);

/*
 * Queues text (copied). It goes out with output_flush(), to be called before the caller goes to sleep,
 * or with other text once enough has come together. 0, -ENOBUFS (refused whole, nothing of it was
 * written) or -EPIPE (the reader went away).
 */
int output_write(struct output *output, const char *text, size_t len);

/* Writes what can be written now. 0 or -errno as above. */
int output_flush(struct output *output);

/* Bytes that wait. If not 0, watch output_fd() for EPOLLOUT (for regular files: call flush again). */
size_t output_pending(const struct output *output);
int output_fd(const struct output *output);

/* At the end: waits up to timeout_ms in all for the rest to go out. 0, -ETIMEDOUT, or -errno. */
int output_drain(struct output *output, int timeout_ms);

#endif
