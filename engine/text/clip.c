/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transformers' CLIPTextTransformer, its pooled output before the projection. A row sees only those
 * before it, so that rows behind the pooled one are not computed. */
#include "engine/text/clip.h"

#include "engine/text/embedding-rows.h"

#include <stdio.h>

#define MOST_PROMPTS 2

static guint
group_of (const char *name, gconstpointer data)
{
  const AvatarClipConfig *c = data;
  guint i;

  if (sscanf (name, "encoder.layers.%3u.", &i) == 1 && i < c->tower.layers)
    return i;
  return g_str_has_prefix (name, "embeddings.") ? AVATAR_WEIGHT_GROUP_HOST_ONLY
                                                : AVATAR_WEIGHT_GROUP_FIXED;
}

AvatarWeightGrouping
avatar_clip_weight_groups (const AvatarClipConfig *config)
{
  return (AvatarWeightGrouping){ .n = config->tower.layers, .group_of = group_of, .data = config };
}

AvatarWeightSchedule *
avatar_clip_weight_schedule (const AvatarClipConfig *config)
{
  guint n = config->tower.layers;
  AvatarWeightSchedule *route = g_malloc (sizeof *route + n * sizeof (guint));
  guint *units = (guint *) (route + 1);

  for (guint i = 0; i < n; i++)
    units[i] = i;
  *route = (AvatarWeightSchedule){ .units = units, .n = n, .at_once = 1, .once = TRUE };
  return route;
}

/* x [rows, hidden] = embeddings of ids and places */
static gboolean
embed (const AvatarClip *self, AvatarOps *ops, const AvatarEncoding *prompt, AvatarTensor x,
    GError **error)
{
  gint64 d = x.shape[1];
  g_autofree float *host = NULL;

  if (avatar_ops_running (ops)) {
    host = g_new0 (float, x.shape[0] * d);
    for (gint64 i = 0; i < x.shape[0]; i++)
      if (!avatar_add_row (host + i * d, self->tensors, "embeddings.token_embedding.weight",
              prompt->clip.ids[i], error)
          || !avatar_add_row (host + i * d, self->tensors, "embeddings.position_embedding.weight",
              i, error))
        return FALSE;
  }
  avatar_op_upload (ops, x, host);
  return TRUE;
}

gboolean
avatar_clip_run (const AvatarClip *self, AvatarOps *ops, AvatarEncoding *const *prompts, guint n,
    GError **error)
{
  const AvatarTower tower = { ops, &self->config->clip.tower, self->weights, "" };
  gint64 d = tower.config->hidden;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x[MOST_PROMPTS], last = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) 1, d);
  gboolean begun = TRUE;

  g_assert (n >= 1 && n <= MOST_PROMPTS);
  for (guint j = 0; j < n && begun; j++) {
    x[j] = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) prompts[j]->clip.eos + 1, d);
    begun = embed (self, ops, prompts[j], x[j], error);
  }
  for (guint i = 0; i < tower.config->layers && begun; i++) {
    avatar_weights_acquire (self->weights, ops, i);
    for (guint j = 0; j < n; j++)
      avatar_tower_layer (&tower, i, x[j], TRUE);
    avatar_weights_release (self->weights, ops, i);
    avatar_ops_throttle (ops);
    if (self->done && avatar_ops_running (ops))
      self->done (self->done_data);
  }
  for (guint j = 0; j < n && begun; j++) {
    avatar_tower_norm (&tower, "final_layer_norm", last,
        avatar_tensor_rows (x[j], prompts[j]->clip.eos, 1));
    avatar_op_download (ops, prompts[j]->pooled, last);
  }
  avatar_ops_release (ops, mark);
  return begun;
}
