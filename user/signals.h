/* SPDX-License-Identifier: GPL-2.0-only */
/* From signal records to alerts, in the order in which the signals were sent; and the folded ones. */
#ifndef DEADHOLD_SIGNALS_H
#define DEADHOLD_SIGNALS_H

#include "agent.h"

struct signals;

struct signals *signals_new(struct agent *agent);
void signals_free(struct signals *signals);

void signals_sent(struct signals *signals, const struct ev_signal *signal);
void signals_failed(struct signals *signals, const struct ev_send_failed *failed);

/* Says what waited for an answer about its sender or target. `all`: without the answers too. */
void signals_flush(struct signals *signals, bool all);
size_t signals_waiting(const struct signals *signals);

/* Asks for what is not known of the processes whose folded signals are to be said. True: all known. */
bool signals_noise_ready(struct signals *signals);

/* Says how many signals were folded since the last time. */
void signals_noise(struct signals *signals, double interval_s);
uint64_t signals_folded(const struct signals *signals);

#endif
