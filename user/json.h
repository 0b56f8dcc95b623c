/* SPDX-License-Identifier: GPL-2.0-only */
/* The objects that alerts and inspections have in common, as docs/alerts.md has them. */
#ifndef DEADHOLD_JSON_H
#define DEADHOLD_JSON_H

#include "alert.h"
#include "jsonw.h"

/* RFC 3339, UTC, nanoseconds. */
void json_time(struct jsonw *w, const char *key, int64_t realtime_ns);
/* Left out where no process is known. */
void json_process(struct jsonw *w, const char *key, const struct process_info *process,
		  const struct run *run);
/* The members alone: the caller makes the object. process: whose memory the lock's address is in */
void json_thread_members(struct jsonw *w, const struct thread_info *thread);
void json_lock_members(struct jsonw *w, const struct lock_info *lock,
		       const struct process_info *process, const struct run *run);

#endif
