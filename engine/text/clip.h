/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's text encoder. Its output is the row of the first end-of-text token
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

/* The fields are as in AvatarLlava. */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  const AvatarClipWeights *params;
  GHashTable *tensors;
  AvatarTextGroupFunc group_done;
  gpointer group_data;
} AvatarClip;

/* Makes unbound weights. Each layer is a weight group. */
AvatarClipWeights *avatar_clip_weights_new (const AvatarClipConfig *config);
void avatar_clip_weights_free (AvatarClipWeights *self);
/* Returns the order in which avatar_clip_run() uses the weight groups, to be freed with
 * g_free(). */
AvatarWeightSchedule *avatar_clip_weight_schedule (const AvatarClipConfig *config);
/* Computes the pooled vectors of @n prompts into their @pooled. Returns FALSE with @error; failures
 * of the device are in @ops. */
gboolean avatar_clip_run (const AvatarClip *self, AvatarOps *ops, AvatarEncoding *const *prompts,
    guint n, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarClipWeights, avatar_clip_weights_free)

G_END_DECLS
