/* SPDX-License-Identifier: GPL-2.0-only */
/* call_steps, built with musl. */
#include "call_steps.c"
