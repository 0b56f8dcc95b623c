/* SPDX-License-Identifier: GPL-2.0-only */
/* lock_steps, built with musl. */
#include "lock_steps.c"
