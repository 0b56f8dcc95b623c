// SPDX-License-Identifier: GPL-2.0-only
#include "runtime.h"

#include <stdbool.h>
#include <string.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct mark {
	const char *name;
	uint32_t runtimes;
	bool begins; /* of a library: whatever follows */
};

/* The file names of libraries, and of programs with the library in them. A '.' and a version may follow. */
static const struct mark libraries[] = {
	{ "libjvm.so", RUNTIME_JVM },
	{ "libcoreclr.so", RUNTIME_DOTNET },
	{ "libmonosgen-2.0.so", RUNTIME_MONO },
	{ "libmonoboehm-2.0.so", RUNTIME_MONO },
	{ "libgc.so", RUNTIME_BOEHM },
	{ "libdruntime-ldc-shared.so", RUNTIME_D },
	{ "libgdruntime.so", RUNTIME_D },
	{ "libphobos2.so", RUNTIME_D }, /* dmd's, with its run-time library in it */
	{ "libruby.so", RUNTIME_RUBY },
	{ "libruby-", RUNTIME_RUBY, true }, /* libruby-3.1.so.3.1 */
	{ "libpython", RUNTIME_PYTHON, true },
	{ "python", RUNTIME_PYTHON, true },
};

static const struct mark executables[] = {
	{ "mono", RUNTIME_MONO }, { "mono-sgen", RUNTIME_MONO }, { "mono-boehm", RUNTIME_MONO },
	{ "sbcl", RUNTIME_SBCL }, { "ruby", RUNTIME_RUBY },
};

/* Of programs with the run-time library in them; strip leaves sections as they are. */
static const struct mark sections[] = {
	{ "__managedcode", RUNTIME_DOTNET }, /* NativeAOT */
	{ "minfo", RUNTIME_D },		     /* D's list of modules: gdc, dmd */
	{ "__minfo", RUNTIME_D },	     /* ldc */
};

static const char *base_name(const char *path, size_t len, size_t *base_len)
{
	const char *slash = memrchr(path, '/', len);
	const char *base = slash ? slash + 1 : path;

	*base_len = path + len - base;
	return base;
}

static bool library_is(const char *name, size_t len, const struct mark *mark)
{
	size_t n = strlen(mark->name);

	return len >= n && !memcmp(name, mark->name, n) &&
	       (len == n || mark->begins || name[n] == '.' || name[n] == ' ');
}

uint32_t runtime_of_library(const char *path, size_t len)
{
	const char *name = base_name(path, len, &len);
	uint32_t runtimes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++)
		if (library_is(name, len, &libraries[i]))
			runtimes |= libraries[i].runtimes;
	return runtimes;
}

static uint32_t mark_find(const struct mark *marks, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(marks[i].name, name))
			return marks[i].runtimes;
	return 0;
}

uint32_t runtime_of_executable(const char *path)
{
	size_t len = strlen(path);

	return mark_find(executables, ARRAY_SIZE(executables), base_name(path, len, &len));
}

uint32_t runtime_of_section(const char *name)
{
	return mark_find(sections, ARRAY_SIZE(sections), name);
}
