/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small service with a common mistake: its worker returns early when a job is broken, and forgets
 * that it holds the lock of the queue. From then on the reporter, which needs that lock, hangs.
 *
 * Gives up after a few seconds, where a real service would not.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BROKEN_JOB  3
#define ENOUGH_JOBS 10
#define GIVE_UP_S   2

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static int jobs_done;

static void pause_ms(long ms)
{
	struct timespec time = { 0, ms * 1000000 };

	nanosleep(&time, NULL);
}

static bool job_do(int job)
{
	pause_ms(100);
	printf("orders: job %d %s\n", job, job == BROKEN_JOB ? "is broken: worker stops" : "done");
	return job != BROKEN_JOB;
}

static void *worker_run(void *argument)
{
	(void)argument;
	pthread_setname_np(pthread_self(), "worker");
	for (;;) {
		pthread_mutex_lock(&queue_lock);
		if (!job_do(jobs_done + 1))
			return NULL; /* the mistake: the lock stays locked */
		jobs_done++;
		pthread_mutex_unlock(&queue_lock);
		pause_ms(100);
	}
}

static void *reporter_run(void *argument)
{
	int seen = 0;

	(void)argument;
	pthread_setname_np(pthread_self(), "reporter");
	while (seen < ENOUGH_JOBS) {
		pthread_mutex_lock(&queue_lock);
		seen = jobs_done;
		pthread_mutex_unlock(&queue_lock);
		printf("orders: reporter: %d jobs so far\n", seen);
		pause_ms(150);
	}
	return NULL;
}

int main(void)
{
	pthread_t worker, reporter;
	struct timespec end;

	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_setname_np(pthread_self(), "orders");
	if (pthread_create(&worker, NULL, worker_run, NULL) ||
	    pthread_create(&reporter, NULL, reporter_run, NULL))
		return EXIT_FAILURE;
	pthread_join(worker, NULL);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += GIVE_UP_S;
	pthread_timedjoin_np(reporter, NULL, &end);
	printf("orders: nothing from the reporter for %d s: the service hangs; giving up\n",
	       GIVE_UP_S);
	return EXIT_SUCCESS;
}
