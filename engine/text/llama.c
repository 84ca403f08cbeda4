/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transformers' LlamaDecoderLayer (Touvron et al. 2023; Dubey et al. 2024). The residual stream is
 * float32.
 *
 * All rows of padding are equal: a zero embedding at position 1 that attends to every valid row and
 * to no row of padding. One row after the valid ones therefore represents all of them. Keys exist
 * for the valid rows only, so one causal mask serves both kinds of rows. */
#include "engine/text/llama.h"

#include "engine/weights/module-ops.h"

#include <math.h>

#define LAYER(...) AVATAR_WEIGHT_ROW (AvatarLlamaLayer, __VA_ARGS__)
static const AvatarWeightRow layer_rows[] = {
  LAYER (input_norm, "input_layernorm", SCALE, AVATAR_LLAMA_ATTENTION),
  LAYER (q, "self_attn.q_proj", MATRIX, AVATAR_LLAMA_ATTENTION),
  LAYER (k, "self_attn.k_proj", MATRIX, AVATAR_LLAMA_ATTENTION),
  LAYER (v, "self_attn.v_proj", MATRIX, AVATAR_LLAMA_ATTENTION),
  LAYER (o, "self_attn.o_proj", MATRIX, AVATAR_LLAMA_ATTENTION),
  LAYER (post_norm, "post_attention_layernorm", SCALE, AVATAR_LLAMA_GATE),
  LAYER (gate, "mlp.gate_proj", MATRIX, AVATAR_LLAMA_GATE),
  LAYER (up, "mlp.up_proj", MATRIX, AVATAR_LLAMA_UP),
  LAYER (down, "mlp.down_proj", MATRIX, AVATAR_LLAMA_DOWN),
};

static const AvatarWeightTable table = AVATAR_WEIGHT_TABLE (layer_rows);

/* Position of all rows of padding in transformers 4.45. */
#define PAD_POSITION 1

/* Returns theta^(-2 i / d). Upstream's .to (float16) rounds these values as well
 * (docs/dev/spec/vae-text-face-formats.md 2.6). */
static double
frequency (const AvatarLlavaConfig *c, gint64 i, AvatarRopePrecision precision)
{
  float f = (float) (1 / pow (c->rope_theta, 2. * i / c->head_dim));
  guint16 half;

  if (precision == AVATAR_ROPE_HALF) {
    avatar_dtype_from_f32 (&half, AVATAR_F16, &f, 1);
    avatar_dtype_to_f32 (&f, &half, AVATAR_F16, 1);
  }
  return f;
}

void
avatar_llama_begin (const AvatarLlama *self, AvatarSequence *s, gint64 rows, gint64 valid,
    AvatarRopePrecision precision)
{
  gint64 half = self->config->head_dim / 2;
  g_autofree float *cosines = NULL, *sines = NULL;

  s->valid = valid;
  s->x = avatar_ops_alloc_as (self->ops, AVATAR_F32, 2, rows, (gint64) self->config->hidden);
  s->h = avatar_ops_alloc (self->ops, 2, rows, (gint64) self->config->hidden);
  s->gate = avatar_ops_alloc (self->ops, 2, rows, (gint64) self->config->mlp);
  s->cos = avatar_ops_alloc_as (self->ops, AVATAR_F32, 2, rows, half);
  s->sin = avatar_ops_alloc_as (self->ops, AVATAR_F32, 2, rows, half);
  if (avatar_ops_running (self->ops)) {
    cosines = g_new (float, rows *half);
    sines = g_new (float, rows *half);
    for (gint64 i = 0; i < half; i++) {
      float f = frequency (self->config, i, precision);

      for (gint64 r = 0; r < rows; r++) {
        float angle = f * (r < valid ? r : PAD_POSITION);

        cosines[r * half + i] = cos (angle);
        sines[r * half + i] = sin (angle);
      }
    }
  }
  avatar_op_upload (self->ops, s->cos, cosines);
  avatar_op_upload (self->ops, s->sin, sines);
}

/* Returns a view of head @j of t [rows, heads, d] that repeats it @n times. */
static AvatarTensor
repeat_head (AvatarTensor t, gint64 j, gint64 n)
{
  t = avatar_tensor_slice (t, 1, j, 1);
  t.shape[1] = n;
  t.stride[1] = 0;
  return t;
}

/* Computes attention for o, q [rows, heads, d] and k, v [valid, kv_heads, d]. Each head of k and v
 * serves heads / kv_heads heads of q. */
static void
attend (const AvatarLlama *self, AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v)
{
  gint64 group = q.shape[1] / k.shape[1];

  for (gint64 j = 0; j < k.shape[1]; j++)
    avatar_op_attention (self->ops, avatar_tensor_slice (o, 1, j * group, group),
        avatar_tensor_slice (q, 1, j * group, group), repeat_head (k, j, group),
        repeat_head (v, j, group), 1 / sqrt (q.shape[2]), 1, 0, AVATAR_NO_TENSOR);
}

/* Computes x += o_proj (attention (norm (x))). */
static void
attention (const AvatarLlama *self, guint i, const AvatarSequence *s)
{
  AvatarOps *ops = self->ops;
  const AvatarLlavaConfig *c = self->config;
  const AvatarLlamaLayer *l = &self->layers[i];
  gint64 rows = s->x.shape[0], d = c->hidden, head = c->head_dim, kv = c->kv_heads * head;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor h = s->h, q = avatar_ops_alloc (ops, 2, rows, d);
  AvatarTensor k = avatar_ops_alloc (ops, 2, s->valid, kv);
  AvatarTensor v = avatar_ops_alloc (ops, 2, s->valid, kv);
  AvatarTensor valid_rows = avatar_tensor_rows (h, 0, s->valid);

  avatar_op_rms_norm (ops, h, s->x, avatar_weight_tensor (l->input_norm.weight), c->eps);
  avatar_linear (ops, q, h, &l->q, AVATAR_ACT_NONE);
  avatar_linear (ops, k, valid_rows, &l->k, AVATAR_ACT_NONE);
  avatar_linear (ops, v, valid_rows, &l->v, AVATAR_ACT_NONE);
  avatar_op_rope_half (ops, avatar_tensor_split_last (q, head), s->cos, s->sin);
  avatar_op_rope_half (ops, avatar_tensor_split_last (k, head),
      avatar_tensor_rows (s->cos, 0, s->valid), avatar_tensor_rows (s->sin, 0, s->valid));
  attend (self, avatar_tensor_split_last (h, head), avatar_tensor_split_last (q, head),
      avatar_tensor_split_last (k, head), avatar_tensor_split_last (v, head));
  avatar_linear_add (ops, s->x, h, &l->o, AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}

/* The MLP computes x += down (silu (gate (h)) * up (h)), h = norm (x), in three steps. */

static void
mlp_gate (const AvatarLlama *self, guint i, const AvatarSequence *s)
{
  const AvatarLlamaLayer *l = &self->layers[i];

  avatar_op_rms_norm (self->ops, s->h, s->x, avatar_weight_tensor (l->post_norm.weight),
      self->config->eps);
  avatar_linear (self->ops, s->gate, s->h, &l->gate, AVATAR_ACT_NONE);
}

static void
mlp_up (const AvatarLlama *self, guint i, const AvatarSequence *s)
{
  gsize mark = avatar_ops_mark (self->ops);
  AvatarTensor up = avatar_ops_alloc (self->ops, 2, s->gate.shape[0], s->gate.shape[1]);

  avatar_linear (self->ops, up, s->h, &self->layers[i].up, AVATAR_ACT_NONE);
  avatar_op_silu_product (self->ops, s->gate, up);
  avatar_ops_release (self->ops, mark);
}

static void
mlp_down (const AvatarLlama *self, guint i, const AvatarSequence *s)
{
  avatar_linear_add (self->ops, s->x, s->gate, &self->layers[i].down, AVATAR_NO_TENSOR);
}

void
avatar_llama_step (const AvatarLlama *self, guint i, AvatarLlamaStep step, const AvatarSequence *s)
{
  static void (*const steps[AVATAR_LLAMA_STEPS]) (const AvatarLlama *self, guint i,
      const AvatarSequence *s)
      = { attention, mlp_gate, mlp_up, mlp_down };

  steps[step](self, i, s);
}

void
avatar_llama_add_layer (AvatarWeightList *list, AvatarLlamaLayer *layer, guint first_group, guint i)
{
  guint groups[AVATAR_LLAMA_STEPS];

  for (guint step = 0; step < AVATAR_LLAMA_STEPS; step++)
    groups[step] = first_group + step;
  avatar_weight_list_add (list, &table, layer, groups, "language_model.model.layers.%u.", i);
}
