/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bytes from watched programs, made fit to print. A thread may name itself with terminal control
 * bytes, with characters that turn the reading direction, or with bytes that are no UTF-8.
 *
 * Printable UTF-8 stays as it is; a backslash becomes two; each byte of anything else becomes \xHH.
 * So the result is always valid UTF-8 without control characters, and the bytes can be got back.
 */
#ifndef DEADHOLD_ESCAPE_H
#define DEADHOLD_ESCAPE_H

#include <stddef.h>

/* Room for the escaped form of n bytes, its NUL included. */
#define ESCAPED_BYTES(n) (4 * (n) + 1)

/*
 * Escapes len bytes into out, which ends with NUL always; out_bytes is at least 1. What does not
 * fit is left out, never cutting an escape or a character in two. Returns out.
 */
char *escape(char *out, size_t out_bytes, const char *bytes, size_t len);

/* The same for a whole string, malloc'd. Returns NULL with errno ENOMEM. */
char *escape_string(const char *string);

#endif
