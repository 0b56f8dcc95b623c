/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What deep mode is tested with beside lock_steps: does what each line on stdin says.
 *
 *   many NUMBER    a thread takes so many mutexes, and ends when told to "die"
 *   churn          threads take and release locks of all kinds, and end, until told
 *                  to "stop": then nobody holds any
 *   load LIBRARY   loads it
 *   python         a thread takes a lock of the loaded CPython's, and ends
 *   fork           a child, which does the rest
 *   fork hang      a child that hangs at once: a thread waits for one that has ended
 *   forks NUMBER   so many children, one after the other, that end at once
 *   leave          the main thread ends; another one does the rest
 *   exec           the same program again
 *   exec PROGRAM   another one
 *   end            exits
 */
#include "lock_kinds.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <sys/wait.h>

#define CHURNERS 4
#define CHURNED	 16

struct many {
	long n;
	struct gate die;
};

static struct {
	pthread_mutex_t mutex[CHURNED], recursive[CHURNED];
	pthread_rwlock_t rwlock[CHURNED];
	volatile int stop;
	long rounds;
} churn;

static char **arguments;

static void *run(void *arg);

static void *many_run(void *arg)
{
	struct many *many = arg;
	pthread_mutex_t *mutex = calloc((size_t)many->n, sizeof(*mutex));
	long i;

	name_me("holder");
	for (i = 0; i < many->n; i++)
		need(pthread_mutex_lock(&mutex[i]), "lock");
	say("locked", "'lock': '%p', 'n': %ld", (void *)mutex, many->n);
	gate_pass(&many->die);
	return NULL;
}

static void many_do(long n)
{
	struct many many = { .n = n };
	pthread_t thread;

	gate_make(&many.die);
	need(pthread_create(&thread, NULL, many_run, &many), "pthread_create");
	expect_go("die");
	gate_open(&many.die);
	need(pthread_join(thread, NULL), "pthread_join");
	say("died", NOTHING);
}

/* One round with lock number i of each kind: whatever is taken is released. */
static void churn_round(int i)
{
	int other = (i + 1) % CHURNED;

	need(pthread_mutex_lock(&churn.mutex[i]), "lock");
	if (!pthread_mutex_trylock(&churn.mutex[other]))
		need(pthread_mutex_unlock(&churn.mutex[other]), "unlock");
	need(pthread_mutex_unlock(&churn.mutex[i]), "unlock");

	need(pthread_mutex_lock(&churn.recursive[i]), "lock");
	need(pthread_mutex_lock(&churn.recursive[i]), "lock");
	need(pthread_mutex_unlock(&churn.recursive[i]), "unlock");
	need(pthread_mutex_unlock(&churn.recursive[i]), "unlock");

	need(pthread_rwlock_rdlock(&churn.rwlock[i]), "rdlock");
	if (!pthread_rwlock_tryrdlock(&churn.rwlock[i]))
		need(pthread_rwlock_unlock(&churn.rwlock[i]), "unlock");
	need(pthread_rwlock_unlock(&churn.rwlock[i]), "unlock");
	if (!pthread_rwlock_trywrlock(&churn.rwlock[other]))
		need(pthread_rwlock_unlock(&churn.rwlock[other]), "unlock");
}

/* Ends after some rounds, and another one comes in its place: ends are what is looked at. */
static void *churn_run(void *arg)
{
	int i, first = (int)(long)arg;

	for (i = 0; i < 50 && !churn.stop; i++)
		churn_round((first + i) % CHURNED);
	__sync_fetch_and_add(&churn.rounds, i);
	return NULL;
}

static void *churn_keep(void *arg)
{
	pthread_t thread;

	while (!churn.stop) {
		need(pthread_create(&thread, NULL, churn_run, arg), "pthread_create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	return NULL;
}

static void churn_do(void)
{
	pthread_t thread[CHURNERS];
	pthread_mutexattr_t attr;
	long i;

	need(pthread_mutexattr_init(&attr), "attr");
	need(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE), "settype");
	for (i = 0; i < CHURNED; i++) {
		need(pthread_mutex_init(&churn.mutex[i], NULL), "init");
		need(pthread_mutex_init(&churn.recursive[i], &attr), "init");
		need(pthread_rwlock_init(&churn.rwlock[i], NULL), "init");
	}
	for (i = 0; i < CHURNERS; i++)
		need(pthread_create(&thread[i], NULL, churn_keep, (void *)i), "pthread_create");
	say("churning", NOTHING);
	expect_go("stop");
	churn.stop = 1;
	for (i = 0; i < CHURNERS; i++)
		need(pthread_join(thread[i], NULL), "pthread_join");
	say("churned", "'rounds': %ld", churn.rounds);
}

#if defined(__GLIBC__) && !defined(STATIC)
static void load_do(const char *path)
{
	if (!dlopen(path, RTLD_NOW | RTLD_GLOBAL))
		die("%s", dlerror());
	say("loaded", NOTHING);
}

static void *python_run(void *arg)
{
	void *(*allocate)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyThread_allocate_lock");
	int (*acquire)(void *, int) = (int (*)(void *, int))dlsym(RTLD_DEFAULT,
								  "PyThread_acquire_lock");
	void *lock;

	(void)arg;
	name_me("holder");
	if (!allocate || !acquire)
		die("no Python");
	lock = allocate();
	if (!acquire(lock, 1))
		die("PyThread_acquire_lock");
	say("locked", "'lock': '%p'", lock);
	return NULL;
}

static void python_do(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, python_run, NULL), "pthread_create");
	need(pthread_join(thread, NULL), "pthread_join");
}
#else
static void load_do(const char *path)
{
	die("no dlopen: %s", path);
}

static void python_do(void)
{
	die("no Python");
}
#endif

static void leave_do(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, run, NULL), "pthread_create");
	pthread_exit(NULL);
}

static pthread_mutex_t orphan = PTHREAD_MUTEX_INITIALIZER;
static struct who waiter;
static struct gate waiter_known;

static void *waiter_run(void *arg)
{
	(void)arg;
	waiter = who_am_i();
	gate_open(&waiter_known);
	need(pthread_mutex_lock(&orphan), "lock");
	return NULL;
}

static void *owner_run(void *arg)
{
	pthread_t thread;

	(void)arg;
	gate_make(&waiter_known);
	need(pthread_mutex_lock(&orphan), "lock");
	need(pthread_create(&thread, NULL, waiter_run, NULL), "pthread_create");
	gate_pass(&waiter_known);
	wait_blocked(&waiter, &orphan, sizeof(orphan));
	say("hangs", "'lock': '%p'", (void *)&orphan);
	return NULL;
}

static void forks_do(long n)
{
	for (; n; n--) {
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (!child)
			_exit(0);
		need(waitpid(child, NULL, 0) != child, "waitpid");
	}
	say("over", NOTHING);
}

static void fork_do(bool hang)
{
	pthread_t thread;
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child)
		for (;;)
			pause();
	if (hang)
		need(pthread_create(&thread, NULL, owner_run, NULL), "pthread_create");
	else
		say("forked", NOTHING);
}

static void *run(void *arg)
{
	char line[512];

	(void)arg;
	say("started", "'lock': '%p', 'unlock': '%p', 'read': '%p'", (void *)pthread_mutex_lock,
	    (void *)pthread_mutex_unlock, (void *)pthread_rwlock_rdlock);
	for (;;) {
		read_go(line, sizeof(line));
		if (!strncmp(line, "many ", 5))
			many_do(atol(line + 5));
		else if (!strcmp(line, "churn"))
			churn_do();
		else if (!strncmp(line, "load ", 5))
			load_do(line + 5);
		else if (!strcmp(line, "python"))
			python_do();
		else if (!strcmp(line, "fork"))
			fork_do(false);
		else if (!strcmp(line, "fork hang"))
			fork_do(true);
		else if (!strncmp(line, "forks ", 6))
			forks_do(atol(line + 6));
		else if (!strcmp(line, "leave"))
			leave_do();
		else if (!strcmp(line, "exec"))
			execv("/proc/self/exe", arguments);
		else if (!strncmp(line, "exec ", 5))
			execv(line + 5, arguments);
		else if (!strcmp(line, "end"))
			exit(0);
		else
			die("no step: %s", line);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	(void)argc;
	arguments = argv;
	run(NULL);
}
