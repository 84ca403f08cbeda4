/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's text tower, of which one row is wanted: that of the first end of text
 * (docs/dev/spec/vae-text-face-formats.md 3). */
#pragma once

#include "engine/text/llava.h"

G_BEGIN_DECLS

/* Fields as of AvatarLlava. */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  GHashTable *tensors;
  AvatarDoneFunc done;
  gpointer done_data;
} AvatarClip;

AvatarWeightGrouping avatar_clip_weight_groups (const AvatarClipConfig *config);
/* Free with g_free(). */
AvatarWeightSchedule *avatar_clip_weight_schedule (const AvatarClipConfig *config);
/* Fills @pooled of @n prompts. FALSE with @error, or with the failure in @ops. */
gboolean avatar_clip_run (const AvatarClip *self, AvatarOps *ops, AvatarEncoding *const *prompts,
    guint n, GError **error);

G_END_DECLS
