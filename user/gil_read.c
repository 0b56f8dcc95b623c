// SPDX-License-Identifier: GPL-2.0-only
#include "gil_read.h"

#include <string.h>

#include "module.h"
#include "python_read.h"
#include "runtime.h"

#define INTERPRETERS 64
/* So often a GIL may change hands while it is read. */
#define ATTEMPTS 8

struct interpreter {
	uint64_t address, gil;
};

static bool read_word(const struct task *task, uint64_t address, uint64_t *word)
{
	return !(address & 7) &&
	       task_read_memory(task, address, word, sizeof(*word)) == sizeof(*word);
}

/* ---- where it is ---- */

static void function_found(void *context, size_t which, uint64_t offset, uint64_t bytes)
{
	bool *found = context;

	(void)offset, (void)bytes;
	found[which] = true;
}

/*
 * Py_Version is there from 3.11 on. Before that each version has functions that are new in it: "Added in
 * version" in the reference of the C API.
 */
static uint32_t version_of(struct symbols *symbols)
{
	static const char *const names[] = { "Py_InitializeFromConfig", "PyObject_CallNoArgs",
					     "Py_NewRef" };
	uint32_t version = symbols_word(symbols, "Py_Version");
	bool found[3] = { false };

	if (version || symbols_functions(symbols, names, 3, function_found, found))
		return version;
	if (found[2])
		return 0x030a0000;
	if (found[1])
		return 0x03090000;
	return found[0] ? 0x03080000 : 0;
}

static bool place_fill(const struct task *task, const struct module *module,
		       struct gil_place *place)
{
	uint64_t vaddr, bytes, bias, debug[GIL_DEBUG_WORDS];
	_cleanup_symbols_ struct symbols *symbols = module_symbols(task, module, &bias);

	if (!symbols || !symbols_data(symbols, "_PyRuntime", &vaddr, &bytes) ||
	    bytes < sizeof(debug) ||
	    task_read_memory(task, vaddr + bias, debug, sizeof(debug)) != sizeof(debug) ||
	    !gil_layout(version_of(symbols), debug, &place->layout))
		return false;
	if (place->layout.interpreters > bytes - 8 ||
	    (place->layout.runtime && place->layout.gil > bytes - 8 * GIL_WORDS))
		return false;
	place->runtime = vaddr + bias;
	return true;
}

int gil_find(const struct task *task, struct gil_place *place)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct module module = { 0 };
	struct proc_mapping m;
	int err = task_maps_open(&maps, task->thread);

	*place = (struct gil_place){ 0 };
	while (!err && !place->runtime && (err = task_maps_next(&maps, &m)) > 0) {
		module_follow(&module, &m);
		if (m.exec && m.path && runtime_of_library(m.path, m.path_len) & RUNTIME_PYTHON)
			place_fill(task, &module, place);
		err = 0;
	}
	return err;
}

/* ---- what it says ---- */

static bool words_state(const struct task *task, uint64_t address, struct gil_state *state)
{
	uint64_t words[GIL_WORDS];

	return task_read_memory(task, address, words, sizeof(words)) == sizeof(words) &&
	       gil_state(words, state);
}

/* Twice the same: it was so at a time in between. A read of several words is none of one moment. */
static bool state_read(const struct task *task, uint64_t address, struct gil_state *state)
{
	struct gil_state again;

	for (int i = 0; i < ATTEMPTS; i++) {
		if (words_state(task, address, state) && words_state(task, address, &again) &&
		    state->held == again.held && state->holder == again.holder &&
		    state->switches == again.switches)
			return true;
	}
	return false;
}

/* The list of interpreters, each with its GIL. Returns how many. */
static size_t interpreters_read(const struct task *task, const struct gil_place *place,
				struct interpreter list[INTERPRETERS])
{
	const struct gil_layout *layout = &place->layout;
	uint64_t next;
	size_t n = 0;

	if (!read_word(task, place->runtime + layout->interpreters, &next))
		return 0;
	while (next && n < INTERPRETERS) {
		struct interpreter *at = &list[n];

		*at = (struct interpreter){ next, place->runtime + layout->gil };
		if ((!layout->runtime && !read_word(task, at->address + layout->gil, &at->gil)) ||
		    !read_word(task, at->address + layout->next, &next))
			break;
		n++;
	}
	return n;
}

/* The thread of that state, by its own number: its descriptor says so, and the state, if it has it. */
static uint32_t thread_of(const struct task *task, const struct gil_layout *layout, uint64_t state)
{
	uint64_t thread, native;
	uint32_t tid;

	if (!read_word(task, state + layout->thread, &thread))
		return 0;
	tid = python_thread_tid(task, thread);
	if (layout->native && (!read_word(task, state + layout->native, &native) || native != tid))
		return 0;
	return tid;
}

/* Only if its state is of an interpreter that has this GIL. */
static uint32_t holder_read(const struct task *task, const struct gil_place *place,
			    const struct gil *gil, const struct interpreter *list, size_t n)
{
	const struct gil_layout *layout = &place->layout;
	uint64_t interpreter;

	if (!read_word(task, gil->state.holder + layout->interpreter, &interpreter))
		return 0;
	for (size_t i = 0; i < n; i++)
		if (list[i].address == interpreter && list[i].gil == gil->address)
			return thread_of(task, layout, gil->state.holder);
	return 0;
}

static bool gils_have(const struct gil *gils, size_t n, uint64_t address)
{
	for (size_t i = 0; i < n; i++)
		if (gils[i].address == address)
			return true;
	return false;
}

size_t gil_read(const struct task *task, const struct gil_place *place, struct gil gils[GILS])
{
	struct interpreter list[INTERPRETERS];
	size_t n = 0, all = place->runtime ? interpreters_read(task, place, list) : 0;

	for (size_t i = 0; i < all && n < GILS; i++) {
		struct gil gil = { .address = list[i].gil };

		if (gils_have(gils, n, gil.address) || !state_read(task, gil.address, &gil.state))
			continue;
		if (gil.state.held)
			gil.holder = holder_read(task, place, &gil, list, all);
		gils[n++] = gil;
	}
	return n;
}
