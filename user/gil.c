// SPDX-License-Identifier: GPL-2.0-only
#include "gil.h"

#include <string.h>

#define GIL_HOLDER   8
#define GIL_LOCKED   16
#define GIL_SWITCHES 24
#define GIL_COND     32
#define GIL_MUTEX    80

#define MINOR(version) ((version) >> 16)

/* Where struct _Py_DebugOffsets, in words, has what is asked for. */
struct debug_layout {
	uint8_t interpreters, next, gil, locked, holder, base, interpreter, thread, native;
};

static const struct debug_layout debug_3_13 = { 5, 8, 14, 17, 18, 15, 22, 24, 25 };
/* With threads_main, code_object_generation and tlbc_generation in the interpreter's. */
static const struct debug_layout debug_3_14 = { 5, 8, 15, 18, 19, 16, 25, 27, 28 };

/* Free-threaded: no GIL, or one that is not always in use. */
static bool debug_read(const uint64_t debug[GIL_DEBUG_WORDS], uint32_t version,
		       const struct debug_layout *at, struct gil_layout *layout)
{
	bool free_threaded = debug[2];

	if (memcmp(debug, "xdebugpy", 8) || debug[1] >> 16 != MINOR(version) || free_threaded ||
	    debug[at->locked] - debug[at->base] != GIL_LOCKED ||
	    debug[at->holder] - debug[at->base] != GIL_HOLDER)
		return false;
	*layout = (struct gil_layout){
		.gil = debug[at->gil],
		.interpreters = debug[at->interpreters],
		.next = debug[at->next],
		.interpreter = debug[at->interpreter],
		.thread = debug[at->thread],
		.native = debug[at->native],
	};
	return true;
}

bool gil_layout(uint32_t version, const uint64_t debug[GIL_DEBUG_WORDS], struct gil_layout *layout)
{
	switch (MINOR(version)) {
	case 0x308:
		*layout = (struct gil_layout){ true, 1152, 32, 0, 16, 176, 0 };
		return true;
	case 0x309:
	case 0x30a:
		*layout = (struct gil_layout){ true, 352, 32, 0, 16, 176, 0 };
		return true;
	case 0x30b:
		*layout = (struct gil_layout){ true, 360, 40, 0, 16, 152, 160 };
		return true;
	case 0x30c:
		*layout = (struct gil_layout){ false, 384, 40, 0, 16, 136, 144 };
		return true;
	case 0x30d:
		return debug_read(debug, version, &debug_3_13, layout);
	case 0x30e:
		return debug_read(debug, version, &debug_3_14, layout);
	default:
		return false;
	}
}

/* The mutex is free, so that nobody is between two of the stores. */
bool gil_state(const uint64_t words[GIL_WORDS], struct gil_state *state)
{
	uint32_t locked = words[GIL_LOCKED / 8], mutex = words[GIL_MUTEX / 8];

	if (locked > 1 || mutex)
		return false;
	*state = (struct gil_state){
		.held = locked,
		.holder = words[GIL_HOLDER / 8],
		.switches = words[GIL_SWITCHES / 8],
	};
	return !locked || (state->holder && !(state->holder & 7));
}

bool gil_waits(uint64_t gil, uint64_t word)
{
	return word >= gil + GIL_COND && word < gil + GIL_MUTEX;
}
