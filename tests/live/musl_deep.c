/* SPDX-License-Identifier: GPL-2.0-only */
/* lock_deep, built with musl. */
#include "lock_deep.c"
