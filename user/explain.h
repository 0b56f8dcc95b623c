/* SPDX-License-Identifier: GPL-2.0-only */
/* `deadhold explain`: what a word in an alert means, and what to do. */
#ifndef DEADHOLD_EXPLAIN_H
#define DEADHOLD_EXPLAIN_H

#include "options.h"

/* Returns the exit status. */
int explain_run(const struct options *options);

#endif
