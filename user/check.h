/* SPDX-License-Identifier: GPL-2.0-only */
/* deadhold check: what this host supports, hook by hook, and why not. */
#ifndef DEADHOLD_CHECK_H
#define DEADHOLD_CHECK_H

#include "options.h"

/* Prints. Returns the exit status: 0 if `watch` would run here, else 1. */
int check_run(const struct options *options);

#endif
