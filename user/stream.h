/* SPDX-License-Identifier: GPL-2.0-only */
/* The stream of alerts: filters, formats, numbers and queues them for standard output. */
#ifndef DEADHOLD_STREAM_H
#define DEADHOLD_STREAM_H

#include "alert.h"
#include "options.h"
#include "output.h"

struct stream {
	const struct options *options;
	struct id_list followers; /* processes that are watched because one of -p is */
	const struct run *run;
	struct output *output;
	uint64_t seq;
	uint64_t said[ALERT_KINDS];
	uint64_t refused; /* lines that a slow reader of the stream cost */
	int error;	  /* first error of the output, -EPIPE when the reader went away; 0: none */
};

/* Do the filters let this alert through? What the agent says of itself always passes. */
bool stream_wants(const struct stream *stream, const struct alert *alert);

/* Says it, if the filters let it through. What can't be said is counted in the stream. */
void stream_say(struct stream *stream, const struct alert *alert);

#endif
