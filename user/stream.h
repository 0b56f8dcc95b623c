/* SPDX-License-Identifier: GPL-2.0-only */
/* The stream of alerts: filters, formats, numbers and queues them for standard output. */
#ifndef DEADHOLD_STREAM_H
#define DEADHOLD_STREAM_H

#include "alert.h"
#include "followers.h"
#include "incident.h"
#include "limit.h"
#include "options.h"
#include "output.h"

struct stream {
	const struct options *options;
	struct followers followers;
	const struct run *run;
	struct output *output;
	uint64_t seq;
	uint64_t said[ALERT_KINDS];
	struct incidents *incidents; /* NULL: nobody asks for them */
	struct limits *limits;	     /* NULL: nothing is merged */
	uint64_t refused;	     /* alerts that a slow reader of the stream cost */
	int error; /* first error of the output, -EPIPE when the reader went away; 0: none */
};

/* Do the filters let this alert through? What the agent says of itself always passes. */
bool stream_wants(const struct stream *stream, const struct alert *alert);

/*
 * Says it, if the filters let it through. What can't be said is counted in the stream. False: it is not
 * to be said, or not now: it is merged with others of its kind.
 */
bool stream_say(struct stream *stream, const struct alert *alert);

/* The same, as the incidents call it. */
bool stream_say_incident(void *stream, const struct alert *alert);

/* Says what was merged, as far as it is due; all: all of it. */
void stream_say_merged(struct stream *stream, bool all);
/* CLOCK_MONOTONIC ns at which the next is due; 0: none. */
uint64_t stream_due(const struct stream *stream);

#endif
