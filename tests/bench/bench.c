// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tests/bench/run measures with: prices of single operations, and loads for the agent to watch.
 *
 *   bench prices               for each line on stdin one line "NAME NANOSECONDS" an operation, and "."
 *   bench contended            one line "NAME PASSES-A-SECOND …" a number of threads
 *   bench pairs                for each line "CALLS" on stdin the prices of lock pairs, and "."
 *   bench execs                for each line "CALLS" on stdin that of fork, exec of /bin/true, wait; "."
 *   bench orphans              obeys "die" and "free" on stdin, one orphaned lock at a time
 *   bench stuck N WAITERS      N processes; a line on stdin: in each a thread dies with a lock, and so
 *                              many wait for it; the next line: it is unlocked, they end; each time "."
 *   bench waiters N cond|lock  N threads that wait until stdin ends
 *   bench signals N RATE       N signals at a thread of another process, RATE a second (0: flat out)
 *   bench exits RATE SEC WARM  WARM threads that end at once, then RATE a second
 *   bench resident MB          has so much memory; obeys on stdin "mmap SEC" (times mmap and munmap of a
 *                              page: "MEDIAN P99 N", ns), "die" (a thread ends with a lock: its TID),
 *                              "exits SEC" (threads end by the system call, 50 a second)
 *
 * Prices are those of the fastest of many short slices: other work on the host makes a slice slower,
 * never faster. Of a contended lock every slice is printed: how its threads meet varies by itself.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL_STACK 16384

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static pthread_t thread_start(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, SMALL_STACK);
	errno = pthread_create(&thread, &attr, run, arg);
	if (errno)
		die("pthread_create");
	pthread_attr_destroy(&attr);
	return thread;
}

/* Waits until the other side says so; false at the end of stdin. */
static int line_read(char *line, size_t bytes)
{
	if (!fgets(line, bytes, stdin))
		return 0;
	line[strcspn(line, "\n")] = '\0';
	return 1;
}

/* ---- prices ---- */

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t lonely_word;

static void lock_pairs(int n)
{
	while (n--) {
		pthread_mutex_lock(&free_lock);
		pthread_mutex_unlock(&free_lock);
	}
}

static pthread_rwlock_t free_rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void read_pairs(int n)
{
	while (n--) {
		pthread_rwlock_rdlock(&free_rwlock);
		pthread_rwlock_unlock(&free_rwlock);
	}
}

static void wakes(int n)
{
	while (n--)
		futex(&lonely_word, FUTEX_WAKE, 1);
}

static void getppids(int n)
{
	while (n--)
		syscall(SYS_getppid);
}

static void *nothing(void *arg)
{
	return arg;
}

static void threads(int n)
{
	while (n--)
		pthread_join(thread_start(nothing, NULL), NULL);
}

static void price(const char *name, void (*run)(int), int calls, int slices)
{
	uint64_t best = UINT64_MAX, begin, took;

	run(calls);
	while (slices--) {
		begin = now_ns();
		run(calls);
		took = now_ns() - begin;
		if (took < best)
			best = took;
	}
	printf("%s %.3f\n", name, (double)best / calls);
}

/* ---- ping-pong: two threads on one CPU, every turn two context switches ---- */

struct pong {
	int to[2], from[2]; /* pipes */
	_Atomic uint32_t turn;
	atomic_int stop;
};

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void *pipe_pong(void *arg)
{
	struct pong *pong = arg;
	char byte;

	pin();
	while (read(pong->to[0], &byte, 1) == 1 && write(pong->from[1], &byte, 1) == 1)
		;
	return NULL;
}

static void pipe_turns(struct pong *pong, int n)
{
	char byte = 0;

	while (n--) {
		if (write(pong->to[1], &byte, 1) != 1 || read(pong->from[0], &byte, 1) != 1)
			die("ping-pong");
	}
}

static void turn_pass(struct pong *pong, uint32_t mine)
{
	atomic_store(&pong->turn, !mine);
	futex(&pong->turn, FUTEX_WAKE, 1);
	while (atomic_load(&pong->turn) != mine && !atomic_load(&pong->stop))
		futex(&pong->turn, FUTEX_WAIT, !mine);
}

static void *futex_pong(void *arg)
{
	struct pong *pong = arg;

	pin();
	while (!atomic_load(&pong->turn))
		sched_yield();
	while (!atomic_load(&pong->stop))
		turn_pass(pong, 1);
	return NULL;
}

static void futex_turns(struct pong *pong, int n)
{
	while (n--)
		turn_pass(pong, 0);
}

static void pong_price(const char *name, void *(*other)(void *),
		       void (*run)(struct pong *pong, int n), int turns, int slices)
{
	uint64_t best = UINT64_MAX, begin, took;
	struct pong pong = { 0 };
	pthread_t thread;

	if (pipe(pong.to) || pipe(pong.from))
		die("pipe");
	thread = thread_start(other, &pong);
	run(&pong, turns);
	while (slices--) {
		begin = now_ns();
		run(&pong, turns);
		took = now_ns() - begin;
		if (took < best)
			best = took;
	}
	atomic_store(&pong.stop, 1);
	atomic_store(&pong.turn, 1);
	futex(&pong.turn, FUTEX_WAKE, 1);
	close(pong.to[1]);
	pthread_join(thread, NULL);
	close(pong.to[0]);
	close(pong.from[0]);
	close(pong.from[1]);
	printf("%s %.1f\n", name, (double)best / turns);
}

/* On one CPU: on which of two a thread comes up would decide. */
static void *pinned(void *arg)
{
	pin();
	price("thread", threads, 20, 100);
	pong_price("pipe", pipe_pong, pipe_turns, 200, 80);
	pong_price("futex", futex_pong, futex_turns, 200, 80);
	return arg;
}

/*
 * One process for all that is to be compared, since each has a pace of its own: one and the same futex
 * call took 220 ns in one and 241 ns in the next, with the agent and without it.
 */
static int prices(void)
{
	char line[16];

	while (line_read(line, sizeof(line))) {
		price("pair", lock_pairs, 100000, 20);
		price("wake", wakes, 4000, 50);
		price("getppid", getppids, 5000, 50);
		pthread_join(thread_start(pinned, NULL), NULL);
		printf(".\n");
		fflush(stdout);
	}
	return 0;
}

/* ---- a contended lock ---- */

#define CONTENDED_SLICES   8
#define CONTENDED_SLICE_NS 20000000ull

/* Each on cache lines of its own: else the stack's random address makes one run unlike the next. */
struct contention {
	_Alignas(128) pthread_mutex_t lock;
	_Alignas(128) volatile uint64_t shared;
	_Alignas(128) atomic_int stop;
	_Alignas(128) _Atomic uint64_t passes;
};

static void work(int n)
{
	volatile int sink;

	while (n--)
		sink = n;
	(void)sink;
}

/*
 * Above all ordinary work: on a busy host contenders that don't run at the same time don't contend,
 * and come off better. Below the thread that measures. Without the right to it goes on as it is.
 */
static void priority(int level)
{
	struct sched_param param = { .sched_priority = level };

	if (sched_setscheduler(0, SCHED_FIFO, &param))
		fprintf(stderr, "bench: no real-time priority: contention will vary\n");
}

static void *contender(void *arg)
{
	struct contention *c = arg;
	uint64_t passes = 0;

	priority(1);
	while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
		pthread_mutex_lock(&c->lock);
		c->shared++;
		work(200);
		pthread_mutex_unlock(&c->lock);
		work(200);
		if (!(++passes % 64))
			atomic_fetch_add(&c->passes, 64);
	}
	return NULL;
}

static void contention(int n)
{
	struct contention c = { .lock = PTHREAD_MUTEX_INITIALIZER };
	uint64_t due, before, begin;
	pthread_t thread[8];
	int i;

	for (i = 0; i < n; i++)
		thread[i] = thread_start(contender, &c);
	due = now_ns() + CONTENDED_SLICE_NS;
	sleep_until(due);
	printf("%d", n);
	for (i = 0; i < CONTENDED_SLICES; i++) {
		before = atomic_load(&c.passes);
		begin = now_ns();
		due = begin + CONTENDED_SLICE_NS;
		sleep_until(due);
		printf(" %.0f",
		       (atomic_load(&c.passes) - before) * 1e9 / (double)(now_ns() - begin));
	}
	printf("\n");
	atomic_store(&c.stop, 1);
	for (i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

static int contended(void)
{
	priority(2);
	contention(2);
	contention(4);
	return 0;
}

/* ---- a thread dies with a lock that another one waits for ---- */

struct orphan {
	pthread_mutex_t lock;
	_Atomic pid_t owner, waiter;
	atomic_int held, may_die;
};

static void *orphan_owner(void *arg)
{
	struct orphan *orphan = arg;

	orphan->owner = gettid();
	pthread_mutex_lock(&orphan->lock);
	atomic_store(&orphan->held, 1);
	while (!atomic_load(&orphan->may_die))
		usleep(200);
	return NULL;
}

static void *orphan_waiter(void *arg)
{
	struct orphan *orphan = arg;

	orphan->waiter = gettid();
	pthread_mutex_lock(&orphan->lock);
	pthread_mutex_unlock(&orphan->lock);
	return NULL;
}

/* Waits until that thread is asleep in a futex call. */
static void sleeping_await(pid_t tid)
{
	char path[64], text[16] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	while (strncmp(text, "202 ", 4)) {
		usleep(200);
		file = fopen(path, "r");
		if (!file)
			die(path);
		if (!fgets(text, sizeof(text), file))
			text[0] = '\0';
		fclose(file);
	}
}

static int orphans(void)
{
	struct orphan orphan;
	pthread_t owner, waiter;
	char line[16];

	while (line_read(line, sizeof(line))) {
		orphan = (struct orphan){ .lock = PTHREAD_MUTEX_INITIALIZER };
		owner = thread_start(orphan_owner, &orphan);
		while (!atomic_load(&orphan.held))
			usleep(200);
		waiter = thread_start(orphan_waiter, &orphan);
		while (!orphan.waiter)
			usleep(200);
		sleeping_await(orphan.waiter);
		printf("%d\n", orphan.owner);
		fflush(stdout);
		atomic_store(&orphan.may_die, 1);
		pthread_join(owner, NULL);
		if (!line_read(line, sizeof(line)))
			break;
		pthread_mutex_unlock(&orphan.lock); /* in the dead one's name */
		pthread_join(waiter, NULL);
	}
	return 0;
}

/* ---- many processes with threads that are stuck ---- */

static void orphan_leave(struct orphan *orphan, pthread_t *waiter, int n)
{
	pthread_t owner;

	*orphan = (struct orphan){ .lock = PTHREAD_MUTEX_INITIALIZER };
	owner = thread_start(orphan_owner, orphan);
	while (!atomic_load(&orphan->held))
		usleep(200);
	while (n--) {
		orphan->waiter = 0;
		*waiter++ = thread_start(orphan_waiter, orphan);
		while (!orphan->waiter)
			usleep(200);
		sleeping_await(orphan->waiter);
	}
	atomic_store(&orphan->may_die, 1);
	pthread_join(owner, NULL);
}

static void stuck_turn(int control)
{
	char byte = '.';

	if (write(control, &byte, 1) != 1 || read(control, &byte, 1) != 1)
		_exit(0); /* the other side is gone */
}

static void stuck_run(int control, int n)
{
	pthread_t *waiter = calloc(n, sizeof(*waiter));
	struct orphan orphan;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!waiter)
		_exit(1);
	for (;;) {
		stuck_turn(control);
		orphan_leave(&orphan, waiter, n);
		stuck_turn(control);
		pthread_mutex_unlock(&orphan.lock); /* in the dead one's name */
		for (i = 0; i < n; i++)
			pthread_join(waiter[i], NULL);
	}
}

static int stuck_start(int n)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		stuck_run(pair[1], n);
	close(pair[1]);
	return pair[0];
}

#define STUCK_MAX 1000

static int stuck(int n, int waiters)
{
	int control[STUCK_MAX], i;
	char line[16], byte;

	if (n > STUCK_MAX)
		die("stuck: too many");
	for (i = 0; i < n; i++)
		control[i] = stuck_start(waiters);
	for (;;) {
		for (i = 0; i < n; i++)
			if (read(control[i], &byte, 1) != 1)
				die("stuck");
		printf(".\n");
		fflush(stdout);
		if (!line_read(line, sizeof(line)))
			return 0;
		for (i = 0; i < n; i++)
			if (write(control[i], &byte, 1) != 1)
				die("stuck");
	}
}

/* ---- many threads that wait ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static atomic_int n_waiting;
static pid_t last_waiter;

static void *cond_waiter(void *arg)
{
	pthread_mutex_lock(&gate);
	last_waiter = gettid();
	atomic_fetch_add(&n_waiting, 1);
	pthread_cond_wait(&opened, &gate);
	return arg;
}

static void *lock_waiter(void *arg)
{
	last_waiter = gettid();
	atomic_fetch_add(&n_waiting, 1);
	pthread_mutex_lock(&gate);
	return arg;
}

static int waiters(int n, const char *how)
{
	int on_lock = !strcmp(how, "lock"), i;

	if (on_lock)
		pthread_mutex_lock(&gate);
	for (i = 0; i < n; i++) {
		thread_start(on_lock ? lock_waiter : cond_waiter, NULL);
		while (atomic_load(&n_waiting) <= i)
			sched_yield();
		if (i == n - 1)
			sleeping_await(last_waiter);
	}
	printf("waiting\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_exit(0);
}

/* ---- signals at one thread ---- */

static void *signal_target(void *arg)
{
	pid_t *tid = arg;
	char byte;

	*tid = gettid();
	if (write(STDOUT_FILENO, tid, sizeof(*tid)) < 0)
		die("write");
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return NULL;
}

/* The target's process: its stdin is the pipe `life`, its stdout the pipe `say`. Never returns. */
static void target_run(int life, int say)
{
	sigset_t set;
	pid_t tid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (dup2(life, STDIN_FILENO) < 0 || dup2(say, STDOUT_FILENO) < 0)
		_exit(1);
	pthread_join(thread_start(signal_target, &tid), NULL);
	_exit(0);
}

/* In batches, a thousand a second: a sender that spins would take a whole CPU from the agent. */
static uint64_t signals_send(pid_t tgid, pid_t tid, int n, int rate)
{
	uint64_t begin = now_ns();
	int batch = rate ? (rate + 999) / 1000 : n, sent;

	for (sent = 0; sent < n; sent++) {
		if (rate && sent % batch == 0)
			sleep_until(begin + sent * 1000000000ull / rate);
		if (syscall(SYS_tgkill, tgid, tid, SIGUSR1))
			die("tgkill");
	}
	return now_ns() - begin;
}

static int signals(int n, int rate)
{
	int life[2], say[2];
	uint64_t took;
	pid_t pid, tid;

	if (pipe(life) || pipe(say))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		target_run(life[0], say[1]);
	if (read(say[0], &tid, sizeof(tid)) != sizeof(tid))
		die("read");
	took = signals_send(pid, tid, n, rate);
	printf("%d %d %llu\n", pid, tid, (unsigned long long)took);
	fflush(stdout);
	while (getchar() != EOF) /* the target lives until it has been looked at */
		;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

/* ---- threads that end ---- */

static void *short_life(void *arg)
{
	pthread_mutex_lock(&gate);
	work(200);
	pthread_mutex_unlock(&gate);
	return arg;
}

static atomic_int n_living;

/* Holds the lock for so long that the next one comes upon it: rows for waits and candidates. */
static void *busy_life(void *arg)
{
	pthread_mutex_lock(&gate);
	usleep(500);
	pthread_mutex_unlock(&gate);
	atomic_fetch_sub(&n_living, 1);
	return arg;
}

/* On a host that does not keep up they would pile up until there is no number left for a thread. */
#define LIVING_MAX 200

static void exits_paced(long n, int rate)
{
	uint64_t begin = now_ns();
	long i;

	for (i = 0; i < n; i++) {
		sleep_until(begin + i * 1000000000ull / rate);
		while (atomic_load(&n_living) >= LIVING_MAX)
			usleep(100);
		atomic_fetch_add(&n_living, 1);
		pthread_detach(thread_start(busy_life, NULL));
	}
}

#define WARM_AT_ONCE 8

static void exits_warm(int n)
{
	pthread_t thread[WARM_AT_ONCE];
	int i;

	while (n > 0) {
		for (i = 0; i < WARM_AT_ONCE; i++)
			thread[i] = thread_start(short_life, NULL);
		for (i = 0; i < WARM_AT_ONCE; i++)
			pthread_join(thread[i], NULL);
		n -= WARM_AT_ONCE;
	}
}

static int exits(int rate, int seconds, int warm)
{
	uint64_t begin, took;
	long n = (long)rate * seconds;

	exits_warm(warm);
	printf("warm\n");
	fflush(stdout);
	begin = now_ns();
	exits_paced(n, rate);
	took = now_ns() - begin;
	printf("%ld %llu\n", n, (unsigned long long)took);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

/* ---- a process with much memory ---- */

#define MMAPS_MAX  (4 << 20)
#define EXIT_PAUSE 20000 /* µs */

static pthread_mutex_t resident_lock;

/* Neither zero pages nor small numbers. */
static void memory_fill(size_t bytes)
{
	uint64_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
	uint64_t dice = 88172645463325252;
	size_t i;

	if (memory == MAP_FAILED)
		die("mmap");
	for (i = 0; i < bytes / sizeof(*memory); i++) {
		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		memory[i] = dice;
	}
}

static int u32_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void mmaps_time(int seconds)
{
	uint32_t *took = malloc(MMAPS_MAX * sizeof(*took));
	uint64_t end = now_ns() + seconds * 1000000000ull, begin;
	size_t n;

	if (!took)
		die("malloc");
	memset(took, 0, MMAPS_MAX * sizeof(*took));
	for (n = 0; n < MMAPS_MAX && (begin = now_ns()) < end; n++) {
		char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);

		if (page == MAP_FAILED)
			die("mmap");
		*page = 1;
		munmap(page, 4096);
		took[n] = now_ns() - begin;
	}
	qsort(took, n, sizeof(*took), u32_compare);
	printf("%u %u %zu\n", took[n / 2], took[n * 99 / 100], n);
	free(took);
}

static void *raw_life(void *tid)
{
	if (tid) {
		pthread_mutex_lock(&resident_lock);
		*(pid_t *)tid = gettid();
	}
	syscall(SYS_exit, 0);
	return NULL;
}

/* The stack of a thread that ended like this is nobody's: one for all of them, one after the other. */
static pid_t raw_thread(bool locks)
{
	static char stack[65536] __attribute__((aligned(4096)));
	static _Atomic pid_t tid;
	pthread_attr_t attr;
	pthread_t thread;
	char path[64];

	tid = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, sizeof(stack));
	if (pthread_create(&thread, &attr, raw_life, locks ? (void *)&tid : NULL))
		die("pthread_create");
	pthread_attr_destroy(&attr);
	if (!locks)
		return 0;
	while (!tid)
		usleep(100);
	snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	while (!access(path, F_OK))
		usleep(100);
	return tid;
}

static int resident(size_t mb)
{
	char line[64];
	int seconds;

	memory_fill(mb << 20);
	printf("there\n");
	fflush(stdout);
	while (line_read(line, sizeof(line))) {
		if (sscanf(line, "mmap %d", &seconds) == 1) {
			mmaps_time(seconds);
		} else if (sscanf(line, "exits %d", &seconds) == 1) {
			uint64_t end = now_ns() + seconds * 1000000000ull;

			for (; now_ns() < end; usleep(EXIT_PAUSE))
				raw_thread(false);
			printf("done\n");
		} else {
			pthread_mutex_init(&resident_lock, NULL);
			printf("%d\n", raw_thread(true));
		}
		fflush(stdout);
	}
	return 0;
}

/* Each time it is told to: for so many calls a slice. */
static int pairs(void)
{
	char line[32];

	while (line_read(line, sizeof(line))) {
		price("pair", lock_pairs, atoi(line), 20);
		price("read", read_pairs, atoi(line), 20);
		printf(".\n");
		fflush(stdout);
	}
	return 0;
}

static void execs(int n)
{
	pid_t pid;

	while (n--) {
		pid = fork();
		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			die("fork");
	}
}

#define EXEC_SLICES 20

/* The same of programs that come and go; and how many there were. */
static int execs_run(void)
{
	char line[32];
	int n;

	while (line_read(line, sizeof(line))) {
		n = atoi(line);
		price("exec", execs, n, EXEC_SLICES);
		printf("runs %d\n.\n", n * (EXEC_SLICES + 1));
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	setvbuf(stdin, NULL, _IOLBF, BUFSIZ);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing stays behind */
	if (!strcmp(what, "prices") && argc == 2)
		return prices();
	if (!strcmp(what, "pairs") && argc == 2)
		return pairs();
	if (!strcmp(what, "execs") && argc == 2)
		return execs_run();
	if (!strcmp(what, "contended") && argc == 2)
		return contended();
	if (!strcmp(what, "orphans") && argc == 2)
		return orphans();
	if (!strcmp(what, "stuck") && argc == 4)
		return stuck(atoi(argv[2]), atoi(argv[3]));
	if (!strcmp(what, "waiters") && argc == 4)
		return waiters(atoi(argv[2]), argv[3]);
	if (!strcmp(what, "signals") && argc == 4)
		return signals(atoi(argv[2]), atoi(argv[3]));
	if (!strcmp(what, "exits") && argc == 5)
		return exits(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	if (!strcmp(what, "resident") && argc == 3)
		return resident(atoi(argv[2]));
	fprintf(stderr,
		"usage: bench prices | pairs | execs | contended | orphans | stuck N WAITERS | "
		"waiters N cond|lock | signals N RATE | exits RATE SECONDS WARM | resident MB\n");
	return 2;
}
