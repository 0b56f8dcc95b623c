// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alerts for programs: docs/alerts.md, field by field. In a json_pack format, `s*` and `o*` leave
 * the member out where the value is NULL: that is how an unknown value is absent.
 */
#include "alert.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"
#include "signame.h"

#define NS_PER_S   1000000000LL
#define TIME_BYTES 40
#define ID_BYTES   80 /* boot id, a pid, two 64-bit numbers */

#define REAL_DIGITS 12

/* --- values: each returns NULL for "unknown" --- */

static json_t *json_escaped(const char *string)
{
	char *escaped;
	json_t *json;

	if (!string || !string[0])
		return NULL;
	escaped = escape_string(string);
	json = escaped ? json_string_nocheck(escaped) : NULL;
	free(escaped);
	return json;
}

static json_t *json_count(uint64_t count)
{
	return json_integer(count > INT64_MAX ? INT64_MAX : (json_int_t)count);
}

/* Ids are above 0. */
static json_t *json_id(int64_t id)
{
	return id > 0 ? json_integer(id) : NULL;
}

static json_t *json_u64(uint64_t value)
{
	return json_sprintf("%" PRIu64, value);
}

static json_t *json_hex(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

static json_t *json_seconds(double seconds)
{
	return isfinite(seconds) && seconds >= 0 ? json_real(seconds) : NULL;
}

/* RFC 3339, UTC, nanoseconds. */
static json_t *json_time(int64_t realtime_ns)
{
	time_t seconds = realtime_ns / NS_PER_S;
	struct tm tm;
	char date[TIME_BYTES];

	if (realtime_ns < 0 || !gmtime_r(&seconds, &tm))
		return NULL;
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	return json_sprintf("%s.%09dZ", date, (int)(realtime_ns % NS_PER_S));
}

/* A time on the monotonic clock; 0 is unknown. */
static json_t *json_event_time(uint64_t monotonic_ns, const struct run *run)
{
	return monotonic_ns ? json_time((int64_t)monotonic_ns + run->realtime_offset_ns) : NULL;
}

static json_t *json_start_time(uint64_t start_ticks, const struct run *run)
{
	int64_t ns_per_tick = NS_PER_S / sysconf(_SC_CLK_TCK);

	if (!start_ticks || !run->boot_realtime_ns)
		return NULL;
	return json_time(run->boot_realtime_ns + (int64_t)start_ticks * ns_per_tick);
}

/* Names and what they count, or say. */
static json_t *json_pairs(const struct pair *pairs, size_t n)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(object, pairs[i].name,
				    pairs[i].word ? json_escaped(pairs[i].word)
						  : json_count(pairs[i].count));
	return object;
}

/* --- ids --- */

/* The process's id into out; false if it is unknown. */
static bool process_id(const struct process_info *process, const struct run *run,
		       char out[ID_BYTES])
{
	if (!process->start_ticks || !run->boot_id[0])
		return false;
	snprintf(out, ID_BYTES, "%.36s:%d:%" PRIu64, run->boot_id, process->pid,
		 process->start_ticks);
	return true;
}

static json_t *json_lock_id(const struct lock_info *lock, const struct process_info *process,
			    const struct run *run)
{
	char id[ID_BYTES];

	if (!lock->address)
		return NULL;
	if (lock->shared)
		return lock->inode ? json_sprintf("%" PRIu64 ":%" PRIu64 ":%" PRIu64, lock->device,
						  lock->inode, lock->object_offset)
				   : NULL;
	if (!process_id(process, run, id))
		return NULL;
	return json_sprintf("%s:0x%" PRIx64, id, lock->address);
}

/* --- objects: one member a line, as in docs/alerts.md --- */

/* clang-format off */

static json_t *json_process(const struct process_info *process, const struct run *run)
{
	char id[ID_BYTES];

	if (process->pid <= 0)
		return NULL;
	return json_pack("{s:s*, s:o, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*,"
			 " s:o*, s:o*}",
			 "id", process_id(process, run, id) ? id : NULL,
			 "pid", json_id(process->pid),
			 "comm", json_escaped(process->comm),
			 "exe", json_escaped(process->exe),
			 "uid", process->uid >= 0 ? json_integer(process->uid) : NULL,
			 "user", json_escaped(process->user),
			 "ppid", json_id(process->ppid),
			 "start_time", json_start_time(process->start_ticks, run),
			 "cgroup", json_escaped(process->cgroup),
			 "container_id", json_escaped(process->container_id),
			 "unit", json_escaped(process->unit),
			 "pid_ns", json_id(process->pid_ns),
			 "ns_pid", json_id(process->ns_pid),
			 "cmdline", run->cmdline ? json_escaped(process->cmdline) : NULL);
}

static json_t *json_thread(const struct thread_info *thread)
{
	if (thread->tid <= 0 && thread->ns_tid <= 0)
		return NULL;
	return json_pack("{s:o*, s:o*, s:o*, s:o*}",
			 "tid", json_id(thread->tid),
			 "name", json_escaped(thread->name),
			 "start_ticks", thread->start_ticks ? json_u64(thread->start_ticks) : NULL,
			 "ns_tid", json_id(thread->ns_tid));
}

static json_t *json_exit(const struct exit_info *end, const struct run *run)
{
	char name[SIGNAL_NAME_BYTES];

	signal_name(end->signal, LIBC_UNKNOWN, ORIGIN_OTHER, name);
	return json_pack("{s:s*, s:o*, s:s*, s:o*}",
			 "reason", exit_reason_name(end->reason),
			 "code", end->has_code ? json_integer(end->code) : NULL,
			 "signal", end->signal ? name : NULL,
			 "time", json_event_time(end->time_ns, run));
}

static json_t *json_mapping(const struct lock_info *lock)
{
	bool in_file = lock->map_path[0] == '/' && lock->map_start;
	uint64_t offset = lock->address - lock->map_start + lock->map_offset;

	if (!lock->address || (!lock->map_start && !lock->map_path[0]))
		return NULL;
	return json_pack("{s:o*, s:o*, s:o*}",
			 "path", json_escaped(lock->map_path),
			 "start", lock->map_start ? json_hex(lock->map_start) : NULL,
			 "offset", in_file ? json_hex(offset) : NULL);
}

/* process: whose memory the address is in */
static json_t *json_lock(const struct lock_info *lock, const struct process_info *process,
			 const struct run *run)
{
	bool found = lock->address; /* of a lock that was not found nothing of this is known */

	return json_pack("{s:o*, s:o*, s:s*, s:s*, s:s*, s:o*, s:o*, s:o*, s:o*, s:s*, s:o*, s:o*}",
			 "id", json_lock_id(lock, process, run),
			 "address", found ? json_hex(lock->address) : NULL,
			 "type", lock_type_name(lock->type),
			 "kind", lock_kind_name(lock->kind),
			 "libc", libc_name(lock->libc),
			 "shared", found ? json_boolean(lock->shared) : NULL,
			 "robust", found ? json_boolean(lock_is_robust(lock)) : NULL,
			 "recursion", json_id(lock->recursion),
			 "owner_tid", json_id(lock->owner_tid),
			 "proof", lock_proof_name(lock->proof),
			 "mapping", json_mapping(lock),
			 "symbol", json_escaped(lock->symbol));
}

static json_t *json_wait(const struct wait_info *wait, const struct run *run)
{
	return json_pack("{s:s*, s:o*, s:o*}",
			 "op", wait->op,
			 "since", json_event_time(wait->since_ns, run),
			 "timeout_ns", wait->has_timeout ? json_u64(wait->timeout_ns) : NULL);
}

/* process: absent where it is the alert's own */
static json_t *json_waiter(const struct waiter_info *waiter, const struct process_info *own,
			   const struct run *run)
{
	bool foreign = waiter->process.pid != own->pid;

	return json_pack("{s:o*, s:o*, s:o*}",
			 "process", foreign ? json_process(&waiter->process, run) : NULL,
			 "thread", json_thread(&waiter->thread),
			 "wait", json_wait(&waiter->wait, run));
}

static json_t *json_owner(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*}",
			 "thread", json_thread(&alert->owner),
			 "exit", json_exit(&alert->exit, run));
}

static json_t *json_sender(const struct alert *alert, const struct run *run)
{
	json_t *sender = json_pack("{s:o*, s:o*}",
				   "process", json_process(&alert->sender_process, run),
				   "thread", json_thread(&alert->sender_thread));

	if (json_object_size(sender))
		return sender;
	json_decref(sender);
	return NULL;
}

static json_t *json_folded_signal(const struct signal_info *signal)
{
	enum signal_origin origin = signal_origin(signal);
	char name[SIGNAL_NAME_BYTES];

	return json_pack("{s:i, s:s, s:s*}",
			 "number", signal->number,
			 "name", signal_name(signal->number, signal->libc, origin, name),
			 "meaning", signal_meaning(signal->number, signal->libc, origin));
}

static json_t *json_signal(const struct signal_info *signal)
{
	const char *code = signal->has_code ? si_code_name(signal->number, signal->code) : NULL;
	bool failed = signal->result == RESULT_FAILED;
	bool sent = !failed && signal->result != RESULT_PROBED;
	json_t *json = json_folded_signal(signal);

	json_object_update_new(json, json_pack("{s:s, s:s*, s:o*, s:s*, s:s*, s:s*, s:o*}",
			 "scope", signal->scope == SCOPE_THREAD ? "thread" : "process",
			 "call", signal_call_name(signal->call),
			 "code", signal->has_code ? json_integer(signal->code) : NULL,
			 "code_name", code,
			 "result", signal_result_name(signal->result),
			 "errno", failed ? strerrorname_np(signal->error) : NULL,
			 "fatal", sent ? json_boolean(signal->fatal) : NULL));
	return json;
}

static json_t *json_locks(const struct alert *alert, const struct run *run)
{
	json_t *array = json_array();

	for (size_t i = 0; i < alert->n_locks; i++)
		json_array_append_new(array, json_lock(&alert->locks[i], &alert->process, run));
	return array;
}

static json_t *json_only_lock(const struct alert *alert, const struct run *run)
{
	return alert->n_locks ? json_lock(&alert->locks[0], &alert->process, run) : NULL;
}

static json_t *json_waiters(const struct alert *alert, const struct run *run)
{
	json_t *array = json_array();

	for (size_t i = 0; i < alert->n_waiters; i++)
		json_array_append_new(array,
				      json_waiter(&alert->waiters[i], &alert->process, run));
	return array;
}

/* --- the own fields of each kind --- */

static json_t *json_ready(const struct alert *alert, const struct run *run)
{
	(void)run;
	return json_pack("{s:o*, s:o*, s:o, s:o}",
			 "version", json_escaped(alert->version),
			 "kernel", json_escaped(alert->kernel),
			 "hooks", json_pairs(alert->hooks, alert->n_hooks),
			 "blocked_threads", json_count(alert->blocked_threads));
}

static json_t *json_lock_orphaned(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*, s:o*, s:o*, s:o*, s:o*}",
			 "orphan_id", json_escaped(alert->orphan_id),
			 "process", json_process(&alert->process, run),
			 "thread", json_thread(&alert->thread),
			 "exit", json_exit(&alert->exit, run),
			 "locks", json_locks(alert, run),
			 "waiters", json_waiters(alert, run));
}

static json_t *json_orphan_wait(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*, s:o*, s:o*, s:o*, s:o*}",
			 "orphan_id", json_escaped(alert->orphan_id),
			 "process", json_process(&alert->process, run),
			 "thread", json_thread(&alert->thread),
			 "lock", json_only_lock(alert, run),
			 "owner", json_owner(alert, run),
			 "wait", json_wait(&alert->wait, run));
}

static json_t *json_orphan_cleared(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*, s:o*, s:o*, s:s*}",
			 "orphan_id", json_escaped(alert->orphan_id),
			 "process", json_process(&alert->process, run),
			 "thread", json_thread(&alert->thread),
			 "lock", json_only_lock(alert, run),
			 "how", cleared_how_name(alert->how));
}

static json_t *json_directed_signal(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*, s:o*, s:o*}",
			 "signal", json_signal(&alert->signal),
			 "sender", json_sender(alert, run),
			 "process", json_process(&alert->process, run),
			 "thread", json_thread(&alert->thread));
}

static json_t *json_noise(const struct alert *alert, const struct run *run)
{
	return json_pack("{s:o*, s:o*, s:o, s:o*}",
			 "process", json_process(&alert->process, run),
			 "signal", json_folded_signal(&alert->signal),
			 "count", json_count(alert->count),
			 "interval_s", json_seconds(alert->interval_s));
}

static json_t *json_loss(const struct alert *alert, const struct run *run)
{
	(void)run;
	return json_pack("{s:o, s:o}",
			 "events", json_count(pairs_sum(alert->counts, alert->n_counts)),
			 "where", json_pairs(alert->counts, alert->n_counts));
}

static json_t *json_summary(const struct alert *alert, const struct run *run)
{
	bool has_figures = alert->n_figures;

	(void)run;
	return json_pack("{s:o, s:o, s:o*, s:o*}",
			 "counts", json_pairs(alert->counts, alert->n_counts),
			 "losses", json_pairs(alert->losses, alert->n_losses),
			 "figures", has_figures ? json_pairs(alert->figures, alert->n_figures) : NULL,
			 "run_time_s", json_seconds(alert->run_time_s));
}

/* What every line has. */
static json_t *json_common(const struct alert *alert, const struct run *run, uint64_t seq,
			   int64_t emitted_ns, const char *message)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:o*, s:o, s:o*, s:o*, s:s, s:s*, s:s*, s:s}",
			 "schema", "deadhold.alert/1",
			 "run", run->id,
			 "seq", json_count(seq),
			 "id", json_sprintf("%s:%" PRIu64, run->id, seq),
			 "time", json_event_time(alert->time_ns, run),
			 "ktime_ns", json_u64(alert->time_ns),
			 "emitted", json_time(emitted_ns),
			 "host", json_escaped(run->host),
			 "boot_id", run->boot_id,
			 "kind", alert_kind_name(alert->kind),
			 "severity", severity_name(alert->severity),
			 "message", message);
}

/* clang-format on */

/* --- together --- */

static json_t *(*const own_fields[ALERT_KINDS])(const struct alert *alert,
						const struct run *run) = {
	[ALERT_READY] = json_ready,
	[ALERT_LOCK_ORPHANED] = json_lock_orphaned,
	[ALERT_ORPHAN_WAIT] = json_orphan_wait,
	[ALERT_ORPHAN_CLEARED] = json_orphan_cleared,
	[ALERT_THREAD_SIGNAL] = json_directed_signal,
	[ALERT_TID_KILL] = json_directed_signal,
	[ALERT_NOISE] = json_noise,
	[ALERT_LOSS] = json_loss,
	[ALERT_SUMMARY] = json_summary,
};

static json_t *json_alert(const struct alert *alert, const struct run *run, uint64_t seq,
			  int64_t emitted_ns)
{
	char *message = alert_message(alert);
	json_t *json = message ? json_common(alert, run, seq, emitted_ns, message) : NULL;
	json_t *own = json ? own_fields[alert->kind](alert, run) : NULL;
	json_t *missing = json_escaped(alert->missing);

	free(message);
	if (own && missing)
		json_object_set(own, "missing", missing);
	json_decref(missing);
	if (!own || json_object_update_new(json, own)) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static char *json_line(json_t *json, size_t *len)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS));
	char *line = NULL;

	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	if (line)
		*len = strlen(line);
	return line;
}

char *alert_json(const struct alert *alert, const struct run *run, uint64_t seq, int64_t emitted_ns,
		 size_t *len)
{
	json_t *json;
	char *line;

	if ((unsigned int)alert->kind >= ALERT_KINDS) {
		errno = EINVAL;
		return NULL;
	}
	json = json_alert(alert, run, seq, emitted_ns);
	line = json ? json_line(json, len) : NULL;
	json_decref(json);
	if (!line)
		errno = ENOMEM;
	return line;
}
