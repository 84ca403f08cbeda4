/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's text tower, of which one row is wanted: that of the first end of text
 * (docs/dev/spec/vae-text-face-formats.md 3). */
#pragma once

#include "engine/text/llava.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarTowerLayer *layers;
  AvatarModuleWeights final_norm;
  AvatarWeightList *list;
} AvatarClipWeights;

/* Fields as of AvatarLlava. */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  const AvatarClipWeights *params;
  GHashTable *tensors;
  AvatarDoneFunc done;
  gpointer done_data;
} AvatarClip;

/* Weight groups: the layers. */
AvatarClipWeights *avatar_clip_weights_new (const AvatarClipConfig *config);
void avatar_clip_weights_free (AvatarClipWeights *self);
/* Free with g_free(). */
AvatarWeightSchedule *avatar_clip_weight_schedule (const AvatarClipConfig *config);
/* Fills @pooled of @n prompts. FALSE with @error, or with the failure in @ops. */
gboolean avatar_clip_run (const AvatarClip *self, AvatarOps *ops, AvatarEncoding *const *prompts,
    guint n, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarClipWeights, avatar_clip_weights_free)

G_END_DECLS
