/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that sends signals, takes them, or both, as it is told.
 *
 *   sig_actor [WORD=VALUE...]
 *     name=NAME     the main thread's name, the process's comm; hex:4142… gives any bytes
 *     thread=NAME   one more thread, likewise; repeatable
 *     handle=SIG, ignore=SIG, block=SIG   for the whole process, before threads are started
 *
 * Says "thread" with its index for every thread (0 is the main one), then "actor". Then each line
 * on stdin, "INDEX VERB ARGUMENT…", is done by that thread ("all": by all but the main one at once)
 * and ends with one event of the verb's name. Threads wait in read(2), not on futexes.
 */
#include "say.h"

#include "sig_calls.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
#ifndef F_SETSIG
#define F_SETSIG 10
#endif

#define ACTORS	16
#define OTHERS	ACTORS /* handlers that ran in a thread which is none of the actors */
#define LINE	256
#define SIGNALS 65

struct actor {
	const char *name;
	pthread_t thread;
	struct who who;
	int line_fds[2];
};

static struct actor actors[ACTORS];
static int n_actors;
static int done_fds[2];
static struct gate started;

static _Thread_local int self = OTHERS;
static _Thread_local sigjmp_buf *volatile after_fault; /* read by the handler */
static _Atomic long handled[SIGNALS][ACTORS + 1];
static _Atomic long callbacks;

static void on_signal(int sig)
{
	atomic_fetch_add(&handled[sig][self], 1);
	if (after_fault)
		siglongjmp(*after_fault, 1);
}

static long handled_in_all(int sig)
{
	long total = 0;
	int i;

	for (i = 0; i <= ACTORS; i++)
		total += atomic_load(&handled[sig][i]);
	return total;
}

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec;
}

static int parse_signal(const char *text)
{
	int sig = atoi(text);

	/* Up to 65: numbers that the kernel refuses can be sent, though not handled. */
	if (sig < 0 || sig > SIGNALS)
		die("signal %s", text);
	return sig;
}

static struct actor *actor_find(const char *index)
{
	int i = atoi(index);

	if (i < 0 || i >= n_actors)
		die("no thread %s", index);
	return &actors[i];
}

/* "hex:4142" and "AB" both name a thread AB. */
static void take_name(const char *word)
{
	char name[16] = "";
	unsigned int byte;
	size_t i;

	if (strncmp(word, "hex:", 4)) {
		name_me(word);
		return;
	}
	for (i = 0; i < sizeof(name) - 1 && sscanf(word + 4 + 2 * i, "%2x", &byte) == 1; i++)
		name[i] = (char)byte;
	name_me(name);
}

struct wait_for_handler {
	int sig;
	long count;
};

static int is_handled(const void *arg)
{
	const struct wait_for_handler *wait = arg;

	return handled_in_all(wait->sig) >= wait->count;
}

static void wait_handled(int sig, long count)
{
	struct wait_for_handler wait = { sig, count };

	wait_until(is_handled, &wait, "a signal handler");
}

static void burn_until_handled(int sig, long count)
{
	while (handled_in_all(sig) < count)
		;
}

/* ---- verbs: each gets the words behind its name ---------------------------------------------- */

static void report_send(const char *call, int sig, long count, long ok, long again, int error,
			unsigned long long before_ns)
{
	say_of(&actors[self].who, "send",
	       "'call': '%s', 'signal': %d, 'count': %ld, 'ok': %ld, 'again': %ld, 'error': %d, "
	       "'before_ns': %llu, 'after_ns': %llu",
	       call, sig, count, ok, again, error, before_ns, now_ns());
}

/* send CALL SIG TGID TID COUNT: by number */
static void verb_send(char **word)
{
	const struct sig_call *call = sig_call_find(word[0]);
	int sig = parse_signal(word[1]), error = 0;
	pid_t tgid = atoi(word[2]), tid = atoi(word[3]);
	long count = atol(word[4]), i, ok = 0, again = 0;
	unsigned long long before_ns = now_ns();

	if (!call)
		die("no call %s", word[0]);
	for (i = 0; i < count; i++) {
		if (!call->make(sig, tgid, tid)) {
			ok++;
			continue;
		}
		error = errno;
		again += error == EAGAIN;
	}
	report_send(word[0], sig, count, ok, again, error, before_ns);
}

/* pthread CALL SIG INDEX COUNT: through libc, to a thread of this process */
static void verb_pthread(char **word)
{
	int sig = parse_signal(word[1]), error = 0;
	struct actor *target = actor_find(word[2]);
	long count = atol(word[3]), i, ok = 0;
	unsigned long long before_ns = now_ns();

	for (i = 0; i < count; i++) {
		int err;

		if (!strcmp(word[0], "pthread_kill"))
			err = pthread_kill(target->thread, sig);
#ifdef __GLIBC__
		else if (!strcmp(word[0], "pthread_sigqueue"))
			err = pthread_sigqueue(target->thread, sig,
					       (union sigval){ .sival_int = 4711 });
#endif
		else if (!strcmp(word[0], "raise"))
			err = raise(sig);
		else
			die("no call %s", word[0]);
		if (err)
			error = err;
		else
			ok++;
	}
	report_send(word[0], sig, count, ok, 0, error, before_ns);
}

/* cancel INDEX: that thread is of the asynchronous type and waits in a cancellation point anyway */
static void verb_cancel(char **word)
{
	struct actor *target = actor_find(word[0]);
	unsigned long long before_ns = now_ns();
	void *result;

	if (pthread_cancel(target->thread) || pthread_join(target->thread, &result))
		die("pthread_cancel");
	say_of(&actors[self].who, "cancel", "'canceled': %s, 'before_ns': %llu, 'after_ns': %llu",
	       result == PTHREAD_CANCELED ? "true" : "false", before_ns, now_ns());
}

/* handled SIG COUNT: waits until handlers have run that often; says in which threads */
static void verb_handled(char **word)
{
	int sig = parse_signal(word[0]), i, n;
	char by[LINE];

	wait_handled(sig, atol(word[1]));
	for (i = 0, n = 0; i <= ACTORS; i++)
		n += snprintf(by + n, sizeof(by) - (size_t)n, "%s%ld", i ? ", " : "",
			      atomic_load(&handled[sig][i]));
	say_of(&actors[self].who, "handled", "'signal': %d, 'total': %ld, 'by': [%s]", sig,
	       handled_in_all(sig), by);
}

/* mask block|unblock SIG: of this thread */
static void verb_mask(char **word)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, parse_signal(word[1]));
	if (pthread_sigmask(!strcmp(word[0], "block") ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL))
		die("pthread_sigmask");
	say_of(&actors[self].who, "mask", NOTHING);
}

static void verb_name(char **word)
{
	take_name(word[0]);
	say_of(&actors[self].who, "name", NOTHING);
}

/* rlimit COUNT: how many signals may wait in queues */
static void verb_rlimit(char **word)
{
	rlim_t count = (rlim_t)atol(word[0]);

	if (setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){ count, count }))
		die("RLIMIT_SIGPENDING");
	say_of(&actors[self].who, "rlimit", NOTHING);
}

/* uid UID: of this thread alone. libc's setuid() would signal all others. */
static void verb_uid(char **word)
{
	long uid = atol(word[0]);

	if (syscall(SYS_setresuid, uid, uid, uid))
		die("setresuid");
	say_of(&actors[self].who, "uid", NOTHING);
}

/* setuid COUNT: libc's, which makes every other thread change its ids too, by a signal */
static void verb_setuid(char **word)
{
	long count = atol(word[0]), i;

	for (i = 0; i < count; i++)
		if (setuid(getuid()))
			die("setuid");
	say_of(&actors[self].who, "setuid", "'count': %ld, 'others': %d", count, n_actors - 1);
}

static timer_t make_timer(clockid_t clock, struct sigevent *event)
{
	timer_t timer;

	if (timer_create(clock, event, &timer))
		die("timer_create");
	return timer;
}

static void timer_once(timer_t timer)
{
	if (timer_settime(timer, 0, &(struct itimerspec){ .it_value.tv_nsec = 1000000 }, NULL))
		die("timer_settime");
}

/*
 * thread-timer SIG INDEX: a timer that signals that one thread, once. This thread computes
 * meanwhile: if it is the target itself, the timer's interrupt finds it running.
 */
static void verb_thread_timer(char **word)
{
	struct actor *target = actor_find(word[1]);
	unsigned long long before_ns = now_ns();
	struct sigevent event;
	timer_t timer;
	int sig = parse_signal(word[0]);
	long seen = handled_in_all(sig);

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = sig;
	event.sigev_notify_thread_id = target->who.ns_tid;
	timer = make_timer(CLOCK_MONOTONIC, &event);
	timer_once(timer);
	burn_until_handled(sig, seen + 1);
	timer_delete(timer);
	say_of(&actors[self].who, "thread-timer", "'before_ns': %llu, 'after_ns': %llu", before_ns,
	       now_ns());
}

static void on_timer(union sigval value)
{
	(void)value;
	atomic_fetch_add(&callbacks, 1);
}

static int is_called_back(const void *arg)
{
	return atomic_load(&callbacks) >= *(const long *)arg;
}

/* callback-timer COUNT: SIGEV_THREAD; libc makes a thread and sends it SIGTIMER, once each time */
static void verb_callback_timer(char **word)
{
	long count = atol(word[0]), i;
	struct sigevent event;
	timer_t timer;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_notify_function = on_timer;
	timer = make_timer(CLOCK_MONOTONIC, &event);
	for (i = 0; i < count; i++) {
		long goal = atomic_load(&callbacks) + 1;

		timer_once(timer);
		wait_until(is_called_back, &goal, "a timer's callback");
	}
	timer_delete(timer);
	say_of(&actors[self].who, "callback-timer", "'count': %ld", count);
}

/* process-timer SIG: POSIX timers that signal the process: of the clock, and of its own CPU time */
static void verb_process_timer(char **word)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID };
	struct sigevent event;
	int sig = parse_signal(word[0]);
	size_t i;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = sig;
	for (i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
		timer_t timer = make_timer(clocks[i], &event);
		long seen = handled_in_all(sig);

		timer_once(timer);
		burn_until_handled(sig, seen + 1);
		timer_delete(timer);
	}
	say_of(&actors[self].who, "process-timer", "'signals': %zu", i);
}

/* interval-timer prof|real|virtual: setitimer(2) */
static void verb_interval_timer(char **word)
{
	struct itimerval once = { .it_value.tv_usec = 1000 };
	int which = ITIMER_REAL, sig = SIGALRM;

	if (!strcmp(word[0], "prof"))
		which = ITIMER_PROF, sig = SIGPROF;
	else if (!strcmp(word[0], "virtual"))
		which = ITIMER_VIRTUAL, sig = SIGVTALRM;
	if (setitimer(which, &once, NULL))
		die("setitimer");
	burn_until_handled(sig, 1);
	say_of(&actors[self].who, "interval-timer", "'signal': %d", sig);
}

/* sigio SIG INDEX: a descriptor that signals one thread when it can be read. SIG 0: plain SIGIO */
static void verb_sigio(char **word)
{
	struct f_owner_ex owner = { F_OWNER_TID, actor_find(word[1])->who.ns_tid };
	int fds[2], sig = parse_signal(word[0]);
	unsigned long long before_ns;

	if (pipe(fds) || fcntl(fds[0], F_SETOWN_EX, &owner) || fcntl(fds[0], F_SETSIG, sig) ||
	    fcntl(fds[0], F_SETFL, O_ASYNC))
		die("F_SETOWN_EX");
	before_ns = now_ns();
	say_bytes(fds[1], "", 1);
	wait_handled(sig ? sig : SIGIO, 1);
	close(fds[0]);
	close(fds[1]);
	say_of(&actors[self].who, "sigio", "'before_ns': %llu, 'after_ns': %llu", before_ns,
	       now_ns());
}

/* broken-pipe COUNT: SIGPIPE from the kernel to the thread that writes */
static void verb_broken_pipe(char **word)
{
	long count = atol(word[0]), i;
	int fds[2];

	if (pipe(fds))
		die("pipe");
	close(fds[0]);
	for (i = 0; i < count; i++)
		if (write(fds[1], "", 1) >= 0 || errno != EPIPE)
			die("a pipe without reader could be written");
	close(fds[1]);
	say_of(&actors[self].who, "broken-pipe", "'count': %ld", count);
}

/* fault COUNT: SIGSEGV from the kernel to the thread that did it; handled */
static void verb_fault(char **word)
{
	long count = atol(word[0]);
	volatile long i;

	for (i = 0; i < count; i++) {
		sigjmp_buf back;

		if (!sigsetjmp(back, 1)) {
			after_fault = &back;
			*(volatile int *)8 = 0;
		}
		after_fault = NULL;
	}
	say_of(&actors[self].who, "fault", "'count': %ld", count);
}

static int wait_child(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return status;
}

/*
 * child exit|abort|raise|signal SIG: what a child of this thread does before it ends; "signal": it
 * signals this thread. Its end sends SIGCHLD here.
 */
static void verb_child(char **word)
{
	int status, sig = parse_signal(word[1]);
	pid_t child = fork();

	if (!child) {
		say("child", NOTHING);
		if (!strcmp(word[0], "signal")) {
			sig_tgkill(sig, actors[self].who.ns_pid, actors[self].who.ns_tid);
			_exit(0);
		}
		/* No core file. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		if (!strcmp(word[0], "abort"))
			abort();
		if (!strcmp(word[0], "raise"))
			raise(sig);
		_exit(0);
	}
	if (child < 0)
		die("fork");
	status = wait_child(child);
	say_of(&actors[self].who, "child-end", "'signal': %d, 'ended_ns': %llu",
	       WIFSIGNALED(status) ? WTERMSIG(status) : 0, now_ns());
}

/* int80: does this kernel take 32-bit system calls? Says so */
static void verb_int80(char **word)
{
	bool works = false;

	(void)word;
#ifdef __x86_64__
	pid_t child = fork();

	if (!child) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		_exit(sig_kill_int80(0, 0, getpid()) ? 1 : 0);
	}
	works = child > 0 && !wait_child(child);
#endif
	say_of(&actors[self].who, "int80", "'works': %s", works ? "true" : "false");
}

static void verb_exit(char **word)
{
	syscall(SYS_exit_group, atoi(word[0]));
}

static const struct {
	const char *name;
	int words;
	void (*act)(char **word);
} verbs[] = {
	{ "send", 5, verb_send },
	{ "pthread", 4, verb_pthread },
	{ "cancel", 1, verb_cancel },
	{ "handled", 2, verb_handled },
	{ "mask", 2, verb_mask },
	{ "name", 1, verb_name },
	{ "rlimit", 1, verb_rlimit },
	{ "uid", 1, verb_uid },
	{ "setuid", 1, verb_setuid },
	{ "thread-timer", 2, verb_thread_timer },
	{ "callback-timer", 1, verb_callback_timer },
	{ "process-timer", 1, verb_process_timer },
	{ "interval-timer", 1, verb_interval_timer },
	{ "sigio", 2, verb_sigio },
	{ "broken-pipe", 1, verb_broken_pipe },
	{ "fault", 1, verb_fault },
	{ "child", 2, verb_child },
	{ "int80", 0, verb_int80 },
	{ "exit", 1, verb_exit },
};

/* ---- threads --------------------------------------------------------------------------------- */

static void act(char *line)
{
	char *word[8], *rest = NULL;
	int n = 0;
	size_t i;

	for (char *w = strtok_r(line, " ", &rest); w && n < 8; w = strtok_r(NULL, " ", &rest))
		word[n++] = w;
	for (i = 0; n && i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (strcmp(verbs[i].name, word[0]))
			continue;
		if (n - 1 != verbs[i].words)
			die("%s takes %d words", word[0], verbs[i].words);
		verbs[i].act(word + 1);
		return;
	}
	die("no verb in line %s", line);
}

static void read_whole(int fd, char *bytes, size_t size)
{
	ssize_t n;

	while (size) {
		n = read(fd, bytes, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("read");
		bytes += n;
		size -= (size_t)n;
	}
}

static void start(int index)
{
	struct actor *actor = &actors[index];

	self = index;
	take_name(actor->name);
	actor->who = who_am_i();
	say_of(&actor->who, "thread", "'index': %d", index);
}

static void *actor_main(void *arg)
{
	struct actor *actor = arg;
	char line[LINE];

	start((int)(actor - actors));
	if (pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL))
		die("pthread_setcanceltype");
	gate_open(&started);
	for (;;) {
		read_whole(actor->line_fds[0], line, sizeof(line));
		act(line);
		say_bytes(done_fds[1], "", 1);
	}
	return NULL;
}

static void dispatch(const char *text)
{
	const char *space = strchr(text, ' ');
	int from = atoi(text), to = from, i, n;
	char line[LINE] = "", done;

	if (!space)
		die("line %s", text);
	strncpy(line, space + 1, sizeof(line) - 1);
	if (!strncmp(text, "all", 3))
		from = 1, to = n_actors - 1;
	else if (!from) {
		act(line);
		return;
	}
	if (to >= n_actors)
		die("no thread %d", to);
	for (i = from; i <= to; i++)
		say_bytes(actors[i].line_fds[1], line, sizeof(line));
	for (n = from; n <= to; n++)
		read_whole(done_fds[0], &done, 1);
}

static void set_action(const char *word, const char *value)
{
	struct sigaction action;
	int sig = parse_signal(value);

	memset(&action, 0, sizeof(action));
	if (!strcmp(word, "handle"))
		action.sa_handler = on_signal, action.sa_flags = SA_RESTART;
	else
		action.sa_handler = SIG_IGN;
	if (sigaction(sig, &action, NULL))
		die("sigaction %d", sig);
}

static void take_argument(char *word)
{
	char *value = strchr(word, '=');
	sigset_t set;

	if (!value)
		die("argument %s", word);
	*value++ = '\0';
	if (!strcmp(word, "name")) {
		actors[0].name = value;
	} else if (!strcmp(word, "thread")) {
		if (n_actors == ACTORS)
			die("too many threads");
		actors[n_actors++].name = value;
	} else if (!strcmp(word, "handle") || !strcmp(word, "ignore")) {
		set_action(word, value);
	} else if (!strcmp(word, "block")) {
		sigemptyset(&set);
		sigaddset(&set, parse_signal(value));
		sigprocmask(SIG_BLOCK, &set, NULL);
	} else {
		die("argument %s", word);
	}
}

/*
 * The signals that libc keeps to itself, as a fresh process has them: posix_spawn() leaves them ignored
 * in the child of a program that cancels threads (glibc, sysdeps/unix/sysv/linux/spawni.c), and that
 * is inherited down to here. sigaction() of either libc refuses these numbers.
 */
static void own_signals_reset(void)
{
	static const unsigned long kernel_action[4], both = 3ul << 31; /* SIG_DFL; 32 and 33 */
	int sig;

	for (sig = 32; sig <= 33; sig++) {
		if (syscall(SYS_rt_sigaction, sig, kernel_action, NULL, sizeof(both)))
			die("rt_sigaction %d", sig);
	}
	if (syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &both, NULL, sizeof(both)))
		die("rt_sigprocmask");
}

int main(int argc, char **argv)
{
	char line[LINE], ready;
	int i;

	own_signals_reset();
	actors[0].name = "sig_actor";
	n_actors = 1;
	for (i = 1; i < argc; i++)
		take_argument(argv[i]);
	actors[0].thread = pthread_self();
	if (pipe(done_fds))
		die("pipe");
	gate_make(&started);
	start(0);
	for (i = 1; i < n_actors; i++) {
		if (pipe(actors[i].line_fds) ||
		    pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]))
			die("pthread_create");
		/* One after the other: a byte each. */
		read_whole(started.fds[0], &ready, 1);
	}
	say_of(&actors[0].who, "actor", "'threads': %d", n_actors);
	for (;;) {
		read_go(line, sizeof(line));
		dispatch(line);
	}
}
