// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "detect.h"
#include "wait.h"

/* From here on a number is rare in memory by chance: docs/census.md. */
#define EVIDENCE_LARGE_TID 10000

static void comm_copy(char out[NAME_BYTES + 1], const char comm[COMM_BYTES])
{
	memcpy(out, comm, NAME_BYTES);
	out[NAME_BYTES] = '\0';
}

void detect_process(struct process_info *out, const struct ev_task *task, uint64_t tick_ns)
{
	*out = (struct process_info){
		.pid = task->proc.tgid,
		.ppid = task->ppid,
		.ns_pid = task->ns_tgid,
		.pid_ns = task->pid_ns,
		.start_ticks = task->proc.start_ns / tick_ns,
		.uid = task->uid,
	};
	comm_copy(out->comm, task->proc_comm);
}

void detect_thread(struct thread_info *out, const struct ev_task *task, uint64_t tick_ns)
{
	*out = (struct thread_info){
		.tid = task->tid,
		.ns_tid = task->ns_tid,
		.start_ticks = task->start_ns / tick_ns,
	};
	comm_copy(out->name, task->comm);
}

static enum exit_reason exit_reason_of(const struct ev_exit *exit)
{
	uint32_t signal = exit->exit_code & 0x7f;

	if (exit->flags & EXIT_IN_EXEC)
		return EXIT_EXEC;
	if (exit->flags & EXIT_IN_GROUP)
		return signal ? EXIT_PROCESS_KILLED : EXIT_PROCESS_EXIT;
	/* A signal ends whole processes; one thread alone goes by SIGSYS only from a seccomp filter. */
	if (signal)
		return signal == SIGSYS ? EXIT_SECCOMP : EXIT_UNKNOWN;
	if (exit->libc_end == END_CANCEL)
		return EXIT_CANCEL;
	if (exit->libc_end == END_LIBC)
		return EXIT_RETURN;
	if (exit->libc_end == END_RAW && exit->syscall == SYS_exit)
		return EXIT_RAW;
	return EXIT_UNKNOWN;
}

void detect_exit(struct exit_info *out, const struct ev_exit *exit)
{
	*out = (struct exit_info){
		.reason = exit_reason_of(exit),
		.signal = exit->exit_code & 0x7f,
		.time_ns = exit->head.time_ns,
	};
	if (!out->signal && !(exit->flags & EXIT_NO_CODE)) {
		out->has_code = true;
		out->code = exit->exit_code >> 8 & 0xff;
	}
}

static enum signal_result signal_result_of(uint32_t result)
{
	switch (result) {
	case 1: /* TRACE_SIGNAL_IGNORED */
		return RESULT_IGNORED;
	case 2: /* TRACE_SIGNAL_ALREADY_PENDING */
		return RESULT_ALREADY_PENDING;
	case 3: /* TRACE_SIGNAL_OVERFLOW_FAIL */
		return RESULT_FAILED;
	default: /* delivered, or delivered with its siginfo lost */
		return RESULT_QUEUED;
	}
}

_Static_assert((int)CALL_KERNEL == (int)SEND_KERNEL && (int)CALL_KILL == (int)SEND_KILL,
	       "event.h and alert.h name the calls in the same order");

enum alert_kind detect_signal(struct signal_info *out, const struct ev_signal *signal,
			      enum lock_libc libc)
{
	bool group = signal->flags & SIGNAL_GROUP;

	*out = (struct signal_info){
		.number = signal->signal,
		.libc = libc,
		.from_same_process = !(signal->flags & SIGNAL_NO_SENDER) &&
				     signal->sender.proc.tgid == signal->target.proc.tgid,
		.scope = group ? SCOPE_PROCESS : SCOPE_THREAD,
		.call = (enum signal_call)signal->call,
		.has_code = signal->flags & SIGNAL_HAS_CODE,
		.code = signal->code,
		.result = signal_result_of(signal->result),
		.fatal = signal->flags & SIGNAL_FATAL,
		.ends = signal->flags & SIGNAL_ENDS,
	};
	if (out->result == RESULT_FAILED)
		out->error = EAGAIN;
	return group ? ALERT_TID_KILL : ALERT_THREAD_SIGNAL;
}

static enum lock_type lock_type_of(const struct lock_state *state)
{
	switch (state->layout) {
	case LAYOUT_GLIBC_ROBUST:
		return LOCK_ROBUST_MUTEX;
	case LAYOUT_GLIBC_PI:
		return LOCK_PI_MUTEX;
	case LAYOUT_GLIBC_RWLOCK_8:
	case LAYOUT_GLIBC_RWLOCK_12:
	case LAYOUT_GLIBC_RWLOCK_READ:
	case LAYOUT_MUSL_RWLOCK:
	case LAYOUT_MUSL_RWLOCK_READ:
		return LOCK_RWLOCK;
	case LAYOUT_SEMAPHORE:
		return LOCK_PYTHON_LOCK;
	case LAYOUT_MUSL_NORMAL:
		return LOCK_MUTEX;
	case LAYOUT_MUSL_MUTEX:
		if (state->kind & MUSL_TYPE_ROBUST)
			return LOCK_ROBUST_MUTEX;
		return state->kind & MUSL_TYPE_PI ? LOCK_PI_MUTEX : LOCK_MUTEX;
	case LAYOUT_GLIBC_MUTEX:
		return LOCK_MUTEX;
	case LAYOUT_GLIBC_STDIO:
		return LOCK_STDIO;
	case LAYOUT_PYTHON_LOCK:
		return LOCK_PYTHON_LOCK;
	case LAYOUT_PYTHON_RLOCK:
		return LOCK_PYTHON_RLOCK;
	default:
		return LOCK_FUTEX;
	}
}

/* The kind field of both libraries: 0 normal, 1 recursive, 2 errorcheck; glibc's 3 adaptive. */
static enum lock_kind lock_kind_of(const struct lock_state *state)
{
	static const enum lock_kind kinds[] = { LOCK_NORMAL, LOCK_RECURSIVE, LOCK_ERRORCHECK,
						LOCK_ADAPTIVE };

	switch (state->layout) {
	case LAYOUT_GLIBC_MUTEX:
	case LAYOUT_GLIBC_ROBUST:
	case LAYOUT_GLIBC_PI:
	case LAYOUT_MUSL_MUTEX:
	case LAYOUT_MUSL_NORMAL:
		return kinds[state->kind & 3];
	default:
		return LOCK_KIND_NONE;
	}
}

void detect_lock(struct lock_info *out, const struct lock_state *state, enum lock_proof proof,
		 enum lock_libc libc)
{
	bool layout_is_musl = state->layout == LAYOUT_MUSL_MUTEX ||
			      state->layout == LAYOUT_MUSL_NORMAL ||
			      state->layout == LAYOUT_MUSL_RWLOCK ||
			      state->layout == LAYOUT_MUSL_RWLOCK_READ;
	bool layout_is_glibc = (state->layout < LAYOUT_TRISTATE && !layout_is_musl) ||
			       state->layout == LAYOUT_GLIBC_RWLOCK_READ;
	bool layout_is_foreign = state->layout == LAYOUT_TRISTATE ||
				 state->layout == LAYOUT_SEMAPHORE;

	*out = (struct lock_info){
		.address = state->address,
		.type = lock_type_of(state),
		.kind = lock_kind_of(state),
		.libc = layout_is_musl	    ? LIBC_MUSL
			: layout_is_glibc   ? LIBC_GLIBC
			: layout_is_foreign ? LIBC_UNKNOWN
					    : libc,
		.proof = proof,
		.robust = state->robust,
		.read = state->layout == LAYOUT_GLIBC_RWLOCK_READ ||
			state->layout == LAYOUT_MUSL_RWLOCK_READ,
		.recursion = state->recursion,
		.owner_tid = state->owner,
	};
}

struct shared_place detect_place(const struct look_mapping *mapping, uint64_t address)
{
	if (!mapping->known || !mapping->shared)
		return (struct shared_place){ 0 };
	return (struct shared_place){
		.device = mapping->device,
		.inode = mapping->inode,
		.offset = mapping->offset + address - mapping->start,
	};
}

struct shared_place detect_mapping(struct lock_info *info, const struct look_mapping *mapping)
{
	struct shared_place place = detect_place(mapping, info->address);

	info->map_start = mapping->start;
	info->map_offset = mapping->offset;
	memcpy(info->map_path, mapping->path, sizeof(info->map_path));
	memcpy(info->symbol, mapping->symbol, sizeof(info->symbol));
	if (place.inode) {
		info->shared = true;
		info->device = makedev(mapping->device >> 20, mapping->device & 0xfffff);
		info->inode = mapping->inode;
		info->object_offset = place.offset;
	}
	return place;
}

uint32_t detect_object(uint32_t layout)
{
	return layout == LAYOUT_PYTHON_LOCK || layout == LAYOUT_PYTHON_RLOCK;
}

bool detect_unlocks_after_fork(const struct lock_state *state)
{
	return state->layout == LAYOUT_GLIBC_MUTEX &&
	       ((state->kind & GLIBC_KIND_TYPE) == 0 || (state->kind & GLIBC_KIND_TYPE) == 3);
}

bool detect_left_by(const struct lock_state *state, uint32_t owner)
{
	if (!state->held)
		return false;
	if (lock_is_nameless(state->layout))
		return true;
	if (!state->owner)
		return state->owner_died || state->layout == LAYOUT_TRISTATE ||
		       state->layout == LAYOUT_PYTHON_LOCK;
	return state->owner == owner;
}

enum orphan_state detect_orphan(uint32_t layout, uint64_t word, uint32_t owner, uint64_t thread,
				const struct lock_words *words, enum cleared_how *how)
{
	struct lock_state state;

	/* The descriptor may be another thread's by now, or gone. The lock is where it was left. */
	if (layout == LAYOUT_GLIBC_STDIO && lock_stdio_thread(words) == thread)
		return ORPHAN_STILL;
	/* Likewise. As long as the RLock names the descriptor nobody else can take it. */
	if (layout == LAYOUT_PYTHON_RLOCK && lock_owner(layout, word, words, &state) &&
	    state.held && state.thread == thread)
		return ORPHAN_STILL;
	*how = CLEARED_GONE;
	if (!words->have_at || !lock_owner(layout, word, words, &state))
		return ORPHAN_CLEARED;
	if (layout != LAYOUT_GLIBC_STDIO && layout != LAYOUT_PYTHON_RLOCK &&
	    detect_left_by(&state, owner))
		return ORPHAN_STILL;
	*how = state.robust ? CLEARED_RECOVERED : CLEARED_FOREIGN_UNLOCK;
	return ORPHAN_CLEARED;
}

bool detect_parked(const struct task_row *row)
{
	return lock_parked(row->op, row->val, row->timeout, row->word, row->sp);
}

bool detect_waits_for(const struct task_row *row, uint64_t word, uint32_t layout)
{
	uint64_t lock = word - lock_word_offset(layout);
	uint32_t cmd = row->op & FUTEX_OP_MASK;

	if (!(row->flags & ROW_BLOCKED))
		return false;
	/* A semaphore is waited for with any value. */
	if (layout == LAYOUT_SEMAPHORE)
		return row->word == word && (cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET);
	if (!lock_call(row->op, row->val))
		return false;
	if (layout == LAYOUT_GLIBC_RWLOCK_8 || layout == LAYOUT_GLIBC_RWLOCK_12 ||
	    layout == LAYOUT_GLIBC_RWLOCK_READ)
		return row->word == lock + 8 || row->word == lock + 12;
	return row->word == word;
}

void detect_wait(struct wait_info *out, uint32_t op, uint64_t since_ns, bool timed,
		 uint64_t timeout_ns, uint64_t now_ns, int64_t realtime_offset_ns)
{
	uint32_t cmd = op & FUTEX_OP_MASK;
	uint64_t from = since_ns ?: now_ns;
	bool realtime;

	*out = (struct wait_info){ .op = wait_op_name(op),
				   .since_ns = since_ns,
				   .has_timeout = timed };
	if (!timed)
		return;
	if (cmd == FUTEX_OP_WAIT) {
		out->timeout_ns = timeout_ns;
		return;
	}
	/* FUTEX_LOCK_PI is on CLOCK_REALTIME without saying so: futex(2). */
	realtime = op & FUTEX_OP_REALTIME || cmd == FUTEX_OP_LOCK_PI;
	if (realtime)
		from += realtime_offset_ns;
	out->timeout_ns = timeout_ns > from ? timeout_ns - from : 0;
}

/* Not those of blocks and clocks. */
static bool symbol_of_lock(const char *symbol)
{
	const char *at;

	if (strcasestr(symbol, "mutex") || strcasestr(symbol, "mtx"))
		return true;
	for (at = strcasestr(symbol, "lock"); at; at = strcasestr(at + 1, "lock")) {
		if (at == symbol || !strchr("bBcC", at[-1]))
			return true;
	}
	return false;
}

uint32_t detect_evidence(const struct lock_state *state, const struct look_mapping *mapping,
			 bool waited_for, uint64_t strangers)
{
	uint32_t evidence = EVIDENCE_FIELDS;

	if (state->layout != LAYOUT_GLIBC_MUTEX)
		evidence |= EVIDENCE_LAYOUT;
	if (mapping->data)
		evidence |= EVIDENCE_DATA;
	if (symbol_of_lock(mapping->symbol))
		evidence |= EVIDENCE_SYMBOL;
	if (waited_for)
		evidence |= EVIDENCE_WAITED_FOR;
	if (state->owner >= EVIDENCE_LARGE_TID)
		evidence |= EVIDENCE_TID;
	if (!strangers)
		evidence |= EVIDENCE_ALONE;
	return evidence;
}

bool detect_evidence_enough(uint32_t evidence, bool java)
{
	if (evidence & (EVIDENCE_LAYOUT | EVIDENCE_SYMBOL | EVIDENCE_WAITED_FOR))
		return true;
	if (!(evidence & EVIDENCE_ALONE))
		return false;
	return evidence & EVIDENCE_DATA || (evidence & EVIDENCE_TID && !java);
}

enum severity detect_severity(const struct lock_info *locks, size_t n_locks,
			      const struct waiter_info *waiters, size_t n_waiters)
{
	size_t i;

	for (i = 0; i < n_waiters; i++) {
		if (!waiters[i].wait.has_timeout && waiters[i].lock < n_locks &&
		    !locks[waiters[i].lock].robust)
			return SEVERITY_CRITICAL;
	}
	return SEVERITY_WARNING;
}
