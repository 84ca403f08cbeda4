/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Computes the pooled output of transformers' CLIPTextTransformer before the projection. Attention
 * is causal, so the rows after the pooled one are not computed. */
#include "engine/text/clip.h"

#include "engine/text/embedding-rows.h"

#define MAX_PROMPTS 2

static const AvatarWeightRow outer_rows[]
    = { AVATAR_WEIGHT_ROW (AvatarClipWeights, final_norm, "final_layer_norm", NORM, 0) };
static const AvatarWeightTable outer = AVATAR_WEIGHT_TABLE (outer_rows);

AvatarClipWeights *
avatar_clip_weights_new (const AvatarClipConfig *config)
{
  static const guint groups[] = { AVATAR_WEIGHT_GROUP_FIXED };
  AvatarClipWeights *self = g_new0 (AvatarClipWeights, 1);

  self->list = avatar_weight_list_new (config->tower.layers);
  self->layers = g_new0 (AvatarTowerLayer, config->tower.layers);
  for (guint i = 0; i < config->tower.layers; i++)
    avatar_tower_add_layer (self->list, &self->layers[i], i, "", i);
  avatar_weight_list_add (self->list, &outer, self, groups, "%s", "");
  return self;
}

void
avatar_clip_weights_free (AvatarClipWeights *self)
{
  if (!self)
    return;
  avatar_weight_list_free (self->list);
  g_free (self->layers);
  g_free (self);
}

AvatarWeightSchedule *
avatar_clip_weight_schedule (const AvatarClipConfig *config)
{
  guint n = config->tower.layers;
  AvatarWeightSchedule *schedule = g_malloc (sizeof *schedule + n * sizeof (guint));
  guint *groups = (guint *) (schedule + 1);

  for (guint i = 0; i < n; i++)
    groups[i] = i;
  *schedule = (AvatarWeightSchedule){ .groups = groups, .n = n, .max_in_use = 1, .one_shot = TRUE };
  return schedule;
}

/* Computes the embeddings of ids and positions, x [rows, hidden]. */
static gboolean
embed (const AvatarClip *self, AvatarOps *ops, const AvatarEncoding *prompt, AvatarTensor x,
    GError **error)
{
  gint64 d = x.shape[1];
  g_autofree float *host = NULL;

  if (avatar_ops_running (ops)) {
    host = g_new0 (float, x.shape[0] * d);
    for (gint64 i = 0; i < x.shape[0]; i++)
      if (!avatar_embedding_add_row (host + i * d, self->tensors,
              "embeddings.token_embedding.weight", prompt->clip.ids[i], error)
          || !avatar_embedding_add_row (host + i * d, self->tensors,
              "embeddings.position_embedding.weight", i, error))
        return FALSE;
  }
  avatar_op_upload (ops, x, host);
  return TRUE;
}

gboolean
avatar_clip_run (const AvatarClip *self, AvatarOps *ops, AvatarEncoding *const *prompts, guint n,
    GError **error)
{
  const AvatarTower tower = { ops, &self->config->clip.tower, AVATAR_TOWER_CAUSAL };
  gint64 d = tower.config->hidden;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x[MAX_PROMPTS], last = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) 1, d);
  gboolean ok = TRUE;

  g_assert (n >= 1 && n <= MAX_PROMPTS);
  for (guint j = 0; j < n && ok; j++) {
    x[j] = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) prompts[j]->clip.eos + 1, d);
    ok = embed (self, ops, prompts[j], x[j], error);
  }
  for (guint i = 0; i < tower.config->layers && ok; i++) {
    avatar_weights_acquire (self->weights, ops, i);
    for (guint j = 0; j < n; j++)
      avatar_tower_layer (&tower, &self->params->layers[i], x[j]);
    avatar_weights_release (self->weights, ops, i);
    avatar_ops_throttle (ops);
    if (self->group_done && avatar_ops_running (ops))
      self->group_done (self->group_data);
  }
  for (guint j = 0; j < n && ok; j++) {
    avatar_tower_norm (&tower, &self->params->final_norm, last,
        avatar_tensor_rows (x[j], prompts[j]->clip.eos, 1));
    avatar_op_download (ops, prompts[j]->pooled, last);
  }
  avatar_ops_release (ops, mark);
  return ok;
}
