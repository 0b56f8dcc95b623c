/* SPDX-License-Identifier: GPL-2.0-only */
/* Which files are worth a look, and where in one of them the functions to be probed are. */
#ifndef DEADHOLD_PROBE_FILE_H
#define DEADHOLD_PROBE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "prober.h"

/* What a mapped file may be, by its path: enum probe_file; 0: of no interest. */
uint32_t probe_file_kind(const char *path, size_t len);

/* What else the file says. */
struct probe_found {
	uint32_t python;	      /* Py_Version; 0: none */
	int32_t missing[PROBE_SITES]; /* -errno of sites that are there and can't be attached to */
};

struct probe_point {
	uint64_t offset; /* in the file */
	uint32_t site;	 /* of the plan */
	uint32_t pad;
};

/*
 * Where the plan's sites are in the file. Its symbols are read by a child process that has no rights
 * and a deadline: the file may be anything. The same place is told once for each program. Takes over fd.
 * Returns the number of points, at most `room`, or -errno: -EINVAL (no ELF file), -ENOEXEC (of another
 * machine), -EFBIG (a table beyond the limit, or more points than `room`), -ETIMEDOUT, -EIO (it died).
 */
ssize_t probe_file_points(int fd, uint32_t kind, const struct probe_plan *plan,
			  struct probe_point *points, size_t room, struct probe_found *found);

#endif
