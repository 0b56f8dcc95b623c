/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of /proc/PID say, as pure functions over their text. No I/O, no allocation: the
 * text comes from a process that may try to deceive (a comm of "a) R 1 (b\n"), so every function
 * takes a length, accepts any bytes, and says -EINVAL where the text is not what the kernel writes.
 */
#ifndef DEADHOLD_PROC_H
#define DEADHOLD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"

/* include/linux/sched.h, unchanged since 2.6 */
#define PROC_FLAG_EXITING 0x00000004u
#define PROC_FLAG_KTHREAD 0x00200000u

/* /proc/PID/stat or /proc/PID/task/TID/stat */
struct proc_stat {
	int32_t pid;
	char comm[NAME_BYTES +
		  1]; /* raw bytes; cut where the kernel's is longer (kernel workers) */
	char state;   /* R S D T t Z X I … */
	int32_t ppid;
	uint32_t flags;	      /* PF_* */
	int32_t threads;      /* those that are in the process's list, a zombie leader included */
	uint64_t start_ticks; /* clock ticks since boot */
	int32_t processor;    /* that it last ran on; -1: unknown */
};

/* 0, or -EINVAL. */
int proc_stat_parse(const char *text, size_t len, struct proc_stat *stat);

/*
 * Ended, or so far on its way out that its memory may be gone already: nothing can be read through
 * it, and it does nothing any more.
 */
bool proc_stat_ended(const struct proc_stat *stat);

/*
 * /proc/PID/sched or /proc/PID/task/TID/sched: when it last ran, in nanoseconds of the clock of the
 * processor that it ran on. 0, or -EINVAL.
 */
int proc_sched_parse(const char *text, size_t len, uint64_t *ran_ns);

/* /proc/PID/status or /proc/PID/task/TID/status. A line that is missing leaves its member unknown. */
struct proc_status {
	char state;	 /* 0: unknown */
	int32_t tgid;	 /* 0: unknown */
	int32_t ppid;	 /* 0: unknown, or not visible from here */
	int64_t uid;	 /* the real one; -1: unknown */
	int32_t ns_tgid; /* in its own PID namespace: the last number of NStgid; 0: unknown */
	int32_t ns_tid;	 /* the last number of NSpid; 0: unknown */
	/* How often it has gone to sleep so far; 0: unknown. Unchanged: it has not run since. */
	uint64_t switches;
};

/* 0, or -EINVAL when not a single known line is there. */
int proc_status_parse(const char *text, size_t len, struct proc_status *status);

/* /proc/PID/task/TID/syscall: what a thread that does not run does in the kernel. */
struct proc_syscall {
	enum {
		SYSCALL_RUNNING,
		SYSCALL_BLOCKED,
		SYSCALL_OUTSIDE
	} where;	/* outside: a page fault, or frozen */
	int32_t number; /* of the program's own table; the rest only where it is blocked in one */
	uint64_t argument[6];
	uint64_t sp; /* the user stack pointer, also outside */
	uint64_t pc; /* behind the instruction that makes the call */
};

/* 0, or -EINVAL. */
int proc_syscall_parse(const char *text, size_t len, struct proc_syscall *call);

/* One line of /proc/PID/maps. */
struct proc_mapping {
	uint64_t start, end;
	uint64_t offset;
	uint64_t device; /* major << 20 | minor: the kernel's own encoding, as in sb->s_dev */
	uint64_t inode;
	bool read, write, exec;
	bool shared;	  /* 's': VM_MAYSHARE */
	const char *path; /* into the line, escaped, not terminated; NULL: anonymous */
	size_t path_len;
};

/* The line without its newline. 0, or -EINVAL. *mapping borrows from the line. */
int proc_mapping_parse(const char *line, size_t len, struct proc_mapping *mapping);

/*
 * A line of /proc/PID/smaps that is no mapping's first: does it say that a userfaultfd stands behind the
 * mapping, whatever of it that was asked for (missing pages, writes, pages of files)?
 */
bool proc_smaps_userfault(const char *line, size_t len);

/*
 * The path as the kernel has it, into path (always terminated, cut to size): \012 becomes a newline
 * again. Maps escapes nothing else, not even the backslash: a file whose name holds these four
 * characters can't be told apart. Returns the length of the whole result, as snprintf does.
 */
size_t proc_path_unescape(const char *text, size_t len, char *path, size_t size);

/*
 * Whether path ends in the kernel's " (deleted)", and its length without that. A file that is really
 * named like this looks the same: the mark alone proves nothing.
 */
bool proc_path_deleted(const char *path, size_t *len);

/*
 * The libc that a mapped file's name proves, LIBC_UNKNOWN for others. "libc.so" alone is no proof:
 * musl's bears that name, and bionic's.
 */
enum lock_libc proc_path_libc(const char *path, size_t len);

/*
 * /proc/PID/cgroup: the path in the version 2 hierarchy, else the one of systemd's, else the first
 * one; "/" only where all are. 0, or -EINVAL when there is none.
 */
int proc_cgroup_parse(const char *text, size_t len, char *path, size_t size);

/*
 * What the parts of a cgroup's path say: the systemd unit, which is the last part that ends in .service
 * or .scope and is no container's; and the container, whose 64 hexadecimal digits stand alone in a part
 * or between its "-" or ":" and its end or ".scope" (Docker, containerd, CRI-O, Podman). Empty where no
 * part says so.
 */
void proc_cgroup_unit(const char *path, char *unit, size_t size);
void proc_cgroup_container(const char *path, char *id, size_t size);

/*
 * Does it lie in this unit ("web" is web.service, as for systemctl), or in a container whose id begins
 * so? Those around the innermost one count.
 */
bool proc_cgroup_in_unit(const char *path, const char *unit);
bool proc_cgroup_in_container(const char *path, const char *id);

/* /proc/PID/cmdline: NULs become spaces, those at the end are dropped; cut to size, terminated. */
void proc_cmdline_parse(const char *text, size_t len, char *cmdline, size_t size);

/*
 * /proc/PID/fdinfo/FD of a process descriptor: the number of whom it stands for, and whether that is a
 * thread (PIDFD_THREAD, which is O_EXCL). 0, or -EINVAL when it is none. Pid is 0 for one whom the
 * reader's namespace does not have, -1 for one who has ended.
 */
int proc_pidfd_parse(const char *text, size_t len, int32_t *pid, bool *thread);

/* The target of /proc/PID/ns/pid, "pid:[4026531836]". The inode, or 0. */
uint32_t proc_namespace_parse(const char *text, size_t len);

#endif
