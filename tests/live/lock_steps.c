/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads and processes that take locks, wait, and end, step by step as the test says.
 *
 *   lock_steps [leader] [heap | stack | userfault | init FILE | join FILE | anonymous] KIND...
 *
 * KIND: the locks A, B, … (lock_kinds.h). They are private: static, or on the heap or the main thread's
 * stack; or lie in a shared mapping of FILE, which `init` makes and `join` maps, elsewhere; or in a
 * shared anonymous mapping; or ("userfault") on a page that a userfaultfd is asked for once it is
 * dropped.
 * leader: the main thread is the actor "leader"; otherwise it only hands out the steps.
 *
 * A step is a line on stdin: ACTOR VERB [LOCK] [NUMBER]. An actor is a thread, made when it is first
 * named, or a process:
 *
 *   fork [LOCK]                 the actor is a new process, forked here, by a thread that holds LOCK
 *   lock, read, timed, unlock   LOCK; timed: for NUMBER seconds
 *   timed-read, try, try-read   likewise; try: if nobody has it
 *   wait, wait-guarded          waits for a condition variable that goes with LOCK, which it holds;
 *                               guarded: a cancellation handler unlocks
 *   sem, barrier, once, join    waits for the semaphore, the barrier of two, the once routine (which
 *                               itself waits until woken), another actor
 *   helper                      a thread more in its process, until that is blocked on LOCK
 *   show                        nothing: says that the actor is there
 *   return, pthread-exit        the thread ends
 *   raw, seccomp                the thread ends by the system call itself, or is killed
 *   exec, exit, abort           the process execs this program again, exits, dumps core
 * without an actor:
 *   cancel ACTOR LOCK           which it takes again before it ends
 *   show LOCK                   its words as they are
 *   wake                        all that wait for the condition, one that waits for the semaphore, and
 *                               the once routine
 *   drop                        the page of the locks: whoever reads it waits for ever
 *   end                         the process exits
 *
 * What comes of a step is an event that names it: "done" with the result; "blocked" if it sleeps in a
 * futex call (then "done" follows when it comes through); "died".
 */
#include "lock_kinds.h"
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#ifdef __GLIBC__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#endif

#define RAW_CODE   7 /* exit code of a thread that ends by the system call */
#define MAX_LOCKS  12
#define MAX_ACTORS 64
#define STEP_BYTES 96

struct lock {
	unsigned int words[LOCK_BYTES / sizeof(unsigned int)];
} __attribute__((aligned(LOCK_BYTES)));

struct actor {
	char name[16];
	pthread_t thread;
	pid_t child; /* 0: a thread */
	struct who who;
	int steps[2], results[2]; /* pipes: lines to the actor; one byte back for each step done */
	int busy;		  /* with a step in which it blocked */
};

static struct lock private_locks[MAX_LOCKS];
static const struct lock *private_memory = private_locks;
static struct lock *locks = private_locks;
static const struct lock_kind *kinds[MAX_LOCKS];
static int n_locks;

static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore, once_semaphore;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct actor actors[MAX_ACTORS];
static int n_actors;
static char **arguments;
static int start_error; /* errno of what could not be set up */

/* A step, taken apart. */
struct step {
	char line[STEP_BYTES]; /* as it came */
	char actor[16], verb[16], object[16];
	int number;
};

static void step_parse(struct step *step, const char *line)
{
	memset(step, 0, sizeof(*step));
	snprintf(step->line, sizeof(step->line), "%s", line);
	if (sscanf(line, "%15s %15s %15s %d", step->actor, step->verb, step->object,
		   &step->number) < 1)
		die("an empty step");
}

static int step_is(const struct step *step, const char *verb)
{
	return !strcmp(step->verb, verb);
}

/* A step in which the actor may have to wait for the lock. */
static int step_takes(const struct step *step)
{
	return step_is(step, "lock") || step_is(step, "read") || step_is(step, "timed") ||
	       step_is(step, "timed-read");
}

static int step_lock(const struct step *step)
{
	int i = step->object[0] - 'A';

	if (i < 0 || i >= n_locks)
		die("no such lock: %s", step->line);
	return i;
}

/* Says what came of a step; with the lock it is about, as its words are in memory. */
static void say_step(const struct who *who, const char *event, const struct step *step, int result)
{
	char words[160] = "";
	int n = 0, i, number = step->object[0] - 'A';
	const struct lock *lock;

	if (step->object[1] || number < 0 || number >= n_locks) {
		say_of(who, event, "'step': '%s', 'result': %d, 'futex': '0x%lx'", step->line,
		       result, blocked_on(who));
		return;
	}
	lock = &locks[number];
	for (i = 0; i < LOCK_WORDS; i++)
		n += snprintf(words + n, sizeof(words) - (size_t)n, "%s%u", i ? ", " : "",
			      lock->words[i]);
	say_of(who, event,
	       "'step': '%s', 'result': %d, 'futex': '0x%lx', 'lock': '%p', 'offset': %ld, 'words': [%s]",
	       step->line, result, blocked_on(who), (const void *)lock,
	       (long)((const char *)lock - (const char *)locks), words);
}

static struct actor *actor_find(const char *name)
{
	int i;

	for (i = 0; i < n_actors; i++)
		if (!strcmp(actors[i].name, name))
			return &actors[i];
	return NULL;
}

/* --- What an actor does. --- */

static int acquire(const struct step *step)
{
	struct lock_way way = { !!strstr(step->verb, "read"),
				strstr(step->verb, "timed") ? step->number : 0,
				!!strstr(step->verb, "try") };
	int i = step_lock(step);
	int result = kinds[i]->acquire(&locks[i], way);

	if (result == EOWNERDEAD)
		need(pthread_mutex_consistent((pthread_mutex_t *)&locks[i]), "consistent");
	return result;
}

static void unlock(void *lock)
{
	need(pthread_mutex_unlock((pthread_mutex_t *)lock), "unlock in the handler");
}

static int wait_condition(const struct step *step)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)&locks[step_lock(step)];
	int result;

	if (step_is(step, "wait"))
		return pthread_cond_wait(&condition, mutex);
	pthread_cleanup_push(unlock, mutex);
	result = pthread_cond_wait(&condition, mutex);
	pthread_cleanup_pop(0);
	return result;
}

static void once_routine(void)
{
	sem_wait(&once_semaphore);
}

static int join(const struct step *step)
{
	struct actor *other = actor_find(step->object);

	if (!other)
		die("nobody to join: %s", step->line);
	return pthread_join(other->thread, NULL);
}

static struct helper {
	struct step step;
	struct who who;
	struct gate known;
} helper;

static void *helper_run(void *arg)
{
	name_me("helper");
	helper.who = who_am_i();
	gate_open(&helper.known);
	acquire(&helper.step);
	kinds[step_lock(&helper.step)]->release(&locks[step_lock(&helper.step)]);
	return arg;
}

static int help(const struct step *step)
{
	pthread_t thread;

	helper.step = *step;
	gate_make(&helper.known);
	need(pthread_create(&thread, NULL, helper_run, NULL), "pthread_create");
	gate_pass(&helper.known);
	wait_blocked(&helper.who, &locks[step_lock(step)], sizeof(struct lock));
	return 0;
}

static void seccomp_die(void)
{
#ifdef __GLIBC__
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* seccomp_data.nr */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("seccomp");
	syscall(SYS_getppid);
#endif
	die("seccomp did not kill the thread");
}

static void dump_core(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_CORE, &unlimited) && getrlimit(RLIMIT_CORE, &unlimited))
		die("RLIMIT_CORE");
	unlimited.rlim_cur = unlimited.rlim_max;
	setrlimit(RLIMIT_CORE, &unlimited);
	abort();
}

/* Does a step from which the actor comes back; the rest end the thread or the process. */
static int actor_step(const struct step *step)
{
	if (step_takes(step) || step_is(step, "try") || step_is(step, "try-read"))
		return acquire(step);
	if (step_is(step, "unlock"))
		return kinds[step_lock(step)]->release(&locks[step_lock(step)]);
	if (step_is(step, "wait") || step_is(step, "wait-guarded"))
		return wait_condition(step);
	if (step_is(step, "sem"))
		return sem_wait(&semaphore);
	if (step_is(step, "barrier")) {
		int result = pthread_barrier_wait(&barrier);

		return result == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : result;
	}
	if (step_is(step, "once"))
		return pthread_once(&once, once_routine);
	if (step_is(step, "join"))
		return join(step);
	if (step_is(step, "helper"))
		return help(step);
	if (step_is(step, "show"))
		return 0;
	if (step_is(step, "raw"))
		syscall(SYS_exit, RAW_CODE);
	if (step_is(step, "seccomp"))
		seccomp_die();
	if (step_is(step, "pthread-exit"))
		pthread_exit(NULL);
	if (step_is(step, "exit"))
		exit(0);
	if (step_is(step, "abort"))
		dump_core();
	if (step_is(step, "exec"))
		execv("/proc/self/exe", arguments);
	die("no step: %s", step->line);
}

static void read_line(int fd, char *line, size_t size)
{
	size_t length = 0;
	ssize_t n;
	char c;

	while ((n = read(fd, &c, 1)) != 0 && c != '\n') {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("read");
		if (length + 1 < size)
			line[length++] = c;
	}
	line[length] = '\0';
	if (!n)
		_exit(96); /* whoever hands out the steps is gone */
}

static void *actor_run(void *arg)
{
	struct actor *actor = (struct actor *)arg;
	char line[STEP_BYTES];
	struct step step;

	name_me(actor->name);
	actor->who = who_am_i();
	say_bytes(actor->results[1], (const char *)&actor->who, sizeof(actor->who));
	for (;;) {
		read_line(actor->steps[0], line, sizeof(line));
		step_parse(&step, line);
		if (step_is(&step, "return"))
			break;
		say_step(&actor->who, "done", &step, actor_step(&step));
		say_bytes(actor->results[1], "", 1);
	}
	/* A main thread that returned would end the process. */
	if (actor->child)
		exit(0);
	if (actor->who.tid == actor->who.pid)
		pthread_exit(NULL);
	return NULL;
}

/* --- Handing out the steps. --- */

static struct actor *actor_add(const char *name)
{
	struct actor *actor = &actors[n_actors++];

	if (n_actors == MAX_ACTORS)
		die("too many actors");
	snprintf(actor->name, sizeof(actor->name), "%s", name);
	if (pipe2(actor->steps, O_CLOEXEC) || pipe2(actor->results, O_CLOEXEC))
		die("pipe");
	return actor;
}

/* The actor tells who it is. A process's /proc is opened from here. */
static void actor_meet(struct actor *actor)
{
	char path[64];

	if (read(actor->results[0], &actor->who, sizeof(actor->who)) != sizeof(actor->who))
		die("an actor did not come");
	if (!actor->child)
		return;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", actor->who.pid, actor->who.tid);
	actor->who.syscall_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (actor->who.syscall_fd < 0)
		die("%s", path);
}

static void actor_fork(const struct step *step)
{
	struct actor *actor = actor_add(step->actor);

	if (*step->object)
		acquire(step);
	actor->child = fork();
	if (actor->child < 0)
		die("fork");
	if (!actor->child) {
		close(actor->steps[1]); /* so that the child ends when this process does */
		actor->child = getpid();
		actor_run(actor);
	}
	if (*step->object)
		kinds[step_lock(step)]->release(&locks[step_lock(step)]);
	actor_meet(actor);
	say_step(&actor->who, "done", step, 0);
}

static void actor_create(const char *name)
{
	struct actor *actor = actor_add(name);

	need(pthread_create(&actor->thread, NULL, actor_run, actor), "pthread_create");
	actor_meet(actor);
}

/* Is there a byte that says the actor is done with a step? Takes it. */
static int actor_is_done(struct actor *actor, int timeout_ms)
{
	struct pollfd fd = { actor->results[0], POLLIN, 0 };
	char c;

	if (poll(&fd, 1, timeout_ms) < 1)
		return 0;
	return read(actor->results[0], &c, 1) == 1;
}

/* Waits until the step is done, or the actor is blocked in it or has ended by it. */
static void actor_watch(struct actor *actor, const struct step *step)
{
	int takes_lock = step_takes(step);
	const void *from = NULL;
	size_t bytes = SIZE_MAX;
	int i;

	if (takes_lock && !kinds[step_lock(step)]->protocol) {
		from = &locks[step_lock(step)];
		bytes = sizeof(struct lock);
	} /* else libc may park it on another word */
	actor->busy = 1;
	for (i = 0; i < SAY_LIMIT_S * 500; i++) {
		if (actor_is_done(actor, 2)) {
			actor->busy = 0;
			return;
		}
		if (is_blocked(&actor->who, from, bytes)) {
			say_step(&actor->who, "blocked", step, 0);
			return;
		}
		if (say_is_gone(&actor->who)) {
			say_step(&actor->who, "died", step, 0);
			return;
		}
	}
	die("nothing came of the step %s", step->line);
}

static void actor_tell(const struct step *step)
{
	struct actor *actor = actor_find(step->actor);

	if (step_is(step, "fork")) {
		actor_fork(step);
		return;
	}
	if (!actor) {
		actor_create(step->actor);
		actor = actor_find(step->actor);
	}
	/* It may have said that it is done, and be about to say so here. */
	if (actor->busy && !actor_is_done(actor, SAY_LIMIT_S * 1000))
		die("%s, but it is still blocked", step->line);
	actor->busy = 0;
	say_bytes(actor->steps[1], step->line, strlen(step->line));
	say_bytes(actor->steps[1], "\n", 1);
	actor_watch(actor, step);
}

/* "cancel ACTOR LOCK": the actor of the step that follows from it is the verb of this one. */
static void cancel(const struct step *step)
{
	struct actor *actor = actor_find(step->verb);
	struct step wanted = *step;

	if (!actor)
		die("nobody to cancel: %s", step->line);
	need(pthread_cancel(actor->thread), "pthread_cancel");
	strcpy(wanted.verb, "lock");
	actor_watch(actor, &wanted);
}

static void show(const struct step *step)
{
	struct step wanted = *step;
	struct who who = who_am_i();

	memcpy(wanted.object, step->verb, sizeof(wanted.object));
	say_step(&who, "shown", &wanted, 0);
	close(who.syscall_fd);
}

static void drop(void)
{
	if (madvise(locks, 4096, MADV_DONTNEED))
		die("madvise");
	say("dropped", NOTHING);
}

static void wake(void)
{
	need(pthread_cond_broadcast(&condition), "pthread_cond_broadcast");
	if (sem_post(&semaphore) || sem_post(&once_semaphore))
		die("sem_post");
	say("woken", NOTHING);
}

static void *run(void *leader)
{
	char line[STEP_BYTES];
	struct step step;

	if (leader)
		actor_meet((struct actor *)leader);
	say("started", "'result': %d", start_error);
	for (;;) {
		read_go(line, sizeof(line));
		step_parse(&step, line);
		if (!strcmp(step.actor, "cancel"))
			cancel(&step);
		else if (!strcmp(step.actor, "show"))
			show(&step);
		else if (!strcmp(step.actor, "wake"))
			wake();
		else if (!strcmp(step.actor, "drop"))
			drop();
		else if (!strcmp(step.actor, "end"))
			exit(0);
		else
			actor_tell(&step);
	}
	return NULL;
}

/* Maps the locks shared, and not where another process has them. */
static void locks_share(const char *path, int make)
{
	size_t bytes = sizeof(private_locks);
	int fd = path ? open(path, O_RDWR | (make ? O_CREAT : 0), 0600) : -1;
	void *map;

	if (path && (fd < 0 || (make && ftruncate(fd, (off_t)bytes))))
		die("%s", path);
	if (!make &&
	    mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		die("mmap");
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (path ? 0 : MAP_ANONYMOUS), fd,
		   0);
	if (map == MAP_FAILED)
		die("mmap");
	locks = (struct lock *)map;
	if (path)
		close(fd);
}

static void *page_map(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		die("mmap");
	memset(page, 0, 4096); /* it is there until it is dropped */
	return page;
}

/* From now on a userfaultfd that nobody reads is asked for the page when it is missing. 0 or errno. */
static int page_watch(void *page)
{
#ifdef __GLIBC__
	struct uffdio_api api;
	struct uffdio_register range;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	memset(&api, 0, sizeof(api));
	api.api = UFFD_API;
	memset(&range, 0, sizeof(range));
	range.range.start = (unsigned long)page;
	range.range.len = 4096;
	range.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		return errno;
	return 0;
#else
	(void)page;
	return ENOSYS;
#endif
}

int main(int argc, char **argv)
{
	struct lock on_stack[MAX_LOCKS] = {};
	int leader = 0, make = 1, userfault = 0;
	struct actor *actor;
	pthread_t thread;

	arguments = argv;
	for (argv++; *argv && n_locks < MAX_LOCKS; argv++) {
		if (!strcmp(*argv, "leader")) {
			leader = 1;
		} else if (!strcmp(*argv, "heap")) {
			locks = (struct lock *)aligned_alloc(LOCK_BYTES, sizeof(private_locks));
			memset(locks, 0, sizeof(private_locks));
			private_memory = locks;
		} else if (!strcmp(*argv, "stack")) {
			private_memory = locks = on_stack;
		} else if (!strcmp(*argv, "userfault")) {
			userfault = 1;
			private_memory = locks = (struct lock *)page_map();
		} else if (!strcmp(*argv, "anonymous")) {
			locks_share(NULL, 1);
		} else if (!strcmp(*argv, "init") || !strcmp(*argv, "join")) {
			make = !strcmp(*argv, "init");
			locks_share(*++argv, make);
		} else {
			kinds[n_locks] = lock_kind_find(*argv);
			if (make)
				kinds[n_locks]->init(kinds[n_locks], &locks[n_locks],
						     locks != private_memory);
			n_locks++;
		}
	}
	if (argc < 2 || !n_locks)
		die("usage: lock_steps [leader] [PLACE] KIND...");
	signal(SIGCHLD, SIG_IGN); /* leave no zombies */
	if (sem_init(&semaphore, 0, 0) || sem_init(&once_semaphore, 0, 0) ||
	    pthread_barrier_init(&barrier, NULL, 2))
		die("sem_init, pthread_barrier_init");
	if (userfault)
		start_error = page_watch(locks);
	if (!leader)
		run(NULL);
	actor = actor_add("leader");
	actor->thread = pthread_self();
	need(pthread_create(&thread, NULL, run, actor), "pthread_create");
	actor_run(actor);
}
