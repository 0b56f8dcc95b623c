/* SPDX-License-Identifier: GPL-2.0-only */
/* call_unwind_c, built with musl. */
#include "call_unwind_c.c"
