/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Computes transformers' CLIPVisionTransformer up to hidden_states[-2], and
 * LlavaMultiModalProjector. */
#include "engine/image/vision.h"

#include "engine/image/resample.h"
#include "engine/weights/module-ops.h"

#include <string.h>

#define TOWER "vision_tower.vision_model."

enum
{
  EMBEDDINGS,
  PROJECTOR,
  N_OUTER_GROUPS,
};

#define OUTER(...) AVATAR_WEIGHT_ROW (AvatarVisionWeights, __VA_ARGS__)
static const AvatarWeightRow outer_rows[] = {
  OUTER (class_embedding, TOWER "embeddings.class_embedding", VECTOR, EMBEDDINGS),
  OUTER (patches, TOWER "embeddings.patch_embedding", MATRIX, EMBEDDINGS),
  OUTER (positions, TOWER "embeddings.position_embedding", MATRIX, EMBEDDINGS),
  OUTER (pre_norm, TOWER "pre_layrnorm", NORM, EMBEDDINGS), /* sic */
  OUTER (projector1, "multi_modal_projector.linear_1", LINEAR, PROJECTOR),
  OUTER (projector2, "multi_modal_projector.linear_2", LINEAR, PROJECTOR),
};

static const AvatarWeightTable outer = AVATAR_WEIGHT_TABLE (outer_rows);

/* Values of upstream's data_kits/audio_dataset.py. The third mean has one digit less than
 * CLIP's. */
static const float mean[3] = { 0.48145466f, 0.4578275f, 0.4082107f };
static const float deviation[3] = { 0.26862954f, 0.26130258f, 0.27577711f };

guint
avatar_vision_patches (const AvatarLlavaConfig *config)
{
  return (config->image / config->patch) * (config->image / config->patch);
}

AvatarImage *
avatar_vision_prepare (const AvatarLlavaConfig *config, const AvatarImage *image, GError **error)
{
  AvatarRegion all = { 0, 0, image->width, image->height };

  return avatar_resample (image, all, AVATAR_FILTER_BILINEAR, config->image, config->image, error);
}

/* Normalises the square to @out [3, side, side]. */
static void
normalise (float *out, const AvatarImage *image)
{
  gsize side = image->width;

  for (guint c = 0; c < 3; c++)
    for (gsize y = 0; y < side; y++)
      for (gsize x = 0; x < side; x++)
        out[(c * side + y) * side + x]
            = (image->data[y * image->stride + 3 * x + c] / 255.f - mean[c]) / deviation[c];
}

guint
avatar_vision_n_layers (const AvatarLlavaConfig *config)
{
  return config->vision.layers - 1;
}

guint
avatar_vision_n_groups (const AvatarLlavaConfig *config)
{
  return 1 + avatar_vision_n_layers (config) + 1;
}

void
avatar_vision_weights_init (AvatarVisionWeights *self, AvatarWeightList *list,
    const AvatarLlavaConfig *config)
{
  guint n = avatar_vision_n_layers (config);
  const guint groups[N_OUTER_GROUPS] = { [EMBEDDINGS] = 0, [PROJECTOR] = 1 + n };

  self->layers = g_new0 (AvatarTowerLayer, n);
  avatar_weight_list_add (list, &outer, self, groups, "%s", "");
  for (guint i = 0; i < n; i++)
    avatar_tower_add_layer (list, &self->layers[i], 1 + i, TOWER, i);
}

void
avatar_vision_weights_clear (AvatarVisionWeights *self)
{
  g_clear_pointer (&self->layers, g_free);
}

static AvatarTower
tower_of (const AvatarVision *self)
{
  return (AvatarTower){ self->ops, &self->config->vision, AVATAR_TOWER_ALL_ROWS };
}

void
avatar_vision_embed (const AvatarVision *self, AvatarTensor x, const AvatarImage *square)
{
  AvatarOps *ops = self->ops;
  const AvatarVisionWeights *w = self->weights;
  const AvatarTower tower = tower_of (self);
  const guint patch[3] = { 1, self->config->patch, self->config->patch };
  gint64 n = avatar_vision_patches (self->config), d = self->config->vision.hidden;
  gint64 side = self->config->image, width = 3 * (gint64) patch[1] * patch[2];
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor pixels
      = avatar_ops_alloc_as (ops, AVATAR_F32, 4, (gint64) 3, (gint64) 1, side, side);
  AvatarTensor patches = avatar_ops_alloc (ops, 2, n, width);
  g_autofree float *host = NULL;

  if (avatar_ops_running (ops)) {
    host = g_new (float, 3 * side * side);
    normalise (host, square);
  }
  avatar_op_upload (ops, pixels, host);
  avatar_op_patchify (ops, patches, pixels, patch, AVATAR_PATCHIFY);
  /* the row of the class embedding, then the rows of the patches from the top left; no bias */
  avatar_op_copy (ops, avatar_tensor_rows (x, 0, 1),
      avatar_tensor_reshape (avatar_weight_tensor (w->class_embedding.weight), 2, (gint64) 1, d));
  avatar_op_linear (ops, avatar_tensor_rows (x, 1, n), patches,
      avatar_tensor_reshape (avatar_weight_tensor (w->patches.weight), 2, d, width),
      AVATAR_NO_TENSOR, AVATAR_ACT_NONE);
  avatar_op_axpby (ops, x, 1, avatar_weight_tensor (w->positions.weight), 1);
  avatar_tower_norm (&tower, &w->pre_norm, x, x);
  avatar_ops_release (ops, mark);
}

void
avatar_vision_layer (const AvatarVision *self, guint i, AvatarTensor x)
{
  const AvatarTower tower = tower_of (self);

  avatar_tower_layer (&tower, &self->weights->layers[i], x);
}

void
avatar_vision_project (const AvatarVision *self, AvatarTensor features, AvatarTensor x)
{
  AvatarOps *ops = self->ops;
  gint64 n = features.shape[0], d = features.shape[1];
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor patches = avatar_ops_alloc (ops, 2, n, x.shape[1]);
  AvatarTensor inner = avatar_ops_alloc (ops, 2, n, d);

  /* without the row of the class embedding, and without a norm */
  avatar_op_copy (ops, patches, avatar_tensor_rows (x, 1, n));
  avatar_linear (ops, inner, patches, &self->weights->projector1, AVATAR_ACT_GELU);
  avatar_linear (ops, features, inner, &self->weights->projector2, AVATAR_ACT_NONE);
  avatar_ops_release (ops, mark);
}
