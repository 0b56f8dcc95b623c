/* SPDX-License-Identifier: GPL-2.0-only */
/* `deadhold inspect`: one look at processes, hung or not, without BPF and without stopping them. */
#ifndef DEADHOLD_INSPECT_H
#define DEADHOLD_INSPECT_H

#include "options.h"

/* Returns the exit status: 0 nothing wrong, 1 an orphaned lock or a deadlock found, 2 could not look. */
int inspect_run(const struct options *options);

#endif
