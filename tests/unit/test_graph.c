// SPDX-License-Identifier: GPL-2.0-only
/* The wait-for graph: where the path of each thread ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph.h"

#define WAITS(l)                           \
	{                                  \
		.lock = l, .joins = NOBODY \
	}
#define TIMED(l)                                          \
	{                                                 \
		.lock = l, .joins = NOBODY, .timed = true \
	}
#define JOINS(t)                           \
	{                                  \
		.lock = NOBODY, .joins = t \
	}
#define FREE WAITS(NOBODY)
#define HELD(t)                                  \
	{                                        \
		.state = OWNER_ALIVE, .owner = t \
	}
#define ORPHAN                                       \
	{                                            \
		.state = OWNER_DEAD, .owner = NOBODY \
	}
#define UNKNOWN                                         \
	{                                               \
		.state = OWNER_UNKNOWN, .owner = NOBODY \
	}

#define FIND(threads, locks, graph) \
	assert_int_equal(graph_find(threads, sizeof(threads) / sizeof(*(threads)), locks, graph), 0)

static void assert_fate(const struct graph *graph, int thread, enum path_end end, int at)
{
	assert_int_equal(graph->fate[thread].end, end);
	assert_int_equal(graph->fate[thread].at, at);
}

static void nothing(void **state)
{
	struct graph_thread none[1] = { FREE };
	struct graph graph;

	(void)state;
	assert_int_equal(graph_find(none, 0, NULL, &graph), 0);
	graph_free(&graph);
	FIND(none, NULL, &graph);
	assert_fate(&graph, 0, PATH_NONE, 0);
	assert_int_equal(graph.n_cycles, 0);
	graph_free(&graph);
}

static void chain_to_the_dead(void **state)
{
	/* 2 joins 1, which waits for 0, which waits for the dead */
	struct graph_thread threads[] = { WAITS(0), WAITS(1), JOINS(1), WAITS(0), FREE };
	struct graph_lock locks[] = { ORPHAN, HELD(0) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	for (int i = 0; i < 4; i++)
		assert_fate(&graph, i, PATH_DEAD, 0);
	assert_fate(&graph, 4, PATH_NONE, 4);
	assert_int_equal(graph.n_cycles, 0);
	graph_free(&graph);
}

static void convoy(void **state)
{
	struct graph_thread threads[] = { WAITS(0), FREE, WAITS(0), WAITS(1), JOINS(3) };
	struct graph_lock locks[] = { HELD(1), HELD(2) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_fate(&graph, 1, PATH_NONE, 1);
	for (int i = 0; i < 5; i++)
		if (i != 1)
			assert_fate(&graph, i, PATH_FREE, 1);
	graph_free(&graph);
}

static void owner_unknown(void **state)
{
	/* Lock 1 has a live owner that is none of the threads. */
	struct graph_thread threads[] = { WAITS(0), WAITS(1) };
	struct graph_lock locks[] = { UNKNOWN, HELD(NOBODY) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_fate(&graph, 0, PATH_UNKNOWN, 0);
	assert_fate(&graph, 1, PATH_UNKNOWN, 1);
	graph_free(&graph);
}

static void self(void **state)
{
	struct graph_thread threads[] = { WAITS(0), WAITS(0) };
	struct graph_lock locks[] = { HELD(1) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_int_equal(graph.n_cycles, 1);
	assert_int_equal(graph.cycle[0].n, 1);
	assert_int_equal(graph.cycle[0].thread[0], 1);
	assert_fate(&graph, 0, PATH_CYCLE, 0);
	assert_fate(&graph, 1, PATH_CYCLE, 0);
	assert_false(graph.fate[0].inner);
	assert_true(graph.fate[1].inner);
	graph_free(&graph);
}

#define RING 5
static void ring(void **state)
{
	struct graph_thread threads[RING + 2];
	struct graph_lock locks[RING];
	struct graph graph;

	(void)state;
	for (int i = 0; i < RING; i++) {
		threads[i] = (struct graph_thread)WAITS((i + 1) % RING);
		locks[i] = (struct graph_lock)HELD(i);
	}
	threads[RING] = (struct graph_thread)WAITS(2);
	threads[RING + 1] = (struct graph_thread)JOINS(RING);
	FIND(threads, locks, &graph);
	assert_int_equal(graph.n_cycles, 1);
	assert_int_equal(graph.cycle[0].n, RING);
	for (int i = 0; i < RING; i++)
		assert_int_equal(graph.cycle[0].thread[(i + 1) % RING],
				 (graph.cycle[0].thread[i] + 1) % RING);
	for (int i = 0; i < RING + 2; i++) {
		assert_fate(&graph, i, PATH_CYCLE, 0);
		assert_int_equal(graph.fate[i].inner, i < RING);
		assert_false(graph.fate[i].timed);
	}
	graph_free(&graph);
}

static void two_cycles(void **state)
{
	struct graph_thread threads[] = { WAITS(1), WAITS(0), JOINS(3), JOINS(2), WAITS(0) };
	struct graph_lock locks[] = { HELD(0), HELD(1) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_int_equal(graph.n_cycles, 2);
	assert_fate(&graph, 0, PATH_CYCLE, 0);
	assert_fate(&graph, 2, PATH_CYCLE, 1);
	assert_fate(&graph, 4, PATH_CYCLE, 0);
	graph_free(&graph);
}

/* One that gives up frees those before it, not those behind it. */
static void timed(void **state)
{
	struct graph_thread threads[] = { WAITS(1), TIMED(0), WAITS(1), TIMED(2), WAITS(3) };
	struct graph_lock locks[] = { HELD(0), HELD(1), ORPHAN, HELD(3) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_int_equal(graph.n_cycles, 1);
	assert_true(graph.cycle[0].timed);
	assert_true(graph.fate[0].timed && graph.fate[1].timed && graph.fate[2].timed);
	assert_fate(&graph, 3, PATH_DEAD, 2);
	assert_fate(&graph, 4, PATH_DEAD, 2);
	assert_true(graph.fate[3].timed && graph.fate[4].timed);
	graph_free(&graph);
}

static void timed_behind_a_cycle(void **state)
{
	struct graph_thread threads[] = { TIMED(0), WAITS(0), WAITS(1) };
	struct graph_lock locks[] = { HELD(1), HELD(0) };
	struct graph graph;

	(void)state;
	FIND(threads, locks, &graph);
	assert_false(graph.cycle[0].timed);
	assert_true(graph.fate[0].timed && !graph.fate[0].inner);
	assert_false(graph.fate[1].timed);
	assert_true(graph.fate[2].timed);
	graph_free(&graph);
}

/* However threads and locks are thrown together, each path is followed to its end. */
#define MANY 200
static void at_random(void **state)
{
	struct graph_thread threads[MANY];
	struct graph_lock locks[MANY];
	struct graph graph;

	(void)state;
	srandom(1);
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < MANY; i++) {
			long kind = random() % 10;

			threads[i] = (struct graph_thread){
				.lock = kind < 6 ? random() % MANY : NOBODY,
				.joins = kind >= 6 && kind < 8 ? random() % MANY : NOBODY,
			};
			locks[i] = (struct graph_lock){
				.state = random() % 10 ? OWNER_ALIVE : random() % 3,
				.owner = random() % MANY,
			};
		}
		FIND(threads, locks, &graph);
		for (int i = 0; i < MANY; i++) {
			int next = threads[i].joins, lock = threads[i].lock;

			if (lock != NOBODY)
				next = locks[lock].state == OWNER_ALIVE ? locks[lock].owner
									: NOBODY;
			if (next == NOBODY)
				continue;
			if (graph.fate[next].end == PATH_NONE)
				assert_fate(&graph, i, PATH_FREE, next);
			else
				assert_fate(&graph, i, graph.fate[next].end, graph.fate[next].at);
		}
		graph_free(&graph);
	}
}

static void long_chain(void **state)
{
	size_t n = 100000;
	struct graph_thread *threads = calloc(n, sizeof(*threads));
	struct graph_lock *locks = calloc(n, sizeof(*locks));
	struct graph graph;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		threads[i] = (struct graph_thread)WAITS(i);
		locks[i] = (struct graph_lock)HELD(i + 1);
	}
	locks[n - 1] = (struct graph_lock)ORPHAN;
	assert_int_equal(graph_find(threads, n, locks, &graph), 0);
	assert_fate(&graph, 0, PATH_DEAD, n - 1);
	graph_free(&graph);
	free(threads);
	free(locks);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing),    cmocka_unit_test(chain_to_the_dead),
		cmocka_unit_test(convoy),     cmocka_unit_test(owner_unknown),
		cmocka_unit_test(self),	      cmocka_unit_test(ring),
		cmocka_unit_test(two_cycles), cmocka_unit_test(timed),
		cmocka_unit_test(at_random),  cmocka_unit_test(timed_behind_a_cycle),
		cmocka_unit_test(long_chain),
	};

	return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
