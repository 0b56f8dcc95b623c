/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A forked child that reads other processes: it gives up what it has from its parent but the rights
 * that reading takes, and dies with the parent. It can block for ever; its parent kills it then.
 */
#ifndef DEADHOLD_CONFINE_H
#define DEADHOLD_CONFINE_H

#include <sys/types.h>

/* The number that `fd` has afterwards: stdin's, which nothing else uses there. */
#define CONFINE_FD 0

/*
 * To be called right after fork(). Keeps nothing open but `fd` (stdout and stderr go nowhere), takes
 * no signal that is meant for the parent, and is not dumpable. `parent`: who forked it; `name`: what
 * ps shows. 0 or -errno: then it must end.
 */
int confine(int fd, pid_t parent, const char *name);

#endif
