/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader: a child process that does every read of another process, because such a read can block
 * for ever (userfaultfd, a held mmap lock, a dead network mount). The agent's loop submits requests
 * and goes on; a request that misses its deadline costs the reader its life, not the agent's.
 *
 * One request is under way at a time, in order; answers come through reader_dispatch() in the same
 * order. The reader process is not dumpable, dies with the agent, and holds no file of the agent's.
 */
#ifndef DEADHOLD_READER_H
#define DEADHOLD_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "alert.h"
#include "caller.h"
#include "census_read.h"
#include "lock.h"
#include "python_read.h"

#define READER_DEADLINE_MS 250
#define LOOK_ADDRESSES	   32 /* a request's limit */
#define PARK_LOCKS	   4

struct reader;

enum look_want {
	LOOK_PROCESS = 1, /* exe, cgroup, libc, ppid, uid, comm */
	LOOK_CMDLINE = 2,
	LOOK_WORDS = 4,	    /* the lock words around each address */
	LOOK_MAPPINGS = 8,  /* the mapping in which each address lies, and a symbol for it */
	LOOK_TIMESPEC = 16, /* 16 bytes at each address as a struct timespec */
	LOOK_PIDFD = 32,    /* whom its file descriptor `pidfd` stands for */
	LOOK_RUNTIME = 64,  /* what it runs on */
	LOOK_CALLERS = 128, /* whose code it is that calls futex(2), at addresses in code */
};

/* What is asked of one process. */
struct look {
	int32_t tgid;
	uint64_t start_ticks; /* of the process, /proc/TGID/stat field 22: who it must be; 0: any */
	uint32_t want;	      /* enum look_want */
	int32_t pidfd;	      /* with LOOK_PIDFD */
	uint32_t n;	      /* addresses, 0 to LOOK_ADDRESSES */
	uint32_t objects;     /* with LOOK_WORDS, bit i: at address i is an object of CPython's */
	uint64_t address[LOOK_ADDRESSES];
	uint32_t
		code; /* bit i: address i is one in code; a function and its module are asked for */
	/* Bytes from the start of the lock object to its futex word: the symbol is the object's. */
	uint32_t into[LOOK_ADDRESSES];
};

struct look_mapping {
	bool known;
	bool shared; /* MAP_SHARED */
	bool data; /* the address is in data or bss of the program or library that is mapped there */
	uint64_t start, end, offset;
	uint64_t device, inode;
	char path[PATH_BYTES];
	char symbol[DETAIL_BYTES]; /* empty: none found */
	/* Of addresses in code. */
	bool has_vaddr;
	uint64_t vaddr;			   /* in the file's own addresses */
	char build_id[BUILD_ID_BYTES + 1]; /* empty: unknown */
};

struct look_answer {
	/*
	 * 0, or: -ESRCH (no such process, or it is another one by now), -ETIMEDOUT (deadline missed),
	 * -EPERM, -EACCES. What was not readable though the process lives is marked in its own member.
	 */
	int error;
	struct process_info
		process;     /* with LOOK_PROCESS; members that could not be read are unknown */
	enum lock_libc libc; /* with LOOK_PROCESS: which libc the process has mapped */
	/* enum runtime, with LOOK_PROCESS: whose code is mapped; with LOOK_RUNTIME: also by the program */
	uint32_t runtimes;
	int32_t pidfd_id; /* with LOOK_PIDFD: a TGID or, of a thread's descriptor, a TID; 0: unknown */
	bool pidfd_thread;
	uint32_t n;
	struct {
		struct lock_words words; /* have_at 0: not readable */
		bool has_timespec;
		int64_t timespec_ns; /* tv_sec · 10⁹ + tv_nsec */
		struct look_mapping mapping;
		enum caller caller; /* with LOOK_CALLERS */
	} at[LOOK_ADDRESSES];
};

typedef void look_done(void *context, const struct look *look, const struct look_answer *answer);

/*
 * Threads that glibc parked for ever after FUTEX_LOCK_PI said that the owner is gone: they wait on a
 * word in their own stack. Reads `sp` to `sp` + 1024 of thread tid and follows every aligned pointer
 * there: PI mutexes (glibc's, not robust) that are held. Duplicates are left out.
 */
struct park {
	int32_t tgid;
	uint64_t start_ticks;
	uint64_t sp;
	uint64_t word;	  /* on which it waits; threads of CPython that park are not meant */
	uint64_t regs[6]; /* callee-saved registers, pointers likewise; 0: none */
};

struct park_answer {
	int error; /* as in look_answer */
	uint32_t n;
	struct lock_state lock[PARK_LOCKS];
};

typedef void park_done(void *context, const struct park *park, const struct park_answer *answer);

/*
 * Who maps this object, and does any of them have a living thread that its own PID namespace calls
 * ns_tid? (A zombie is not living.)
 */
struct mappers {
	uint64_t device, inode;
	uint64_t offset; /* bytes into the object: where the mapping must reach */
	int32_t ns_tid;
};

struct mappers_answer {
	int error;
	uint32_t count;	   /* living processes that map it */
	uint32_t owners;   /* living threads of theirs with that number */
	int32_t owner_tid; /* the first of them; 0: none */
	uint32_t unread;   /* processes that could not be looked at */
	bool foreign; /* they are of several PID namespaces, or that is not known: numbers mean nothing */
	uint32_t pid_ns;   /* the namespace of the first of them */
	int32_t first_pid; /* one of them; 0: none */
	uint64_t first_start_ticks;
	uint64_t first_address; /* of the byte at `offset`, in that process */
};

typedef void mappers_done(void *context, const struct mappers *mappers,
			  const struct mappers_answer *answer);

typedef void census_done(void *context, const struct census_ask *ask,
			 const struct census_answer *answer);

typedef void python_done(void *context, const struct python_ask *ask,
			 const struct python_answer *answer);

/* Losses, for the loss line; each counts up from the start. */
struct reader_losses {
	uint64_t deadlines; /* requests that missed their deadline */
	uint64_t restarts;  /* readers that died or were killed */
};

/* Starts the child. Returns NULL with errno. `deadline_ms` is per request. */
struct reader *reader_new(unsigned int deadline_ms);
void reader_free(struct reader *reader);

/* To be watched for EPOLLIN; the descriptor changes when the reader is replaced (see below). */
int reader_fd(const struct reader *reader);

/* CLOCK_MONOTONIC ns at which reader_dispatch() must be called at the latest; 0: nothing is due. */
uint64_t reader_due(const struct reader *reader);

/*
 * Takes answers that are there and calls their done functions; kills and replaces a reader that
 * missed its deadline. Never blocks. Returns 0 or -errno when no reader can be started any more
 * (every request under way is then answered with that error). Done functions may submit.
 */
int reader_dispatch(struct reader *reader);

/*
 * Each returns 0 or -errno (-ENOMEM). The request is copied. `done` is called exactly once, always
 * from reader_dispatch() or reader_free() (then with error -ECANCELED), never from here.
 */
int reader_look(struct reader *reader, const struct look *look, look_done *done, void *context);
int reader_park(struct reader *reader, const struct park *park, park_done *done, void *context);
int reader_mappers(struct reader *reader, const struct mappers *mappers, mappers_done *done,
		   void *context);

/* One slice of a census; the TIDs are those of reader_tids() at the time when it is served. */
int reader_census(struct reader *reader, const struct census_ask *ask, census_done *done,
		  void *context);
/* One slice of a search for what threads of Python wait for. */
int reader_python(struct reader *reader, const struct python_ask *ask, python_done *done,
		  void *context);
/* Memory that the reader process sees: to be filled for a pass, and cleared after it. */
struct tid_sets *reader_tids(struct reader *reader);

/* Requests that have no answer yet. */
unsigned int reader_pending(const struct reader *reader);
struct reader_losses reader_losses(const struct reader *reader);

#endif
