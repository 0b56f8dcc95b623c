/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A forked child that reads other processes: it gives up what it has from its parent but the rights
 * that its work takes, and dies with the parent. It can block for ever; its parent kills it then.
 */
#ifndef DEADHOLD_CONFINE_H
#define DEADHOLD_CONFINE_H

#include <stddef.h>
#include <sys/types.h>

/* The number that `fd` has afterwards: stdin's, which nothing else uses there. */
#define CONFINE_FD 0

struct confine {
	int fd;		  /* what it keeps open, and is called by CONFINE_FD from then on */
	pid_t parent;	  /* who forked it */
	const char *name; /* what ps shows */
	/* CAP_*, of which it keeps those that it has. */
	const int *capability;
	size_t n_capabilities;
	/* Other descriptors that stay open, under their numbers: above 2. */
	const int *keep;
	size_t n_keep;
};

/*
 * To be called right after fork(). Keeps nothing else open (stdout and stderr go nowhere), takes no
 * signal that is meant for the parent, and is not dumpable. 0 or -errno: then it must end.
 */
int confine(const struct confine *c);

/* With the rights that reading other processes takes, and nothing open but `fd`. */
int confine_reader(int fd, pid_t parent, const char *name);

#endif
