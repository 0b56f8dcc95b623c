// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does more than deadhold has room for, or what it cannot read:
 *
 *   lossy exits N        N threads that end, one after the other
 *   lossy signals N      N processes that each signal themselves with every signal that they can
 *                        ignore, and live on
 *   lossy list HOW       a thread that ends with a list of robust locks: "nowhere" (not mapped),
 *                        "circle" (no end), "broken" (an entry that is not mapped), or "empty" (in order)
 *   lossy within N       N threads that end when their time comes, on the CPU on which one thread after the
 *                        other ends with a list like "circle", at which whoever reads it is for long
 *   lossy maps FILE N    maps a file's first page N times
 *   lossy runs FILE N    maps it N times as a program's, one after the other, all on one CPU
 *   lossy robust N       N threads that each end with 2000 robust locks, one after the other
 *   lossy page FILE HOW  a thread takes a lock and ends; another waits for the lock in a mapping of FILE
 *                        that nobody has read, "untouched", or that it has, "touched"
 */
#include "say.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL_STACK 16384
#define UNMAPPED    4096 /* below what the kernel lets anybody map */

static void *nothing(void *arg)
{
	return arg;
}

static void exits(long n)
{
	pthread_attr_t attr;
	pthread_t thread;
	long i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, SMALL_STACK);
	for (i = 0; i < n; i++) {
		need(pthread_create(&thread, &attr, nothing, NULL), "pthread_create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	pthread_attr_destroy(&attr);
	say("done", "'count': %ld", n);
}

/* libc keeps 32 and 33 (glibc) for itself: raise() would refuse them. */
static int ignorable(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33;
}

static long signal_myself(void)
{
	long sent = 0;
	int sig;

	for (sig = 1; sig <= 64; sig++) {
		if (!ignorable(sig))
			continue;
		signal(sig, SIG_IGN);
		if (raise(sig))
			die("raise %d", sig);
		sent++;
	}
	return sent;
}

static void signals(long n)
{
	long sent = 0, one, i;
	int done[2];

	if (pipe(done))
		die("pipe");
	for (i = 0; i < n; i++) {
		switch (fork()) {
		case -1:
			die("fork");
			break;
		case 0:
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
			one = signal_myself();
			say_bytes(done[1], (const char *)&one, sizeof(one));
			for (;;)
				pause();
		}
	}
	for (i = 0; i < n; i++) {
		if (read(done[0], &one, sizeof(one)) != sizeof(one))
			die("read");
		sent += one;
	}
	say("done", "'count': %ld", sent);
}

#define ROBUST 2000 /* the kernel looks at 2048 */

/* No other thread takes them: they stay as they were left. */
static void *robust_leave(void *arg)
{
	pthread_mutex_t *locks = arg;
	int i;

	for (i = 0; i < ROBUST; i++)
		need(pthread_mutex_lock(&locks[i]), "pthread_mutex_lock");
	return NULL;
}

static void robust(long n)
{
	pthread_mutex_t *locks = calloc((size_t)n * ROBUST, sizeof(*locks));
	pthread_mutexattr_t attr;
	pthread_t thread;
	long i;

	if (!locks)
		die("calloc");
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (i = 0; i < n * ROBUST; i++)
		need(pthread_mutex_init(&locks[i], &attr), "pthread_mutex_init");
	for (i = 0; i < n; i++) {
		need(pthread_create(&thread, NULL, robust_leave, &locks[i * ROBUST]), "create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	say("done", "'count': %ld", n * ROBUST);
}

static struct robust_list_head head;
static struct robust_list one, other;

static void *list_run(void *arg)
{
	const char *how = arg;
	void *list = &head;

	head.list.next = &one;
	one.next = &head.list;
	head.futex_offset = sizeof(one); /* a word that is 0: nobody's */
	if (!strcmp(how, "nowhere")) {
		list = (void *)UNMAPPED;
	} else if (!strcmp(how, "circle")) {
		one.next = &other;
		other.next = &one;
	} else if (!strcmp(how, "broken")) {
		one.next = (void *)UNMAPPED;
	}
	if (syscall(SYS_set_robust_list, list, sizeof(head)))
		die("set_robust_list");
	syscall(SYS_exit, 0);
	return NULL;
}

static void list_leave(char *how)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, list_run, how), "pthread_create");
	need(pthread_join(thread, NULL), "pthread_join");
	say("done", NOTHING);
}

static void stay_on_one_cpu(void)
{
	cpu_set_t one_cpu;

	CPU_ZERO(&one_cpu);
	CPU_SET((size_t)sched_getcpu(), &one_cpu);
	if (sched_setaffinity(0, sizeof(one_cpu), &one_cpu))
		die("sched_setaffinity");
}

#define EVERY_NS 3000017 /* no multiple of anything else's */

static atomic_long n_due;

static void *due_end(void *arg)
{
	const struct timespec *due = arg;

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
	atomic_fetch_sub(&n_due, 1);
	return NULL;
}

/* Goes before all ordinary threads. */
static void due_start(struct timespec *due)
{
	const struct sched_param first = { .sched_priority = 1 };
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &first);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	need(pthread_create(&thread, &attr, due_end, due), "pthread_create");
	pthread_attr_destroy(&attr);
}

static void within(long n)
{
	struct timespec *due = calloc((size_t)n, sizeof(*due)), now;
	long i, lists = 0;
	pthread_t thread;

	if (!due || clock_gettime(CLOCK_MONOTONIC, &now))
		die("calloc, clock_gettime");
	stay_on_one_cpu();
	atomic_store(&n_due, n);
	for (i = 0; i < n; i++) {
		long long ns = now.tv_nsec + 1000000000ll + i * EVERY_NS;

		due[i].tv_sec = now.tv_sec + ns / 1000000000;
		due[i].tv_nsec = ns % 1000000000;
		due_start(&due[i]);
	}
	for (; atomic_load(&n_due); lists++) {
		need(pthread_create(&thread, NULL, list_run, "circle"), "pthread_create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	say("done", "'count': %ld, 'lists': %ld", n, lists);
}

#define PAGE 4096

static int file_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0700);

	if (fd < 0 || ftruncate(fd, PAGE))
		die("%s", path);
	return fd;
}

static void *page_map(int fd, int protection, int flags)
{
	void *page = mmap(NULL, PAGE, protection, flags, fd, 0);

	if (page == MAP_FAILED)
		die("mmap");
	return page;
}

/* Neighbours don't become one mapping: the second does not go on in the file where the first ends. */
static void maps(const char *path, long n)
{
	int fd = file_open(path);
	long i;

	for (i = 0; i < n; i++)
		page_map(fd, PROT_READ, MAP_SHARED);
	say("done", "'count': %ld", n);
}

static void runs(const char *path, long n)
{
	int fd = file_open(path);
	long i;

	stay_on_one_cpu();
	for (i = 0; i < n; i++)
		munmap(page_map(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE), PAGE);
	say("done", "'count': %ld", n);
}

/* Robust: its word names the owner, so that it is known whoever's code waits for it. */
static pthread_mutex_t mutex;

static void *lock_and_end(void *arg)
{
	need(pthread_mutex_lock(&mutex), "pthread_mutex_lock");
	name_me("owner");
	say("locked", NOTHING);
	return arg;
}

struct page_waiter {
	int32_t *word, value;
	struct who who;
	struct gate ready;
};

/* What libc does for a lock that somebody has; but for libc's own look at the lock, which reads it. */
static void *page_wait(void *arg)
{
	struct page_waiter *waiter = arg;

	name_me("waiter");
	waiter->who = who_am_i();
	gate_open(&waiter->ready);
	syscall(SYS_futex, waiter->word, FUTEX_WAIT, waiter->value, NULL, NULL, 0);
	die("the wait is over");
}

static void page(const char *path, const char *how)
{
	struct page_waiter waiter;
	int fd = file_open(path);
	pthread_mutexattr_t attr;
	pthread_t thread;
	volatile int32_t word;

	need(pthread_mutexattr_init(&attr), "pthread_mutexattr_init");
	need(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), "setrobust");
	need(pthread_mutex_init(&mutex, &attr), "pthread_mutex_init");
	need(pthread_create(&thread, NULL, lock_and_end, NULL), "pthread_create");
	need(pthread_join(thread, NULL), "pthread_join");
	/* As it was before the kernel came upon it at the owner's end; and somebody waits for it. */
	waiter.value = mutex.__data.__owner | (int32_t)FUTEX_WAITERS;
	mutex.__data.__lock = waiter.value;
	if (pwrite(fd, &mutex, sizeof(mutex), 0) != sizeof(mutex))
		die("pwrite");
	memset(&mutex, 0, sizeof(mutex)); /* the lock is in the file alone */
	waiter.word = page_map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	if (!strcmp(how, "touched"))
		word = *waiter.word, (void)word;
	gate_make(&waiter.ready);
	need(pthread_create(&thread, NULL, page_wait, &waiter), "pthread_create");
	gate_pass(&waiter.ready);
	wait_blocked(&waiter.who, waiter.word, sizeof(*waiter.word));
	say_of(&waiter.who, "done", "'lock': '%p'", (void *)waiter.word);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: lossy exits|signals|robust|within N, list HOW, maps|runs FILE N, or page FILE HOW");
	say("started", NOTHING);
	expect_go("go");
	if (!strcmp(argv[1], "exits"))
		exits(atol(argv[2]));
	else if (!strcmp(argv[1], "signals"))
		signals(atol(argv[2]));
	else if (!strcmp(argv[1], "robust"))
		robust(atol(argv[2]));
	else if (!strcmp(argv[1], "within"))
		within(atol(argv[2]));
	else if (!strcmp(argv[1], "list"))
		list_leave(argv[2]);
	else if (!strcmp(argv[1], "maps") && argc == 4)
		maps(argv[2], atol(argv[3]));
	else if (!strcmp(argv[1], "runs") && argc == 4)
		runs(argv[2], atol(argv[3]));
	else if (!strcmp(argv[1], "page") && argc == 4)
		page(argv[2], argv[3]);
	else
		die("no such thing: %s", argv[1]);
	expect_go("end");
	return 0;
}
