/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of the transformer's weights in checkpoints, with the weight group and the storage class of
 * each. The released 8-bit files quantise the matrices of double and single blocks. Modulation is
 * used once, before the first forward, so that quantising it here would save little. */
#include "engine/denoise/transformer-weights.h"

#include "engine/denoise/transformer-private.h"

/* Weight groups of layers outside of blocks. */
enum
{
  EMBED,
  REFERENCE,
  AUDIO,
  TEXT,
  MOD_FINAL,
  FIXED,
  N_OUTER_GROUPS,
};

#define OUTER(...) AVATAR_WEIGHT_ROW (AvatarTransformerWeights, __VA_ARGS__)
static const AvatarWeightRow outer_rows[] = {
  OUTER (img_in, "img_in.proj", LINEAR, FIXED),
  OUTER (ref_in, "ref_in.proj", LINEAR, REFERENCE),
  OUTER (before_proj, "before_proj", LINEAR, REFERENCE),
  OUTER (time_in.fc1, "time_in.mlp.0", LINEAR, EMBED),
  OUTER (time_in.fc2, "time_in.mlp.2", LINEAR, EMBED),
  OUTER (vector_in.fc1, "vector_in.in_layer", LINEAR, EMBED),
  OUTER (vector_in.fc2, "vector_in.out_layer", LINEAR, EMBED),
  OUTER (motion_exp.fc1, "motion_exp.mlp.0", LINEAR, EMBED),
  OUTER (motion_exp.fc2, "motion_exp.mlp.2", LINEAR, EMBED),
  OUTER (motion_pose.fc1, "motion_pose.mlp.0", LINEAR, EMBED),
  OUTER (motion_pose.fc2, "motion_pose.mlp.2", LINEAR, EMBED),
  OUTER (fps_proj.fc1, "fps_proj.mlp.0", LINEAR, EMBED),
  OUTER (fps_proj.fc2, "fps_proj.mlp.2", LINEAR, EMBED),
  OUTER (audio_proj[0], "audio_proj.proj1", LINEAR, AUDIO),
  OUTER (audio_proj[1], "audio_proj.proj2", LINEAR, AUDIO),
  OUTER (audio_proj[2], "audio_proj.proj3", LINEAR, AUDIO),
  OUTER (audio_norm, "audio_proj.norm", NORM, AUDIO),
  OUTER (refiner_input.input, "txt_in.input_embedder", LINEAR, TEXT),
  OUTER (refiner_input.mean.fc1, "txt_in.c_embedder.linear_1", LINEAR, TEXT),
  OUTER (refiner_input.mean.fc2, "txt_in.c_embedder.linear_2", LINEAR, TEXT),
  OUTER (refiner_input.time.fc1, "txt_in.t_embedder.mlp.0", LINEAR, TEXT),
  OUTER (refiner_input.time.fc2, "txt_in.t_embedder.mlp.2", LINEAR, TEXT),
  OUTER (final_modulation, "final_layer.adaLN_modulation.1", LINEAR, MOD_FINAL),
  OUTER (final_linear, "final_layer.linear", LINEAR, FIXED),
};

/* Weight groups: 0 modulation, 1 stream. */
#define STREAM(...) AVATAR_WEIGHT_ROW (AvatarStreamWeights, __VA_ARGS__)
static const AvatarWeightRow stream_rows[] = {
  STREAM (mod, "mod.linear", MODULATION, 0),
  STREAM (qkv, "attn_qkv", QUANTISABLE, 1),
  STREAM (q_norm, "attn_q_norm", SCALE, 1),
  STREAM (k_norm, "attn_k_norm", SCALE, 1),
  STREAM (proj, "attn_proj", QUANTISABLE, 1),
  STREAM (mlp.fc1, "mlp.fc1", QUANTISABLE, 1),
  STREAM (mlp.fc2, "mlp.fc2", QUANTISABLE, 1),
};

/* Weight groups: 0 modulation, 1 block. */
#define SINGLE(...) AVATAR_WEIGHT_ROW (AvatarSingleBlock, __VA_ARGS__)
static const AvatarWeightRow single_rows[] = {
  SINGLE (modulation, "modulation.linear", MODULATION, 0),
  SINGLE (linear1, "linear1", QUANTISABLE, 1),
  SINGLE (q_norm, "q_norm", SCALE, 1),
  SINGLE (k_norm, "k_norm", SCALE, 1),
  SINGLE (linear2, "linear2", QUANTISABLE, 1),
};

/* Weight groups: 0 keys and values, computed once for a window; 1 the block before the adapter. */
#define ADAPTER(...) AVATAR_WEIGHT_ROW (AvatarAudioAdapter, __VA_ARGS__)
static const AvatarWeightRow adapter_rows[] = {
  ADAPTER (norm1, "norm1", NORM, 0),
  ADAPTER (norm2, "norm2", NORM, 1),
  ADAPTER (to_q, "to_q", MATRIX, 1),
  ADAPTER (to_kv, "to_kv", MATRIX, 0),
  ADAPTER (to_out, "to_out", MATRIX, 1),
};

/* Weight groups: 0 attention, 1 MLP. */
#define REFINER(...) AVATAR_WEIGHT_ROW (AvatarRefinerBlock, __VA_ARGS__)
static const AvatarWeightRow refiner_rows[] = {
  REFINER (norm1, "norm1", NORM, 0),
  REFINER (norm2, "norm2", NORM, 1),
  REFINER (modulation, "adaLN_modulation.1", LINEAR, 0),
  REFINER (qkv, "self_attn_qkv", LINEAR, 0),
  REFINER (proj, "self_attn_proj", LINEAR, 0),
  REFINER (mlp.fc1, "mlp.fc1", LINEAR, 1),
  REFINER (mlp.fc2, "mlp.fc2", LINEAR, 1),
};

static const AvatarWeightTable outer = AVATAR_WEIGHT_TABLE (outer_rows);
static const AvatarWeightTable stream = AVATAR_WEIGHT_TABLE (stream_rows);
static const AvatarWeightTable single = AVATAR_WEIGHT_TABLE (single_rows);
static const AvatarWeightTable adapter = AVATAR_WEIGHT_TABLE (adapter_rows);
static const AvatarWeightTable refiner = AVATAR_WEIGHT_TABLE (refiner_rows);

static void
add_outer (AvatarTransformerWeights *self, const AvatarTransformerConfig *c)
{
  const guint groups[N_OUTER_GROUPS] = {
    [EMBED] = avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_EMBED, 0),
    [REFERENCE] = avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_REFERENCE, 0),
    [AUDIO] = avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_AUDIO, 0),
    [TEXT] = avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_TEXT, 0),
    [MOD_FINAL] = avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0),
    [FIXED] = AVATAR_WEIGHT_GROUP_FIXED, /* small, and used by every forward */
  };

  avatar_weight_list_add (self->list, &outer, self, groups, "%s", "");
}

static void
add_double (AvatarTransformerWeights *self, const AvatarTransformerConfig *c, guint i)
{
  const guint img[] = { avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, 2 * i),
    avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i) };
  const guint txt[]
      = { avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, 2 * i + 1),
          avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i) };
  AvatarDoubleBlock *block = &self->double_blocks[i];

  avatar_weight_list_add (self->list, &stream, &block->img, img, "double_blocks.%u.img_", i);
  avatar_weight_list_add (self->list, &stream, &block->txt, txt, "double_blocks.%u.txt_", i);
}

static void
add_single (AvatarTransformerWeights *self, const AvatarTransformerConfig *c, guint i)
{
  const guint groups[] = { avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_SINGLE, i),
    avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_SINGLE, i) };

  avatar_weight_list_add (self->list, &single, &self->single_blocks[i], groups, "single_blocks.%u.",
      i);
}

static void
add_adapter (AvatarTransformerWeights *self, const AvatarTransformerConfig *c, guint i)
{
  const guint groups[] = { avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0),
    avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, c->adapter_after[i]) };

  avatar_weight_list_add (self->list, &adapter, &self->adapters[i], groups,
      "audio_adapter_blocks.%u.", i);
}

static void
add_refiner (AvatarTransformerWeights *self, const AvatarTransformerConfig *c, guint i)
{
  const guint groups[]
      = { avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_TEXT_ATTENTION, i),
          avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_TEXT_MLP, i) };

  avatar_weight_list_add (self->list, &refiner, &self->refiner[i], groups,
      "txt_in.individual_token_refiner.blocks.%u.", i);
}

AvatarTransformerWeights *
avatar_transformer_weights_new (const AvatarTransformerConfig *c)
{
  AvatarTransformerWeights *self = g_new0 (AvatarTransformerWeights, 1);

  self->list = avatar_weight_list_new (
      avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_SINGLE, c->n_single));
  self->double_blocks = g_new0 (AvatarDoubleBlock, c->n_double);
  self->single_blocks = g_new0 (AvatarSingleBlock, c->n_single);
  self->adapters = g_new0 (AvatarAudioAdapter, c->n_adapters);
  self->refiner = g_new0 (AvatarRefinerBlock, c->refiner_depth);
  add_outer (self, c);
  for (guint i = 0; i < c->n_double; i++)
    add_double (self, c, i);
  for (guint i = 0; i < c->n_single; i++)
    add_single (self, c, i);
  for (guint i = 0; i < c->n_adapters; i++)
    add_adapter (self, c, i);
  for (guint i = 0; i < c->refiner_depth; i++)
    add_refiner (self, c, i);
  return self;
}

void
avatar_transformer_weights_free (AvatarTransformerWeights *self)
{
  if (!self)
    return;
  avatar_weight_list_free (self->list);
  g_free (self->double_blocks);
  g_free (self->single_blocks);
  g_free (self->adapters);
  g_free (self->refiner);
  g_free (self);
}
