/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-inspect's two ways to say it. */
#pragma once

#include "engine/inspect/inspect.h"

#define INSPECT_BUDGETS 2

typedef struct
{
  guint64 bytes;
  gboolean fits;
  guint resident, units; /* parts of the transformer that stay on the card */
  guint64 host_bytes;
} InspectBudget;

/* Memory for one size of video. */
typedef struct
{
  guint width, height;
  guint64 min_bytes;
  InspectBudget budgets[INSPECT_BUDGETS];
} InspectNeed;

/* Names in files are anything: without what a terminal would obey, and not endless. */
char *inspect_printable (const char *text);
/* @needs: (nullable): of InspectNeed */
void inspect_print_text (const char *path, const AvatarInspection *inspection, GArray *needs);
void inspect_print_json (const char *path, const AvatarInspection *inspection, GArray *needs);
