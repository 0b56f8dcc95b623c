// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wait-for graph for Graphviz: threads are boxes, locks are ellipses, an arrow leads from who waits
 * to what it waits for. Threads that have no part in it are left out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "detail.h"
#include "inspection.h"
#include "memtext.h"

#define RED "color=\"#c0392b\" penwidth=2"

/* Inside a quoted string: names are escaped already, so that a backslash means one; not so for dot. */
static void print_quoted(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
}

static bool thread_is_owner(const struct inspection *inspection, int thread)
{
	for (size_t i = 0; i < inspection->n_locks; i++)
		if (inspection->locks[i].owner == thread)
			return true;
	return false;
}

static bool thread_holds_gil(const struct inspection *inspection, int thread)
{
	for (size_t i = 0; i < inspection->n_gils; i++)
		if (inspection->gils[i].holder == thread && inspection->gils[i].waiters)
			return true;
	return false;
}

static bool thread_has_part(const struct inspection *inspection, int thread)
{
	const struct graph_fate *fate = &inspection->graph.fate[thread];

	return inspection->threads[thread].lock != NOBODY ||
	       (fate->end != PATH_NONE && fate->end != PATH_FREE) ||
	       thread_is_owner(inspection, thread) || thread_holds_gil(inspection, thread) ||
	       inspection_gil(inspection, thread) != NOBODY;
}

static void print_thread(FILE *out, const struct inspection *inspection, int thread)
{
	const struct seen_thread *seen = &inspection->threads[thread];
	const struct graph_fate *fate = &inspection->graph.fate[thread];
	bool stuck = fate->end == PATH_DEAD || fate->end == PATH_CYCLE;
	int gil = inspection_gil(inspection, thread);
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES];

	fprintf(out, "  t%d [shape=box%s label=\"", seen->info.tid, stuck ? " " RED : "");
	print_quoted(out, inspection_label(inspection, thread, who));
	if (seen->lock == NOBODY) {
		fputs("\\n", out);
		print_quoted(out, inspection_wait(inspection, thread, 1, does));
	}
	fputs("\"]\n", out);
	if (seen->lock != NOBODY)
		fprintf(out, "  t%d -> l%d%s\n", seen->info.tid, seen->lock,
			stuck ? " [" RED "]" : "");
	else if (seen->joins != NOBODY)
		fprintf(out, "  t%d -> t%d [style=dashed label=\"joins\"]\n", seen->info.tid,
			inspection->threads[seen->joins].info.tid);
	else if (gil != NOBODY)
		fprintf(out, "  t%d -> t%d [%s label=\"GIL\"]\n", seen->info.tid,
			inspection->threads[inspection->gils[gil].holder].info.tid,
			stuck ? RED : "style=solid");
}

static void print_lock(FILE *out, const struct inspection *inspection, int number)
{
	const struct seen_lock *lock = &inspection->locks[number];
	bool orphaned = lock_is_orphaned(lock);
	char words[LOCK_WORDS_BYTES], symbol[ESCAPED_BYTES(DETAIL_BYTES)];

	fprintf(out, "  l%d [shape=ellipse%s label=\"", number, orphaned ? " " RED : "");
	if (lock->info.symbol[0]) {
		print_quoted(out, ESCAPE(symbol, lock->info.symbol));
		fputs("\\n", out);
	}
	print_quoted(out, lock->readers ? "rwlock, held for reading"
					: lock_in_words(&lock->info, words));
	fprintf(out, "\\n0x%" PRIx64 "\"]\n", lock->info.address);
	if (lock->owner != NOBODY) {
		fprintf(out, "  l%d -> t%d [label=\"held by\"]\n", number,
			inspection->threads[lock->owner].info.tid);
		return;
	}
	fprintf(out, "  o%d [shape=box style=dashed%s label=\"", number, orphaned ? " " RED : "");
	if (lock->owner_state == OWNER_DEAD && lock->info.owner_tid)
		fprintf(out, "thread %d\\n%s", lock->info.owner_tid,
			lock->inherited ? "of the parent, before fork" : "dead");
	else if (lock->owner_state == OWNER_DEAD)
		fputs("a dead thread", out);
	else if (lock->readers)
		fprintf(out, "%u reader%s\\nnot known which", lock->readers, plural(lock->readers));
	else
		fputs("not known", out);
	fprintf(out, "\"]\n  l%d -> o%d [label=\"held by\"]\n", number, number);
}

/* Of the threads that only wait, some for each lock; the others are one box. */
static void print_threads(FILE *out, const struct inspection *inspection)
{
	size_t *drawn = calloc(inspection->n_locks + 1, sizeof(*drawn));

	for (size_t i = 0; drawn && i < inspection->n_threads; i++) {
		int lock = inspection->threads[i].lock;

		if (!thread_has_part(inspection, i))
			continue;
		if (lock == NOBODY || thread_is_owner(inspection, i) ||
		    drawn[lock]++ < TEXT_WAITERS)
			print_thread(out, inspection, i);
	}
	for (size_t i = 0; drawn && i < inspection->n_locks; i++)
		if (drawn[i] > TEXT_WAITERS)
			fprintf(out,
				"  m%zu [shape=box style=dashed label=\"%zu more\"]\n  m%zu -> l%zu\n",
				i, drawn[i] - TEXT_WAITERS, i, i);
	free(drawn);
}

static void print_graph(FILE *out, const struct inspection *inspection, const char *message)
{
	fprintf(out,
		"digraph deadhold_%d {\n"
		"  rankdir=LR\n"
		"  node [fontname=\"sans-serif\" fontsize=11]\n"
		"  edge [fontname=\"sans-serif\" fontsize=9]\n"
		"  labelloc=t\n"
		"  label=\"",
		inspection->process.pid);
	print_quoted(out, message);
	fputs("\"\n", out);
	print_threads(out, inspection);
	for (size_t i = 0; i < inspection->n_locks; i++)
		print_lock(out, inspection, i);
	fputs("}\n", out);
}

char *inspection_dot(const struct inspection *inspection, size_t *len)
{
	_cleanup_free_ char *message = inspection_message(inspection);
	char *text;
	FILE *out = message ? open_memstream(&text, len) : NULL;

	if (out)
		print_graph(out, inspection, message);
	return memtext_end(out, &text);
}
