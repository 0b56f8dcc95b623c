/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Signals in words: names, meanings, what they do by default. Numbers are those of x86-64 and
 * arm64. Pure.
 */
#ifndef DEADHOLD_SIGNAME_H
#define DEADHOLD_SIGNAME_H

#include <stdbool.h>

#include "alert.h"

#define SIGNAL_MAX	  64
#define SIGNAL_NAME_BYTES 16

/*
 * What a send says about its purpose. The C libraries use 32 and up for themselves, and a number
 * alone does not tell for what: glibc's 32 is a cancel if the process sent it to its own thread
 * with SI_TKILL, and an expiry if a timer sent it.
 */
enum signal_origin { ORIGIN_OTHER, ORIGIN_OWN_TKILL, ORIGIN_TIMER };

enum signal_origin signal_origin(const struct signal_info *signal);

/*
 * The name by the target's libc, as docs/alerts.md says. A number that no name applies to, 0
 * included, is SIG and the number. Returns name.
 */
const char *signal_name(int number, enum lock_libc libc, enum signal_origin origin,
			char name[SIGNAL_NAME_BYTES]);

/* A few words; NULL if there is nothing to say. */
const char *signal_meaning(int number, enum lock_libc libc, enum signal_origin origin);

/*
 * A signal as people write it: a number, a name with or without SIG in any case, SIGRTMIN+n,
 * SIGRTMAX-n, SIG32. SIGRTMIN is 34. SIGCANCEL is refused: it is 32 in glibc and 33 in musl.
 * Returns 1 to 64, or -EINVAL.
 */
int signal_parse(const char *text);

/* The default action ends the process (with or without a core dump). */
bool signal_default_fatal(int number);

/*
 * The name of an si_code; the positive ones belong to the signal. NULL if it has none, and for
 * codes that callers choose freely.
 */
const char *si_code_name(int number, int code);

#endif
