// SPDX-License-Identifier: GPL-2.0-only
#include "pyname.h"

#include <stdbool.h>
#include <string.h>

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(const char *name, size_t len)
{
	bool begins = true; /* an identifier */

	for (size_t i = 0; i < len; i++) {
		bool digit = name[i] >= '0' && name[i] <= '9';

		if (name[i] == '.' ? begins : !is_letter(name[i]) && (begins || !digit))
			return false;
		begins = name[i] == '.';
	}
	return !begins;
}

void python_name(char *out, size_t size, const char *name, size_t len)
{
	size_t n = strnlen(name, len);

	out[0] = '\0';
	if (n >= size || !is_name(name, n))
		return;
	memcpy(out, name, n);
	out[n] = '\0';
}
