/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An alert: one claim about somebody's production system, as plain data.
 *
 * The contract is docs/alerts.md. detect builds alerts, text.c and json.c print them; nothing here
 * does I/O. A member that is unknown says so (its has_* flag is false, its string is empty, its
 * number is the stated "unknown" value) and is then absent from the output: no made-up values.
 *
 * Strings from watched programs are raw bytes here. The formatters escape them, nobody else.
 */
#ifndef DEADHOLD_ALERT_H
#define DEADHOLD_ALERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "membytes.h"

#define NAME_BYTES	   16 /* TASK_COMM_LEN */
#define USER_BYTES	   32 /* the longest that useradd makes */
#define CONTAINER_ID_BYTES 64
#define PATH_BYTES	   512
#define DETAIL_BYTES	   256
#define TYPE_NAME_BYTES	   64
#define BUILD_ID_BYTES	   64 /* hexadecimal digits: the longest that linkers make is 40 */

enum alert_kind {
	ALERT_READY,
	ALERT_LOCK_ORPHANED,
	ALERT_ORPHAN_WAIT,
	ALERT_ORPHAN_CLEARED,
	ALERT_LOCK_SUSPECTED,
	ALERT_THREAD_KILLED,
	ALERT_THREAD_SIGNAL,
	ALERT_TID_KILL,
	ALERT_THREAD_CANCEL,
	ALERT_ASYNC_EXCEPTION,
	ALERT_INCIDENT,
	ALERT_NOISE,
	ALERT_LOSS,
	ALERT_SUMMARY,
	ALERT_KINDS,
};

enum severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_CRITICAL };

/* A process. pid 0: no process is known, the whole object is absent. */
struct process_info {
	int32_t pid;
	int32_t ppid;		   /* 0: unknown (or the agent's namespace does not see it) */
	int32_t ns_pid;		   /* its own PID namespace's number; 0: unknown */
	uint32_t pid_ns;	   /* inode of its PID namespace; 0: unknown */
	uint64_t start_ticks;	   /* clock ticks since boot, as in /proc/PID/stat; 0: unknown */
	int64_t uid;		   /* -1: unknown */
	char user[USER_BYTES + 1]; /* empty: unknown */
	char comm[NAME_BYTES + 1];
	char parent_comm[NAME_BYTES + 1];	   /* of ppid; empty: unknown */
	char exe[PATH_BYTES];			   /* empty: unknown */
	char cgroup[PATH_BYTES];		   /* empty: unknown */
	char container_id[CONTAINER_ID_BYTES + 1]; /* empty: in none, or unknown */
	char unit[DETAIL_BYTES];		   /* systemd unit; empty: in none, or unknown */
	char cmdline[DETAIL_BYTES]; /* empty: unknown or not asked for; NULs already made spaces */
};

/* A thread. tid 0 with ns_tid 0: no thread is known, the whole object is absent. */
struct thread_info {
	int32_t tid;	      /* 0: only the number in its own namespace is known */
	int32_t ns_tid;	      /* 0: unknown */
	uint64_t start_ticks; /* 0: unknown */
	char name[NAME_BYTES + 1];
};

enum exit_reason {
	EXIT_UNKNOWN,
	EXIT_RETURN,
	EXIT_CANCEL,
	EXIT_RAW,
	EXIT_SECCOMP,
	EXIT_EXEC,
	EXIT_PROCESS_EXIT,
	EXIT_PROCESS_KILLED,
	EXIT_FORK,
	EXIT_REASONS,
};

struct exit_info {
	enum exit_reason reason;
	bool has_code; /* code: the argument of exit(2), 0 to 255 */
	int32_t code;
	int32_t signal;	  /* the signal that ended it; 0: none */
	uint64_t time_ns; /* CLOCK_MONOTONIC; 0: unknown */
};

enum lock_proof {
	PROOF_WAITER,
	PROOF_ROBUST_LIST,
	PROOF_OWNER_WORD,
	PROOF_OWNER_DIED,
	PROOF_SHAPE,
	PROOF_INFERRED,
	PROOF_PROBE,
	PROOF_KINDS,
};

/*
 * What speaks for a lock that is known by its shape alone, or by inference. Bits; the names are
 * docs/alerts.md's.
 */
enum evidence {
	EVIDENCE_FIELDS = 1,	  /* all fields around have values that a held lock has */
	EVIDENCE_LAYOUT = 2,	  /* of a layout with more to it than a plain mutex's */
	EVIDENCE_DATA = 4,	  /* lies in data or bss of a program or library */
	EVIDENCE_SYMBOL = 8,	  /* a symbol covers it whose name is one of a lock */
	EVIDENCE_WAITED_FOR = 16, /* a thread waited for a lock there, some time */
	EVIDENCE_TID = 32,	  /* the number of its owner is a large one */
	EVIDENCE_ALONE = 64, /* no word of the process looks like a lock of a thread it never had */
	EVIDENCE_GOT = 128,  /* the dead thread slept on it until it was unlocked, and went on */
	EVIDENCE_NO_WAKE = 256,	  /* and never made the call that its own unlock would have made */
	EVIDENCE_NOT_WOKEN = 512, /* and those that an unlock would have woken sleep on */
};
#define EVIDENCE_BITS 10

/* Why what a thread waits for is only suspected to be orphaned. The names are docs/alerts.md's. */
enum lock_doubt {
	DOUBT_NONE,
	DOUBT_FORK, /* the main thread may be the copy of the thread that held it, and unlock it */
	DOUBT_STATIC, /* it may be no mutex: the program is static and without symbols */
	LOCK_DOUBTS,
};

enum lock_type {
	LOCK_MUTEX,
	LOCK_PI_MUTEX,
	LOCK_ROBUST_MUTEX,
	LOCK_RWLOCK,
	LOCK_STDIO,
	LOCK_FUTEX,
	LOCK_PYTHON_LOCK,
	LOCK_PYTHON_RLOCK,
	LOCK_TYPES
};
enum lock_kind {
	LOCK_KIND_NONE, /* the type has no kinds, or it is unknown */
	LOCK_NORMAL,
	LOCK_RECURSIVE,
	LOCK_ERRORCHECK,
	LOCK_ADAPTIVE,
	LOCK_KINDS,
};
enum lock_libc { LIBC_UNKNOWN, LIBC_GLIBC, LIBC_MUSL, LIBCS };

/* A place in code. address 0: unknown. */
struct frame_info {
	uint64_t address;
	char symbol[DETAIL_BYTES]; /* name, or name+0xN; empty: unknown */
	char module[PATH_BYTES];   /* the file that is mapped there; empty: unknown */
	bool has_offset;
	uint64_t offset; /* in the module's own addresses, as addr2line takes it */
	char build_id[BUILD_ID_BYTES + 1]; /* empty: unknown */
};

/* Where and when a lock was taken. */
struct acquired_info {
	uint64_t time_ns; /* CLOCK_MONOTONIC, of the call; 0: not seen */
	struct frame_info frame;
};

struct lock_info {
	uint64_t address; /* of the lock object, not of its futex word, in `process` of the alert */
	enum lock_type type;
	enum lock_kind kind;
	enum lock_libc libc;
	enum lock_proof proof;
	uint32_t
		evidence; /* enum evidence, with PROOF_SHAPE, PROOF_INFERRED and a doubt; 0: none */
	enum lock_doubt doubt;
	bool shared; /* lies in a shared mapping */
	bool robust;
	bool read;	    /* a rwlock that is held for reading */
	uint32_t recursion; /* times held; 0: unknown or the type does not count */
	int32_t owner_tid;  /* as the memory has it (the owner's own namespace); 0: unknown */
	/* Identity of a shared lock; used only where shared is set. */
	uint64_t device; /* as stat(2) gives it */
	uint64_t inode;
	uint64_t object_offset; /* bytes from the start of the mapped object */
	/* The mapping it lies in. map_start 0: unknown. */
	char map_path[PATH_BYTES]; /* empty: anonymous; "[heap]" and the like as the kernel says */
	uint64_t map_start;
	uint64_t map_offset;	   /* bytes into the file where the mapping starts */
	char symbol[DETAIL_BYTES]; /* name, or name+0xN; empty: unknown */
	struct acquired_info acquired;
};

/* So many waiters of a lock are listed in text; the others are counted. */
#define TEXT_LOCKS   16 /* listed in text; the others are counted */
#define TEXT_WAITERS 8

/* A thread's wait. */
struct wait_info {
	const char *op;	     /* "FUTEX_WAIT", "FUTEX_WAIT_BITSET", "FUTEX_LOCK_PI", ... */
	uint64_t since_ns;   /* CLOCK_MONOTONIC; 0: it began before anybody looked, or unseen */
	bool unseen;	     /* nobody saw it begin, though it was looked for other waits */
	bool has_timeout;    /* false: it waits for ever */
	uint64_t timeout_ns; /* the whole length of the wait that was asked for */
};

/* No more of a process than who it is. pid 0: none is meant. */
struct process_name {
	int32_t pid;
	uint64_t start_ticks;
	char comm[NAME_BYTES + 1];
};

struct waiter_info {
	struct process_info process; /* pid 0: the alert's own process */
	struct thread_info thread;
	size_t lock; /* which of the alert's locks, from 0 on */
	struct wait_info wait;
	struct thread_info behind; /* incident: it waits for this thread, which is stuck itself */
	struct process_name behind_process; /* of that one, where it is not the waiter's own */
};

enum signal_scope { SCOPE_THREAD, SCOPE_PROCESS };
enum signal_call {
	CALL_UNKNOWN,
	CALL_TGKILL,
	CALL_TKILL,
	CALL_RT_TGSIGQUEUEINFO,
	CALL_PIDFD_SEND_SIGNAL,
	CALL_KILL,
	CALL_RT_SIGQUEUEINFO,
	CALL_TIMER,
	CALL_KERNEL,
	SIGNAL_CALLS,
};
enum signal_result {
	RESULT_QUEUED,
	RESULT_IGNORED,
	RESULT_ALREADY_PENDING,
	RESULT_FAILED,
	RESULT_PROBED, /* signal 0 that found its target: nothing was sent */
	SIGNAL_RESULTS,
};

struct signal_info {
	int32_t number;	     /* 0 to 64 */
	enum lock_libc libc; /* of the target process: it names the numbers 32 to 34 */
	bool from_same_process;
	enum signal_scope scope;
	enum signal_call call;
	bool has_code;
	int32_t code; /* si_code */
	enum signal_result result;
	int32_t error; /* positive errno where result is RESULT_FAILED */
	bool fatal;
	bool ends; /* this very send has begun to end the process */
};

enum cleared_how {
	CLEARED_FOREIGN_UNLOCK,
	CLEARED_RECOVERED,
	CLEARED_PROCESS_EXIT,
	CLEARED_EXEC,
	CLEARED_GONE,
	CLEARED_HOWS,
};

/* What was done to a thread before it ended. */
enum cause_kind {
	CAUSE_NONE,
	CAUSE_THREAD_CANCEL,
	CAUSE_ASYNC_EXCEPTION,
	CAUSE_THREAD_SIGNAL,
	CAUSE_TID_KILL,
	CAUSE_KINDS,
};

struct cause_info {
	enum cause_kind kind;
	uint64_t seq; /* of the alert about it, in this run; 0: none was said */
	struct process_info sender_process;
	struct thread_info sender_thread;
	uint64_t before_ns;
	bool certain; /* it is why the thread ended; else it preceded that, and no more is known */
	char exception[TYPE_NAME_BYTES]; /* empty: unknown, or none */
	struct signal_info signal;	 /* of the last two kinds */
};

/* Whom a call named by its pthread_self. */
enum call_named {
	NAMED_THREAD,	  /* the alert's thread */
	NAMED_ENDED,	  /* a thread that has ended */
	NAMED_NO_THREAD,  /* there is no thread's descriptor there */
	NAMED_UNREADABLE, /* not known */
	NAMED_KINDS,
};

enum async_state {
	ASYNC_PENDING,
	ASYNC_ENDED,
	ASYNC_REVOKED,
	ASYNC_NO_THREAD,
	ASYNC_UNKNOWN, /* whom it named could not be read */
	ASYNC_STATES,
};

struct call_info {
	uint64_t ident; /* the pthread_self, as it was passed */
	enum call_named named;
	/* async-exception */
	enum async_state state;
	char exception[TYPE_NAME_BYTES]; /* empty: unknown, or none */
	int32_t native_tid; /* ident is the TID of this thread of the process: a mistake; 0: it is not */
	int32_t blocked_in; /* the number of the system call that the thread is in; -1: none */
	uint64_t before_ns; /* ended: so long before the end */
};

/* The pass over a process's memory that found something, as far as it came. */
struct census_info {
	bool full; /* all of the private memory, not data, bss and a part of the heap */
	double seconds;
	struct memory_bytes bytes;
	uint64_t strangers;
	int error; /* it ended early: errno, positive */
};

/* What of other programs is probed. */
enum uprobes_state {
	UPROBES_OFF, /* not wanted */
	UPROBES_ON,
	UPROBES_LATE,	 /* the first look at all processes is still under way */
	UPROBES_REFUSED, /* why */
	UPROBES_OVER,	 /* the prober has ended */
	UPROBES_STATES,
};

#define UPROBES_FAILED 8 /* are listed */
struct uprobes_failed {
	const char *path;
	const char *why;
};

struct uprobes_info {
	enum uprobes_state state;
	const char *why;
	uint64_t files, sites;
	bool polled; /* the kernel does not tell of new mappings: they are looked for now and then */
	uint64_t n_failed;
	struct uprobes_failed failed[UPROBES_FAILED];
};

/* A name and a count or a name and a word, in the order in which they are to be printed. */
struct pair {
	const char *name;
	uint64_t count;
	const char *word; /* NULL: the count is meant */
};

/* What deep mode does in a process. */
struct deep_info {
	int32_t pid;
	uint64_t probes;
	const char *missing[8]; /* what it can't see, in words */
	size_t n_missing;
};

enum incident_state { INCIDENT_OPEN, INCIDENT_UPDATED, INCIDENT_CLOSED, INCIDENT_STATES };

#define INCIDENT_DEAD  4  /* threads of one incident that are told */
#define INCIDENT_LOCKS 8  /* likewise */
#define INCIDENT_CHAIN 64 /* likewise, alerts: the first ones */
#define INCIDENT_STUCK 8  /* likewise, threads that are stuck */

/* A thread that died, and what preceded its end. */
struct dead_info {
	struct thread_info thread;
	struct exit_info exit;
	bool has_cause; /* false: what preceded it is not known */
	struct cause_info cause;
};

/*
 * What an incident has beside the alert's own process (whose threads died), locks (still orphaned or
 * not), and waiters (some of those who are stuck).
 */
struct incident_info {
	char id[48];
	uint64_t revision; /* 1, 2, 3 … */
	enum incident_state state;
	enum cleared_how close_reason;
	bool killed; /* a signal at a thread ended the whole process */
	size_t n_dead, n_chain;
	struct dead_info dead[INCIDENT_DEAD];
	uint64_t chain[INCIDENT_CHAIN];			 /* numbers of alerts of this run */
	uint64_t dead_count, locks_count, victims_count; /* all of them */
};

/* The alert stands for several that differ in time and thread alone. count 0: it stands for itself. */
struct merged_info {
	uint64_t count;
	uint64_t first_ns;    /* CLOCK_MONOTONIC; the alert's own time is that of the last one */
	bool several_threads; /* what is said of the thread is that of the first one */
};

/*
 * One alert. Which members count is told by the kind, in docs/alerts.md. Arrays are borrowed: they
 * live at least as long as the call that prints the alert.
 */
struct alert {
	enum alert_kind kind;
	enum severity severity;
	uint64_t time_ns; /* CLOCK_MONOTONIC, of the event */

	struct process_info process; /* target, dead owner's process, or waiter's process */
	struct thread_info thread;   /* target, dead thread, or stuck thread */

	/* lock-orphaned, orphan-wait, orphan-cleared, lock-suspected */
	char orphan_id[48];
	struct exit_info exit;		   /* of the dead owner */
	struct thread_info owner;	   /* orphan-wait: the dead owner */
	struct process_info owner_process; /* orphan-wait: pid 0: unknown, or the waiter's own */
	const struct lock_info *locks;
	size_t n_locks;	     /* orphan-wait and orphan-cleared: 1 */
	uint64_t locks_more; /* lock-orphaned, lock-suspected: found as well, and not listed */
	const struct waiter_info *waiters;
	size_t n_waiters;
	struct wait_info wait;		  /* orphan-wait */
	const struct census_info *census; /* lock-orphaned, lock-suspected; NULL: none found it */
	bool counted; /* orphan-wait: in text, the lock-orphaned before it has counted it */
	enum cleared_how how;
	bool follows; /* orphan-cleared: what was said of the orphan before is now over */

	/* lock-orphaned, lock-suspected, thread-killed; NULL: nothing that is known preceded the end */
	const struct cause_info *cause;
	uint64_t locks_found; /* thread-killed */

	const struct call_info *called; /* thread-cancel, async-exception */
	const struct incident_info *incident;

	/* thread-signal, tid-kill; noise uses number, libc, from_same_process */
	struct signal_info signal;
	struct process_info sender_process;
	struct thread_info sender_thread;

	/* ready */
	const char *version;
	const char *kernel;
	const struct pair *hooks; /* hook family → rung, or "none: why" */
	size_t n_hooks;
	uint64_t blocked_threads;	    /* looked at before ready */
	const struct uprobes_info *uprobes; /* NULL: nothing is said of them */
	const struct deep_info *deep;	    /* the processes that deep mode probes */
	size_t n_deep;

	/* noise */
	uint64_t count;
	double interval_s;

	/* loss: places with counts; summary: kinds with counts */
	const struct pair *counts;
	size_t n_counts;
	/* summary: what was lost in the whole run, and other figures of the run */
	const struct pair *losses;
	size_t n_losses;
	const struct pair *figures;
	size_t n_figures;
	double run_time_s;

	struct merged_info merged;
	const char *missing; /* what could not be read and why; NULL: nothing is missing */
};

/* What every line of one run carries. Filled once at the start. */
struct run {
	char id[33];	  /* random, hex */
	char boot_id[37]; /* /proc/sys/kernel/random/boot_id */
	char host[65];
	int64_t realtime_offset_ns; /* CLOCK_REALTIME − CLOCK_MONOTONIC, refreshed by the loop */
	/*
	 * CLOCK_REALTIME − CLOCK_BOOTTIME: start_ticks count from there. Taken once, so that a
	 * process has the same start_time in every line. 0: unknown.
	 */
	int64_t boot_realtime_ns;
	bool cmdline; /* print command lines */
};

/* Names as the contract has them; NULL for a value out of range. */
const char *alert_kind_name(enum alert_kind kind);
const char *severity_name(enum severity severity);
const char *exit_reason_name(enum exit_reason reason);
const char *lock_proof_name(enum lock_proof proof);
const char *lock_type_name(enum lock_type type);
const char *lock_kind_name(enum lock_kind kind);
const char *libc_name(enum lock_libc libc);
const char *signal_call_name(enum signal_call call);
const char *signal_result_name(enum signal_result result);
const char *cleared_how_name(enum cleared_how how);
const char *cause_kind_name(enum cause_kind kind);
const char *incident_state_name(enum incident_state state);
const char *call_named_name(enum call_named named);
const char *async_state_name(enum async_state state);
const char *uprobes_state_name(enum uprobes_state state);
/* Of bit `bit` of enum evidence. */
const char *lock_doubt_name(enum lock_doubt doubt); /* NULL: none */
const char *evidence_name(unsigned int bit);
/* The kind of that name. Returns it, or -EINVAL. */
int alert_kind_parse(const char *name);

/*
 * A copy that borrows nothing that does not live as long as the program does: to be given to
 * alert_free(), which takes NULL too. NULL: no memory. Not for what the agent says of itself.
 */
struct alert *alert_copy(const struct alert *alert);
void alert_free(struct alert *alert);

/* The next thread that locks it is told of the owner's death and can recover it. */
bool lock_is_robust(const struct lock_info *lock);
/* The wait can never end: it has no timeout, and not all of the alert's locks are robust. */
bool alert_hangs(const struct alert *alert, const struct wait_info *wait);
/*
 * What to do about it and how the code should have been, as one sentence for the alert's kind, its
 * locks' owner's end and its signal. False, and out is empty: there is nothing to say beyond the alert.
 */
#define HINT_BYTES 192
bool alert_hint(const struct alert *alert, char out[HINT_BYTES]);

/* With no more known of it than its name says. */
struct process_info process_named(const struct process_name *name);
/* The counts of n pairs together. */
uint64_t pairs_sum(const struct pair *pairs, size_t n);

/*
 * The text form: the message line, then indented lines for locks, waiters and what is missing; each
 * ends with '\n'. Returns a malloc'd string and its length in *len, or NULL with errno (ENOMEM).
 */
char *alert_text(const struct alert *alert, const struct run *run, size_t *len);

/*
 * The message alone, without time, severity and newline: the JSON member "message". malloc'd, NULL
 * with errno.
 */
char *alert_message(const struct alert *alert);

/* What an incident is, without its state. Returns out. */
#define HEADLINE_BYTES 2048
const char *alert_headline(const struct alert *alert, char out[HEADLINE_BYTES]);

/*
 * The JSON form: one object, one line, '\n' at its end. seq is 1, 2, 3 … within a run; emitted_ns is
 * CLOCK_REALTIME. Returns a malloc'd string and its length in *len, or NULL with errno. Never fails
 * on hostile bytes: they are escaped.
 */
char *alert_json(const struct alert *alert, const struct run *run, uint64_t seq, int64_t emitted_ns,
		 size_t *len);

#endif
