// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alerts for programs: docs/alerts.md, field by field. What is unknown is absent: each function leaves
 * its member out where there is nothing to say.
 */
#include "alert.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "callname.h"
#include "json.h"
#include "signame.h"

#define NS_PER_S 1000000000LL
#define ID_BYTES 80 /* boot id, a pid, two 64-bit numbers */

/* --- values --- */

static void json_count(struct jsonw *w, const char *key, uint64_t count)
{
	jsonw_integer(w, key, count > INT64_MAX ? INT64_MAX : (int64_t)count);
}

/* Ids are above 0. */
static void json_id(struct jsonw *w, const char *key, int64_t id)
{
	if (id > 0)
		jsonw_integer(w, key, id);
}

static void json_u64(struct jsonw *w, const char *key, uint64_t value)
{
	jsonw_format(w, key, "%" PRIu64, value);
}

static void json_hex(struct jsonw *w, const char *key, uint64_t value)
{
	jsonw_format(w, key, "0x%" PRIx64, value);
}

static void json_seconds(struct jsonw *w, const char *key, double seconds)
{
	if (isfinite(seconds) && seconds >= 0)
		jsonw_real(w, key, seconds);
}

void json_time(struct jsonw *w, const char *key, int64_t realtime_ns)
{
	time_t seconds = realtime_ns / NS_PER_S;
	struct tm tm;

	if (realtime_ns >= 0 && gmtime_r(&seconds, &tm))
		jsonw_format(w, key, "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", tm.tm_year + 1900,
			     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
			     (int)(realtime_ns % NS_PER_S));
}

/* A time on the monotonic clock; 0 is unknown. */
static void json_event_time(struct jsonw *w, const char *key, uint64_t monotonic_ns,
			    const struct run *run)
{
	if (monotonic_ns)
		json_time(w, key, (int64_t)monotonic_ns + run->realtime_offset_ns);
}

static void json_start_time(struct jsonw *w, const char *key, uint64_t start_ticks,
			    const struct run *run)
{
	int64_t ns_per_tick = NS_PER_S / sysconf(_SC_CLK_TCK);

	if (start_ticks && run->boot_realtime_ns)
		json_time(w, key, run->boot_realtime_ns + (int64_t)start_ticks * ns_per_tick);
}

/* Names and what they count, or say. */
static void json_pairs(struct jsonw *w, const char *key, const struct pair *pairs, size_t n)
{
	jsonw_object(w, key);
	for (size_t i = 0; i < n; i++) {
		if (pairs[i].word)
			jsonw_escaped(w, pairs[i].name, pairs[i].word);
		else
			json_count(w, pairs[i].name, pairs[i].count);
	}
	jsonw_object_end(w);
}

/* --- ids --- */

/* The process's id into out; NULL if it is unknown. */
static const char *process_id(const struct process_info *process, const struct run *run,
			      char out[ID_BYTES])
{
	if (!process->start_ticks || !run->boot_id[0])
		return NULL;
	snprintf(out, ID_BYTES, "%.36s:%d:%" PRIu64, run->boot_id, process->pid,
		 process->start_ticks);
	return out;
}

static void json_lock_id(struct jsonw *w, const struct lock_info *lock,
			 const struct process_info *process, const struct run *run)
{
	char id[ID_BYTES];

	if (!lock->address)
		return;
	if (lock->shared && lock->inode)
		jsonw_format(w, "id", "%" PRIu64 ":%" PRIu64 ":%" PRIu64, lock->device, lock->inode,
			     lock->object_offset);
	else if (!lock->shared && process_id(process, run, id))
		jsonw_format(w, "id", "%s:0x%" PRIx64, id, lock->address);
}

/* --- objects: one member a line, as in docs/alerts.md --- */

void json_process(struct jsonw *w, const char *key, const struct process_info *process,
		  const struct run *run)
{
	char id[ID_BYTES];

	if (process->pid <= 0)
		return;
	jsonw_object(w, key);
	jsonw_string(w, "id", process_id(process, run, id));
	json_id(w, "pid", process->pid);
	jsonw_escaped(w, "comm", process->comm);
	jsonw_escaped(w, "exe", process->exe);
	if (process->uid >= 0)
		jsonw_integer(w, "uid", process->uid);
	jsonw_escaped(w, "user", process->user);
	json_id(w, "ppid", process->ppid);
	jsonw_escaped(w, "parent_comm", process->parent_comm);
	json_start_time(w, "start_time", process->start_ticks, run);
	jsonw_escaped(w, "cgroup", process->cgroup);
	jsonw_escaped(w, "container_id", process->container_id);
	jsonw_escaped(w, "unit", process->unit);
	json_id(w, "pid_ns", process->pid_ns);
	json_id(w, "ns_pid", process->ns_pid);
	if (run->cmdline)
		jsonw_escaped(w, "cmdline", process->cmdline);
	jsonw_object_end(w);
}

static bool has_thread(const struct thread_info *thread)
{
	return thread->tid > 0 || thread->ns_tid > 0;
}

void json_thread_members(struct jsonw *w, const struct thread_info *thread)
{
	json_id(w, "tid", thread->tid);
	jsonw_escaped(w, "name", thread->name);
	if (thread->start_ticks)
		json_u64(w, "start_ticks", thread->start_ticks);
	json_id(w, "ns_tid", thread->ns_tid);
}

static void json_thread(struct jsonw *w, const char *key, const struct thread_info *thread)
{
	if (!has_thread(thread))
		return;
	jsonw_object(w, key);
	json_thread_members(w, thread);
	jsonw_object_end(w);
}

static void json_exit(struct jsonw *w, const char *key, const struct exit_info *end,
		      const struct run *run)
{
	char name[SIGNAL_NAME_BYTES];

	jsonw_object(w, key);
	jsonw_string(w, "reason", exit_reason_name(end->reason));
	if (end->has_code)
		jsonw_integer(w, "code", end->code);
	if (end->signal)
		jsonw_string(w, "signal",
			     signal_name(end->signal, LIBC_UNKNOWN, ORIGIN_OTHER, name));
	json_event_time(w, "time", end->time_ns, run);
	jsonw_object_end(w);
}

static void json_mapping(struct jsonw *w, const char *key, const struct lock_info *lock)
{
	if (!lock->address || (!lock->map_start && !lock->map_path[0]))
		return;
	jsonw_object(w, key);
	jsonw_escaped(w, "path", lock->map_path);
	if (lock->map_start)
		json_hex(w, "start", lock->map_start);
	if (lock->map_start && lock->map_path[0] == '/')
		json_hex(w, "offset", lock->address - lock->map_start + lock->map_offset);
	jsonw_object_end(w);
}

static void json_evidence(struct jsonw *w, uint32_t evidence)
{
	if (!evidence)
		return;
	jsonw_array(w, "evidence");
	for (unsigned int bit = 0; bit < EVIDENCE_BITS; bit++)
		if (evidence >> bit & 1)
			jsonw_string(w, NULL, evidence_name(bit));
	jsonw_array_end(w);
}

static void json_frame(struct jsonw *w, const struct frame_info *frame)
{
	if (!frame->address)
		return;
	jsonw_object(w, NULL);
	json_hex(w, "address", frame->address);
	jsonw_escaped(w, "symbol", frame->symbol);
	if (frame->has_offset)
		json_hex(w, "offset", frame->offset);
	jsonw_escaped(w, "module", frame->module);
	jsonw_escaped(w, "build_id", frame->build_id);
	jsonw_object_end(w);
}

static void json_acquired(struct jsonw *w, const struct acquired_info *acquired,
			  const struct run *run)
{
	if (!acquired->time_ns)
		return;
	jsonw_object(w, "acquired");
	json_event_time(w, "time", acquired->time_ns, run);
	if (acquired->frame.address) {
		jsonw_array(w, "stack");
		json_frame(w, &acquired->frame);
		jsonw_array_end(w);
	}
	jsonw_object_end(w);
}

void json_lock_members(struct jsonw *w, const struct lock_info *lock,
		       const struct process_info *process, const struct run *run)
{
	bool found = lock->address; /* of a lock that was not found nothing of this is known */

	json_lock_id(w, lock, process, run);
	if (found)
		json_hex(w, "address", lock->address);
	jsonw_string(w, "type", lock_type_name(lock->type));
	jsonw_string(w, "kind", lock_kind_name(lock->kind));
	jsonw_string(w, "libc", libc_name(lock->libc));
	if (found)
		jsonw_boolean(w, "shared", lock->shared);
	if (found)
		jsonw_boolean(w, "robust", lock_is_robust(lock));
	json_id(w, "recursion", lock->recursion);
	json_id(w, "owner_tid", lock->owner_tid);
	jsonw_string(w, "proof", lock_proof_name(lock->proof));
	jsonw_string(w, "doubt", lock_doubt_name(lock->doubt));
	json_evidence(w, lock->evidence);
	json_mapping(w, "mapping", lock);
	jsonw_escaped(w, "symbol", lock->symbol);
}

static void json_lock(struct jsonw *w, const char *key, const struct lock_info *lock,
		      const struct process_info *process, const struct run *run)
{
	jsonw_object(w, key);
	json_lock_members(w, lock, process, run);
	if (lock->read)
		jsonw_string(w, "mode", "read");
	json_acquired(w, &lock->acquired, run);
	jsonw_object_end(w);
}

static void json_wait(struct jsonw *w, const char *key, const struct wait_info *wait,
		      const struct run *run)
{
	jsonw_object(w, key);
	jsonw_string(w, "op", wait->op);
	json_event_time(w, "since", wait->since_ns, run);
	if (wait->has_timeout)
		json_u64(w, "timeout_ns", wait->timeout_ns);
	jsonw_object_end(w);
}

static void json_locks(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_array(w, "locks");
	for (size_t i = 0; i < alert->n_locks; i++)
		json_lock(w, NULL, &alert->locks[i], &alert->process, run);
	jsonw_array_end(w);
}

static void json_only_lock(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	if (alert->n_locks)
		json_lock(w, "lock", &alert->locks[0], &alert->process, run);
}

static void json_waiter(struct jsonw *w, const struct waiter_info *waiter,
			const struct process_info *own, const struct run *run)
{
	jsonw_object(w, NULL);
	if (waiter->process.pid != own->pid)
		json_process(w, "process", &waiter->process, run);
	json_thread(w, "thread", &waiter->thread);
	json_wait(w, "wait", &waiter->wait, run);
	jsonw_object_end(w);
}

static void json_waiters(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_array(w, "waiters");
	for (size_t i = 0; i < alert->n_waiters; i++)
		json_waiter(w, &alert->waiters[i], &alert->process, run);
	jsonw_array_end(w);
}

static void json_owner(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_object(w, "owner");
	if (alert->owner_process.pid)
		json_process(w, "process", &alert->owner_process, run);
	json_thread(w, "thread", &alert->owner);
	json_exit(w, "exit", &alert->exit, run);
	jsonw_object_end(w);
}

static void json_sender_of(struct jsonw *w, const struct process_info *process,
			   const struct thread_info *thread, const struct run *run)
{
	if (process->pid <= 0 && !has_thread(thread))
		return;
	jsonw_object(w, "sender");
	json_process(w, "process", process, run);
	json_thread(w, "thread", thread);
	jsonw_object_end(w);
}

static void json_sender(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_sender_of(w, &alert->sender_process, &alert->sender_thread, run);
}

/* What a folded signal is told by: the members that all have. */
static void json_signal_name(struct jsonw *w, const struct signal_info *signal)
{
	enum signal_origin origin = signal_origin(signal);
	char name[SIGNAL_NAME_BYTES];

	jsonw_integer(w, "number", signal->number);
	jsonw_string(w, "name", signal_name(signal->number, signal->libc, origin, name));
	jsonw_string(w, "meaning", signal_meaning(signal->number, signal->libc, origin));
}

static void json_signal(struct jsonw *w, const struct signal_info *signal)
{
	bool failed = signal->result == RESULT_FAILED;

	jsonw_object(w, "signal");
	json_signal_name(w, signal);
	jsonw_string(w, "scope", signal->scope == SCOPE_THREAD ? "thread" : "process");
	jsonw_string(w, "call", signal_call_name(signal->call));
	if (signal->has_code) {
		jsonw_integer(w, "code", signal->code);
		jsonw_string(w, "code_name", si_code_name(signal->number, signal->code));
	}
	jsonw_string(w, "result", signal_result_name(signal->result));
	if (failed)
		jsonw_string(w, "errno", strerrorname_np(signal->error));
	else if (signal->result != RESULT_PROBED)
		jsonw_boolean(w, "fatal", signal->fatal);
	jsonw_object_end(w);
}

static void json_cause_signal(struct jsonw *w, const struct signal_info *signal)
{
	char name[SIGNAL_NAME_BYTES];

	jsonw_string(w, "signal",
		     signal_name(signal->number, signal->libc, signal_origin(signal), name));
}

static void json_cause(struct jsonw *w, const struct cause_info *cause, const struct run *run)
{
	if (!cause)
		return;
	jsonw_object(w, "cause");
	jsonw_string(w, "kind", cause_kind_name(cause->kind));
	if (cause->kind == CAUSE_NONE) {
		jsonw_object_end(w);
		return;
	}
	if (cause->seq)
		jsonw_format(w, "id", "%s:%" PRIu64, run->id, cause->seq);
	json_sender_of(w, &cause->sender_process, &cause->sender_thread, run);
	jsonw_escaped(w, "exception", cause->exception);
	if (cause->kind == CAUSE_THREAD_SIGNAL || cause->kind == CAUSE_TID_KILL)
		json_cause_signal(w, &cause->signal);
	json_count(w, "before_ms", cause->before_ns / 1000000);
	jsonw_boolean(w, "certain", cause->certain);
	jsonw_object_end(w);
}

/* --- the own fields of each kind --- */

static bool uprobes_attached(const struct uprobes_info *uprobes)
{
	return uprobes->state == UPROBES_ON || uprobes->state == UPROBES_LATE;
}

static void json_uprobes(struct jsonw *w, const struct uprobes_info *uprobes)
{
	if (!uprobes)
		return;
	jsonw_object(w, "uprobes");
	jsonw_string(w, "state", uprobes_state_name(uprobes->state));
	jsonw_escaped(w, "why", uprobes->why);
	if (uprobes_attached(uprobes)) {
		json_count(w, "files", uprobes->files);
		json_count(w, "sites", uprobes->sites);
		jsonw_string(w, "new_files", uprobes->polled ? "polled" : "followed");
	}
	if (uprobes->n_failed) {
		json_count(w, "failed_files", uprobes->n_failed);
		jsonw_array(w, "failed");
		for (size_t i = 0; i < uprobes->n_failed && i < UPROBES_FAILED; i++) {
			jsonw_object(w, NULL);
			jsonw_escaped(w, "path", uprobes->failed[i].path);
			jsonw_escaped(w, "why", uprobes->failed[i].why);
			jsonw_object_end(w);
		}
		jsonw_array_end(w);
	}
	jsonw_object_end(w);
}

static void json_deep(struct jsonw *w, const struct alert *alert)
{
	if (!alert->n_deep)
		return;
	jsonw_array(w, "deep");
	for (size_t i = 0; i < alert->n_deep; i++) {
		const struct deep_info *deep = &alert->deep[i];

		jsonw_object(w, NULL);
		json_id(w, "pid", deep->pid);
		json_count(w, "probes", deep->probes);
		jsonw_array(w, "missing");
		for (size_t m = 0; m < deep->n_missing; m++)
			jsonw_escaped(w, NULL, deep->missing[m]);
		jsonw_array_end(w);
		jsonw_object_end(w);
	}
	jsonw_array_end(w);
}

static void json_ready(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	(void)run;
	jsonw_escaped(w, "version", alert->version);
	jsonw_escaped(w, "kernel", alert->kernel);
	json_pairs(w, "hooks", alert->hooks, alert->n_hooks);
	json_uprobes(w, alert->uprobes);
	json_count(w, "blocked_threads", alert->blocked_threads);
	json_deep(w, alert);
}

static void json_census(struct jsonw *w, const struct census_info *census)
{
	if (!census)
		return;
	jsonw_object(w, "census");
	jsonw_string(w, "scope", census->full ? "all" : "part");
	json_seconds(w, "seconds", census->seconds);
	json_count(w, "scanned_bytes", census->bytes.scanned);
	json_count(w, "shared_bytes", census->bytes.shared);
	json_count(w, "swapped_bytes", census->bytes.swapped);
	json_count(w, "unread_bytes", census->bytes.unread);
	json_count(w, "left_bytes", census->bytes.left);
	json_count(w, "strangers", census->strangers);
	if (census->error)
		jsonw_string(w, "errno", strerrorname_np(census->error));
	jsonw_object_end(w);
}

static void json_lock_orphaned(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_escaped(w, "orphan_id", alert->orphan_id);
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
	json_exit(w, "exit", &alert->exit, run);
	json_cause(w, alert->cause, run);
	json_locks(w, alert, run);
	if (alert->locks_more)
		json_count(w, "locks_more", alert->locks_more);
	json_waiters(w, alert, run);
	json_census(w, alert->census);
}

static void json_lock_suspected(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	uint32_t evidence = 0;

	json_lock_orphaned(w, alert, run);
	for (size_t i = 0; i < alert->n_locks; i++)
		evidence |= alert->locks[i].evidence;
	json_evidence(w, evidence);
}

static void json_orphan_wait(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_escaped(w, "orphan_id", alert->orphan_id);
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
	json_only_lock(w, alert, run);
	json_owner(w, alert, run);
	json_wait(w, "wait", &alert->wait, run);
}

static void json_orphan_cleared(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_escaped(w, "orphan_id", alert->orphan_id);
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
	json_only_lock(w, alert, run);
	jsonw_string(w, "how", cleared_how_name(alert->how));
}

static void json_directed_signal(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_signal(w, &alert->signal);
	json_sender(w, alert, run);
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
}

static void json_thread_killed(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
	json_exit(w, "exit", &alert->exit, run);
	json_cause(w, alert->cause, run);
	json_count(w, "locks_found", alert->locks_found);
}

/* What the call was given, and whom that stands for. */
static void json_named(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_sender(w, alert, run);
	json_process(w, "process", &alert->process, run);
	json_thread(w, "thread", &alert->thread);
	json_hex(w, "ident", alert->called->ident);
	jsonw_string(w, "named", call_named_name(alert->called->named));
}

static void json_thread_cancel(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_named(w, alert, run);
}

static void json_async_exception(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	const struct call_info *called = alert->called;

	json_named(w, alert, run);
	json_id(w, "native_tid", called->native_tid);
	jsonw_escaped(w, "exception", called->exception);
	jsonw_string(w, "state", async_state_name(called->state));
	if (called->state == ASYNC_PENDING && called->blocked_in >= 0) {
		jsonw_object(w, "blocked_in");
		jsonw_string(w, "call", call_name(called->blocked_in));
		jsonw_integer(w, "number", called->blocked_in);
		jsonw_object_end(w);
	}
	if (called->state == ASYNC_ENDED) {
		json_exit(w, "exit", &alert->exit, run);
		json_count(w, "before_ms", called->before_ns / 1000000);
	}
}

static void json_dead(struct jsonw *w, const struct dead_info *dead, const struct run *run)
{
	jsonw_object(w, NULL);
	json_thread(w, "thread", &dead->thread);
	json_exit(w, "exit", &dead->exit, run);
	json_cause(w, dead->has_cause ? &dead->cause : NULL, run);
	jsonw_object_end(w);
}

/* Which of the locks it waits for, or for whom. */
static void json_victim(struct jsonw *w, const struct alert *alert,
			const struct waiter_info *waiter, const struct run *run)
{
	const struct process_info behind = process_named(&waiter->behind_process);

	jsonw_object(w, NULL);
	json_process(w, "process", &waiter->process, run);
	json_thread(w, "thread", &waiter->thread);
	json_thread(w, "behind", &waiter->behind);
	json_process(w, "behind_process", &behind, run);
	if (waiter->lock < alert->n_locks)
		jsonw_integer(w, "lock", waiter->lock);
	json_event_time(w, "since", waiter->wait.since_ns, run);
	jsonw_object_end(w);
}

static void json_victims(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	jsonw_object(w, "victims");
	json_count(w, "count", alert->incident->victims_count);
	jsonw_array(w, "sample");
	for (size_t i = 0; i < alert->n_waiters; i++)
		json_victim(w, alert, &alert->waiters[i], run);
	jsonw_array_end(w);
	jsonw_object_end(w);
}

static void json_incident(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	const struct incident_info *info = alert->incident;
	char headline[HEADLINE_BYTES];

	jsonw_string(w, "incident_id", info->id);
	json_count(w, "revision", info->revision);
	jsonw_string(w, "state", incident_state_name(info->state));
	if (info->state == INCIDENT_CLOSED)
		jsonw_string(w, "close_reason", cleared_how_name(info->close_reason));
	jsonw_string(w, "headline", alert_headline(alert, headline));
	json_process(w, "process", &alert->process, run);
	if (info->n_dead && info->dead[0].has_cause)
		json_cause(w, &info->dead[0].cause, run);
	jsonw_array(w, "dead");
	for (size_t i = 0; i < info->n_dead; i++)
		json_dead(w, &info->dead[i], run);
	jsonw_array_end(w);
	json_count(w, "dead_count", info->dead_count);
	json_locks(w, alert, run);
	json_count(w, "locks_count", info->locks_count);
	json_victims(w, alert, run);
	jsonw_array(w, "chain");
	for (size_t i = 0; i < info->n_chain; i++)
		jsonw_format(w, NULL, "%s:%" PRIu64, run->id, info->chain[i]);
	jsonw_array_end(w);
}

static void json_noise(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	json_process(w, "process", &alert->process, run);
	jsonw_object(w, "signal");
	json_signal_name(w, &alert->signal);
	jsonw_object_end(w);
	json_count(w, "count", alert->count);
	json_seconds(w, "interval_s", alert->interval_s);
}

static void json_loss(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	(void)run;
	json_count(w, "events", pairs_sum(alert->counts, alert->n_counts));
	json_pairs(w, "where", alert->counts, alert->n_counts);
}

static void json_summary(struct jsonw *w, const struct alert *alert, const struct run *run)
{
	(void)run;
	json_pairs(w, "counts", alert->counts, alert->n_counts);
	json_pairs(w, "losses", alert->losses, alert->n_losses);
	if (alert->n_figures)
		json_pairs(w, "figures", alert->figures, alert->n_figures);
	json_seconds(w, "run_time_s", alert->run_time_s);
}

/* --- together --- */

static void (*const own_fields[ALERT_KINDS])(struct jsonw *w, const struct alert *alert,
					     const struct run *run) = {
	[ALERT_READY] = json_ready,
	[ALERT_LOCK_ORPHANED] = json_lock_orphaned,
	[ALERT_ORPHAN_WAIT] = json_orphan_wait,
	[ALERT_ORPHAN_CLEARED] = json_orphan_cleared,
	[ALERT_LOCK_SUSPECTED] = json_lock_suspected,
	[ALERT_THREAD_SIGNAL] = json_directed_signal,
	[ALERT_TID_KILL] = json_directed_signal,
	[ALERT_THREAD_KILLED] = json_thread_killed,
	[ALERT_THREAD_CANCEL] = json_thread_cancel,
	[ALERT_ASYNC_EXCEPTION] = json_async_exception,
	[ALERT_INCIDENT] = json_incident,
	[ALERT_NOISE] = json_noise,
	[ALERT_LOSS] = json_loss,
	[ALERT_SUMMARY] = json_summary,
};

static void json_merged(struct jsonw *w, const struct merged_info *merged, const struct run *run)
{
	if (!merged->count)
		return;
	jsonw_object(w, "merged");
	json_count(w, "count", merged->count);
	json_event_time(w, "first", merged->first_ns, run);
	jsonw_boolean(w, "several_threads", merged->several_threads);
	jsonw_object_end(w);
}

/* What every line has. */
static void json_common(struct jsonw *w, const struct alert *alert, const struct run *run,
			uint64_t seq, int64_t emitted_ns, const char *message)
{
	jsonw_string(w, "schema", "deadhold.alert/1");
	jsonw_string(w, "run", run->id);
	json_count(w, "seq", seq);
	jsonw_format(w, "id", "%s:%" PRIu64, run->id, seq);
	json_event_time(w, "time", alert->time_ns, run);
	json_u64(w, "ktime_ns", alert->time_ns);
	json_time(w, "emitted", emitted_ns);
	jsonw_escaped(w, "host", run->host);
	jsonw_string(w, "boot_id", run->boot_id);
	jsonw_string(w, "kind", alert_kind_name(alert->kind));
	jsonw_string(w, "severity", severity_name(alert->severity));
	jsonw_string(w, "message", message);
}

char *alert_json(const struct alert *alert, const struct run *run, uint64_t seq, int64_t emitted_ns,
		 size_t *len)
{
	char *message, hint[HINT_BYTES];
	struct jsonw w = { 0 };

	if ((unsigned int)alert->kind >= ALERT_KINDS) {
		errno = EINVAL;
		return NULL;
	}
	message = alert_message(alert);
	if (!message)
		return NULL;
	jsonw_object(&w, NULL);
	json_common(&w, alert, run, seq, emitted_ns, message);
	own_fields[alert->kind](&w, alert, run);
	json_merged(&w, &alert->merged, run);
	if (alert_hint(alert, hint))
		jsonw_string(&w, "hint", hint);
	jsonw_escaped(&w, "missing", alert->missing);
	jsonw_object_end(&w);
	free(message);
	return jsonw_take(&w, len);
}
