// SPDX-License-Identifier: GPL-2.0-only
#include "signame.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* SIGRTMIN and SIGRTMAX of the C library are function calls, and this program's own. */
enum { LIBC_SIGNAL_FIRST = 32, RT_MIN = 34, RT_MAX = SIGNAL_MAX, STANDARD_SIGNALS = 32 };

enum default_action { IS_FATAL, IS_IGNORED, STOPS };

static const struct {
	const char *name; /* without SIG */
	const char *meaning;
	enum default_action action;
} standard[STANDARD_SIGNALS] = {
	[SIGHUP] = { "HUP", "hang-up", IS_FATAL },
	[SIGINT] = { "INT", "interrupt, Ctrl-C", IS_FATAL },
	[SIGQUIT] = { "QUIT", "quit with a core dump", IS_FATAL },
	[SIGILL] = { "ILL", "illegal instruction", IS_FATAL },
	[SIGTRAP] = { "TRAP", "breakpoint or trace trap", IS_FATAL },
	[SIGABRT] = { "ABRT", "abort", IS_FATAL },
	[SIGBUS] = { "BUS", "bad memory access, no page behind it", IS_FATAL },
	[SIGFPE] = { "FPE", "arithmetic error", IS_FATAL },
	[SIGKILL] = { "KILL", "kill, cannot be caught", IS_FATAL },
	[SIGUSR1] = { "USR1", "the program's own, 1", IS_FATAL },
	[SIGSEGV] = { "SEGV", "bad memory access", IS_FATAL },
	[SIGUSR2] = { "USR2", "the program's own, 2", IS_FATAL },
	[SIGPIPE] = { "PIPE", "write to a closed pipe or socket", IS_FATAL },
	[SIGALRM] = { "ALRM", "alarm clock", IS_FATAL },
	[SIGTERM] = { "TERM", "termination request", IS_FATAL },
	[SIGSTKFLT] = { "STKFLT", "stack fault, unused by the kernel", IS_FATAL },
	[SIGCHLD] = { "CHLD", "a child ended or changed state", IS_IGNORED },
	[SIGCONT] = { "CONT", "continue", IS_IGNORED },
	[SIGSTOP] = { "STOP", "stop, cannot be caught", STOPS },
	[SIGTSTP] = { "TSTP", "stop, Ctrl-Z", STOPS },
	[SIGTTIN] = { "TTIN", "terminal read in the background", STOPS },
	[SIGTTOU] = { "TTOU", "terminal write in the background", STOPS },
	[SIGURG] = { "URG", "urgent data on a socket", IS_IGNORED },
	[SIGXCPU] = { "XCPU", "processor time limit exceeded", IS_FATAL },
	[SIGXFSZ] = { "XFSZ", "file size limit exceeded", IS_FATAL },
	[SIGVTALRM] = { "VTALRM", "virtual alarm clock", IS_FATAL },
	[SIGPROF] = { "PROF", "profiling timer", IS_FATAL },
	[SIGWINCH] = { "WINCH", "window size changed", IS_IGNORED },
	[SIGIO] = { "IO", "input or output possible", IS_FATAL },
	[SIGPWR] = { "PWR", "power failure", IS_FATAL },
	[SIGSYS] = { "SYS", "forbidden or bad system call", IS_FATAL },
};

/*
 * What the C libraries keep for themselves: glibc sysdeps/unix/sysv/linux/internal-signals.h, musl
 * src/internal/pthread_impl.h.
 */
static const struct {
	enum lock_libc libc;
	int number;
	enum signal_origin origin; /* ORIGIN_OTHER: any */
	const char *name;
	const char *meaning;
} of_libc[] = {
	{ LIBC_GLIBC, 32, ORIGIN_OWN_TKILL, "SIGCANCEL", "thread cancellation, pthread_cancel" },
	{ LIBC_GLIBC, 32, ORIGIN_TIMER, "SIGTIMER", "expiry of a timer with SIGEV_THREAD" },
	{ LIBC_GLIBC, 33, ORIGIN_OTHER, "SIGSETXID", "setuid or its kin, done in every thread" },
	{ LIBC_MUSL, 32, ORIGIN_OTHER, "SIGTIMER", "expiry of a timer with SIGEV_THREAD" },
	{ LIBC_MUSL, 33, ORIGIN_OWN_TKILL, "SIGCANCEL", "thread cancellation, pthread_cancel" },
	{ LIBC_MUSL, 34, ORIGIN_OTHER, "SIGSYNCCALL", "setuid or its kin, done in every thread" },
};

static const struct {
	const char *name; /* without SIG */
	int number;
} aliases[] = {
	{ "IOT", SIGABRT }, { "CLD", SIGCHLD }, { "POLL", SIGIO },
	{ "TIMER", 32 },    { "SETXID", 33 },	{ "SYNCCALL", 34 },
};

enum signal_origin signal_origin(const struct signal_info *signal)
{
	if (signal->has_code && signal->code == SI_TIMER)
		return ORIGIN_TIMER;
	if (signal->from_same_process && signal->has_code && signal->code == SI_TKILL)
		return ORIGIN_OWN_TKILL;
	return ORIGIN_OTHER;
}

/* The row of of_libc, or -1. */
static int libc_signal(int number, enum lock_libc libc, enum signal_origin origin)
{
	for (size_t i = 0; i < ARRAY_SIZE(of_libc); i++)
		if (of_libc[i].libc == libc && of_libc[i].number == number &&
		    (of_libc[i].origin == ORIGIN_OTHER || of_libc[i].origin == origin))
			return (int)i;
	return -1;
}

/* Whether the number, in a program of that libc, is a real-time signal for the program's own use. */
static bool is_realtime(int number, enum lock_libc libc)
{
	int first = libc == LIBC_GLIBC ? RT_MIN : RT_MIN + 1;

	return number >= first && number <= RT_MAX;
}

/* As kill -l writes them: from SIGRTMIN in the lower half, from SIGRTMAX in the upper. */
static void realtime_name(int number, char name[SIGNAL_NAME_BYTES])
{
	bool lower = number - RT_MIN <= RT_MAX - number;
	int distance = lower ? number - RT_MIN : number - RT_MAX;
	int used = snprintf(name, SIGNAL_NAME_BYTES, "SIG%s", lower ? "RTMIN" : "RTMAX");

	if (distance)
		snprintf(name + used, SIGNAL_NAME_BYTES - used, "%+d", distance);
}

const char *signal_name(int number, enum lock_libc libc, enum signal_origin origin,
			char name[SIGNAL_NAME_BYTES])
{
	int row = libc_signal(number, libc, origin);

	if (row >= 0)
		snprintf(name, SIGNAL_NAME_BYTES, "%s", of_libc[row].name);
	else if (number > 0 && number < STANDARD_SIGNALS)
		snprintf(name, SIGNAL_NAME_BYTES, "SIG%s", standard[number].name);
	else if (is_realtime(number, libc))
		realtime_name(number, name);
	else
		snprintf(name, SIGNAL_NAME_BYTES, "SIG%d", number);
	return name;
}

const char *signal_meaning(int number, enum lock_libc libc, enum signal_origin origin)
{
	int row = libc_signal(number, libc, origin);

	if (row >= 0)
		return of_libc[row].meaning;
	if (number == 0)
		return "asks whether the target exists";
	if (number > 0 && number < STANDARD_SIGNALS)
		return standard[number].meaning;
	if (is_realtime(number, libc))
		return "real-time, the program's own";
	if (number >= LIBC_SIGNAL_FIRST && number <= RT_MIN)
		return "kept by C libraries for themselves";
	return NULL;
}

/* One or two digits and nothing else. Returns the number, or -EINVAL. */
static int parse_number(const char *digits)
{
	size_t len = strlen(digits);

	if (!len || len > 2 || strspn(digits, "0123456789") != len)
		return -EINVAL;
	return atoi(digits);
}

/* RTMIN, RTMIN+n, RTMAX, RTMAX-n. */
static int parse_realtime(const char *name)
{
	bool from_min = !strncasecmp(name, "RTMIN", 5);
	int distance = 0;

	if (!from_min && strncasecmp(name, "RTMAX", 5))
		return -EINVAL;
	name += 5;
	if (*name) {
		if (*name != (from_min ? '+' : '-'))
			return -EINVAL;
		distance = parse_number(name + 1);
	}
	if (distance < 0 || distance > RT_MAX - RT_MIN)
		return -EINVAL;
	return from_min ? RT_MIN + distance : RT_MAX - distance;
}

int signal_parse(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	int number = parse_number(name);

	if (number >= 0)
		return number >= 1 && number <= SIGNAL_MAX ? number : -EINVAL;
	for (number = 1; number < STANDARD_SIGNALS; number++)
		if (!strcasecmp(name, standard[number].name))
			return number;
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
		if (!strcasecmp(name, aliases[i].name))
			return aliases[i].number;
	return parse_realtime(name);
}

bool signal_default_fatal(int number)
{
	if (number >= STANDARD_SIGNALS)
		return number <= SIGNAL_MAX;
	return number > 0 && standard[number].action == IS_FATAL;
}

#define CODES 10

/* include/uapi/asm-generic/siginfo.h; the index is the code. */
static const char *const codes_of_signal[STANDARD_SIGNALS][CODES] = {
	[SIGILL] = { NULL, "ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC",
		     "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK" },
	[SIGFPE] = { NULL, "FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND",
		     "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB" },
	[SIGSEGV] = { NULL, "SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR",
		      "SEGV_ACCADI", "SEGV_ADIDERR", "SEGV_ADIPERR", "SEGV_MTEAERR",
		      "SEGV_MTESERR" },
	[SIGBUS] = { NULL, "BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR",
		     "BUS_MCEERR_AO" },
	[SIGTRAP] = { NULL, "TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK",
		      "TRAP_PERF" },
	[SIGCHLD] = { NULL, "CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED",
		      "CLD_CONTINUED" },
	[SIGIO] = { NULL, "POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP" },
	[SIGSYS] = { NULL, "SYS_SECCOMP", "SYS_USER_DISPATCH" },
};

const char *si_code_name(int number, int code)
{
	static const struct {
		int code;
		const char *name;
	} of_all[] = {
		{ SI_USER, "SI_USER" },		{ SI_KERNEL, "SI_KERNEL" },
		{ SI_QUEUE, "SI_QUEUE" },	{ SI_TIMER, "SI_TIMER" },
		{ SI_MESGQ, "SI_MESGQ" },	{ SI_ASYNCIO, "SI_ASYNCIO" },
		{ SI_SIGIO, "SI_SIGIO" },	{ SI_TKILL, "SI_TKILL" },
		{ SI_DETHREAD, "SI_DETHREAD" }, { SI_ASYNCNL, "SI_ASYNCNL" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(of_all); i++)
		if (of_all[i].code == code)
			return of_all[i].name;
	if (number > 0 && number < STANDARD_SIGNALS && code > 0 && code < CODES)
		return codes_of_signal[number][code];
	return NULL;
}
