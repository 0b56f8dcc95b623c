/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent and its reader process say to each other: one packet (SOCK_SEQPACKET) a request, one
 * packet an answer, and some memory that both map. The two are one program, forked: no versions.
 */
#ifndef DEADHOLD_READER_WIRE_H
#define DEADHOLD_READER_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "reader.h"

enum reader_call { READER_LOOK, READER_PARK, READER_MAPPERS, READER_CENSUS, READER_PYTHON };

struct reader_request {
	uint32_t call;	   /* enum reader_call */
	int32_t after;	   /* mappers: the last PID that was looked at */
	uint64_t until_ns; /* CLOCK_MONOTONIC: leave out what can wait from then on */
	union {
		struct look look;
		struct park park;
		struct mappers mappers;
		struct census_ask census;
		struct python_ask python;
	};
};

struct reader_reply {
	uint32_t call;
	int32_t after; /* mappers: how far it came; 0: done */
	union {
		struct look_answer look; /* sent up to its last address */
		struct park_answer park;
		struct mappers_answer mappers;
		struct census_answer census;
		struct python_answer python;
	};
};

struct reader_page {
	volatile int32_t at; /* mappers: the PID that is being looked at; 0: not begun */
	struct tid_sets tids;
};

/* The bytes of a reply that are sent, and that must have come: never more than the struct has. */
static inline size_t reader_reply_bytes(uint32_t call, uint32_t addresses)
{
	switch (call) {
	case READER_LOOK:
		return offsetof(struct reader_reply, look.at) +
		       addresses * sizeof(((struct look_answer *)0)->at[0]);
	case READER_PARK:
		return offsetof(struct reader_reply, park) + sizeof(struct park_answer);
	case READER_MAPPERS:
		return offsetof(struct reader_reply, mappers) + sizeof(struct mappers_answer);
	case READER_CENSUS:
		return offsetof(struct reader_reply, census) + sizeof(struct census_answer);
	default:
		return offsetof(struct reader_reply, python) + sizeof(struct python_answer);
	}
}

/*
 * The life of the reader process, from right after fork() to its end. `agent`: the PID of who forked
 * it. It keeps nothing open but `fd` and has no more rights than reading needs.
 */
void reader_serve(int fd, pid_t agent, struct reader_page *page) __attribute__((noreturn));

#endif
