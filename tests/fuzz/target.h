/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entry points of a fuzz target, called by libFuzzer with -Dfuzz=true, otherwise by runner.c. */
#pragma once

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);
/* Optional. */
int LLVMFuzzerInitialize (int *argc, char ***argv) __attribute__ ((weak));
