/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a process runs on, by what no other program has: the libraries that it has mapped, its
 * executable, a section in that. Pure. A program that pretends to be another deceives the noise policy
 * about its own signals to itself, and is searched for locks that it does not have, or told to have one that
 * is merely suspected: of no other process is anything else said.
 */
#ifndef DEADHOLD_RUNTIME_H
#define DEADHOLD_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "noise.h"

/* Each returns bits of enum runtime. */
/* Mapped with the right to execute it: a library, or a program with the library in it. */
uint32_t runtime_of_library(const char *path, size_t len);
uint32_t runtime_of_executable(const char *path);
uint32_t runtime_of_section(const char *name); /* of the executable */

#endif
