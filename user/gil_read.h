/* SPDX-License-Identifier: GPL-2.0-only */
/* The GILs of a Python process, read from its memory. Nothing that does not fit is taken for one. */
#ifndef DEADHOLD_GIL_READ_H
#define DEADHOLD_GIL_READ_H

#include "gil.h"
#include "task.h"

#define GILS 8 /* of a process: interpreters beyond these are left alone */

/* Where to look: the same as long as the process runs the same program. */
struct gil_place {
	uint64_t runtime; /* the address of _PyRuntime; 0: there is none */
	struct gil_layout layout;
};

/* By the symbols of the Python that the process has mapped. 0 or -errno. */
int gil_find(const struct task *task, struct gil_place *place);

struct gil {
	uint64_t address;
	struct gil_state state;
	uint32_t holder; /* the thread that holds it, by its own number; 0: none, or not known */
};

/* All of them, held or not. Returns how many. */
size_t gil_read(const struct task *task, const struct gil_place *place, struct gil gils[GILS]);

#endif
