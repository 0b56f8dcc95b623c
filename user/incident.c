// SPDX-License-Identifier: GPL-2.0-only
#include "incident.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "array.h"
#include "table.h"

#define MARKS_LIMIT 4096 /* orphans of one incident whose end is waited for */
#define FATAL_LIMIT 64	 /* fatal signals that may yet end their process */
#define OVER_LIMIT  4096 /* processes that ended, for signals that are told late */
#define SUSPICIONS  1024 /* that may yet be proven */
#define GONE_TIMES  2	 /* one reading may be ahead of the record of the end */

/* An orphan of an incident. */
struct mark {
	char orphan_id[48];
	uint64_t device, inode, at; /* of a private lock: 0, 0, address */
	bool open;
};

struct incident {
	struct incident_info info;
	struct process_info process;
	enum severity severity;
	bool opened, shown;
	uint64_t opened_ns;
	bool asked;	   /* whether its process is there */
	unsigned int gone; /* so many times in a row it was not */
	uint64_t last_death_ns;
	uint64_t said_victims, said_dead, said_locks;
	size_t n_locks;
	struct lock_info *locks; /* INCIDENT_LOCKS */
	size_t n_marks, marks_room, n_open;
	struct mark *marks;
	size_t n_stuck;
	struct waiter_info *stuck; /* INCIDENT_STUCK */
	struct incident *prev, *next;
};

struct victim_key {
	uint64_t tid;
	uint64_t start_ticks;
};

/* A thread that is stuck. It can be so in one place only. */
struct victim {
	struct victim_key key;
	UT_hash_handle hh;
	struct incident *incident;
	uint64_t time_ns; /* known from then on */
};

struct fatal {
	struct alert *alert;
	uint64_t seq;
};

struct over {
	int32_t pid;
	uint64_t start_ticks;
	int32_t signal;
	uint64_t time_ns;
};

/* A lock-suspected that was written. seq 0: free. */
struct suspicion {
	uint64_t seq;
	int32_t pid;
	uint64_t start_ticks;
	struct thread_info thread;
	char orphan_id[48];
	size_t n_locks; /* that are not cleared */
};

struct incidents {
	char run_id[33];
	size_t limit, victims_limit;
	incident_say *say;
	void *context;
	struct incident *all; /* the oldest first */
	size_t n;
	struct victim *victims;
	struct fatal fatal[FATAL_LIMIT];
	struct over over[OVER_LIMIT];
	struct suspicion suspicions[SUSPICIONS];
	size_t next_fatal, next_over, next_suspicion;
	uint64_t number, lost;
};

struct incidents *incidents_new(const char *run_id, size_t limit, size_t victims, incident_say *say,
				void *context)
{
	struct incidents *incidents = calloc(1, sizeof(*incidents));

	if (!incidents)
		return NULL;
	incidents->limit = limit;
	incidents->victims_limit = victims;
	incidents->say = say;
	incidents->context = context;
	snprintf(incidents->run_id, sizeof(incidents->run_id), "%s", run_id);
	return incidents;
}

static void incident_free(struct incidents *incidents, struct incident *incident)
{
	struct victim *victim, *next;

	HASH_ITER (hh, incidents->victims, victim, next) {
		if (victim->incident != incident)
			continue;
		HASH_DEL(incidents->victims, victim);
		free(victim);
	}
	DL_DELETE(incidents->all, incident);
	incidents->n--;
	free(incident->locks);
	free(incident->marks);
	free(incident->stuck);
	free(incident);
}

void incidents_free(struct incidents *incidents)
{
	size_t i;

	if (!incidents)
		return;
	while (incidents->all)
		incident_free(incidents, incidents->all);
	for (i = 0; i < FATAL_LIMIT; i++)
		alert_free(incidents->fatal[i].alert);
	free(incidents);
}

/* ---- which incident ---- */

static bool process_is(const struct process_info *process, int32_t pid, uint64_t start_ticks)
{
	return process->pid == pid && process->start_ticks == start_ticks;
}

static bool thread_equal(const struct thread_info *a, const struct thread_info *b)
{
	return a->tid == b->tid && a->ns_tid == b->ns_tid && a->start_ticks == b->start_ticks;
}

static bool thread_known(const struct thread_info *thread)
{
	return thread->tid || thread->ns_tid;
}

static struct dead_info *incident_dead(struct incident *incident, const struct thread_info *thread)
{
	size_t i;

	for (i = 0; i < incident->info.n_dead; i++) {
		if (thread_equal(&incident->info.dead[i].thread, thread))
			return &incident->info.dead[i];
	}
	return NULL;
}

/* One makes room that has not opened: it hurts nobody yet, and what hurts later tells all it needs. */
static bool incidents_make_room(struct incidents *incidents)
{
	struct incident *incident, *next;

	DL_FOREACH_SAFE(incidents->all, incident, next)
	{
		if (incidents->n < incidents->limit)
			break;
		if (!incident->opened)
			incident_free(incidents, incident);
	}
	return incidents->n < incidents->limit;
}

static struct incident *incident_new(struct incidents *incidents,
				     const struct process_info *process)
{
	struct incident *incident = NULL;

	if (incidents_make_room(incidents))
		incident = calloc(1, sizeof(*incident));
	if (incident) {
		incident->locks = calloc(INCIDENT_LOCKS, sizeof(*incident->locks));
		incident->stuck = calloc(INCIDENT_STUCK, sizeof(*incident->stuck));
	}
	if (!incident || !incident->locks || !incident->stuck) {
		incidents->lost++;
		if (incident) {
			free(incident->locks);
			free(incident->stuck);
		}
		free(incident);
		return NULL;
	}
	incident->process = *process;
	incident->severity = SEVERITY_WARNING;
	DL_APPEND(incidents->all, incident);
	incidents->n++;
	return incident;
}

/* The same dead thread, or one that died with it. */
static bool incident_fits(struct incident *incident, const struct alert *alert)
{
	uint64_t end = alert->exit.time_ns;

	if (incident->info.killed ||
	    !process_is(&incident->process, alert->process.pid, alert->process.start_ticks))
		return false;
	if (thread_known(&alert->thread) && incident_dead(incident, &alert->thread))
		return true;
	return end && incident->last_death_ns && end <= incident->last_death_ns + INCIDENT_NS &&
	       end + INCIDENT_NS >= incident->last_death_ns;
}

static struct incident *incident_of_death(struct incidents *incidents, const struct alert *alert)
{
	struct incident *incident;

	DL_FOREACH(incidents->all, incident)
	{
		if (incident_fits(incident, alert))
			return incident;
	}
	return NULL;
}

/* ---- its parts ---- */

static void chain_add(struct incident *incident, uint64_t seq)
{
	struct incident_info *info = &incident->info;
	size_t at = info->n_chain;

	while (at && info->chain[at - 1] > seq)
		at--;
	if (!seq || (at && info->chain[at - 1] == seq) || info->n_chain == INCIDENT_CHAIN)
		return;
	memmove(&info->chain[at + 1], &info->chain[at],
		(info->n_chain - at) * sizeof(*info->chain));
	info->chain[at] = seq;
	info->n_chain++;
}

static void dead_add(struct incident *incident, const struct thread_info *thread,
		     const struct exit_info *end, const struct cause_info *cause)
{
	struct incident_info *info = &incident->info;
	struct dead_info *dead = incident_dead(incident, thread);

	if (!dead) {
		info->dead_count++;
		if (info->n_dead == INCIDENT_DEAD)
			return;
		dead = &info->dead[info->n_dead++];
		*dead = (struct dead_info){ .thread = *thread, .exit = *end };
		if (end->time_ns > incident->last_death_ns)
			incident->last_death_ns = end->time_ns;
	}
	if (cause) {
		dead->has_cause = true;
		dead->cause = *cause;
		chain_add(incident, cause->seq);
	}
}

static struct mark mark_of(const char *orphan_id, const struct lock_info *lock)
{
	struct mark mark = { .at = lock->address, .open = true };

	if (lock->shared && lock->inode) {
		mark.device = lock->device;
		mark.inode = lock->inode;
		mark.at = lock->object_offset;
	}
	snprintf(mark.orphan_id, sizeof(mark.orphan_id), "%s", orphan_id);
	return mark;
}

static struct mark *mark_find(const struct incident *incident, const struct mark *wanted)
{
	size_t i;

	for (i = 0; i < incident->n_marks; i++) {
		struct mark *mark = &incident->marks[i];

		if (mark->at == wanted->at && mark->inode == wanted->inode &&
		    mark->device == wanted->device && !strcmp(mark->orphan_id, wanted->orphan_id))
			return mark;
	}
	return NULL;
}

static struct incident *incident_of_orphan(const struct incidents *incidents,
					   const struct mark *mark)
{
	struct incident *incident;

	DL_FOREACH(incidents->all, incident)
	{
		if (mark_find(incident, mark))
			return incident;
	}
	return NULL;
}

/* Which of the told locks it is; INCIDENT_LOCKS: none of them. */
static size_t lock_place_of(const struct incident *incident, const struct lock_info *lock)
{
	size_t i;

	for (i = 0; i < incident->n_locks; i++) {
		const struct lock_info *told = &incident->locks[i];

		if (lock->shared && lock->inode
			    ? told->inode == lock->inode && told->device == lock->device &&
				      told->object_offset == lock->object_offset
			    : told->address == lock->address)
			return i;
	}
	return INCIDENT_LOCKS;
}

static void lock_add(struct incidents *incidents, struct incident *incident, const char *orphan_id,
		     const struct lock_info *lock)
{
	struct mark mark = mark_of(orphan_id, lock), *grown = NULL;

	if (mark_find(incident, &mark))
		return;
	if (incident->n_marks < MARKS_LIMIT)
		grown = array_grow(incident->marks, incident->n_marks, &incident->marks_room,
				   sizeof(*grown));
	if (!grown) {
		incidents->lost++;
		return;
	}
	incident->marks = grown;
	incident->marks[incident->n_marks++] = mark;
	incident->n_open++;
	if (lock_place_of(incident, lock) < incident->n_locks)
		return; /* the same lock, orphaned again */
	incident->info.locks_count++;
	if (incident->n_locks < INCIDENT_LOCKS)
		incident->locks[incident->n_locks++] = *lock;
}

static void victim_key_of(struct victim_key *key, const struct thread_info *thread)
{
	memset(key, 0, sizeof(*key));
	key->tid = thread->tid;
	key->start_ticks = thread->start_ticks;
}

static struct victim *victim_find(const struct incidents *incidents,
				  const struct thread_info *thread)
{
	struct victim_key key;
	struct victim *victim;

	victim_key_of(&key, thread);
	HASH_FIND(hh, incidents->victims, &key, sizeof(key), victim);
	return victim;
}

static void victim_add(struct incidents *incidents, struct incident *incident,
		       const struct waiter_info *waiter, uint64_t time_ns)
{
	struct victim *victim = victim_find(incidents, &waiter->thread);

	if (victim)
		return;
	if (HASH_COUNT(incidents->victims) < incidents->victims_limit)
		victim = calloc(1, sizeof(*victim));
	if (!victim) {
		incidents->lost++;
		return;
	}
	victim_key_of(&victim->key, &waiter->thread);
	victim->incident = incident;
	victim->time_ns = time_ns;
	HASH_ADD(hh, incidents->victims, key, sizeof(victim->key), victim);
	incident->info.victims_count++;
	incident->severity = SEVERITY_CRITICAL;
	if (incident->n_stuck < INCIDENT_STUCK)
		incident->stuck[incident->n_stuck++] = *waiter;
}

/* Does it wait for ever, for what nobody gives back? */
static bool is_stuck(const struct wait_info *wait, const struct lock_info *lock)
{
	return !wait->has_timeout && !lock_is_robust(lock);
}

/* ---- what is said ---- */

static uint64_t step_after(uint64_t n)
{
	uint64_t step = 1;

	for (;;) {
		if (step > n)
			return step;
		if (2 * step > n)
			return 2 * step;
		if (5 * step > n)
			return 5 * step;
		step *= 10;
	}
}

static void incident_tell(struct incidents *incidents, struct incident *incident, uint64_t time_ns)
{
	struct incident_info *info = &incident->info;
	struct alert alert = {
		.kind = ALERT_INCIDENT,
		.severity = incident->severity,
		.time_ns = time_ns,
		.process = incident->process,
		.locks = incident->locks,
		.n_locks = incident->n_locks,
		.waiters = incident->stuck,
		.n_waiters = incident->n_stuck,
		.incident = info,
		.follows = incident->shown,
	};

	if (info->n_dead) {
		alert.thread = info->dead[0].thread;
		alert.exit = info->dead[0].exit;
	}
	info->revision++;
	incident->said_victims = info->victims_count;
	incident->said_dead = info->dead_count;
	incident->said_locks = info->locks_count;
	incident->shown |= incidents->say(incidents->context, &alert);
}

static void incident_open(struct incidents *incidents, struct incident *incident, uint64_t time_ns)
{
	incident->opened = true;
	incident->opened_ns = time_ns;
	snprintf(incident->info.id, sizeof(incident->info.id), "%s:i%" PRIu64, incidents->run_id,
		 ++incidents->number);
	incident_tell(incidents, incident, time_ns);
}

static void incident_close(struct incidents *incidents, struct incident *incident,
			   enum cleared_how how, uint64_t time_ns)
{
	if (incident->opened) {
		incident->info.state = INCIDENT_CLOSED;
		incident->info.close_reason = how;
		incident_tell(incidents, incident, time_ns);
	}
	incident_free(incidents, incident);
}

static bool incident_grew(const struct incident *incident)
{
	const struct incident_info *info = &incident->info;

	return info->victims_count >= step_after(incident->said_victims) ||
	       info->dead_count >= step_after(incident->said_dead) ||
	       info->locks_count >= step_after(incident->said_locks);
}

/* Opens it, or says that it grew, if that is so. hurts: a thread was killed that held locks. */
static void incident_judge(struct incidents *incidents, struct incident *incident, bool hurts,
			   uint64_t time_ns)
{
	if (!incident->opened && (hurts || incident->info.victims_count)) {
		incident_open(incidents, incident, time_ns);
	} else if (incident->opened && incident_grew(incident)) {
		incident->info.state = INCIDENT_UPDATED;
		incident_tell(incidents, incident, time_ns);
	}
}

/* ---- suspicions ---- */

/* What was suspected of a thread of which more is known now. */
static void suspicions_join(struct incidents *incidents, struct incident *incident,
			    const struct thread_info *thread)
{
	size_t i;

	for (i = 0; i < SUSPICIONS && thread_known(thread); i++) {
		struct suspicion *suspicion = &incidents->suspicions[i];

		if (!suspicion->seq || !thread_equal(&suspicion->thread, thread) ||
		    !process_is(&incident->process, suspicion->pid, suspicion->start_ticks))
			continue;
		chain_add(incident, suspicion->seq);
		suspicion->seq = 0;
	}
}

/* It may be chance: it opens nothing, and adds no lock and no dead thread to what is known. */
static void take_suspected(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct incident *incident;
	struct suspicion *suspicion;

	if (!seq || !thread_known(&alert->thread))
		return;
	DL_FOREACH(incidents->all, incident)
	{
		if (process_is(&incident->process, alert->process.pid,
			       alert->process.start_ticks) &&
		    incident_dead(incident, &alert->thread)) {
			chain_add(incident, seq);
			return;
		}
	}
	suspicion = &incidents->suspicions[incidents->next_suspicion++ % SUSPICIONS];
	incidents->lost += suspicion->seq != 0;
	*suspicion = (struct suspicion){ .seq = seq,
					 .pid = alert->process.pid,
					 .start_ticks = alert->process.start_ticks,
					 .thread = alert->thread,
					 .n_locks = alert->n_locks };
	memcpy(suspicion->orphan_id, alert->orphan_id, sizeof(suspicion->orphan_id));
}

/* One of its locks is no orphan any more. */
static void suspicion_cleared(struct incidents *incidents, const char *orphan_id)
{
	size_t i;

	for (i = 0; i < SUSPICIONS; i++) {
		struct suspicion *suspicion = &incidents->suspicions[i];

		if (suspicion->seq && !strcmp(suspicion->orphan_id, orphan_id) &&
		    !--suspicion->n_locks)
			suspicion->seq = 0;
	}
}

static void suspicions_over(struct incidents *incidents, int32_t pid, uint64_t start_ticks)
{
	size_t i;

	for (i = 0; i < SUSPICIONS; i++) {
		struct suspicion *suspicion = &incidents->suspicions[i];

		if (suspicion->pid == pid && suspicion->start_ticks == start_ticks)
			suspicion->seq = 0;
	}
}

/* ---- orphans ---- */

/* Killed, and not only unlucky to return; and left something that nobody gives back. */
static bool was_killed_with_locks(const struct alert *alert)
{
	bool killed = alert->exit.reason == EXIT_CANCEL || alert->exit.reason == EXIT_SECCOMP ||
		      (alert->cause && alert->cause->kind == CAUSE_ASYNC_EXCEPTION);
	size_t i;

	for (i = 0; i < alert->n_locks; i++) {
		if (killed && !lock_is_robust(&alert->locks[i]))
			return true;
	}
	return false;
}

static void take_orphaned(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct incident *incident = incident_of_death(incidents, alert)
					    ?: incident_new(incidents, &alert->process);
	size_t i;

	if (!incident)
		return;
	dead_add(incident, &alert->thread, &alert->exit, alert->cause);
	chain_add(incident, seq);
	suspicions_join(incidents, incident, &alert->thread);
	for (i = 0; i < alert->n_locks; i++)
		lock_add(incidents, incident, alert->orphan_id, &alert->locks[i]);
	for (i = 0; i < alert->n_waiters; i++) {
		struct waiter_info waiter = alert->waiters[i];
		const struct lock_info *lock = &alert->locks[waiter.lock];

		waiter.lock = lock_place_of(incident, lock);
		if (is_stuck(&waiter.wait, lock))
			victim_add(incidents, incident, &waiter, alert->time_ns);
	}
	incident_judge(incidents, incident, was_killed_with_locks(alert), alert->time_ns);
}

/* Of an orphan that is not followed any more. */
static struct incident *incident_of_wait(struct incidents *incidents, const struct alert *alert)
{
	const struct process_info *process = alert->owner_process.pid ? &alert->owner_process
								      : &alert->process;
	struct incident *incident = incident_new(incidents, process);

	if (!incident)
		return NULL;
	dead_add(incident, &alert->owner, &alert->exit, NULL);
	suspicions_join(incidents, incident, &alert->owner);
	lock_add(incidents, incident, alert->orphan_id, &alert->locks[0]);
	return incident;
}

static void take_wait(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct mark mark = mark_of(alert->orphan_id, &alert->locks[0]);
	struct waiter_info waiter = { .thread = alert->thread, .wait = alert->wait };
	struct incident *incident;

	if (!is_stuck(&alert->wait, &alert->locks[0]))
		return;
	incident = incident_of_orphan(incidents, &mark) ?: incident_of_wait(incidents, alert);
	if (!incident)
		return;
	if (!process_is(&incident->process, alert->process.pid, alert->process.start_ticks))
		waiter.process = alert->process;
	waiter.lock = lock_place_of(incident, &alert->locks[0]);
	chain_add(incident, seq);
	victim_add(incidents, incident, &waiter, alert->time_ns);
	incident_judge(incidents, incident, false, alert->time_ns);
}

static void take_cleared(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct mark mark = mark_of(alert->orphan_id, &alert->locks[0]), *found;
	struct incident *incident = incident_of_orphan(incidents, &mark);

	if (!incident) {
		suspicion_cleared(incidents, alert->orphan_id);
		return;
	}
	chain_add(incident, seq);
	found = mark_find(incident, &mark);
	incident->n_open -= found->open;
	found->open = false;
	if (!incident->n_open)
		incident_close(incidents, incident, alert->how, alert->time_ns);
}

static void take_killed(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct incident *incident;

	DL_FOREACH(incidents->all, incident)
	{
		if (process_is(&incident->process, alert->process.pid,
			       alert->process.start_ticks) &&
		    incident_dead(incident, &alert->thread))
			chain_add(incident, seq);
	}
}

/* ---- processes that a signal at a thread ended ---- */

static struct over *over_find(struct incidents *incidents, const struct process_info *process)
{
	size_t i;

	for (i = 0; i < OVER_LIMIT; i++) {
		struct over *over = &incidents->over[i];

		if (over->pid && process_is(process, over->pid, over->start_ticks))
			return over;
	}
	return NULL;
}

static void cause_of_signal(struct cause_info *cause, const struct alert *alert, uint64_t seq,
			    uint64_t end_ns)
{
	*cause = (struct cause_info){
		.kind = alert->kind == ALERT_TID_KILL ? CAUSE_TID_KILL : CAUSE_THREAD_SIGNAL,
		.seq = seq,
		.sender_process = alert->sender_process,
		.sender_thread = alert->sender_thread,
		.before_ns = end_ns > alert->time_ns ? end_ns - alert->time_ns : 0,
		.certain = alert->signal.ends,
		.signal = alert->signal,
	};
}

static struct incident *killed_open(struct incidents *incidents, const struct alert *alert,
				    uint64_t seq, uint64_t end_ns)
{
	struct incident *incident = incident_new(incidents, &alert->process);
	struct exit_info end = { .reason = EXIT_PROCESS_KILLED,
				 .signal = alert->signal.number,
				 .time_ns = end_ns };
	struct cause_info cause;

	if (!incident)
		return NULL;
	cause_of_signal(&cause, alert, seq, end_ns);
	incident->info.killed = true;
	incident->severity = SEVERITY_CRITICAL;
	chain_add(incident, seq);
	dead_add(incident, &alert->thread, &end, &cause);
	incident_open(incidents, incident, end_ns ?: alert->time_ns);
	return incident;
}

static struct incident *killed_find(struct incidents *incidents, const struct process_info *process)
{
	struct incident *incident;

	DL_FOREACH(incidents->all, incident)
	{
		if (incident->info.killed &&
		    process_is(&incident->process, process->pid, process->start_ticks))
			return incident;
	}
	return NULL;
}

/* Did it end by this signal, soon after it was sent? */
static bool over_by(const struct over *over, const struct alert *alert)
{
	return over->signal == alert->signal.number && over->time_ns >= alert->time_ns &&
	       over->time_ns <= alert->time_ns + INCIDENT_NS;
}

static void fatal_note(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct fatal *fatal = &incidents->fatal[incidents->next_fatal++ % FATAL_LIMIT];

	alert_free(fatal->alert);
	*fatal = (struct fatal){ .alert = alert_copy(alert), .seq = seq };
	incidents->lost += !fatal->alert;
}

static void take_signal(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	struct over *over;
	struct incident *incident;

	if (!alert->signal.fatal || alert->signal.result != RESULT_QUEUED ||
	    killed_find(incidents, &alert->process))
		return;
	over = over_find(incidents, &alert->process);
	if (!alert->signal.ends && !over) {
		fatal_note(incidents, alert, seq);
		return;
	}
	if (!alert->signal.ends && !over_by(over, alert))
		return;
	incident = killed_open(incidents, alert, seq, over ? over->time_ns : 0);
	if (incident && over)
		incident_close(incidents, incident, CLEARED_PROCESS_EXIT, over->time_ns);
}

/* The last fatal signal by whose number the process ended. */
static struct fatal *fatal_find(struct incidents *incidents, const struct over *over)
{
	struct fatal *last = NULL;
	size_t i;

	for (i = 0; i < FATAL_LIMIT; i++) {
		struct fatal *fatal = &incidents->fatal[i];

		if (fatal->alert && over_by(over, fatal->alert) &&
		    process_is(&fatal->alert->process, over->pid, over->start_ticks) &&
		    (!last || fatal->alert->time_ns > last->alert->time_ns))
			last = fatal;
	}
	return last;
}

void incidents_process_over(struct incidents *incidents, int32_t pid, uint64_t start_ticks,
			    int32_t signal, uint64_t time_ns)
{
	struct over *over = &incidents->over[incidents->next_over++ % OVER_LIMIT];
	struct process_info process = { .pid = pid, .start_ticks = start_ticks };
	struct incident *incident = killed_find(incidents, &process);
	struct fatal *fatal;

	*over = (struct over){ pid, start_ticks, signal, time_ns };
	suspicions_over(incidents, pid, start_ticks);
	fatal = incident ? NULL : fatal_find(incidents, over);
	if (fatal)
		incident = killed_open(incidents, fatal->alert, fatal->seq, time_ns);
	if (incident)
		incident_close(incidents, incident, CLEARED_PROCESS_EXIT, time_ns);
}

/* ---- processes whose end is not told ---- */

void incidents_ask(struct incidents *incidents, uint64_t now_ns, incident_ask *ask, void *context)
{
	struct incident *incident;

	DL_FOREACH(incidents->all, incident)
	{
		if (incident->info.killed && !incident->asked &&
		    incident->opened_ns + ENDING_NS <= now_ns)
			incident->asked = ask(context, incident->process.pid,
					      incident->process.start_ticks);
	}
}

void incidents_answer(struct incidents *incidents, int32_t pid, uint64_t start_ticks, bool gone,
		      uint64_t now_ns)
{
	struct process_info process = { .pid = pid, .start_ticks = start_ticks };
	struct incident *incident = killed_find(incidents, &process);

	if (!incident)
		return;
	incident->asked = false;
	incident->gone = gone ? incident->gone + 1 : 0;
	if (incident->gone == GONE_TIMES)
		incident_close(incidents, incident, CLEARED_GONE, now_ns);
}

/* ---- all of it ---- */

void incidents_take(struct incidents *incidents, const struct alert *alert, uint64_t seq)
{
	switch (alert->kind) {
	case ALERT_LOCK_ORPHANED:
		take_orphaned(incidents, alert, seq);
		break;
	case ALERT_LOCK_SUSPECTED:
		take_suspected(incidents, alert, seq);
		break;
	case ALERT_ORPHAN_WAIT:
		take_wait(incidents, alert, seq);
		break;
	case ALERT_ORPHAN_CLEARED:
		take_cleared(incidents, alert, seq);
		break;
	case ALERT_THREAD_KILLED:
		take_killed(incidents, alert, seq);
		break;
	case ALERT_THREAD_SIGNAL:
	case ALERT_TID_KILL:
		take_signal(incidents, alert, seq);
		break;
	default:
		break;
	}
}

/* Stuck since before seen_ns, or found to be behind one who is (time 0). */
static struct victim *victim_before(const struct incidents *incidents,
				    const struct thread_info *thread, uint64_t seen_ns)
{
	struct victim *victim = victim_find(incidents, thread);

	return victim && victim->time_ns <= seen_ns ? victim : NULL;
}

static void edge_fill(struct waiter_info *waiter, const struct incident_edge *edge,
		      const struct incident *incident)
{
	const struct process_info *process = edge->process;

	*waiter = (struct waiter_info){ .thread = edge->waiter,
					.behind = edge->owner,
					.wait = edge->wait,
					.lock = INCIDENT_LOCKS };
	if (!process_is(&incident->process, process->pid, process->start_ticks))
		waiter->process = *process;
	if (!process_is(process, edge->owner_process.pid, edge->owner_process.start_ticks))
		waiter->behind_process = edge->owner_process;
}

/* One round over the edges. Returns how many were found to be behind somebody. */
static size_t behind_step(struct incidents *incidents, const struct incident_edge *edges, size_t n,
			  uint64_t seen_ns)
{
	size_t found = 0, i;

	for (i = 0; i < n; i++) {
		const struct victim *owner;
		struct waiter_info waiter;
		uint64_t before = HASH_COUNT(incidents->victims);

		if (victim_find(incidents, &edges[i].waiter))
			continue;
		owner = victim_before(incidents, &edges[i].owner, seen_ns);
		if (!owner)
			continue;
		edge_fill(&waiter, &edges[i], owner->incident);
		victim_add(incidents, owner->incident, &waiter, seen_ns);
		found += HASH_COUNT(incidents->victims) > before;
	}
	return found;
}

void incidents_behind(struct incidents *incidents, const struct incident_edge *edges, size_t n,
		      uint64_t seen_ns)
{
	struct incident *incident;

	while (behind_step(incidents, edges, n, seen_ns))
		;
	DL_FOREACH(incidents->all, incident)
	{
		incident_judge(incidents, incident, false, seen_ns);
	}
}

bool incidents_anybody_stuck(const struct incidents *incidents)
{
	return incidents->victims;
}

uint64_t incidents_lost(const struct incidents *incidents)
{
	return incidents->lost;
}

size_t incidents_open(const struct incidents *incidents)
{
	struct incident *incident;
	size_t n = 0;

	DL_FOREACH(incidents->all, incident)
	{
		n += incident->opened;
	}
	return n;
}
