/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * uthash. Where it finds no memory for a table it ends the process: with a word, and a failure's status.
 * Include this in its place.
 */
#ifndef DEADHOLD_TABLE_H
#define DEADHOLD_TABLE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline _Noreturn void table_no_memory(void)
{
	fputs("deadhold: no memory left for a table: allow it more (ulimit -v, MemoryMax)\n",
	      stderr);
	_exit(EXIT_FAILURE);
}

#define uthash_fatal(what) table_no_memory()

#include <uthash.h>

#endif
