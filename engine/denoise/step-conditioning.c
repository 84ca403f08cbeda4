/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step conditioning: the modulation of all blocks and the refined text, which depend on the time
 * and the prompt only (docs/dev/spec/denoise.md 2.4 to 2.7). Their weights are a third of the
 * model. They are computed for all steps before the first forward, so that each weight is copied to
 * the device once, and stored on the host. */
#include "engine/denoise/transformer-private.h"
#include "engine/denoise/rope.h"

#include <math.h>
#include <string.h>

/* Computes y [n, N] = two linear layers over the sinusoids of @values [n]
 * (docs/dev/spec/denoise.md 2.4). */
static void
embed_numbers (AvatarTransformer *self, AvatarOps *ops, AvatarTensor y,
    const AvatarMlpWeights *embedder, const double *values, gint64 n)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 dim = self->config->frequency_dim;
  AvatarTensor e = avatar_ops_alloc (ops, 2, n, dim);
  g_autofree float *host = g_new0 (float, n *dim);

  for (gint64 i = 0; i < n; i++)
    avatar_sinusoid_fill (host + i * dim, dim, values[i]);
  avatar_op_upload (ops, e, host);
  avatar_mlp (ops, y, e, embedder, AVATAR_ACT_SILU);
  avatar_ops_release (ops, mark);
}

/* Computes the condition vectors of @n steps, vec [n, D] float32 (docs/dev/spec/denoise.md 2.5,
 * step 1). */
static void
condition_vectors (AvatarTransformer *self, AvatarOps *ops, AvatarTensor vec,
    const AvatarStepConditioning *steps, gint64 n)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, pooled_dim = self->config->pooled_dim;
  AvatarTensor term = avatar_ops_alloc_as (ops, AVATAR_F32, 2, n, d);
  AvatarTensor pooled = avatar_ops_alloc (ops, 2, n, pooled_dim);
  const AvatarTransformerWeights *p = self->params;
  const AvatarMlpWeights *const motion[] = { &p->motion_exp, &p->motion_pose };
  g_autofree double *values = g_new (double, n);
  g_autofree float *host = g_new0 (float, n *pooled_dim);

  for (gint64 i = 0; i < n; i++)
    values[i] = steps[i].t;
  embed_numbers (self, ops, vec, &p->time_in, values, n);
  for (guint k = 0; k < 2; k++) {
    /* upstream embeds four numbers, which are all the same, to a quarter of the width each */
    AvatarTensor quarter = avatar_tensor_cols (term, 0, d / 4);

    for (gint64 i = 0; i < n; i++)
      values[i] = k ? steps[i].motion_pose : steps[i].motion_exp;
    embed_numbers (self, ops, quarter, motion[k], values, n);
    for (gint64 j = 1; j < 4; j++)
      avatar_op_copy (ops, avatar_tensor_cols (term, j * (d / 4), d / 4), quarter);
    avatar_op_axpby (ops, vec, 1, term, 1);
  }
  for (gint64 i = 0; i < n; i++)
    values[i] = steps[i].fps;
  embed_numbers (self, ops, term, &p->fps_proj, values, n);
  avatar_op_axpby (ops, vec, 1, term, 1);
  for (gint64 i = 0; i < n && avatar_ops_running (ops); i++)
    memcpy (host + i * pooled_dim, steps[i].prompt->pooled, pooled_dim * sizeof (float));
  avatar_op_upload (ops, pooled, host);
  avatar_mlp (ops, term, pooled, &p->vector_in, AVATAR_ACT_SILU);
  avatar_op_axpby (ops, vec, 1, term, 1);
  avatar_ops_release (ops, mark);
}

/* Computes the modulation of one layer for all steps, and downloads it to @offset of each step's
 * modulation. */
static void
modulation (AvatarOps *ops, AvatarTensor silu_vec, const AvatarModuleWeights *layer, gint64 offset,
    const AvatarStepConditioning *steps)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 n = silu_vec.shape[0];
  AvatarTensor w = avatar_weight_tensor (layer->weight);
  AvatarTensor y = avatar_ops_alloc_as (ops, AVATAR_F32, 2, n, w.shape[0]);
  g_autofree float *host = NULL;

  avatar_op_linear (ops, y, avatar_ops_operand (ops, silu_vec, w), w,
      avatar_weight_tensor (layer->bias), AVATAR_ACT_NONE);
  if (avatar_ops_running (ops))
    host = g_new0 (float, avatar_tensor_n (y));
  avatar_op_download (ops, host, y);
  for (gint64 i = 0; host && i < n; i++)
    memcpy (steps[i].modulation + offset, host + i * w.shape[0], w.shape[0] * sizeof (float));
  avatar_ops_release (ops, mark);
}

static void
all_modulations (AvatarTransformer *self, AvatarOps *ops, AvatarTensor silu_vec,
    const AvatarStepConditioning *steps)
{
  const AvatarTransformerConfig *c = self->config;
  const AvatarTransformerWeights *p = self->params;

  for (guint i = 0; i < 2 * c->n_double; i++) {
    AvatarStreamKind stream = i % 2 ? AVATAR_STREAM_TEXT : AVATAR_STREAM_IMAGE;
    const AvatarDoubleBlock *b = &p->double_blocks[i / 2];

    avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, i);
    modulation (ops, silu_vec, i % 2 ? &b->txt.mod : &b->img.mod,
        avatar_modulation_double (c, i / 2, stream), steps);
    avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, i);
  }
  for (guint i = 0; i < c->n_single; i++) {
    avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_MOD_SINGLE, i);
    modulation (ops, silu_vec, &p->single_blocks[i].modulation, avatar_modulation_single (c, i),
        steps);
    avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_MOD_SINGLE, i);
  }
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0);
  modulation (ops, silu_vec, &p->final_modulation, avatar_modulation_final (c), steps);
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0);
}

/* Returns gate @i, a vector [n], of @gates [1, gates n]. */
static AvatarTensor
gate_of (AvatarTensor gates, guint i, gint64 n)
{
  AvatarTensor t = avatar_tensor_cols (gates, i * n, n);

  return avatar_tensor_of_shape (t.dtype, t.data, 1, &n);
}

/* Computes refiner block @i on x [n, D] (docs/dev/spec/denoise.md 2.7, step 4). @c: condition
 * vector after SiLU, [1, D]; @mask: [n], or AVATAR_NO_TENSOR */
static void
refine_block (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, AvatarTensor c, guint i,
    AvatarTensor mask)
{
  const AvatarRefinerBlock *b = &self->params->refiner[i];
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, hd = self->config->head_dim, n = x.shape[0];
  AvatarTensor gates = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) 1, 2 * d);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), qkv = avatar_ops_alloc (ops, 2, n, 3 * d);
  AvatarTensor hidden, heads;

  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_TEXT_ATTENTION, i);
  avatar_linear (ops, gates, c, &b->modulation, AVATAR_ACT_NONE);
  avatar_affine_norm (ops, h, x, &b->norm1, AVATAR_EPS);
  avatar_linear (ops, qkv, h, &b->qkv, AVATAR_ACT_NONE);
  heads = avatar_tensor_split_last (qkv, hd);
  avatar_op_attention (ops, avatar_tensor_split_last (h, hd),
      avatar_tensor_slice (heads, 1, 0, d / hd), avatar_tensor_slice (heads, 1, d / hd, d / hd),
      avatar_tensor_slice (heads, 1, 2 * (d / hd), d / hd), 1 / sqrt (hd), 0, 0, mask);
  avatar_linear_add (ops, x, h, &b->proj, gate_of (gates, 0, d));
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_TEXT_ATTENTION, i);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_TEXT_MLP, i);
  avatar_affine_norm (ops, h, x, &b->norm2, AVATAR_EPS);
  hidden = avatar_ops_alloc (ops, 2, n, avatar_weight_tensor (b->mlp.fc1.weight).shape[0]);
  avatar_linear (ops, hidden, h, &b->mlp.fc1, AVATAR_ACT_SILU);
  avatar_linear_add (ops, x, hidden, &b->mlp.fc2, gate_of (gates, 1, d));
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_TEXT_MLP, i);
  avatar_ops_release (ops, mark);
}

/* Uploads the mask of @text: @weight: (out): [n] float32, for means; @mask: (out): [n] bytes, for
 * attention */
static void
upload_mask (AvatarOps *ops, const AvatarText *text, AvatarTensor *weight, AvatarTensor *mask)
{
  g_autofree float *host = g_new0 (float, text->n);

  for (gint64 i = 0; i < text->n && avatar_ops_running (ops); i++)
    host[i] = text->mask[i] ? 1 : 0;
  *weight = avatar_ops_alloc_as (ops, AVATAR_F32, 1, text->n);
  avatar_op_upload (ops, *weight, host);
  *mask = avatar_ops_alloc_as (ops, AVATAR_U8, 1, text->n);
  avatar_op_upload_raw (ops, *mask, text->mask);
}

/* Computes the refined text of one step (docs/dev/spec/denoise.md 2.7) and downloads it. */
static void
refine_one (AvatarTransformer *self, AvatarOps *ops, const AvatarStepConditioning *step)
{
  const AvatarRefinerInput *input = &self->params->refiner_input;
  const AvatarText *text = step->prompt;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = text->n, k = self->config->text_dim;
  AvatarTensor x = avatar_ops_alloc (ops, 2, n, d), states = avatar_ops_alloc (ops, 2, n, k);
  AvatarTensor mean = avatar_ops_alloc (ops, 1, k), c = avatar_ops_alloc (ops, 2, (gint64) 1, d);
  AvatarTensor sum = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) 1, d);
  AvatarTensor term = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) 1, d);
  AvatarTensor weight = AVATAR_NO_TENSOR, mask = AVATAR_NO_TENSOR;

  avatar_op_upload (ops, states, text->states);
  if (text->mask)
    upload_mask (ops, text, &weight, &mask);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_TEXT, 0);
  avatar_op_mean_rows (ops, mean, states, weight);
  avatar_mlp (ops, sum, avatar_as_row (mean), &input->mean, AVATAR_ACT_SILU);
  embed_numbers (self, ops, term, &input->time, &step->t, 1);
  avatar_op_axpby (ops, sum, 1, term, 1);
  avatar_op_act (ops, sum, AVATAR_ACT_SILU);
  avatar_op_copy (ops, c, sum);
  avatar_linear (ops, x, states, &input->input, AVATAR_ACT_NONE);
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_TEXT, 0);
  for (guint i = 0; i < self->config->refiner_depth; i++)
    refine_block (self, ops, x, c, i, mask);
  avatar_transformer_tap (self, ops, "txt_in", x);
  avatar_op_download_raw (ops, step->text, avatar_tensor_rows (x, 0, text->used));
  avatar_ops_release (ops, mark);
}

void
avatar_transformer_modulate (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *steps, guint n)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden;
  AvatarTensor vec = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) n, d);
  AvatarTensor silu_vec = avatar_ops_alloc (ops, 2, (gint64) n, d);

  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_EMBED, 0);
  condition_vectors (self, ops, vec, steps, n);
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_EMBED, 0);
  avatar_transformer_tap (self, ops, "vec", vec);
  avatar_op_act (ops, vec, AVATAR_ACT_SILU);
  avatar_op_copy (ops, silu_vec, vec);
  all_modulations (self, ops, silu_vec, steps);
  avatar_ops_release (ops, mark);
}

void
avatar_transformer_refine (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *steps, guint n)
{
  for (guint i = 0; i < n; i++)
    refine_one (self, ops, &steps[i]);
}
