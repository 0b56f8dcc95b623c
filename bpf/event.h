/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire contract between the kernel programs and the agent: ring buffer records, map keys and
 * values that both sides touch, and the rows of the task snapshot. Fixed-width types, no padding.
 *
 * All times are CLOCK_MONOTONIC nanoseconds, but for start_ns: since boot, sleep included, as the
 * kernel's start_boottime (its clock ticks are field 22 of /proc/PID/stat).
 */
#ifndef DEADHOLD_EVENT_H
#define DEADHOLD_EVENT_H

#include "lock.h"

#define COMM_BYTES 16 /* TASK_COMM_LEN */

/* A process, told from an earlier one with the same number and from its image before an exec. */
struct proc_key {
	__u32 tgid;
	__u32 exec_id; /* task_struct.self_exec_id, which each exec raises */
	__u64 start_ns;
};

/* A thread as a lock word names it: by its number in its own PID namespace. */
struct owner_key {
	struct proc_key proc;
	__u32 ns_tid;
	__u32 pad;
};

/* A thread in full. tgid, tid, ppid: the initial PID namespace's numbers. */
struct ev_task {
	struct proc_key proc;
	__u64 start_ns; /* of the thread */
	__u32 tid;
	__u32 ns_tid;
	__u32 ns_tgid;
	__u32 pid_ns; /* inode of its PID namespace */
	__u32 ppid;
	__u32 uid;
	char comm[COMM_BYTES];	    /* the thread's */
	char proc_comm[COMM_BYTES]; /* its process's: the main thread's */
};

enum ev_type {
	EV_HELD = 1,
	EV_EXIT,
	EV_WAIT_DEAD,
	EV_SIGNAL,
	EV_SEND_FAILED,
	EV_EXEC,
	EV_PROCESS_EXIT,
	EV_SHARED_PENDING, /* head alone: a wait row's mapping look-up is to be made up for */
	EV_CALL,
	EV_FORK,
};

struct ev_head {
	__u32 type; /* enum ev_type */
	__u32 pad;
	__u64 time_ns;
};

/* How the exit hook came upon a lock. */
enum held_from {
	HELD_ROBUST_LIST, /* the thread's robust list names it, and the word names the thread */
	HELD_CANDIDATE,	  /* the thread waited for it, or others do; the word names the thread */
	HELD_OWNER_DIED,  /* a candidate on which libc's own mark has replaced the thread's TID */
	HELD_UNREAD,	  /* a candidate whose memory could not be read here: the agent reads it */
	HELD_INFERRED, /* the thread got it after a wait and has not unlocked it; no word names it */
};

/* Where in a shared object a lock word lies. */
struct shared_place {
	__u64 device; /* the kernel's dev_t: major << 20 | minor */
	__u64 inode;
	__u64 offset; /* bytes, of the futex word */
};

/* One lock of a thread that is ending. Comes before the thread's EV_EXIT. */
struct ev_held {
	struct ev_head head;
	struct proc_key proc;
	__u64 word; /* address of the futex word */
	struct lock_state lock;
	struct shared_place place; /* inode 0: not asked (the process lives on) or not shared */
	__u32 tid;
	__u32 from; /* enum held_from */
};

/* What libc's own thread descriptor says of the end of a thread. */
enum libc_end {
	END_UNKNOWN, /* no descriptor that we know, not readable, or not to be told */
	END_LIBC,    /* through libc: the function returned, or pthread_exit */
	END_CANCEL,  /* through libc, by cancellation */
	END_RAW,     /* libc made the thread and does not know that it ends */
};

#define EXIT_IN_GROUP	1 /* the whole process ends */
#define EXIT_IN_EXEC	2 /* another thread of the process called execve */
#define EXIT_UNREADABLE 4 /* hook ran after the memory was gone */
#define EXIT_NO_CODE	8 /* exit_code is not known */

/*
 * A thread ended. If its process ends too, said only where it held a shared lock. head.time_ns is
 * dead_row.exit_ns.
 */
struct ev_exit {
	struct ev_head head;
	struct ev_task task;
	__u32 exit_code; /* task_struct.exit_code: signal in the low 7 bits, code << 8 */
	__u32 flags;	 /* EXIT_* */
	__u32 libc_end;	 /* enum libc_end */
	__s32 syscall;	 /* in which it ended; −1: in none */
	__u32 n_held;	 /* EV_HELD records that were tried, delivered or not */
	__u32 n_deep;	 /* 0: none of deep_holds is this thread's */
	__u64 clear_child_tid;
	__u64 thread_pointer; /* libc's thread descriptor */
};

#define WAIT_TIMED	  1 /* the call has a timeout */
#define WAIT_TIMEOUT_READ 2 /* timeout_ns is what it asked for */

/* A thread blocks on a lock word whose owner is dead. */
struct ev_wait_dead {
	struct ev_head head;
	struct ev_task task;
	__u64 word;
	struct lock_state lock;
	__u64 timeout_ns; /* as passed: relative for FUTEX_WAIT, else a point in time */
	__u32 op;
	__u32 flags; /* WAIT_* */
	__u32 owner; /* TID in the namespace of the process; 0: nobody is named */
	__u32 pad;
	__u64 pc; /* behind the instruction that makes the call */
};

/* System calls that send signals; 0: none of them. Same order as enum signal_call of the agent. */
enum send_call {
	SEND_UNKNOWN,
	SEND_TGKILL,
	SEND_TKILL,
	SEND_RT_TGSIGQUEUEINFO,
	SEND_PIDFD,
	SEND_KILL,
	SEND_RT_SIGQUEUEINFO,
	SEND_TIMER,
	SEND_KERNEL,
};

#define SIGNAL_GROUP	 1 /* shared pending: the whole process */
#define SIGNAL_FATAL	 2 /* default disposition, which ends the process */
#define SIGNAL_HAS_CODE	 4
#define SIGNAL_NO_SENDER 8  /* current is not the sender: an interrupt */
#define SIGNAL_ENDS	 16 /* this very send has begun to end the process */

struct ev_signal {
	struct ev_head head;
	struct ev_task sender; /* zero with SIGNAL_NO_SENDER */
	struct ev_task target;
	__u32 signal;
	__s32 code;
	__u32 call;   /* enum send_call */
	__u32 result; /* enum of the kernel's TRACE_SIGNAL_* */
	__u32 flags;  /* SIGNAL_* */
	__u32 pad;
};

/* A send that failed, or signal 0. Numbers as the caller gave them, in the caller's namespace. */
struct ev_send_failed {
	struct ev_head head;
	struct ev_task sender;
	__u32 call;
	__u32 signal;
	__s32 error; /* positive errno; 0: signal 0 that found its target */
	__s32 tgid;  /* 0: the call names none */
	__s32 tid;   /* for pidfd_send_signal: the descriptor */
	__u32 call_flags;
};

/* EV_EXEC: proc is the new image, old_exec_id the one that went. */
struct ev_exec {
	struct ev_head head;
	struct proc_key proc;
	__u32 old_exec_id;
	__u32 pad;
};

/* EV_FORK: a process that is watched, or one that it forked, has forked this one. It did not run yet. */
struct ev_fork {
	struct ev_head head;
	struct proc_key proc;
};

/* How many of them are followed at a time. */
#define FOLLOWED 256

struct ev_process_exit {
	struct ev_head head;
	struct proc_key proc;
	__u32 signal; /* that ended it; 0: none */
	__u32 pad;
};

/* Calls that are probed at their entry. */
enum called {
	CALLED_CANCEL,	  /* pthread_cancel */
	CALLED_ASYNC_EXC, /* PyThreadState_SetAsyncExc */
};

/* What lies at the address by which such a call names a thread. */
enum call_target {
	TARGET_UNREAD, /* the memory could not be read: not known */
	TARGET_NONE,   /* no thread descriptor */
	TARGET_ENDED,  /* that of a thread that has ended */
	TARGET_THREAD, /* that of a thread: ns_tid */
};

/* No thread descriptor lies below: what is passed may be a TID by mistake. */
#define CALL_THREAD_LEAST LOCK_TID_LIMIT

#define CALL_NAME_BYTES 64
struct ev_call {
	struct ev_head head;
	struct ev_task caller;
	__u64 thread;	 /* as it was passed */
	__u64 exception; /* likewise: a type; 0: none, which takes back what is pending */
	__u32 which;	 /* enum called */
	__u32 target;	 /* enum call_target */
	__u32 ns_tid;	 /* with TARGET_THREAD: in the process's own namespace */
	__u32 pad;
	char name[CALL_NAME_BYTES]; /* of the type, whatever bytes; empty: not known */
};

/* dead_threads: owner_key → dead_row */
struct dead_row {
	__u64 exit_ns;
	__u64 clear_child_tid; /* a word that holds the TID and is no lock; 0: none */
};

/*
 * candidates: owner_key → words of locks on which others waited while the word named that thread, the
 * last CANDIDATE_SLOTS of them (the sweep finds what is lost by that). Packed: layout << 56 | address
 * of the futex word.
 */
#define CANDIDATE_SLOTS 8
#define PACK_SHIFT	56
#define PACK_ADDRESS	((1ull << PACK_SHIFT) - 1)
static inline __u64 lock_pack(__u32 layout, __u64 word)
{
	return (__u64)layout << PACK_SHIFT | (word & PACK_ADDRESS);
}

struct candidate_row {
	__u64 lock[CANDIDATE_SLOTS];
	__u64 next; /* slot, modulo their number */
};

/* noise: noise_key → noise_row. Counts only grow; the agent remembers what it has said. */
struct noise_key {
	struct proc_key proc; /* target */
	__u32 signal;
	__u32 from_same_process;
};

struct noise_row {
	__u64 count;
	struct ev_task target; /* of the first such signal */
};

/* losses: index into the per-CPU counters */
enum loss {
	LOSS_RING_BUFFER,  /* records that found no room */
	LOSS_DEAD_THREADS, /* exits that found no room in dead_threads */
	LOSS_NOISE,	   /* folded signals that found no room in noise */
	LOSS_WAITS,	   /* waits of threads without a row */
	LOSS_UNREADABLE,   /* lock words that were not readable when a thread blocked */
	LOSS_ROBUST_LIST,  /* robust lists that were not walked to their end */
	LOSS_SIGNALS,	   /* signal records that found no room in the ring buffer */
	LOSS_MAPPINGS,	   /* shared objects whose mapping was not found in the bounded search */
	LOSS_CALLS,	   /* records of probed calls that found no room in the ring buffer */
	LOSS_DEEP,	   /* acquires and releases of deep mode that found no room */
	LOSSES,
};

/*
 * Deep mode: on what function a probe is, which is its cookie. Those on unlock functions have that of a
 * mutex, of locking for writing, or of a semaphore.
 */
enum deep_site {
	DEEP_GLIBC_MUTEX = 1,
	DEEP_GLIBC_WRITE,
	DEEP_GLIBC_READ,
	DEEP_MUSL_MUTEX,
	DEEP_MUSL_WRITE,
	DEEP_MUSL_READ,
	DEEP_SEMAPHORE, /* a lock of CPython's is one */
};

/* How it is known who has a lock. */
enum deep_how {
	DEEP_OWNER = 1, /* its memory says: the row is of whoever last asked for it, had or not */
	DEEP_EXCLUSIVE, /* the row: it was taken. One at a time has it, and anybody may release it */
	DEEP_READER,	/* the same, one of several who may have it */
};

/* deep_holds: deep_key → deep_row */
struct deep_key {
	__u64 lock;
	__u32 tgid;
	__u32 tid; /* 0: DEEP_EXCLUSIVE, the row says who */
};

struct deep_row {
	__u64 call_ns;	  /* when the function that took the lock was called */
	__u64 caller;	  /* the address to which it returned; 0: unknown */
	__u64 counted_ns; /* DEEP_READER: when it was last counted */
	__u32 tid;	  /* 0: nobody */
	__u16 site;	  /* enum deep_site */
	__u16 how;	  /* enum deep_how */
	__u32 count;	  /* DEEP_READER: times */
	__u32 pad;
};

/*
 * deep_doubts: deep_key, tid 0 → when the lock was last released by somebody who, by the rows, did not
 * have it. Who called for it before then may have it or not.
 */

/* deep_pythons: TGID → where the code of its Python is. Only what that calls makes locks of semaphores. */
struct deep_span {
	__u64 start, end;
};

/* Which sends are told to the agent at all. A list or mask that is empty lets all through. */
#define SEND_FILTER_IDS 64
struct send_filter {
	__u64 signals; /* bit N − 1 for signal N */
	__u64 not_signals;
	__u32 n_targets;
	__u32 n_senders;
	__u32 target[SEND_FILTER_IDS]; /* processes; not asked of sends that failed */
	__u32 sender[SEND_FILTER_IDS]; /* likewise */
	/* Signal and sender are asked of sends that failed alone: the others may explain a death. */
	__u32 failed_alone;
	__u32 children; /* of the targets are targets, too */
};

#define ROW_EXITING 1 /* past its exit hook, or a zombie */
#define ROW_BLOCKED 2 /* in a futex wait: word, op, val, timeout, sp, pc, regs say which */
#define ROW_SINCE   4 /* since_ns is known */
#define ROW_COMPAT  8 /* 32-bit system call: not looked at */

/* Asks the snapshot for every thread, not for one process or (0) for those in futex waits. */
#define SNAPSHOT_ALL (~0u)

/* The task snapshot: one row per thread that the agent asked for. */
struct task_row {
	struct ev_task task;
	__u64 word;
	__u64 timeout; /* user address of the timespec; 0: for ever */
	__u64 since_ns;
	__u64 switches; /* voluntary switches: the same number, the same block */
	__u64 sp;
	__u64 pc;	   /* behind the instruction that makes the call */
	__u64 regs[6];	   /* callee-saved: rbx rbp r12 r13 r14 r15 */
	__u64 robust_list; /* in the thread's descriptor; 0: it has none. Of living threads */
	__u32 op;
	__u32 val;
	__u32 flags; /* ROW_* */
	__s32 call;  /* the system call in which it sleeps; −1: in none */
};

#ifndef __VMLINUX_H__
#define EV_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
EV_SIZE(proc_key, 16);
EV_SIZE(owner_key, 24);
EV_SIZE(ev_task, 80);
EV_SIZE(lock_state, 32);
EV_SIZE(lock_words, 60);
EV_SIZE(ev_held, 104);
EV_SIZE(ev_exit, 136);
EV_SIZE(ev_wait_dead, 168);
EV_SIZE(ev_signal, 200);
EV_SIZE(ev_send_failed, 120);
EV_SIZE(ev_exec, 40);
EV_SIZE(ev_fork, 32);
EV_SIZE(ev_process_exit, 40);
EV_SIZE(ev_call, 192);
EV_SIZE(deep_key, 16);
EV_SIZE(deep_row, 40);
EV_SIZE(task_row, 200);
#undef EV_SIZE
#endif

#endif
