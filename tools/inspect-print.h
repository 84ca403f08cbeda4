/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text and JSON output of avatar-inspect. */
#pragma once

#include "engine/inspect/inspect.h"

#define INSPECT_BUDGETS 2

typedef struct
{
  guint64 bytes;
  gboolean fits;
  guint resident, groups; /* weight groups of the transformer, resident and all */
  guint64 host_bytes;
} InspectBudget;

/* Memory for one video size. */
typedef struct
{
  guint width, height;
  guint64 min_bytes;
  InspectBudget budgets[INSPECT_BUDGETS];
} InspectNeed;

/* Returns: (transfer full): @text without control characters and of limited length, because names
 * in files are arbitrary. */
char *inspect_printable (const char *text);
/* @needs: (nullable): array of InspectNeed */
void inspect_print_text (const char *path, const AvatarInspection *inspection, GArray *needs);
void inspect_print_json (const char *path, const AvatarInspection *inspection, GArray *needs);
