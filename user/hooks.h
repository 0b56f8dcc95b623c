/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hook ladder: which kernel programs see what happens, the cheapest first. Found out by trying
 * on this host, never by comparing versions.
 */
#ifndef DEADHOLD_HOOKS_H
#define DEADHOLD_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "options.h"
#include "policy.h"

enum hook_family {
	HOOK_FUTEX,   /* a thread blocks on a futex */
	HOOK_EXIT,    /* a thread ends */
	HOOK_SIGNAL,  /* a signal is sent */
	HOOK_FAILED,  /* a send failed, or only probed; with -x */
	HOOK_PROCESS, /* TID creation, exec, process exit, the task snapshot */
	HOOK_CALL,    /* rare calls of libc and Python; goes without where nothing works */
	HOOK_DEEP,    /* lock functions of chosen processes; with --deep */
	HOOK_FAMILIES,
};

/* One rung. The table is in hooks.c; a new rung is a new row there. */
struct rung {
	enum hook_family family;
	const char *name;	 /* as --futex-hook and --exit-hook take it */
	const char *programs[8]; /* of the kernel object; NULL at the end */
	const char *where;	 /* what it attaches to */
	const char *tax;	 /* what it costs others; NULL: nothing */
	const char *needs;	 /* said where it is refused */
	bool tracefs;		 /* attaching needs tracefs */
	bool probed;		 /* attached by the prober, not by hooks_attach() */
};

const struct rung *hooks_ladder(size_t *n);
const char *hook_family_name(enum hook_family family);

/* Why a rung was not taken: one line, empty where it works. */
struct rung_state {
	const struct rung *rung;
	int error; /* 0: loads and attaches here */
	char why[160];
};

/*
 * Loads and attaches this rung alone, and takes it away again. Fills *state. Returns state->error.
 * What libbpf says of a failure goes to stderr only with `verbose`.
 */
int rung_try(const struct rung *rung, struct rung_state *state, bool verbose);

struct hooks;

/* One record of the ring buffer, of `size` bytes. */
typedef void hooks_event(void *context, const struct ev_head *head, size_t size);

/*
 * Loads the programs with the first rung of every family that works here, or the one that the
 * options force, and opens the ring buffer. Nothing is attached yet but the task hooks and the
 * snapshot. On failure returns NULL with errno and one line in why.
 */
struct hooks *hooks_new(const struct options *options, hooks_event *event, void *context, char *why,
			size_t why_bytes);
void hooks_free(struct hooks *hooks);

/* Attaches the rest. From here on nothing is missed. 0 or -errno and one line in why. */
int hooks_attach(struct hooks *hooks, char *why, size_t why_bytes);

/* The descriptor of a loaded program; -ENOENT: it was not wanted, or not in the rung that was taken. */
int hooks_program(const struct hooks *hooks, const char *name);

/* The rung in use; NULL: none (the family was not asked for). */
const struct rung *hooks_rung(const struct hooks *hooks, enum hook_family family);
/* Why a better rung was not taken; "" if the best one is in use. */
const char *hooks_why_not(const struct hooks *hooks, enum hook_family family);

/*
 * The ring buffer: readable when records are there. consume takes a limited number of them, so that a
 * flood does not keep the agent from all else, and returns how many, or -errno.
 */
#define HOOKS_CONSUME_LIMIT 4096
int hooks_fd(const struct hooks *hooks);
int hooks_consume(struct hooks *hooks);

/*
 * The task snapshot: calls `row` for every thread that is blocked in a futex wait (tgid 0), for all
 * threads of a process, or for all there are (SNAPSHOT_ALL). Reads no user memory. 0 or -errno.
 */
typedef void hooks_row(void *context, const struct task_row *row);
int hooks_snapshot(struct hooks *hooks, uint32_t tgid, hooks_row *row, void *context);

/* dead_threads: false where it has no row. Removing what is not there is no error. */
bool hooks_dead(struct hooks *hooks, const struct owner_key *key, struct dead_row *row);
void hooks_dead_remove(struct hooks *hooks, const struct owner_key *key);

/* candidates: false where it has no row. */
bool hooks_candidates(struct hooks *hooks, const struct owner_key *key, struct candidate_row *row);

/* deep_holds: all rows of a process, or false: they could not all be read. */
typedef void hooks_deep_row(void *context, const struct deep_key *key, const struct deep_row *row);
bool hooks_deep_each(struct hooks *hooks, uint32_t tgid, hooks_deep_row *each, void *context);
bool hooks_deep(struct hooks *hooks, const struct deep_key *key, struct deep_row *row);
void hooks_deep_remove(struct hooks *hooks, const struct deep_key *key);
/* When the lock was last released in a way that leaves in doubt who has it; 0: never. */
uint64_t hooks_deep_doubt(struct hooks *hooks, const struct deep_key *key);
/* Forgets the doubts about a process's locks, and where its Python was. */
void hooks_deep_forget(struct hooks *hooks, uint32_t tgid);
/* The code of a process's Python. 0 or -errno. */
int hooks_deep_python(struct hooks *hooks, uint32_t tgid, const struct deep_span *span);

typedef void hooks_dead_row(void *context, const struct owner_key *key, const struct dead_row *row);
void hooks_dead_each(struct hooks *hooks, hooks_dead_row *row, void *context);

/*
 * Notes a private lock for its owner's exit, as the futex hook does where a thread blocks. With the
 * kernel adding to the same row at the same moment, one of the two may be left out.
 */
void hooks_candidate_note(struct hooks *hooks, const struct owner_key *key, uint32_t layout,
			  uint64_t word);

/* Folded signals: all rows; then one row, gone with its process. */
typedef void hooks_noise_row(void *context, const struct noise_key *key,
			     const struct noise_row *row);
void hooks_noise(struct hooks *hooks, hooks_noise_row *row, void *context);
void hooks_noise_remove(struct hooks *hooks, const struct noise_key *key);

/*
 * Tells the kernel on what a process runs (enum runtime), so that it folds the signals of those itself.
 * Where there is no room, it goes on to send them here.
 */
void hooks_runtimes_set(struct hooks *hooks, const struct proc_key *proc, uint32_t runtimes);

/* Loss counters since the start, and runs that the kernel refused because of recursion. */
void hooks_losses(struct hooks *hooks, uint64_t counts[LOSSES], uint64_t *recursion);

#endif
