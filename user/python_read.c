// SPDX-License-Identifier: GPL-2.0-only
#include "python_read.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "libc.h"
#include "look.h"
#include "runtime.h"

/* ---- one object ---- */

static bool read_word(const struct task *task, uint64_t address, uint64_t *word)
{
	return task_read_memory(task, address, word, sizeof(*word)) == sizeof(*word);
}

static uint64_t two_words(const uint32_t *at)
{
	return at[0] | (uint64_t)at[1] << 32;
}

static enum python_type type_read(const struct task *task, uint64_t type)
{
	char text[PYTHON_NAME_BYTES];
	uint64_t name;
	ssize_t n;

	if (type & 7 || !read_word(task, type + PYTHON_TYPE_NAME, &name))
		return PYTHON_NOTHING;
	n = task_read_memory(task, name, text, sizeof(text));
	return n > 0 ? python_type_named(text, n) : PYTHON_NOTHING;
}

enum python_type python_object_type(const struct task *task, uint64_t address,
				    struct lock_words *words)
{
	if (address & 7 || look_words_read(task, address, words) || !lock_python_object(words))
		return PYTHON_NOTHING;
	return type_read(task, two_words(words->at + PYTHON_OBJECT_TYPE / 4));
}

/*
 * musl's descriptor too begins with its own address; where glibc has it once more, musl has a link. A
 * living thread must not be taken for a dead one.
 */
static void owner_read(const struct task *task, uint64_t thread, struct lock_words *words)
{
	uint64_t self;

	look_thread_read(task, thread, words);
	if (words->have_thread || !read_word(task, thread, &self) || self != thread)
		return;
	words->have_thread = task_read_memory(task, thread + MUSL_TID, &words->thread_tid,
					      sizeof(words->thread_tid)) ==
			     sizeof(words->thread_tid);
}

void python_object_read(const struct task *task, struct lock_words *words)
{
#ifdef __x86_64__ /* the offsets of libc.h */
	if (!lock_python_object(words))
		return;
	words->object =
		python_layout(type_read(task, two_words(words->at + PYTHON_OBJECT_TYPE / 4)));
	if (words->object == LAYOUT_PYTHON_RLOCK && lock_python_thread(words))
		owner_read(task, lock_python_thread(words), words);
#else
	(void)task, (void)words;
#endif
}

uint32_t python_thread_tid(const struct task *task, uint64_t thread)
{
	struct lock_words words = { 0 };

	owner_read(task, thread, &words);
	return words.have_thread && lock_tid_plausible(words.thread_tid) ? words.thread_tid : 0;
}

/* ---- the process ---- */

static int python_is(const struct task *task)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	int err = task_maps_open(&maps, task->thread);

	while (!err && (err = task_maps_next(&maps, &m)) > 0) {
		if (m.exec && m.path && runtime_of_library(m.path, m.path_len) & RUNTIME_PYTHON)
			return 1;
		err = 0;
	}
	return err;
}

/* ---- threads that park ---- */

static void find_add(struct python_answer *answer, const struct python_find *find)
{
	for (uint32_t i = 0; i < answer->n; i++)
		if (answer->at[i].word == find->word && answer->at[i].address == find->address)
			return;
	/* One more than the words: somebody else's memory looks like an object. Both are told, or none. */
	if (answer->n < PYTHON_WORDS)
		answer->at[answer->n++] = *find;
}

/* The event of a ThreadHandle, which has the thread twice and says that it was started. */
static bool handle_read(const struct task *task, uint64_t event, struct python_find *find)
{
	uint64_t handle = event - PYTHON_HANDLE_EVENT, words[5];

	if (handle & 7 || task_read_memory(task, handle, words, sizeof(words)) != sizeof(words) ||
	    !python_handle(words))
		return false;
	find->type = PYTHON_THREAD;
	find->address = handle;
	find->owner = python_thread_tid(task, words[PYTHON_HANDLE_IDENT / 8]);
	return find->owner;
}

static void parked_read(const struct task *task, uint64_t word, uint32_t i,
			struct python_answer *answer)
{
	struct python_find find = { .word = i };
	struct lock_words words;
	uint64_t parked;

	if (look_words_read(task, word, &words) || !python_semaphore(&words) || words.at[1] != 1 ||
	    !read_word(task, word - PYTHON_PARK_BEFORE, &parked))
		return;
	find.address = parked - PYTHON_OBJECT_LOCK;
	find.type = python_object_type(task, find.address, &words);
	switch (find.type) {
	case PYTHON_LOCK:
	case PYTHON_RLOCK:
	case PYTHON_QUEUE:
		find_add(answer, &find);
		break;
	default:
		if (handle_read(task, parked, &find))
			find_add(answer, &find);
	}
}

bool python_is_parked(const struct task *task, uint64_t word)
{
	struct python_answer answer = { 0 };

	parked_read(task, word, 0, &answer);
	return answer.n;
}

/* ---- semaphores ---- */

struct search {
	const struct python_ask *ask;
	struct python_answer *answer;
	struct memory_walk walk;
	struct word_set set;
};

static bool semaphore_found(void *context, uint64_t address, size_t i)
{
	struct search *search = context;
	struct python_find find = { .address = address - PYTHON_OBJECT_LOCK,
				    .word = search->ask->n_parked + i };
	struct lock_words words;

	find.type = python_object_type(&search->walk.task, find.address, &words);
	if ((find.type == PYTHON_LOCK || find.type == PYTHON_RLOCK || find.type == PYTHON_QUEUE) &&
	    two_words(words.at + PYTHON_OBJECT_LOCK / 4) == search->set.word[i])
		find_add(search->answer, &find);
	return true;
}

static void search_block(struct memory_walk *walk, uint64_t address, const void *memory,
			 size_t bytes, size_t seen)
{
	struct search *search = walk->context;

	word_set_scan(&search->set, address, memory, bytes, seen, semaphore_found, search);
}

static int search_walk(struct search *search)
{
	int err = memory_walk(&search->walk);

	search->answer->next = search->walk.next;
	search->answer->scanned_bytes = search->walk.bytes.scanned;
	search->answer->unread_bytes = search->walk.bytes.swapped + search->walk.bytes.unread;
	return err;
}

/* With the first slice: is it Python at all, and what of the answer needs no search? */
static int first_slice(const struct python_ask *ask, struct python_answer *answer)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	int err = task_open(&task, ask->tgid, ask->start_ticks);
	int python = err ? 0 : python_is(&task);

	if (err || python < 0)
		return err ?: python;
	answer->python = python;
	for (uint32_t i = 0; python && i < ask->n_parked; i++)
		parked_read(&task, ask->word[i], i, answer);
	return task_check(&task);
}

static int read_attempt(const struct python_ask *ask, uint64_t until_ns,
			struct python_answer *answer)
{
	static struct userfaults userfaults;
	struct search search = {
		.ask = ask,
		.answer = answer,
		.walk = { .tgid = ask->tgid,
			  .start_ticks = ask->start_ticks,
			  .from = ask->from,
			  .slice_bytes = ask->slice_bytes,
			  .beyond_limit = UINT64_MAX,
			  .until_ns = until_ns,
			  .block = search_block,
			  .context = &search,
			  .userfaults = &userfaults,
			  .task = TASK_CLOSED,
			  .resident = RESIDENT_CLOSED },
	};
	int err = 0;

	memset(answer, 0, sizeof(*answer));
	answer->python = 1;
	if (!ask->from)
		err = first_slice(ask, answer);
	if (err || !answer->python || ask->n == ask->n_parked)
		return err;
	word_set_init(&search.set, ask->word + ask->n_parked, ask->n - ask->n_parked);
	return search_walk(&search);
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

void python_read(const struct python_ask *ask, uint64_t until_ns, struct python_answer *answer)
{
	uint64_t began_ns = cpu_ns();
	int err = -EAGAIN;

	for (int i = 0; i < MEMORY_ATTEMPTS && err == -EAGAIN; i++)
		err = read_attempt(ask, until_ns, answer);
	if (err)
		memset(answer, 0, sizeof(*answer));
	answer->error = err == -EAGAIN ? -ESRCH : err;
	answer->cpu_ns = cpu_ns() - began_ns;
}
