/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of the system calls in which threads sleep. */
#ifndef DEADHOLD_CALLNAME_H
#define DEADHOLD_CALLNAME_H

#include <stdint.h>

/* By its number on this architecture; NULL: one that is not known to sleep. */
const char *call_name(int32_t number);

#endif
