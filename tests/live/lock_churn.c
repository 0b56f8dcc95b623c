/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Much honest lock traffic: every lock that is taken is released by who took it.
 *
 *   lock_churn short COUNT KIND...      COUNT threads come and go, 16 at a time, and each takes all the
 *                                       locks and a semaphore; most are joined, some are detached
 *   lock_churn contention COUNT KIND... 8 threads take each lock COUNT times and end; others that
 *                                       waited for the same locks end later
 *   lock_churn pool SECONDS KIND...     8 threads wait for jobs, and each ends after some and makes room
 *                                       for another one; the last line is "done"
 *
 * KIND: lock_kinds.h; robust, pi and rwlock ones included. COUNT is multiplied by DEADHOLD_SCALE.
 * Counters that the locks guard tell in the end that they did.
 */
#include "lock_kinds.h"
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>

#define MAX_LOCKS 16
#define SPAWNERS  16
#define WORKERS	  8
#define POOL_JOBS 50 /* of one thread */

static struct {
	unsigned int words[LOCK_BYTES / sizeof(unsigned int)];
} __attribute__((aligned(LOCK_BYTES))) locks[MAX_LOCKS];
static const struct lock_kind *kinds[MAX_LOCKS];
static volatile long guarded[MAX_LOCKS];
static int n_locks;
static sem_t tokens, jobs;
static atomic_long left, running, taken;
static atomic_bool over;
static long count;

/* Takes every lock once, holds it while others run, and releases it. */
static void traffic(int first)
{
	struct lock_way way = { 0 };
	int i;

	for (i = 0; i < n_locks; i++) {
		int n = (first + i) % n_locks;

		need(kinds[n]->acquire(&locks[n], way), kinds[n]->name);
		guarded[n]++;
		if (i == first % n_locks)
			sched_yield();
		need(kinds[n]->release(&locks[n]), kinds[n]->name);
		taken++;
	}
}

static void *short_run(void *arg)
{
	if (sem_wait(&tokens))
		die("sem_wait");
	traffic((int)(long)arg);
	if (sem_post(&tokens))
		die("sem_post");
	running--;
	return NULL;
}

static void *spawner_run(void *arg)
{
	long n;

	(void)arg;
	while ((n = left--) > 0) {
		pthread_t thread;

		running++;
		need(pthread_create(&thread, NULL, short_run, (void *)n), "pthread_create");
		if (n % 8)
			need(pthread_join(thread, NULL), "pthread_join");
		else
			need(pthread_detach(thread), "pthread_detach");
	}
	return NULL;
}

static void *worker_run(void *arg)
{
	long n;

	/* The later ones have more to do, so that threads end while others wait. */
	for (n = 0; n < count + (long)arg * count / WORKERS; n++)
		traffic((int)n);
	return NULL;
}

static void run_all(void *(*run)(void *), int n_threads)
{
	pthread_t threads[SPAWNERS];
	long i;

	for (i = 0; i < n_threads; i++)
		need(pthread_create(&threads[i], NULL, run, (void *)i), "pthread_create");
	for (i = 0; i < n_threads; i++)
		need(pthread_join(threads[i], NULL), "pthread_join");
}

static void *pool_run(void *arg)
{
	int n;

	for (n = 0; n < POOL_JOBS && !sem_wait(&jobs) && !over; n++)
		traffic((int)(long)arg + n);
	return NULL;
}

/* A place in the pool: one thread after the other. */
static void *place_run(void *arg)
{
	pthread_t thread;

	while (!over) {
		need(pthread_create(&thread, NULL, pool_run, arg), "pthread_create");
		need(pthread_join(thread, NULL), "pthread_join");
	}
	return NULL;
}

static void jobs_post(int n)
{
	while (n--) {
		if (sem_post(&jobs))
			die("sem_post");
	}
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* As many jobs at a time as there are threads, a thousand times a second at most. */
static void *jobs_run(void *arg)
{
	double until = now_s() + *(double *)arg;

	while (now_s() < until) {
		jobs_post(WORKERS);
		usleep(1000);
	}
	over = true;
	jobs_post(2 * WORKERS);
	return NULL;
}

static void pool(double seconds)
{
	pthread_t feeder;

	need(pthread_create(&feeder, NULL, jobs_run, &seconds), "pthread_create");
	run_all(place_run, WORKERS);
	need(pthread_join(feeder, NULL), "pthread_join");
}

static int none_runs(const void *arg)
{
	(void)arg;
	return !running;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	long sum = 0;
	int i;

	if (argc < 4 || argc - 3 > MAX_LOCKS)
		die("usage: lock_churn short|contention|pool COUNT|SECONDS KIND...");
	for (i = 3; i < argc; i++, n_locks++) {
		kinds[n_locks] = lock_kind_find(argv[i]);
		kinds[n_locks]->init(kinds[n_locks], &locks[n_locks], 0);
	}
	if (sem_init(&tokens, 0, 3) || sem_init(&jobs, 0, 0))
		die("sem_init");
	count = scaled(atol(argv[2]));
	left = count;
	say("started", "'count': %ld", count);
	if (!strcmp(argv[1], "short"))
		run_all(spawner_run, SPAWNERS);
	else if (!strcmp(argv[1], "pool"))
		pool(atof(argv[2]));
	else
		run_all(worker_run, WORKERS);
	wait_until(none_runs, NULL, "the detached threads to end");
	for (i = 0; i < n_locks; i++)
		sum += guarded[i];
	if (sum != taken)
		die("the locks do not exclude: %ld, %ld", sum, (long)taken);
	if (getrusage(RUSAGE_SELF, &usage))
		die("getrusage");
	say("churned", "'taken': %ld, 'switches': %ld", (long)taken, usage.ru_nvcsw);
	if (!strcmp(argv[1], "pool"))
		puts("done");
	else
		expect_go("end");
	return 0;
}
