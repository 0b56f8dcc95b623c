// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "deep.h"
#include "escape.h"

/* The first CPython whose threading.Lock takes no semaphore: 3.13.1. */
#define PYTHON_WITHOUT_SEMAPHORES 0x030d01f0u

#define LIBC	(PROBE_LIBC | PROBE_PROGRAM)
#define PYTHON	(PROBE_PYTHON | PROBE_PROGRAM)
#define MISSING (sizeof(((struct deep_info *)0)->missing) / sizeof(char *))

#define SITE(program, name, libc, cookie)                       \
	{                                                       \
		program, name, LIBC, PROBE_ENTRY, libc, cookie, \
	}
#define RETURNS(name, libc)                                        \
	{                                                          \
		"deep_return", name, LIBC, PROBE_RETURNS, libc, 0, \
	}
#define CALL(name, libc, cookie) RETURNS(name, libc), SITE("deep_acquire", name, libc, cookie)

/*
 * The order is that of attaching: who takes a lock is seen only where its release is seen already. C++'s
 * mutexes, C11's of glibc, and the C library's own calls arrive at these, too.
 */
static const struct probe_site lock_sites[] = {
	SITE("deep_release", "pthread_mutex_unlock", LIBC_GLIBC, DEEP_GLIBC_MUTEX),
	SITE("deep_release", "pthread_rwlock_unlock", LIBC_GLIBC, DEEP_GLIBC_WRITE),
	SITE("deep_acquire", "pthread_mutex_lock", LIBC_GLIBC, DEEP_GLIBC_MUTEX),
	SITE("deep_acquire", "pthread_mutex_trylock", LIBC_GLIBC, DEEP_GLIBC_MUTEX),
	SITE("deep_acquire", "pthread_mutex_timedlock", LIBC_GLIBC, DEEP_GLIBC_MUTEX),
	SITE("deep_acquire", "pthread_mutex_clocklock", LIBC_GLIBC, DEEP_GLIBC_MUTEX),
	SITE("deep_acquire", "pthread_rwlock_wrlock", LIBC_GLIBC, DEEP_GLIBC_WRITE),
	SITE("deep_acquire", "pthread_rwlock_trywrlock", LIBC_GLIBC, DEEP_GLIBC_WRITE),
	SITE("deep_acquire", "pthread_rwlock_timedwrlock", LIBC_GLIBC, DEEP_GLIBC_WRITE),
	SITE("deep_acquire", "pthread_rwlock_clockwrlock", LIBC_GLIBC, DEEP_GLIBC_WRITE),
	CALL("pthread_rwlock_rdlock", LIBC_GLIBC, DEEP_GLIBC_READ),
	CALL("pthread_rwlock_tryrdlock", LIBC_GLIBC, DEEP_GLIBC_READ),
	CALL("pthread_rwlock_timedrdlock", LIBC_GLIBC, DEEP_GLIBC_READ),
	CALL("pthread_rwlock_clockrdlock", LIBC_GLIBC, DEEP_GLIBC_READ),

	SITE("deep_release", "pthread_mutex_unlock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	SITE("deep_release", "pthread_rwlock_unlock", LIBC_MUSL, DEEP_MUSL_WRITE),
	CALL("pthread_mutex_lock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	CALL("pthread_mutex_trylock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	CALL("pthread_mutex_timedlock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	/* These take what is free by themselves, and return 0 as well. */
	CALL("mtx_lock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	CALL("mtx_trylock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	CALL("mtx_timedlock", LIBC_MUSL, DEEP_MUSL_MUTEX),
	CALL("pthread_rwlock_wrlock", LIBC_MUSL, DEEP_MUSL_WRITE),
	CALL("pthread_rwlock_trywrlock", LIBC_MUSL, DEEP_MUSL_WRITE),
	CALL("pthread_rwlock_timedwrlock", LIBC_MUSL, DEEP_MUSL_WRITE),
	CALL("pthread_rwlock_rdlock", LIBC_MUSL, DEEP_MUSL_READ),
	CALL("pthread_rwlock_tryrdlock", LIBC_MUSL, DEEP_MUSL_READ),
	CALL("pthread_rwlock_timedrdlock", LIBC_MUSL, DEEP_MUSL_READ),
};

/* Where a Python is. */
static const struct probe_site python_sites[] = {
	{ "deep_marker", "PyThreadState_SetAsyncExc", PYTHON, PROBE_ENTRY, LIBC_UNKNOWN, 0 },
};

/*
 * What its locks are made of, in processes that have one. Not PyThread_acquire_lock_timed() and its kin:
 * where Python is built with optimization across files, they are inlined where it matters.
 */
static const struct probe_site semaphore_sites[] = {
	SITE("deep_release", "sem_post", LIBC_UNKNOWN, DEEP_SEMAPHORE),
	CALL("sem_trywait", LIBC_UNKNOWN, DEEP_SEMAPHORE),
	CALL("sem_wait", LIBC_UNKNOWN, DEEP_SEMAPHORE),
	CALL("sem_timedwait", LIBC_UNKNOWN, DEEP_SEMAPHORE),
	CALL("sem_clockwait", LIBC_UNKNOWN, DEEP_SEMAPHORE),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum plan { PLAN_LOCKS, PLAN_PYTHON, PLAN_SEMAPHORES, PLANS };

struct deep_process {
	int32_t pid;
	int32_t tid;	 /* by which the probes know it */
	uint64_t gap_ns; /* what was taken before then, and names nobody, may have been released */
	unsigned int ordered;
	bool python;
	bool child; /* it was not named, but forked by one that was */
	bool over;
	bool anew; /* another program runs in it by now, and was not looked at yet */
};

struct deep {
	struct agent *agent;
	uint32_t plan; /* the first of its plans */
	bool looked;
	size_t n, room;
	struct deep_process *process;
	struct deep_info *info;
	uint64_t losses;
};

/* ---- processes ---- */

static struct deep_process *process_find(const struct deep *deep, int32_t pid)
{
	size_t i;

	for (i = 0; i < deep->n; i++) {
		if (deep->process[i].pid == pid)
			return &deep->process[i];
	}
	return NULL;
}

static struct deep_process *process_add(struct deep *deep, int32_t pid)
{
	struct deep_process *process = process_find(deep, pid);
	struct deep_info *info;
	size_t room = deep->room;

	if (process)
		return process;
	process = array_grow(deep->process, deep->n, &room, sizeof(*process));
	if (!process)
		return NULL;
	deep->process = process;
	info = array_grow(deep->info, deep->n, &deep->room, sizeof(*info));
	if (!info)
		return NULL;
	deep->info = info;
	deep->process[deep->n] = (struct deep_process){ .pid = pid };
	deep->info[deep->n] = (struct deep_info){ .pid = pid };
	return &deep->process[deep->n++];
}

struct deep *deep_new(struct agent *agent)
{
	const struct id_list *pids = &agent->options->pids;
	struct deep *deep = calloc(1, sizeof(*deep));
	size_t i;

	if (!deep)
		return NULL;
	deep->agent = agent;
	for (i = 0; agent->options->deep && i < pids->n; i++) {
		if (!process_add(deep, pids->id[i])) {
			deep_free(deep);
			return NULL;
		}
		if (!agent->options->quiet)
			fprintf(stderr,
				"deadhold: --deep slows down process %d: to take and release a lock "
				"that nobody else wants takes it microseconds in place of "
				"nanoseconds, a thousand times as long and, in a VM, up to ten "
				"thousand\n",
				pids->id[i]);
	}
	return deep;
}

static void info_free(struct deep_info *info)
{
	size_t i;

	for (i = 0; i < info->n_missing; i++)
		free((char *)info->missing[i]);
}

void deep_free(struct deep *deep)
{
	size_t i;

	if (!deep)
		return;
	for (i = 0; i < deep->n; i++)
		info_free(&deep->info[i]);
	free(deep->process);
	free(deep->info);
	free(deep);
}

static struct deep_info *info_of(struct deep *deep, const struct deep_process *process)
{
	return &deep->info[process - deep->process];
}

/* Of a hundred children that all lack the same, the first says so. */
static bool missing_said(const struct deep *deep, const char *text)
{
	size_t i, m;

	for (i = 0; i < deep->n; i++) {
		for (m = 0; m < deep->info[i].n_missing; m++) {
			if (!strcmp(deep->info[i].missing[m], text))
				return true;
		}
	}
	return false;
}

static __attribute__((format(printf, 3, 4))) void
missing_note(struct deep *deep, struct deep_process *process, const char *format, ...)
{
	char escaped[ESCAPED_BYTES(2 * PATH_BYTES)];
	struct deep_info *info = info_of(deep, process);
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return;
	/* There are paths of watched programs in it. */
	if (!process->child || !missing_said(deep, text))
		fprintf(stderr, "deadhold: --deep, process %d: out of sight: %s\n", process->pid,
			escape(escaped, sizeof(escaped), text, strlen(text)));
	if (info->n_missing < MISSING)
		info->missing[info->n_missing++] = text;
	else
		free(text);
}

/* ---- the prober ---- */

size_t deep_plans(struct deep *deep, struct probe_plan *plans, size_t n)
{
	static const struct probe_plan own[PLANS] = {
		[PLAN_LOCKS] = { .sites = lock_sites, .n_sites = COUNT(lock_sites) },
		[PLAN_PYTHON] = { .sites = python_sites, .n_sites = COUNT(python_sites) },
		/* Nobody (there is no process 0) until a Python is found. */
		[PLAN_SEMAPHORES] = { .sites = semaphore_sites,
				      .n_sites = COUNT(semaphore_sites),
				      .n = 1 },
	};
	size_t p, i;

	if (!deep->n)
		return n;
	deep->plan = n;
	for (p = 0; p < PLANS; p++) {
		plans[n + p] = own[p];
		if (p == PLAN_SEMAPHORES)
			continue;
		for (i = 0; i < deep->n; i++)
			plans[n + p].pid[plans[n + p].n++] = deep->process[i].pid;
	}
	return n + PLANS;
}

static void process_order(struct deep *deep, struct deep_process *process, enum plan plan,
			  bool anew)
{
	if (!prober_pid_add(deep->agent->prober, deep->plan + plan, process->pid, anew))
		process->ordered++;
	else
		deep->losses++;
}

static void python_found(struct deep *deep, struct deep_process *process,
			 const struct prober_told *told)
{
	const struct deep_span span = { .start = told->start, .end = told->end };

	if (told->python >= PYTHON_WITHOUT_SEMAPHORES)
		missing_note(
			deep, process,
			"threading.Lock and RLock of CPython %u.%u.%u, which takes them without "
			"calling a function",
			told->python >> 24, told->python >> 16 & 0xff, told->python >> 8 & 0xff);
	if (hooks_deep_python(deep->agent->hooks, process->pid, &span)) {
		missing_note(deep, process,
			     "the locks of its Python: no room for so many processes");
		return;
	}
	if (!process->python)
		process_order(deep, process, PLAN_SEMAPHORES, false);
	process->python = true;
}

static void file_told(struct deep *deep, struct deep_process *process,
		      const struct prober_told *told)
{
	enum plan plan = told->plan - deep->plan;

	/* A child that ends while it is looked at; one that lives is told of when that is done. */
	if (told->error && !(process->child && told->error == -ESRCH))
		missing_note(deep, process, "%s: %s", told->path, prober_why(told->error));
	info_of(deep, process)->probes += told->n;
	if (!told->n)
		return;
	process->tid = told->tid;
	if (plan == PLAN_PYTHON)
		python_found(deep, process, told);
}

static void missing_told(struct deep *deep, struct deep_process *process,
			 const struct prober_told *told)
{
	enum plan plan = told->plan - deep->plan;
	const struct probe_site *sites = plan == PLAN_LOCKS ? lock_sites : semaphore_sites;

	missing_note(deep, process, "%s in %s: %s", sites[told->n].symbol, told->path,
		     told->error == -ENOTSUP ? "where it returns can't be told from its code"
					     : "its code can't be followed");
}

/* The first look, or one that was ordered. */
static void done_told(struct deep *deep, struct deep_process *process,
		      const struct prober_told *told)
{
	bool nothing;
	size_t i;

	for (i = 0; i < deep->n; i++) {
		if (process && process != &deep->process[i])
			continue;
		if (process && process->ordered)
			process->ordered--;
		if (deep->process[i].gap_ns == UINT64_MAX && !deep->process[i].ordered)
			deep->process[i].gap_ns = host_now();
		if (process) /* what has just ended has nothing: its end is told soon */
			nothing = told->plan == deep->plan + PLAN_LOCKS && !told->n &&
				  told->error != -ESRCH;
		else
			nothing = !deep->process[i].ordered && !deep->info[i].probes;
		if (nothing && !deep->process[i].over)
			missing_note(deep, &deep->process[i],
				     "all of its locks: no lock function of a C library was found");
	}
	deep->looked |= !process;
}

static void prober_tells(void *context, const struct prober_told *told)
{
	struct deep *deep = context;
	struct deep_process *process = NULL;

	if (told->pid && (told->plan < deep->plan || told->plan >= deep->plan + PLANS))
		return;
	if (told->pid)
		process = process_find(deep, told->pid);
	if (told->pid && (!process || process->over))
		return;
	switch (told->what) {
	case TOLD_FILE:
		if (process)
			file_told(deep, process, told);
		break;
	case TOLD_MISSING:
		if (process)
			missing_told(deep, process, told);
		break;
	case TOLD_DONE:
		done_told(deep, process, told);
		break;
	}
}

void deep_listen(struct deep *deep)
{
	if (deep->n)
		prober_listen(deep->agent->prober, prober_tells, deep);
}

bool deep_ready(const struct deep *deep)
{
	size_t i;

	if (!deep->n || prober_state(deep->agent->prober)->over)
		return true;
	for (i = 0; i < deep->n; i++) {
		if (deep->process[i].ordered && !deep->process[i].over)
			return false;
	}
	return deep->looked;
}

const struct deep_info *deep_infos(const struct deep *deep, size_t *n)
{
	*n = deep->n;
	return deep->info;
}

uint64_t deep_losses(const struct deep *deep)
{
	return deep->losses;
}

/* ---- what a thread held ---- */

bool deep_names_owner(const struct deep_hold *hold)
{
	return hold->row.how == DEEP_OWNER;
}

uint32_t deep_layout(const struct deep_hold *hold, const struct lock_words *words)
{
	uint32_t kind = words->have_at == LOCK_WORDS_FROM ? words->at[4] : 0;

	switch (hold->row.site) {
	case DEEP_GLIBC_MUTEX:
		if (kind & GLIBC_KIND_ROBUST)
			return LAYOUT_GLIBC_ROBUST;
		return kind & GLIBC_KIND_PI ? LAYOUT_GLIBC_PI : LAYOUT_GLIBC_MUTEX;
	case DEEP_GLIBC_WRITE:
		return LAYOUT_GLIBC_RWLOCK_8;
	case DEEP_GLIBC_READ:
		return LAYOUT_GLIBC_RWLOCK_READ;
	case DEEP_MUSL_MUTEX:
		return hold->row.how == DEEP_OWNER ? LAYOUT_MUSL_MUTEX : LAYOUT_MUSL_NORMAL;
	case DEEP_MUSL_WRITE:
		return LAYOUT_MUSL_RWLOCK;
	case DEEP_MUSL_READ:
		return LAYOUT_MUSL_RWLOCK_READ;
	case DEEP_SEMAPHORE:
		return LAYOUT_SEMAPHORE;
	default:
		return LAYOUT_NONE;
	}
}

bool deep_still(const struct deep *deep, const struct deep_hold *hold)
{
	struct deep_row row;

	return hooks_deep(deep->agent->hooks, &hold->key, &row) && row.tid == hold->row.tid &&
	       row.call_ns == hold->row.call_ns;
}

bool deep_certain(const struct deep *deep, const struct deep_hold *hold)
{
	const struct deep_process *process = process_find(deep, hold->key.tgid);

	return process && hold->row.call_ns > process->gap_ns &&
	       !prober_state(deep->agent->prober)->over && deep_still(deep, hold) &&
	       hooks_deep_doubt(deep->agent->hooks, &hold->key) < hold->row.call_ns;
}

struct collect {
	struct deep *deep;
	const struct ev_exit *ev;
	size_t n, room;
	struct deep_hold *holds;
};

static void collect_row(void *context, const struct deep_key *key, const struct deep_row *row)
{
	struct collect *collect = context;
	struct deep_hold *grown, hold = { .key = *key, .row = *row };

	/* A later bearer of the number has taken it later. */
	if (row->tid != collect->ev->task.tid || row->call_ns > collect->ev->head.time_ns)
		return;
	if (!deep_names_owner(&hold) && !deep_certain(collect->deep, &hold)) {
		collect->deep->losses++;
		return;
	}
	grown = array_grow(collect->holds, collect->n, &collect->room, sizeof(*grown));
	if (!grown) {
		collect->deep->losses++;
		return;
	}
	collect->holds = grown;
	collect->holds[collect->n++] = hold;
}

/* In the order in which they were taken. */
static int hold_order(const void *a, const void *b)
{
	const struct deep_hold *x = a, *y = b;

	return (x->row.call_ns > y->row.call_ns) - (x->row.call_ns < y->row.call_ns);
}

size_t deep_holds(struct deep *deep, const struct ev_exit *ev, struct deep_hold **holds)
{
	struct collect collect = { .deep = deep, .ev = ev };

	*holds = NULL;
	if (!ev->n_deep || !deep->n)
		return 0;
	if (!process_find(deep, ev->task.proc.tgid)) /* one that shares the memory of one */
		return 0;
	if (!hooks_deep_each(deep->agent->hooks, ev->task.proc.tgid, collect_row, &collect))
		deep->losses++;
	if (collect.n)
		qsort(collect.holds, collect.n, sizeof(*collect.holds), hold_order);
	*holds = collect.holds;
	return collect.n;
}

/* ---- forks and ends ---- */

void deep_fork(struct deep *deep, const struct ev_fork *ev)
{
	struct deep_process *process;

	if (!followers_add(&deep->agent->stream.followers, ev->proc.tgid)) {
		deep->losses++;
		return;
	}
	process = process_add(deep, ev->proc.tgid);
	if (!process) {
		deep->losses++;
		return;
	}
	/* It may have the number of one that is over. */
	info_free(info_of(deep, process));
	*info_of(deep, process) = (struct deep_info){ .pid = process->pid };
	*process = (struct deep_process){ .pid = process->pid, .child = true };
	process_order(deep, process, PLAN_LOCKS, false);
	process_order(deep, process, PLAN_PYTHON, false);
}

/* The probes know the process by one thread. When that ends they do, and are attached anew by another. */
void deep_exit(struct deep *deep, const struct ev_exit *ev)
{
	struct deep_process *process;
	bool anew;

	if (!deep->n || ev->flags & EXIT_IN_GROUP)
		return;
	process = process_find(deep, ev->task.proc.tgid);
	if (!process || process->over)
		return;
	/* What it took before the probes were there nobody saw. */
	deep->losses += process->ordered && !info_of(deep, process)->probes;
	anew = process->anew;
	process->anew = false;
	if (process->tid != (int32_t)ev->task.tid) {
		if (anew) /* where threads end already, the C library is there */
			process_order(deep, process, PLAN_LOCKS, false);
		return;
	}
	fprintf(stderr,
		"deadhold: --deep, process %d: its thread %d has ended, by which it was probed: "
		"probing it anew\n",
		process->pid, process->tid);
	process->gap_ns = UINT64_MAX;
	deep->losses++;
	info_of(deep, process)->probes = 0;
	process_order(deep, process, PLAN_LOCKS, true);
	process_order(deep, process, PLAN_PYTHON, true);
	if (process->python)
		process_order(deep, process, PLAN_SEMAPHORES, true);
}

struct purge {
	struct deep *deep;
	uint64_t time_ns;
};

static void purge_row(void *context, const struct deep_key *key, const struct deep_row *row)
{
	struct purge *purge = context;

	if (row->call_ns < purge->time_ns)
		hooks_deep_remove(purge->deep->agent->hooks, key);
}

static void process_remove(struct deep *deep, struct deep_process *process)
{
	size_t at = process - deep->process;
	uint32_t plan;

	for (plan = 0; plan < PLANS; plan++) {
		if (prober_pid_remove(deep->agent->prober, deep->plan + plan, process->pid))
			deep->losses++;
	}
	process->over = true;
	if (!process->child)
		return;
	followers_over(&deep->agent->stream.followers, process->pid);
	info_free(&deep->info[at]);
	deep->process[at] = deep->process[--deep->n];
	deep->info[at] = deep->info[deep->n];
}

void deep_process_over(struct deep *deep, const struct proc_key *proc, enum cleared_how how,
		       uint64_t time_ns)
{
	struct purge purge = { .deep = deep, .time_ns = time_ns };
	struct deep_process *process;

	if (!deep->n)
		return;
	process = process_find(deep, proc->tgid);
	if (!process)
		return;
	hooks_deep_each(deep->agent->hooks, proc->tgid, purge_row, &purge);
	hooks_deep_forget(deep->agent->hooks, proc->tgid);
	if (how == CLEARED_PROCESS_EXIT) {
		process_remove(deep, process);
	} else {
		/* The new program has its Python elsewhere. */
		process_order(deep, process, PLAN_PYTHON, true);
		process->anew = true;
	}
}
