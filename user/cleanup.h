/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Owning locals free themselves: declare them with a _cleanup_*_ attribute, initialise them, and hand
 * them on with take_ptr() or take_fd(), which leave nothing to free behind. errno survives.
 */
#ifndef DEADHOLD_CLEANUP_H
#define DEADHOLD_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

#define _cleanup_free_	   _cleanup_(cleanup_free)
#define _cleanup_close_	   _cleanup_(cleanup_close)
#define _cleanup_fclose_   _cleanup_(cleanup_fclose)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir)

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_fclose(FILE **file)
{
	int saved = errno;

	if (*file)
		fclose(*file);
	errno = saved;
}

static inline void cleanup_closedir(DIR **dir)
{
	int saved = errno;

	if (*dir)
		closedir(*dir);
	errno = saved;
}

#define take_ptr(pointer)                             \
	({                                            \
		__typeof__(pointer) *_p = &(pointer); \
		__typeof__(pointer) _taken = *_p;     \
		*_p = NULL;                           \
		_taken;                               \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
