// SPDX-License-Identifier: GPL-2.0-only
#include "escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * Controls (Cc), format characters (Cf: bidirectional overrides, zero-width joiners, tags), line and
 * paragraph separators (Zl, Zp) of Unicode 15, and the rest of the plane-14 block of the tags.
 */
static const struct {
	uint32_t first, last;
} invisible[] = {
	{ 0x00, 0x1f },	      { 0x7f, 0x9f },	    { 0xad, 0xad },	  { 0x600, 0x605 },
	{ 0x61c, 0x61c },     { 0x6dd, 0x6dd },	    { 0x70f, 0x70f },	  { 0x890, 0x891 },
	{ 0x8e2, 0x8e2 },     { 0x180e, 0x180e },   { 0x200b, 0x200f },	  { 0x2028, 0x202e },
	{ 0x2060, 0x206f },   { 0xfeff, 0xfeff },   { 0xfff9, 0xfffb },	  { 0x110bd, 0x110bd },
	{ 0x110cd, 0x110cd }, { 0x13430, 0x1343f }, { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a },
	{ 0xe0000, 0xe0fff },
};

static bool is_printable(uint32_t character)
{
	for (size_t i = 0; i < sizeof(invisible) / sizeof(invisible[0]); i++)
		if (character >= invisible[i].first && character <= invisible[i].last)
			return false;
	return true;
}

/*
 * Reads one UTF-8 character (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF).
 * Returns its length in bytes, 0 if there is none at the start of bytes.
 */
static size_t utf8_decode(const unsigned char *bytes, size_t len, uint32_t *character)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n;

	if (bytes[0] < 0x80) {
		*character = bytes[0];
		return 1;
	}
	n = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
	if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || n > len)
		return 0;
	*character = bytes[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (bytes[i] & 0x3f);
	}
	if (*character < smallest[n] || *character > 0x10ffff ||
	    (*character >= 0xd800 && *character <= 0xdfff))
		return 0;
	return n;
}

/*
 * Escapes the first character or byte into unit (ESCAPED_BYTES(4), no NUL). Returns how many bytes
 * of unit were used, and of the input in *taken.
 */
static size_t escape_unit(const unsigned char *bytes, size_t len, char *unit, size_t *taken)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t character = 0;
	size_t n = utf8_decode(bytes, len, &character), used = 0;

	*taken = n ? n : 1;
	if (n && character == '\\') {
		memcpy(unit, "\\\\", 2);
		return 2;
	}
	if (n && is_printable(character)) {
		memcpy(unit, bytes, n);
		return n;
	}
	for (size_t i = 0; i < *taken; i++) {
		unit[used++] = '\\';
		unit[used++] = 'x';
		unit[used++] = digits[bytes[i] >> 4];
		unit[used++] = digits[bytes[i] & 0xf];
	}
	return used;
}

char *escape(char *out, size_t out_bytes, const char *bytes, size_t len)
{
	const unsigned char *next = (const unsigned char *)bytes;
	char unit[ESCAPED_BYTES(4)];
	size_t used = 0, taken;

	for (; len; next += taken, len -= taken) {
		size_t n = escape_unit(next, len, unit, &taken);

		if (n >= out_bytes - used)
			break;
		memcpy(out + used, unit, n);
		used += n;
	}
	out[used] = '\0';
	return out;
}

char *escape_string(const char *string)
{
	size_t len = strlen(string);
	char *out = malloc(ESCAPED_BYTES(len));

	return out ? escape(out, ESCAPED_BYTES(len), string, len) : NULL;
}
