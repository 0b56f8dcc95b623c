// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "host.h"
#include "proc.h"
#include "stream.h"

static bool ids_match(const struct id_list *list, int32_t id)
{
	size_t i;

	for (i = 0; i < list->n; i++) {
		if (list->id[i] == id)
			return true;
	}
	return !list->n;
}

static bool comms_match(const struct word_list *list, const char *comm)
{
	size_t i;

	for (i = 0; i < list->n; i++) {
		if (!fnmatch(list->word[i], comm, 0))
			return true;
	}
	return false;
}

#define CGROUP_ROOT "/sys/fs/cgroup"

/* This cgroup or one below it. */
static bool cgroups_match(const struct word_list *list, const char *cgroup)
{
	size_t i, len;

	for (i = 0; i < list->n && *cgroup; i++) {
		const char *word = list->word[i];

		if (!strncmp(word, CGROUP_ROOT, strlen(CGROUP_ROOT))) {
			word += strlen(CGROUP_ROOT);
			/* Below the root: a hierarchy, unless version 2 alone is mounted there. */
			if (access(CGROUP_ROOT "/cgroup.controllers", F_OK) && *word == '/')
				word += 1 + strcspn(word + 1, "/");
		}
		len = strlen(word);
		while (len && word[len - 1] == '/')
			len--;
		if (!strncmp(cgroup, word, len) && (!cgroup[len] || cgroup[len] == '/'))
			return true;
	}
	/* Of a process that ended at once nobody could read it: rather one line too many. */
	return !list->n || !*cgroup;
}

typedef bool cgroup_in(const char *cgroup, const char *name);

static bool cgroup_in_any(const struct word_list *list, const char *cgroup, cgroup_in *in)
{
	size_t i;

	for (i = 0; i < list->n && *cgroup; i++) {
		if (in(cgroup, list->word[i]))
			return true;
	}
	return !list->n || !*cgroup; /* as above */
}

#define ANY_THREAD (-1)

/* One that the alert is about. Where no thread is known, none fits that is asked for. */
static bool party_match(const struct stream *s, const struct process_info *process, int32_t tid)
{
	const struct options *o = s->options;
	bool follows = followers_has(&s->followers, process->pid);

	if ((!follows && !ids_match(&o->pids, process->pid)) ||
	    (tid != ANY_THREAD && !ids_match(&o->tids, tid)) ||
	    !cgroups_match(&o->cgroups, process->cgroup) ||
	    !cgroup_in_any(&o->containers, process->cgroup, proc_cgroup_in_container) ||
	    !cgroup_in_any(&o->units, process->cgroup, proc_cgroup_in_unit))
		return false;
	if (o->comms.n && !comms_match(&o->comms, process->comm))
		return false;
	return !comms_match(&o->not_comms, process->comm);
}

/* The target; the dead owner, or one of those who wait for its lock. */
static bool parties_match(const struct stream *s, const struct alert *a)
{
	size_t i;

	if (a->follows || party_match(s, &a->process, a->thread.tid))
		return true;
	if (a->kind == ALERT_ORPHAN_WAIT)
		return party_match(s, a->owner_process.pid ? &a->owner_process : &a->process,
				   a->owner.tid);
	for (i = 0; i < a->n_waiters; i++) {
		const struct waiter_info *waiter = &a->waiters[i];

		if (party_match(s, waiter->process.pid ? &waiter->process : &a->process,
				waiter->thread.tid))
			return true;
	}
	return false;
}

static bool signal_match(const struct options *o, const struct alert *a)
{
	uint64_t bit = a->signal.number ? 1ull << (a->signal.number - 1) : 0;

	if (o->signals && !(o->signals & bit))
		return false;
	if (o->not_signals & bit)
		return false;
	return a->kind == ALERT_NOISE || ids_match(&o->sender_pids, a->sender_process.pid);
}

static bool is_about_signals(const struct alert *alert)
{
	return alert->kind == ALERT_THREAD_SIGNAL || alert->kind == ALERT_TID_KILL ||
	       alert->kind == ALERT_NOISE;
}

/* Somebody did it: --sender-pid asks who. */
static bool is_about_calls(const struct alert *alert)
{
	return alert->kind == ALERT_THREAD_CANCEL || alert->kind == ALERT_ASYNC_EXCEPTION;
}

bool stream_wants(const struct stream *stream, const struct alert *alert)
{
	const struct options *o = stream->options;

	/* Whether the stream can be trusted is not for a filter to hide. */
	if (alert->kind == ALERT_READY || alert->kind == ALERT_LOSS || alert->kind == ALERT_SUMMARY)
		return true;
	if (alert->kind == ALERT_NOISE && o->output == OUTPUT_TEXT)
		return false; /* in text, the summary has the total */
	if (alert->counted && o->output == OUTPUT_TEXT)
		return false;
	if (o->kinds && !(o->kinds & 1u << alert->kind))
		return false;
	if (is_about_signals(alert) && !signal_match(o, alert))
		return false;
	if (is_about_calls(alert) && !ids_match(&o->sender_pids, alert->sender_process.pid))
		return false;
	if (alert->kind == ALERT_NOISE) /* is counted by process */
		return party_match(stream, &alert->process, ANY_THREAD);
	return parties_match(stream, alert);
}

static char *alert_format(const struct stream *stream, const struct alert *alert, size_t *len)
{
	if (stream->options->output == OUTPUT_JSON)
		return alert_json(alert, stream->run, stream->seq + 1,
				  host_now() + stream->run->realtime_offset_ns, len);
	return alert_text(alert, stream->run, len);
}

/* Of a line that stands for several all are lost. */
static void stream_refuse(struct stream *stream, const struct alert *alert)
{
	stream->refused += alert->merged.count ?: 1;
}

static void stream_write(struct stream *stream, const struct alert *alert)
{
	_cleanup_free_ char *line = NULL;
	size_t len;
	int error;

	line = alert_format(stream, alert, &len);
	error = line ? output_write(stream->output, line, len) : -ENOBUFS;
	if (!error) {
		stream->seq++;
		stream->said[alert->kind]++;
	} else if (error == -ENOBUFS) {
		stream_refuse(stream, alert);
	} else if (!stream->error) {
		stream->error = error;
	}
}

static bool stream_show(struct stream *stream, const struct alert *alert)
{
	if (!stream_wants(stream, alert))
		return false;
	if (stream->limits && limits_keep(stream->limits, alert))
		return false;
	stream_write(stream, alert);
	return true;
}

bool stream_say(struct stream *stream, const struct alert *alert)
{
	uint64_t seq = stream->seq;
	bool shown = stream_show(stream, alert);

	/* The story is told whole, whatever of it is shown. */
	if (stream->incidents && alert->kind != ALERT_INCIDENT)
		incidents_take(stream->incidents, alert, stream->seq > seq ? stream->seq : 0);
	return shown;
}

bool stream_say_incident(void *stream, const struct alert *alert)
{
	return stream_say(stream, alert);
}

void stream_say_merged(struct stream *stream, bool all)
{
	struct alert *alert;

	while (stream->limits && (alert = limits_next(stream->limits, host_now(), all))) {
		stream_write(stream, alert);
		alert_free(alert);
	}
}

uint64_t stream_due(const struct stream *stream)
{
	return stream->limits ? limits_due(stream->limits) : 0;
}
