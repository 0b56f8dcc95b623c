// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "model.h"

/* The dead of one image of one process. */
struct dead_process {
	struct proc_key key;
	struct dead *threads;
	UT_hash_handle hh;
};

void model_init(struct model *model, size_t dead_limit, size_t orphan_limit)
{
	*model = (struct model){ .dead_limit = dead_limit, .orphan_limit = orphan_limit };
}

bool proc_equal(const struct proc_key *a, const struct proc_key *b)
{
	return a->tgid == b->tgid && a->exec_id == b->exec_id && a->start_ns == b->start_ns;
}

static void dead_remove(struct model *model, struct dead *dead)
{
	struct dead_process *process;

	HASH_FIND(hh, model->processes, &dead->key.proc, sizeof(dead->key.proc), process);
	if (process) /* always: it lives as long as it has threads */
		DL_DELETE2(process->threads, dead, sibling_prev, sibling);
	if (process && !process->threads) {
		HASH_DEL(model->processes, process);
		free(process);
	}
	HASH_DEL(model->dead_by_key, dead);
	DL_DELETE(model->dead_oldest, dead);
	model->n_dead--;
	free(dead);
}

static struct dead_process *dead_process_get(struct model *model, const struct proc_key *key)
{
	struct dead_process *process;

	HASH_FIND(hh, model->processes, key, sizeof(*key), process);
	if (process)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->key = *key;
	HASH_ADD(hh, model->processes, key, sizeof(process->key), process);
	return process;
}

static struct dead *dead_find(const struct model *model, const struct owner_key *key)
{
	struct dead *dead;

	HASH_FIND(hh, model->dead_by_key, key, sizeof(*key), dead);
	return dead;
}

void model_dead_descriptor(struct model *model, const struct owner_key *key, uint64_t descriptor)
{
	struct dead *dead = dead_find(model, key);

	if (dead)
		dead->descriptor = descriptor;
}

/*
 * From three rows a bucket on the table is as large as it gets. By uthash's own measure, one chain of ten,
 * chance would double it now and then for ever after, as rows come and go.
 */
static void table_settle(const struct model *model)
{
	UT_hash_table *table = model->dead_by_key->hh.tbl;

	table->noexpand |= table->num_buckets >= model->dead_limit / 3;
}

int model_dead_add(struct model *model, const struct owner_key *key,
		   const struct thread_info *thread, const struct exit_info *end, bool *evicting,
		   struct owner_key *evicted)
{
	struct dead *dead = calloc(1, sizeof(*dead)), *old = dead_find(model, key);
	struct dead_process *process;

	*evicting = false;
	if (!dead)
		return -ENOMEM;
	if (old)
		dead_remove(model, old);
	process = dead_process_get(model, &key->proc);
	if (!process) {
		free(dead);
		return -ENOMEM;
	}
	dead->key = *key;
	dead->thread = *thread;
	dead->exit = *end;
	HASH_ADD(hh, model->dead_by_key, key, sizeof(dead->key), dead);
	table_settle(model);
	DL_APPEND(model->dead_oldest, dead);
	DL_APPEND2(process->threads, dead, sibling_prev, sibling);
	if (++model->n_dead > model->dead_limit) {
		*evicting = true;
		*evicted = model->dead_oldest->key;
		dead_remove(model, model->dead_oldest);
	}
	return 0;
}

const struct dead *model_dead(const struct model *model, const struct owner_key *key)
{
	return dead_find(model, key);
}

void model_process_gone(struct model *model, const struct proc_key *proc, model_removed *removed,
			void *context)
{
	struct dead_process *process;
	struct dead *dead, *next;

	HASH_FIND(hh, model->processes, proc, sizeof(*proc), process);
	/* The last removal frees the process: the list is not looked at again. */
	for (dead = process ? process->threads : NULL; dead; dead = next) {
		next = dead->sibling;
		removed(context, &dead->key);
		dead_remove(model, dead);
	}
}

void model_process_dead(const struct model *model, const struct proc_key *proc,
			model_dead_each *each, void *context)
{
	struct dead_process *process;
	const struct dead *dead;

	HASH_FIND(hh, model->processes, proc, sizeof(*proc), process);
	for (dead = process ? process->threads : NULL; dead; dead = dead->sibling)
		each(context, dead);
}

/* A shared lock has another address in each process, a private one no place in any object. */
struct orphan_key orphan_key(const struct place *place, uint32_t owner_ns_tid)
{
	struct orphan_key key = { .owner_ns_tid = owner_ns_tid };

	if (place->shared.inode) {
		key.place.shared = place->shared;
	} else {
		key.place.proc = place->proc;
		key.place.address = place->address;
	}
	return key;
}

struct orphan *model_orphan(const struct model *model, const struct orphan_key *key)
{
	struct orphan *orphan;

	HASH_FIND(hh, model->orphans, key, sizeof(*key), orphan);
	if (orphan)
		return orphan;
	if (key->owner_ns_tid) {
		struct orphan_key nobody = *key;

		nobody.owner_ns_tid = 0;
		HASH_FIND(hh, model->orphans, &nobody, sizeof(nobody), orphan);
		return orphan;
	}
	for (orphan = model->orphans; orphan; orphan = orphan->hh.next) {
		if (!memcmp(&orphan->key.place, &key->place, sizeof(key->place)))
			return orphan;
	}
	return NULL;
}

void model_orphan_close(struct model *model, struct orphan *orphan)
{
	struct said *said, *next;

	HASH_ITER (hh, orphan->said, said, next) {
		HASH_DEL(orphan->said, said);
		free(said);
	}
	HASH_DEL(model->orphans, orphan);
	free(orphan);
}

static struct orphan *orphan_unawaited(const struct model *model)
{
	struct orphan *orphan;

	for (orphan = model->orphans; orphan; orphan = orphan->hh.next) {
		if (!orphan->said && !orphan->awaited)
			return orphan;
	}
	return NULL;
}

struct orphan *model_orphan_open(struct model *model, const struct orphan *orphan, bool *evicting)
{
	struct orphan *copy, *oldest;

	*evicting = HASH_COUNT(model->orphans) >= model->orphan_limit;
	oldest = *evicting ? orphan_unawaited(model) : NULL;
	copy = !*evicting || oldest ? malloc(sizeof(*copy)) : NULL;
	if (!copy)
		return NULL;
	if (oldest)
		model_orphan_close(model, oldest);
	*copy = *orphan;
	copy->said = NULL;
	HASH_ADD(hh, model->orphans, key, sizeof(copy->key), copy);
	return copy;
}

size_t model_orphans(const struct model *model)
{
	return HASH_COUNT(model->orphans);
}

bool model_waiter_said(const struct orphan *orphan, const struct waiter_key *waiter)
{
	struct said *said;

	HASH_FIND(hh, orphan->said, waiter, sizeof(*waiter), said);
	return said;
}

bool model_waiter_new(struct orphan *orphan, const struct waiter_key *waiter)
{
	struct said *said;

	if (model_waiter_said(orphan, waiter))
		return false;
	said = calloc(1, sizeof(*said));
	if (said) { /* without memory it may be said twice: better than never */
		said->waiter = *waiter;
		HASH_ADD(hh, orphan->said, waiter, sizeof(said->waiter), said);
	}
	return true;
}

void model_clear(struct model *model)
{
	while (model->dead_oldest)
		dead_remove(model, model->dead_oldest);
	while (model->orphans)
		model_orphan_close(model, model->orphans);
}
