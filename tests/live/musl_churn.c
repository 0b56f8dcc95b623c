/* SPDX-License-Identifier: GPL-2.0-only */
/* lock_churn, built with musl. */
#include "lock_churn.c"
