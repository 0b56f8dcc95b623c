// SPDX-License-Identifier: GPL-2.0-only
/* An inspection for programs: docs/inspect.md, field by field. What is unknown is absent. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "callname.h"
#include "inspection.h"
#include "json.h"

static void json_address(struct jsonw *w, const char *key, uint64_t address)
{
	jsonw_format(w, key, "0x%" PRIx64, address);
}

static void json_wait(struct jsonw *w, const struct inspection *inspection,
		      const struct seen_thread *thread)
{
	const struct wait *wait = &thread->wait;
	bool futex = wait->what >= WAIT_FUTEX;

	jsonw_object(w, "wait");
	jsonw_string(w, "for", wait_what_name(wait->what));
	jsonw_string(w, "call", futex ? "futex" : call_name(wait->number));
	if (wait->number >= 0)
		jsonw_integer(w, "call_number", wait->number);
	if (futex) {
		jsonw_string(w, "op", wait_op_name(wait->op));
		json_address(w, "futex", wait->word);
		jsonw_boolean(w, "forever", !wait_timed(wait));
	}
	if (thread->lock != NOBODY)
		json_address(w, "lock", inspection->locks[thread->lock].info.address);
	if (thread->gil)
		json_address(w, "gil", thread->gil);
	if (thread->asleep_ns)
		jsonw_format(w, "asleep_ns", "%" PRIu64, thread->asleep_ns);
	if (thread->joins != NOBODY)
		jsonw_integer(w, "tid", inspection->threads[thread->joins].info.tid);
	if (thread->has_timeout && thread->absolute && thread->timeout_ns >= 0)
		json_time(w, "until", thread->timeout_ns);
	else if (thread->has_timeout && thread->timeout_ns >= 0)
		jsonw_format(w, "timeout_ns", "%" PRId64, thread->timeout_ns);
	jsonw_object_end(w);
}

static void json_threads(struct jsonw *w, const struct inspection *inspection)
{
	jsonw_array(w, "threads");
	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct seen_thread *thread = &inspection->threads[i];

		jsonw_object(w, NULL);
		json_thread_members(w, &thread->info);
		if (thread->tgid != inspection->process.pid)
			jsonw_integer(w, "pid", thread->tgid);
		jsonw_format(w, "state", "%c", thread->state);
		if (thread->state != 'Z')
			json_wait(w, inspection, thread);
		jsonw_object_end(w);
	}
	jsonw_array_end(w);
}

static void json_owner(struct jsonw *w, const struct inspection *inspection,
		       const struct seen_lock *lock)
{
	const struct seen_thread *owner = lock->owner == NOBODY ? NULL
								: &inspection->threads[lock->owner];

	jsonw_object(w, "owner");
	jsonw_string(w, "state", owner_state_name(lock->owner_state));
	if (owner) {
		json_thread_members(w, &owner->info);
		if (owner->tgid != inspection->process.pid)
			jsonw_integer(w, "pid", owner->tgid);
	} else if (lock->info.owner_tid) {
		jsonw_integer(w, "ns_tid", lock->info.owner_tid);
	}
	if (lock->inherited)
		jsonw_boolean(w, "inherited", true);
	if (lock->readers)
		jsonw_integer(w, "readers", lock->readers);
	jsonw_string(w, "why", lock->owner_state == OWNER_UNKNOWN ? lock->why : NULL);
	jsonw_object_end(w);
}

static void json_lock(struct jsonw *w, const struct inspection *inspection, const struct run *run,
		      int lock)
{
	const struct seen_lock *seen = &inspection->locks[lock];

	jsonw_object(w, NULL);
	json_lock_members(w, &seen->info, &inspection->process, run);
	json_owner(w, inspection, seen);
	jsonw_array(w, "waiters");
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection->threads[i].lock == lock)
			jsonw_integer(w, NULL, inspection->threads[i].info.tid);
	jsonw_array_end(w);
	jsonw_boolean(w, "orphaned", lock_is_orphaned(seen));
	if (seen->suspected)
		jsonw_boolean(w, "suspected", true);
	jsonw_object_end(w);
}

static void json_cycles(struct jsonw *w, const struct inspection *inspection)
{
	jsonw_array(w, "cycles");
	for (size_t i = 0; i < inspection->graph.n_cycles; i++) {
		const struct graph_cycle *cycle = &inspection->graph.cycle[i];

		jsonw_array(w, NULL);
		for (size_t j = 0; j < cycle->n; j++)
			jsonw_integer(w, NULL, inspection->threads[cycle->thread[j]].info.tid);
		jsonw_array_end(w);
	}
	jsonw_array_end(w);
}

static void json_gil(struct jsonw *w, const struct inspection *inspection, int number)
{
	const struct seen_gil *gil = &inspection->gils[number];

	jsonw_object(w, NULL);
	json_address(w, "address", gil->address);
	jsonw_object(w, "holder");
	json_thread_members(w, &inspection->threads[gil->holder].info);
	jsonw_object_end(w);
	jsonw_boolean(w, "asleep", gil->asleep);
	jsonw_array(w, "waiters");
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection_gil(inspection, i) == number)
			jsonw_integer(w, NULL, inspection->threads[i].info.tid);
	jsonw_array_end(w);
	jsonw_object_end(w);
}

static void json_gils(struct jsonw *w, const struct inspection *inspection)
{
	if (!inspection->n_gils)
		return;
	jsonw_array(w, "gils");
	for (size_t i = 0; i < inspection->n_gils; i++)
		json_gil(w, inspection, i);
	jsonw_array_end(w);
}

static void json_unknown(struct jsonw *w, const char *what, const char *why)
{
	jsonw_object(w, NULL);
	jsonw_escaped(w, "what", what);
	jsonw_string(w, "why", why);
	jsonw_object_end(w);
}

static void json_unknowns(struct jsonw *w, const struct inspection *inspection)
{
	char what[64];

	jsonw_array(w, "unknown");
	for (size_t i = 0; i < inspection->n_locks; i++) {
		const struct seen_lock *lock = &inspection->locks[i];

		if (lock->owner_state != OWNER_UNKNOWN)
			continue;
		snprintf(what, sizeof(what), "who holds lock 0x%" PRIx64, lock->info.address);
		json_unknown(w, what, lock->why ? lock->why : "not found");
	}
	for (size_t i = 0; i < inspection->n_unclear; i++)
		json_unknown(w, inspection->unclear[i].what, inspection->unclear[i].why);
	jsonw_array_end(w);
}

static void json_census(struct jsonw *w, const struct census_info *census)
{
	if (!census->bytes.scanned)
		return;
	jsonw_object(w, "census");
	jsonw_boolean(w, "complete", census->full);
	jsonw_integer(w, "scanned_bytes", census->bytes.scanned);
	jsonw_real(w, "seconds", census->seconds);
	jsonw_integer(w, "skipped_bytes", memory_bytes_skipped(&census->bytes));
	jsonw_integer(w, "strangers", census->strangers);
	jsonw_object_end(w);
}

char *inspection_json(const struct inspection *inspection, const struct run *run, size_t *len)
{
	char *message = inspection_message(inspection);
	struct jsonw w = { 0 };

	if (!message)
		return NULL;
	jsonw_object(&w, NULL);
	jsonw_string(&w, "schema", "deadhold.inspect/1");
	json_time(&w, "time", inspection->time_ns);
	jsonw_escaped(&w, "host", run->host);
	jsonw_string(&w, "boot_id", run->boot_id);
	json_process(&w, "process", &inspection->process, run);
	jsonw_string(&w, "verdict", verdict_name(inspection->verdict));
	jsonw_string(&w, "message", message);
	if (inspection->apart_ns)
		jsonw_real(&w, "readings_apart_s", inspection->apart_ns / 1e9);
	json_threads(&w, inspection);
	jsonw_array(&w, "locks");
	for (size_t i = 0; i < inspection->n_locks; i++)
		json_lock(&w, inspection, run, i);
	jsonw_array_end(&w);
	json_cycles(&w, inspection);
	json_gils(&w, inspection);
	json_census(&w, &inspection->census);
	json_unknowns(&w, inspection);
	jsonw_object_end(&w);
	free(message);
	return jsonw_take(&w, len);
}
