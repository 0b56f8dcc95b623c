/* SPDX-License-Identifier: GPL-2.0-only */
/* deadhold watch: streams alerts until it is interrupted. */
#ifndef DEADHOLD_WATCH_H
#define DEADHOLD_WATCH_H

#include "options.h"

/* Returns the exit status: 0 after a clean end, 1 after one line on stderr. */
int watch_run(const struct options *options);

#endif
