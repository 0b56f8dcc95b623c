/* SPDX-License-Identifier: GPL-2.0-only */
/* Lock words of the current task, read where nothing may fault: what is not resident is not read. */
#ifndef DEADHOLD_WORDS_BPF_H
#define DEADHOLD_WORDS_BPF_H

#include "libc.h"
#include "maps.bpf.h"
#include "task.bpf.h"

/*
 * A thread descriptor of glibc's has its own address in it, twice. From 2.43 on its TID is gone already
 * where the thread itself ends: bpf/libc.h.
 */
static __always_inline void thread_read(struct lock_words *w, __u64 thread)
{
	struct task_struct *current = compat_current();
	__u64 tcb = 0, self = 0;

	bpf_probe_read_user(&tcb, sizeof(tcb), (void *)thread);
	bpf_probe_read_user(&self, sizeof(self), (void *)(thread + GLIBC_THREAD_SELF));
	w->have_thread = tcb == thread && self == thread &&
			 !bpf_probe_read_user(&w->thread_tid, sizeof(w->thread_tid),
					      (void *)(thread + GLIBC_THREAD_TID));
	if (w->have_thread && !w->thread_tid && compat_thread_pointer(current) == thread)
		w->thread_tid = task_ns_tid(current);
}

/* Two reads, since the words before and after may lie on a page that is not mapped. */
static __always_inline void words_read(struct lock_words *w, __u64 word)
{
	const char *at = (const char *)word;

	__builtin_memset(w, 0, sizeof(*w));
	if (!bpf_probe_read_user(w->at, sizeof(w->at), at))
		w->have_at = LOCK_WORDS_FROM;
	else if (!bpf_probe_read_user(w->at, sizeof(w->at[0]), at))
		w->have_at = 1;
	if (lock_stdio_thread(w))
		thread_read(w, lock_stdio_thread(w));
	w->have_before = !bpf_probe_read_user(w->before, sizeof(w->before), at - sizeof(w->before));
}

/*
 * What the memory says of the lock at this word, by a layout. A global function: the verifier looks
 * at its many branches once, not once for each caller. *have: how many words could be read.
 * Returns whether the memory has that layout.
 */
static __always_inline bool words_owner_of(__u32 layout, __u64 word, struct lock_state *state,
					   __u32 *have)
{
	struct lock_words words;

	words_read(&words, word);
	*have = words.have_at;
	return lock_owner(layout, word, &words, state);
}

GLOBAL_FUNCTION bool words_owner(__u32 layout, __u64 word, struct lock_state *state, __u32 *have)
{
	return state && have && words_owner_of(layout, word, state, have);
}

#endif
