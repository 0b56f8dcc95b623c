/* SPDX-License-Identifier: GPL-2.0-only */
/* Names that come from the memory of a Python interpreter, or of what takes itself for one. */
#ifndef DEADHOLD_PYNAME_H
#define DEADHOLD_PYNAME_H

#include <stddef.h>

/*
 * A name of a type, as tp_name has it: identifiers with dots between them, in ASCII. `name` has `len`
 * bytes and ends there or at the first NUL. Copies it into out, or leaves out empty where it is none.
 */
void python_name(char *out, size_t size, const char *name, size_t len);

#endif
