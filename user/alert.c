// SPDX-License-Identifier: GPL-2.0-only
#include "alert.h"

#include <errno.h>
#include <string.h>

static const char *const kind_names[ALERT_KINDS] = {
	[ALERT_READY] = "ready",
	[ALERT_LOCK_ORPHANED] = "lock-orphaned",
	[ALERT_ORPHAN_WAIT] = "orphan-wait",
	[ALERT_ORPHAN_CLEARED] = "orphan-cleared",
	[ALERT_LOCK_SUSPECTED] = "lock-suspected",
	[ALERT_THREAD_KILLED] = "thread-killed",
	[ALERT_THREAD_SIGNAL] = "thread-signal",
	[ALERT_TID_KILL] = "tid-kill",
	[ALERT_THREAD_CANCEL] = "thread-cancel",
	[ALERT_ASYNC_EXCEPTION] = "async-exception",
	[ALERT_INCIDENT] = "incident",
	[ALERT_NOISE] = "noise",
	[ALERT_LOSS] = "loss",
	[ALERT_SUMMARY] = "summary",
};

static const char *const severity_names[] = {
	[SEVERITY_INFO] = "info",
	[SEVERITY_WARNING] = "warning",
	[SEVERITY_CRITICAL] = "critical",
};

static const char *const exit_reason_names[EXIT_REASONS] = {
	[EXIT_UNKNOWN] = "unknown",
	[EXIT_RETURN] = "return",
	[EXIT_CANCEL] = "cancel",
	[EXIT_RAW] = "raw-exit",
	[EXIT_SECCOMP] = "seccomp",
	[EXIT_EXEC] = "exec",
	[EXIT_PROCESS_EXIT] = "process-exit",
	[EXIT_PROCESS_KILLED] = "process-killed",
	[EXIT_FORK] = "fork",
};

static const char *const lock_proof_names[PROOF_KINDS] = {
	[PROOF_WAITER] = "waiter",	   [PROOF_ROBUST_LIST] = "robust-list",
	[PROOF_OWNER_WORD] = "owner-word", [PROOF_OWNER_DIED] = "owner-died",
	[PROOF_SHAPE] = "shape",	   [PROOF_INFERRED] = "inferred",
	[PROOF_PROBE] = "probe",
};

static const char *const lock_type_names[LOCK_TYPES] = {
	[LOCK_MUTEX] = "mutex",
	[LOCK_PI_MUTEX] = "pi-mutex",
	[LOCK_ROBUST_MUTEX] = "robust-mutex",
	[LOCK_RWLOCK] = "rwlock",
	[LOCK_STDIO] = "stdio",
	[LOCK_FUTEX] = "futex",
	[LOCK_PYTHON_LOCK] = "python-lock",
	[LOCK_PYTHON_RLOCK] = "python-rlock",
};

static const char *const lock_kind_names[LOCK_KINDS] = {
	[LOCK_NORMAL] = "normal",
	[LOCK_RECURSIVE] = "recursive",
	[LOCK_ERRORCHECK] = "errorcheck",
	[LOCK_ADAPTIVE] = "adaptive",
};

static const char *const libc_names[LIBCS] = {
	[LIBC_GLIBC] = "glibc",
	[LIBC_MUSL] = "musl",
};

static const char *const signal_call_names[SIGNAL_CALLS] = {
	[CALL_TGKILL] = "tgkill",
	[CALL_TKILL] = "tkill",
	[CALL_RT_TGSIGQUEUEINFO] = "rt_tgsigqueueinfo",
	[CALL_PIDFD_SEND_SIGNAL] = "pidfd_send_signal",
	[CALL_KILL] = "kill",
	[CALL_RT_SIGQUEUEINFO] = "rt_sigqueueinfo",
	[CALL_TIMER] = "timer",
	[CALL_KERNEL] = "kernel",
};

static const char *const signal_result_names[SIGNAL_RESULTS] = {
	[RESULT_QUEUED] = "queued",
	[RESULT_IGNORED] = "ignored",
	[RESULT_ALREADY_PENDING] = "already-pending",
	[RESULT_FAILED] = "failed",
	[RESULT_PROBED] = "probed",
};

static const char *const cleared_how_names[CLEARED_HOWS] = {
	[CLEARED_FOREIGN_UNLOCK] = "foreign-unlock",
	[CLEARED_RECOVERED] = "recovered",
	[CLEARED_PROCESS_EXIT] = "process-exit",
	[CLEARED_EXEC] = "exec",
	[CLEARED_GONE] = "gone",
};

static const char *const cause_kind_names[CAUSE_KINDS] = {
	[CAUSE_NONE] = "none",
	[CAUSE_THREAD_CANCEL] = "thread-cancel",
	[CAUSE_ASYNC_EXCEPTION] = "async-exception",
	[CAUSE_THREAD_SIGNAL] = "thread-signal",
	[CAUSE_TID_KILL] = "tid-kill",
};

static const char *const incident_state_names[INCIDENT_STATES] = {
	[INCIDENT_OPEN] = "open",
	[INCIDENT_UPDATED] = "updated",
	[INCIDENT_CLOSED] = "closed",
};

static const char *const call_named_names[NAMED_KINDS] = {
	[NAMED_THREAD] = "thread",
	[NAMED_ENDED] = "ended-thread",
	[NAMED_NO_THREAD] = "no-thread",
};

static const char *const async_state_names[ASYNC_STATES] = {
	[ASYNC_PENDING] = "pending",
	[ASYNC_ENDED] = "ended",
	[ASYNC_REVOKED] = "revoked",
	[ASYNC_NO_THREAD] = "no-such-thread",
};

static const char *const uprobes_state_names[UPROBES_STATES] = {
	[UPROBES_OFF] = "off",	       [UPROBES_ON] = "on",	[UPROBES_LATE] = "late",
	[UPROBES_REFUSED] = "refused", [UPROBES_OVER] = "over",
};

const char *lock_doubt_name(enum lock_doubt doubt)
{
	static const char *const names[LOCK_DOUBTS] = {
		[DOUBT_FORK] = "fork",
		[DOUBT_STATIC] = "static-program",
	};

	return (unsigned int)doubt < LOCK_DOUBTS ? names[doubt] : NULL;
}

static const char *const evidence_names[EVIDENCE_BITS] = {
	"valid-fields", "rich-layout", "data-section", "lock-symbol", "waited-for",
	"large-tid",	"alone",       "got-it",       "no-wake",     "waiter-not-woken",
};

#define ARRAY_SIZE(array)     (sizeof(array) / sizeof((array)[0]))
#define NAME_OF(names, value) ((unsigned int)(value) < ARRAY_SIZE(names) ? (names)[value] : NULL)

const char *alert_kind_name(enum alert_kind kind)
{
	return NAME_OF(kind_names, kind);
}

const char *severity_name(enum severity severity)
{
	return NAME_OF(severity_names, severity);
}

const char *exit_reason_name(enum exit_reason reason)
{
	return NAME_OF(exit_reason_names, reason);
}

const char *lock_proof_name(enum lock_proof proof)
{
	return NAME_OF(lock_proof_names, proof);
}

const char *lock_type_name(enum lock_type type)
{
	return NAME_OF(lock_type_names, type);
}

const char *lock_kind_name(enum lock_kind kind)
{
	return NAME_OF(lock_kind_names, kind);
}

const char *libc_name(enum lock_libc libc)
{
	return NAME_OF(libc_names, libc);
}

const char *signal_call_name(enum signal_call call)
{
	return NAME_OF(signal_call_names, call);
}

const char *signal_result_name(enum signal_result result)
{
	return NAME_OF(signal_result_names, result);
}

const char *evidence_name(unsigned int bit)
{
	return NAME_OF(evidence_names, bit);
}

const char *cleared_how_name(enum cleared_how how)
{
	return NAME_OF(cleared_how_names, how);
}

const char *cause_kind_name(enum cause_kind kind)
{
	return NAME_OF(cause_kind_names, kind);
}

const char *incident_state_name(enum incident_state state)
{
	return NAME_OF(incident_state_names, state);
}

const char *call_named_name(enum call_named named)
{
	return NAME_OF(call_named_names, named);
}

const char *async_state_name(enum async_state state)
{
	return NAME_OF(async_state_names, state);
}

const char *uprobes_state_name(enum uprobes_state state)
{
	return NAME_OF(uprobes_state_names, state);
}

int alert_kind_parse(const char *name)
{
	for (int kind = 0; kind < ALERT_KINDS; kind++)
		if (!strcmp(name, kind_names[kind]))
			return kind;
	return -EINVAL;
}

bool lock_is_robust(const struct lock_info *lock)
{
	return lock->robust || lock->type == LOCK_ROBUST_MUTEX;
}

bool alert_hangs(const struct alert *alert, const struct wait_info *wait)
{
	if (wait->has_timeout)
		return false;
	for (size_t i = 0; i < alert->n_locks; i++)
		if (!lock_is_robust(&alert->locks[i]))
			return true;
	return alert->n_locks == 0;
}

uint64_t pairs_sum(const struct pair *pairs, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += pairs[i].count;
	return sum;
}

struct process_info process_named(const struct process_name *name)
{
	struct process_info process = { .pid = name->pid,
					.start_ticks = name->start_ticks,
					.uid = -1 };

	memcpy(process.comm, name->comm, sizeof(name->comm));
	return process;
}
