// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model.h"

static struct owner_key key_of(uint32_t tgid, uint32_t exec_id, uint64_t start_ns, uint32_t ns_tid)
{
	struct owner_key key = { .ns_tid = ns_tid };

	key.proc.tgid = tgid;
	key.proc.exec_id = exec_id;
	key.proc.start_ns = start_ns;
	return key;
}

/* Returns whether one was evicted. */
static bool dead_add(struct model *model, struct owner_key key, const char *name,
		     struct owner_key *evicted)
{
	struct thread_info thread = { .tid = key.ns_tid, .ns_tid = key.ns_tid };
	struct exit_info end = { .reason = EXIT_RETURN, .time_ns = key.ns_tid };
	bool evicting;

	strncpy(thread.name, name, NAME_BYTES);
	assert_int_equal(model_dead_add(model, &key, &thread, &end, &evicting, evicted), 0);
	return evicting;
}

static void dead_is_found_by_its_whole_key(void **state)
{
	struct owner_key key = key_of(10, 1, 100, 12), other, evicted;
	struct model model;
	const struct dead *dead;

	(void)state;
	model_init(&model, 8, 16);
	assert_false(dead_add(&model, key, "worker", &evicted));
	dead = model_dead(&model, &key);
	assert_non_null(dead);
	assert_string_equal(dead->thread.name, "worker");
	assert_int_equal(dead->exit.reason, EXIT_RETURN);

	other = key_of(10, 2, 100, 12); /* after an exec */
	assert_null(model_dead(&model, &other));
	other = key_of(10, 1, 101, 12); /* another process of that number */
	assert_null(model_dead(&model, &other));
	other = key_of(10, 1, 100, 13);
	assert_null(model_dead(&model, &other));
	model_clear(&model);
}

static void number_used_again_replaces(void **state)
{
	struct owner_key key = key_of(10, 1, 100, 12), evicted;
	struct model model;

	(void)state;
	model_init(&model, 8, 16);
	dead_add(&model, key, "first", &evicted);
	dead_add(&model, key, "second", &evicted);
	assert_int_equal(model.n_dead, 1);
	assert_string_equal(model_dead(&model, &key)->thread.name, "second");
	model_clear(&model);
}

static void oldest_goes_at_the_limit(void **state)
{
	struct owner_key first = key_of(10, 1, 100, 1), evicted;
	struct model model;
	uint32_t tid;

	(void)state;
	model_init(&model, 3, 16);
	for (tid = 1; tid <= 3; tid++)
		assert_false(dead_add(&model, key_of(10, 1, 100, tid), "t", &evicted));
	assert_true(dead_add(&model, key_of(20, 1, 200, 4), "t", &evicted));
	assert_memory_equal(&evicted, &first, sizeof(first));
	assert_null(model_dead(&model, &first));
	assert_int_equal(model.n_dead, 3);
	model_clear(&model);
	assert_int_equal(model.n_dead, 0);
}

static void count_removed(void *context, const struct owner_key *key)
{
	uint32_t *seen = context;

	*seen |= 1u << key->ns_tid;
}

static void process_takes_its_dead_and_no_others(void **state)
{
	struct owner_key kept = key_of(10, 2, 100, 3), gone = key_of(10, 1, 100, 0), evicted;
	struct model model;
	uint32_t seen = 0;

	(void)state;
	model_init(&model, 16, 16);
	dead_add(&model, key_of(10, 1, 100, 1), "a", &evicted);
	dead_add(&model, key_of(10, 1, 100, 2), "b", &evicted);
	dead_add(&model, kept, "c", &evicted);
	dead_add(&model, key_of(11, 1, 100, 4), "d", &evicted);
	model_process_gone(&model, &gone.proc, count_removed, &seen);
	assert_int_equal(seen, 1u << 1 | 1u << 2);
	assert_int_equal(model.n_dead, 2);
	assert_non_null(model_dead(&model, &kept));
	seen = 0;
	model_process_gone(&model, &gone.proc, count_removed, &seen);
	assert_int_equal(seen, 0);
	model_clear(&model);
}

static bool same_orphan(const struct place *a, const struct place *b)
{
	struct orphan_key x = orphan_key(a, 7), y = orphan_key(b, 7);

	return !memcmp(&x, &y, sizeof(x));
}

static void places(void **state)
{
	struct place a = { .proc = { .tgid = 1, .start_ns = 5 }, .address = 0x1000 }, b = a;

	(void)state;
	assert_true(same_orphan(&a, &b));
	b.address = 0x1004;
	assert_false(same_orphan(&a, &b));
	b = a;
	b.proc.exec_id = 1;
	assert_false(same_orphan(&a, &b));
	/* What is left of a place in an object says nothing of a private lock. */
	b = a;
	b.shared.offset = 64;
	assert_true(same_orphan(&a, &b));

	/* One shared lock, mapped at two addresses in two processes. */
	a.shared = (struct shared_place){ .device = 1, .inode = 2, .offset = 64 };
	b = (struct place){ .proc = { .tgid = 9 }, .address = 0x9000, .shared = a.shared };
	assert_true(same_orphan(&a, &b));
	b.shared.offset = 128;
	assert_false(same_orphan(&a, &b));
	/* A private lock at the address of a shared one is another lock. */
	b = a;
	b.shared.inode = 0;
	assert_false(same_orphan(&a, &b));
}

static void orphans_are_told_by_place_and_owner(void **state)
{
	struct place place = { .proc = { .tgid = 1 }, .address = 0x10 };
	struct orphan template = { .key = orphan_key(&place, 7) };
	struct orphan_key other_owner = orphan_key(&place, 8), other_place;
	struct orphan *orphan;
	struct model model;
	bool evicting;

	(void)state;
	place.address = 0x20;
	other_place = orphan_key(&place, 7);
	model_init(&model, 1, 16);
	orphan = model_orphan_open(&model, &template, &evicting);
	assert_non_null(orphan);
	assert_ptr_equal(model_orphan(&model, &template.key), orphan);
	assert_null(model_orphan(&model, &other_owner));
	assert_null(model_orphan(&model, &other_place));
	/* A word that names nobody: the one that lies there. */
	other_owner.owner_ns_tid = other_place.owner_ns_tid = 0;
	assert_ptr_equal(model_orphan(&model, &other_owner), orphan);
	assert_null(model_orphan(&model, &other_place));
	assert_int_equal(model_orphans(&model), 1);
	model_orphan_close(&model, orphan);
	/* And the other way round. */
	template.key.owner_ns_tid = 0;
	orphan = model_orphan_open(&model, &template, &evicting);
	other_owner.owner_ns_tid = 8;
	assert_ptr_equal(model_orphan(&model, &other_owner), orphan);
	model_orphan_close(&model, orphan);
	assert_int_equal(model_orphans(&model), 0);
	model_clear(&model);
}

static void each_waiter_is_new_once(void **state)
{
	const struct waiter_key first = { 20, 1 }, same_number = { 20, 2 }, other = { 21, 1 };
	struct orphan template = { .id = "r:o1" }, *orphan;
	struct model model;
	bool evicting;

	(void)state;
	model_init(&model, 1, 16);
	orphan = model_orphan_open(&model, &template, &evicting);
	assert_false(model_waiter_said(orphan, &first));
	assert_true(model_waiter_new(orphan, &first));
	assert_true(model_waiter_said(orphan, &first));
	assert_false(model_waiter_new(orphan, &first));
	assert_true(model_waiter_new(orphan, &same_number));
	assert_true(model_waiter_new(orphan, &other));
	model_clear(&model);
}

/* However many come and go. */
static void table_of_the_dead_does_not_grow(void **state)
{
	struct owner_key evicted;
	struct model model;
	uint32_t i, buckets = 0;

	(void)state;
	model_init(&model, 3000, 16);
	for (i = 0; i < 300000; i++) {
		dead_add(&model, key_of(10, 1, 100, i), "worker", &evicted);
		if (i == 3000)
			buckets = model.dead_by_key->hh.tbl->num_buckets;
	}
	assert_int_equal(model.n_dead, 3000);
	assert_int_equal(buckets, 1024);
	assert_int_equal(model.dead_by_key->hh.tbl->num_buckets, buckets);
	model_clear(&model);
}

/* The open orphan of the lock at that address. */
static struct orphan *orphan_at(struct model *model, uint64_t address)
{
	const struct place place = { .proc = { .tgid = 1 }, .address = address };
	const struct orphan_key key = orphan_key(&place, 7);

	return model_orphan(model, &key);
}

/* Returns what model_orphan_open() does. */
static struct orphan *orphan_add(struct model *model, uint64_t address, bool *evicting)
{
	const struct place place = { .proc = { .tgid = 1 }, .address = address };
	const struct orphan template = { .key = orphan_key(&place, 7) };

	return model_orphan_open(model, &template, evicting);
}

static void oldest_without_a_waiter_makes_room(void **state)
{
	const struct waiter_key waiter = { 20, 1 };
	struct model model;
	bool evicting;

	(void)state;
	model_init(&model, 1, 3);
	assert_non_null(orphan_add(&model, 1, &evicting));
	assert_non_null(orphan_add(&model, 2, &evicting));
	assert_non_null(orphan_add(&model, 3, &evicting));
	assert_false(evicting);
	model_waiter_new(orphan_at(&model, 1), &waiter);
	assert_non_null(orphan_add(&model, 4, &evicting));
	assert_true(evicting);
	assert_non_null(orphan_at(&model, 1));
	assert_null(orphan_at(&model, 2));
	assert_int_equal(model_orphans(&model), 3);
	/* Somebody waits for each: the new one is not kept. */
	orphan_at(&model, 3)->awaited = true;
	model_waiter_new(orphan_at(&model, 4), &waiter);
	assert_null(orphan_add(&model, 5, &evicting));
	assert_int_equal(model_orphans(&model), 3);
	assert_non_null(orphan_at(&model, 4));
	/* When one is closed there is room. */
	model_orphan_close(&model, orphan_at(&model, 3));
	assert_non_null(orphan_add(&model, 5, &evicting));
	assert_false(evicting);
	model_clear(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dead_is_found_by_its_whole_key),
		cmocka_unit_test(number_used_again_replaces),
		cmocka_unit_test(oldest_goes_at_the_limit),
		cmocka_unit_test(process_takes_its_dead_and_no_others),
		cmocka_unit_test(places),
		cmocka_unit_test(orphans_are_told_by_place_and_owner),
		cmocka_unit_test(each_waiter_is_new_once),
		cmocka_unit_test(table_of_the_dead_does_not_grow),
		cmocka_unit_test(oldest_without_a_waiter_makes_room),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
