/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The system calls that send a signal to a number, by name. Each takes the numbers as the calling
 * process knows them. Include after say.h.
 */
#ifndef SIG_CALLS_H
#define SIG_CALLS_H

#include <signal.h>
#include <sys/types.h>

/* Linux 6.9; not in the headers of Debian 12. */
#define SIG_PIDFD_THREAD     O_EXCL
#define SIG_PIDFD_TO_THREAD  1
#define SIG_PIDFD_TO_PROCESS 2
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

/* Returns 0, or -1 with errno. */
struct sig_call {
	const char *name;
	int (*make)(int sig, pid_t tgid, pid_t tid);
};

static inline int sig_tgkill(int sig, pid_t tgid, pid_t tid)
{
	return (int)syscall(SYS_tgkill, tgid, tid, sig);
}

static inline int sig_tkill(int sig, pid_t tgid, pid_t tid)
{
	(void)tgid;
	return (int)syscall(SYS_tkill, tid, sig);
}

static inline int sig_kill(int sig, pid_t tgid, pid_t tid)
{
	(void)tgid;
	return (int)syscall(SYS_kill, tid, sig);
}

static inline siginfo_t sig_queue_info(int sig, int code)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = sig;
	info.si_code = code;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = 4711;
	return info;
}

static inline int sig_rt_tgsigqueueinfo(int sig, pid_t tgid, pid_t tid)
{
	siginfo_t info = sig_queue_info(sig, SI_QUEUE);

	return (int)syscall(SYS_rt_tgsigqueueinfo, tgid, tid, sig, &info);
}

/* The kernel refuses such a code to another process: EPERM. */
static inline int sig_rt_tgsigqueueinfo_as_kernel(int sig, pid_t tgid, pid_t tid)
{
	siginfo_t info = sig_queue_info(sig, SI_USER);

	return (int)syscall(SYS_rt_tgsigqueueinfo, tgid, tid, sig, &info);
}

static inline int sig_rt_sigqueueinfo(int sig, pid_t tgid, pid_t tid)
{
	siginfo_t info = sig_queue_info(sig, SI_QUEUE);

	(void)tgid;
	return (int)syscall(SYS_rt_sigqueueinfo, tid, sig, &info);
}

static inline int sig_pidfd(pid_t id, unsigned int open_flags, int sig, unsigned int flags)
{
	int fd = (int)syscall(SYS_pidfd_open, id, open_flags);
	int err, error;

	if (fd < 0)
		return -1;
	err = (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, flags);
	error = errno;
	close(fd);
	errno = error;
	return err;
}

/* A descriptor of a thread: the signal goes to the thread. */
static inline int sig_pidfd_thread(int sig, pid_t tgid, pid_t tid)
{
	(void)tgid;
	return sig_pidfd(tid, SIG_PIDFD_THREAD, sig, 0);
}

/* A descriptor of the process and a flag: the signal goes to its main thread alone. */
static inline int sig_pidfd_flag(int sig, pid_t tgid, pid_t tid)
{
	(void)tid;
	return sig_pidfd(tgid, 0, sig, SIG_PIDFD_TO_THREAD);
}

/* A descriptor of a thread and a flag: the signal goes to the whole process. */
static inline int sig_pidfd_group(int sig, pid_t tgid, pid_t tid)
{
	(void)tgid;
	return sig_pidfd(tid, SIG_PIDFD_THREAD, sig, SIG_PIDFD_TO_PROCESS);
}

static inline int sig_pidfd_process(int sig, pid_t tgid, pid_t tid)
{
	(void)tid;
	return sig_pidfd(tgid, 0, sig, 0);
}

#ifdef __x86_64__
/* The 32-bit system call table, in which other numbers mean kill and tgkill. */
static inline int sig_int80(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0)
		return 0;
	errno = (int)-result;
	return -1;
}

static inline int sig_kill_int80(int sig, pid_t tgid, pid_t tid)
{
	(void)tgid;
	return sig_int80(37, tid, sig, 0);
}

static inline int sig_tgkill_int80(int sig, pid_t tgid, pid_t tid)
{
	return sig_int80(270, tgid, tid, sig);
}
#endif

static const struct sig_call sig_calls[] = {
	{ "tgkill", sig_tgkill },
	{ "tkill", sig_tkill },
	{ "kill", sig_kill },
	{ "rt_tgsigqueueinfo", sig_rt_tgsigqueueinfo },
	{ "rt_tgsigqueueinfo-as-kernel", sig_rt_tgsigqueueinfo_as_kernel },
	{ "rt_sigqueueinfo", sig_rt_sigqueueinfo },
	{ "pidfd-thread", sig_pidfd_thread },
	{ "pidfd-flag", sig_pidfd_flag },
	{ "pidfd-group", sig_pidfd_group },
	{ "pidfd-process", sig_pidfd_process },
#ifdef __x86_64__
	{ "kill-int80", sig_kill_int80 },
	{ "tgkill-int80", sig_tgkill_int80 },
#endif
};

static inline const struct sig_call *sig_call_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(sig_calls) / sizeof(*sig_calls); i++)
		if (!strcmp(sig_calls[i].name, name))
			return &sig_calls[i];
	return NULL;
}

#endif
