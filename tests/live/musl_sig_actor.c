/* SPDX-License-Identifier: GPL-2.0-only */
/* The same program, with musl, linked statically. */
#include "sig_actor.c"
