/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a fuzz target defines: libFuzzer calls it with -Dfuzz=true, runner.c in ordinary builds. */
#pragma once

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);
/* Optional. */
int LLVMFuzzerInitialize (int *argc, char ***argv) __attribute__ ((weak));
