/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings of a job or of a live session, as a client gives them: form fields or JSON. */
#pragma once

#include "tools/server/problem.h"

G_BEGIN_DECLS

/* NULL and 0 are the model's or the element's default; so is -1 as the seed. */
typedef struct
{
  char *model, *prompt, *budget, *profile;
  gint64 seed;
  guint steps, width, height;
} AvatarJobSettings;

void avatar_job_settings_init (AvatarJobSettings *self);
void avatar_job_settings_clear (AvatarJobSettings *self);
/* Sets the field @name from text. An empty value leaves the default. */
gboolean avatar_job_settings_set (AvatarJobSettings *self, const char *name, const char *value,
    AvatarProblem **problem);
/* Sets the fields that @object has as members, strings or whole numbers. Other members are left
 * to the caller. */
gboolean
avatar_job_settings_set_json (AvatarJobSettings *self, JsonObject *object, AvatarProblem **problem);
/* Appends the object of all settings. */
void avatar_job_settings_build (const AvatarJobSettings *self, JsonBuilder *builder);

G_END_DECLS
