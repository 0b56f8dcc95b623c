/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes, threads, times and errors in words, for message.c and text.c. Names come out escaped.
 * Every function writes into out and returns it.
 */
#ifndef DEADHOLD_WORDS_H
#define DEADHOLD_WORDS_H

#include <string.h>

#include "alert.h"
#include "escape.h"
#include "signame.h"

#define WHO_BYTES      256 /* two escaped names and their numbers */
#define DURATION_BYTES 32

/* Escapes a string into an array. */
#define ESCAPE(out, string) escape(out, sizeof(out), string, strlen(string))

/* "s" for a count that needs one. */
const char *plural(uint64_t count);

/* 340 ms, 2.1 s, 5 min */
const char *duration(uint64_t ns, char out[DURATION_BYTES]);

/* ESRCH; "unknown error" for what is none */
const char *errno_name(int error);

/* The name of the alert's signal, by the target's libc. */
const char *signal_label(const struct signal_info *signal, char name[SIGNAL_NAME_BYTES]);

/* Short forms, for the message. */

/* web[4700] */
const char *process_label(const struct process_info *process, char out[WHO_BYTES]);
/* thread 4712, main thread */
const char *thread_number(const struct process_info *process, const struct thread_info *thread,
			  char out[WHO_BYTES]);
/* worker-3[4712]; thread_number() where the name is only the process's own again */
const char *thread_label(const struct process_info *process, const struct thread_info *thread,
			 char out[WHO_BYTES]);

/* Long forms, for the lines below it: all numbers. */

/* web (pid 4700, 1 in its namespace, uid 1000) */
const char *process_in_full(const struct process_info *process, char out[WHO_BYTES]);
/* worker-3 (tid 4712), main thread (tid 4700), thread (tid 7 in its namespace) */
const char *thread_in_full(const struct process_info *process, const struct thread_info *thread,
			   char out[WHO_BYTES]);

#endif
