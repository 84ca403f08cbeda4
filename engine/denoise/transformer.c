/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer, from patches to velocity. Everything but attention works on rows, so each
 * block makes the keys and values of all rows first and then takes ROW_CHUNK rows at a time
 * through the rest, in place (spec denoise.md 5.4). Section numbers below are of that file.
 *
 * Letters: T latent frames, S tokens a frame, Lx = (T + 1) S image tokens (reference first),
 * Lt text tokens, L = Lx + Lt, D hidden, M mlp. */
#include "engine/denoise/transformer.h"
#include "engine/denoise/rope.h"

#include <math.h>

/* Does not depend on any budget, so that results do not either. */
#define ROW_CHUNK 1024
#define EPS 1e-6
#define EPS_AFFINE 1e-5

#define W(...) avatar_weights_get (self->weights, __VA_ARGS__)

static void
tap (AvatarTransformer *self, AvatarOps *ops, const char *name, AvatarTensor value)
{
  if (self->tap && avatar_ops_running (ops))
    self->tap (name, value, self->tap_data);
}

static void
tap_block (AvatarTransformer *self, AvatarOps *ops, const char *kind, guint i, AvatarTensor value)
{
  g_autofree char *name = self->tap ? g_strdup_printf ("%s_%u", kind, i) : NULL;

  if (name)
    tap (self, ops, name, value);
}

/* A weight of any shape as a matrix [out, in]. */
static AvatarTensor
as_matrix (AvatarTensor w)
{
  return avatar_tensor_reshape (w, 2, w.shape[0], avatar_tensor_n (w) / w.shape[0]);
}

static AvatarTensor
as_row (AvatarTensor v)
{
  return avatar_tensor_reshape (v, 2, (gint64) 1, avatar_tensor_n (v));
}

/* The @i-th of the vectors of @n in the only row of @m. */
static AvatarTensor
part (AvatarTensor m, guint i, gint64 n)
{
  AvatarTensor t = avatar_tensor_cols (m, i * n, n);

  return avatar_tensor_of_shape (AVATAR_F32, t.data, 1, &n);
}

/* y = fc2 (act (fc1 (x))), the two layers named @first and @second. */
static void
mlp (AvatarTransformer *self, AvatarOps *ops, AvatarTensor y, AvatarTensor x, const char *first,
    const char *second, AvatarAct act)
{
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor w = W ("%s.weight", first);
  AvatarTensor hidden = avatar_ops_alloc (ops, 2, x.shape[0], w.shape[0]);

  avatar_op_linear (ops, hidden, x, w, W ("%s.bias", first), act);
  avatar_op_linear (ops, y, hidden, W ("%s.weight", second), W ("%s.bias", second),
      AVATAR_ACT_NONE);
  avatar_ops_release (ops, mark);
}

/* y [1, n] = two linear layers over the sinusoid of the number @t (2.4) */
static void
embed_number (AvatarTransformer *self, AvatarOps *ops, AvatarTensor y, const char *name, double t)
{
  gsize mark = avatar_ops_mark (ops);
  guint dim = self->config->frequency_dim;
  AvatarTensor e = avatar_ops_alloc (ops, 2, (gint64) 1, (gint64) dim);
  g_autofree char *first = g_strdup_printf ("%s.mlp.0", name);
  g_autofree char *second = g_strdup_printf ("%s.mlp.2", name);

  if (avatar_ops_running (ops))
    avatar_sinusoid_fill (e.data, dim, t);
  mlp (self, ops, y, e, first, second, AVATAR_ACT_SILU);
  avatar_ops_release (ops, mark);
}

/* vec [1, D] (2.5, step 1) */
static void
condition_vector (AvatarTransformer *self, AvatarOps *ops, AvatarTensor vec, double t,
    AvatarTensor pooled, double motion_exp, double motion_pose, double fps)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden;
  AvatarTensor term = avatar_ops_alloc (ops, 2, (gint64) 1, d);
  const char *const names[] = { "motion_exp", "motion_pose" };
  const double values[] = { motion_exp, motion_pose };

  embed_number (self, ops, vec, "time_in", t);
  for (guint i = 0; i < 2; i++) {
    /* upstream embeds four numbers, which are all the same, to a quarter of the width each */
    AvatarTensor quarter = avatar_tensor_cols (term, 0, d / 4);

    embed_number (self, ops, quarter, names[i], values[i]);
    for (guint j = 1; j < 4; j++)
      avatar_op_copy (ops, avatar_tensor_cols (term, j * (d / 4), d / 4), quarter);
    avatar_op_axpby (ops, vec, 1, term, 1);
  }
  embed_number (self, ops, term, "fps_proj", fps);
  avatar_op_axpby (ops, vec, 1, term, 1);
  mlp (self, ops, term, pooled, "vector_in.in_layer", "vector_in.out_layer", AVATAR_ACT_SILU);
  avatar_op_axpby (ops, vec, 1, term, 1);
  avatar_ops_release (ops, mark);
}

/* tokens [T S, D] of x [C, T, h8, w8] by the convolution @name (2.5, step 3) */
static AvatarTensor
embed_patches (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, const char *name)
{
  const guint *p = self->config->patch;
  gint64 rows = avatar_tensor_n (x) / (x.shape[0] * p[0] * p[1] * p[2]);
  AvatarTensor w = as_matrix (W ("%s.proj.weight", name));
  AvatarTensor tokens = avatar_ops_alloc (ops, 2, rows, (gint64) self->config->hidden);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor patches = avatar_ops_alloc (ops, 2, rows, w.shape[1]);

  avatar_op_patchify (ops, patches, x, p, FALSE);
  avatar_op_linear (ops, tokens, patches, w, W ("%s.proj.bias", name), AVATAR_ACT_NONE);
  avatar_ops_release (ops, mark);
  return tokens;
}

void
avatar_transformer_scene (AvatarTransformer *self, AvatarOps *ops, AvatarTensor reference,
    AvatarTensor face, gint64 frames, AvatarScene *scene)
{
  const AvatarTransformerConfig *c = self->config;
  gint64 h = reference.shape[2] / c->patch[1], w = reference.shape[3] / c->patch[2], s = h * w;
  AvatarTensor first = avatar_ops_alloc (ops, 4, reference.shape[0], (gint64) c->patch[0],
      reference.shape[2], reference.shape[3]);
  AvatarTensor ref_tokens;

  scene->frames = frames;
  scene->h = h;
  scene->w = w;
  avatar_op_copy (ops, first, avatar_tensor_slice (reference, 1, 0, c->patch[0]));
  scene->ref_first = embed_patches (self, ops, first, "img_in");
  scene->ref_added = avatar_ops_alloc (ops, 2, reference.shape[1] * s, (gint64) c->hidden);
  ref_tokens = embed_patches (self, ops, reference, "ref_in");
  avatar_op_linear (ops, scene->ref_added, ref_tokens, W ("before_proj.weight"),
      W ("before_proj.bias"), AVATAR_ACT_NONE);
  scene->face = avatar_ops_alloc (ops, 1, frames * s);
  scene->cos = avatar_ops_alloc (ops, 2, (frames + 1) * s, (gint64) c->head_dim / 2);
  scene->sin = avatar_ops_alloc (ops, 2, (frames + 1) * s, (gint64) c->head_dim / 2);
  if (!avatar_ops_running (ops))
    return;
  avatar_rope_fill (scene->cos, scene->sin, frames, h, w, c->rope_dim, c->rope_theta);
  /* nearest: the first cell of each patch (2.5, step 6) */
  for (gint64 i = 0; i < frames * s; i++) {
    gint64 y = i / w % h, x = i % w;

    avatar_tensor_f32 (scene->face)[i]
        = avatar_tensor_f32 (face)[y * c->patch[1] * face.stride[0] + x * c->patch[2]];
  }
}

/* tokens [frames * n, D] of audio [frames, features] (2.5, step 2) */
static void
project_audio (AvatarTransformer *self, AvatarOps *ops, AvatarTensor tokens, AvatarTensor audio)
{
  const AvatarTransformerConfig *c = self->config;
  gsize mark = avatar_ops_mark (ops);
  gint64 frames = audio.shape[0];
  AvatarTensor a = avatar_ops_alloc (ops, 2, frames, (gint64) c->audio_intermediate);
  AvatarTensor b = avatar_ops_alloc (ops, 2, frames, (gint64) c->audio_intermediate);
  AvatarTensor wide
      = avatar_tensor_reshape (tokens, 2, frames, (gint64) c->audio_tokens * c->hidden);

  avatar_op_linear (ops, a, audio, W ("audio_proj.proj1.weight"), W ("audio_proj.proj1.bias"),
      AVATAR_ACT_RELU);
  avatar_op_linear (ops, b, a, W ("audio_proj.proj2.weight"), W ("audio_proj.proj2.bias"),
      AVATAR_ACT_RELU);
  avatar_op_linear (ops, wide, b, W ("audio_proj.proj3.weight"), W ("audio_proj.proj3.bias"),
      AVATAR_ACT_NONE);
  avatar_op_layer_norm (ops, tokens, tokens, W ("audio_proj.norm.weight"),
      W ("audio_proj.norm.bias"), FALSE, EPS_AFFINE);
  avatar_ops_release (ops, mark);
}

void
avatar_transformer_speech (AvatarTransformer *self, AvatarOps *ops, AvatarTensor audio,
    AvatarSpeech *speech)
{
  const AvatarTransformerConfig *c = self->config;
  gint64 frames = audio.shape[0], n = c->audio_tokens, d = c->hidden, latents = (frames + 3) / 4;
  AvatarTensor all, normed;
  gsize mark;

  for (guint i = 0; i < c->n_adapters; i++)
    speech->kv[i] = avatar_ops_alloc (ops, 3, latents, 4 * n, (gint64) 2 * c->adapter_dim);
  mark = avatar_ops_mark (ops);
  /* the first frame's tokens three more times in front: latent 0 has one frame, not four (2.9) */
  all = avatar_ops_alloc (ops, 2, (frames + 3) * n, d);
  normed = avatar_ops_alloc (ops, 2, (frames + 3) * n, d);
  project_audio (self, ops, avatar_tensor_rows (all, 3 * n, frames * n), audio);
  tap (self, ops, "audio_proj", avatar_tensor_rows (all, 3 * n, frames * n));
  for (guint i = 0; i < 3; i++)
    avatar_op_copy (ops, avatar_tensor_rows (all, i * n, n), avatar_tensor_rows (all, 3 * n, n));
  for (guint i = 0; i < c->n_adapters; i++) {
    AvatarTensor kv
        = avatar_tensor_reshape (speech->kv[i], 2, latents * 4 * n, (gint64) 2 * c->adapter_dim);

    avatar_op_layer_norm (ops, normed, all, W ("audio_adapter_blocks.%u.norm1.weight", i),
        W ("audio_adapter_blocks.%u.norm1.bias", i), FALSE, EPS_AFFINE);
    avatar_op_linear (ops, kv, normed, W ("audio_adapter_blocks.%u.to_kv.weight", i),
        AVATAR_NO_TENSOR, AVATAR_ACT_NONE);
  }
  avatar_ops_release (ops, mark);
}

/* One refiner block on x [n, D] (2.7, step 4); c [1, D] went through SiLU. */
static void
refine_block (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, AvatarTensor c, guint i,
    AvatarTensor mask)
{
  static const char P[] = "txt_in.individual_token_refiner.blocks";
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, heads_dim = self->config->head_dim, n = x.shape[0];
  AvatarTensor gates = avatar_ops_alloc (ops, 2, (gint64) 1, 2 * d);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), qkv = avatar_ops_alloc (ops, 2, n, 3 * d);
  AvatarTensor hidden, heads;

  avatar_op_linear (ops, gates, c, W ("%s.%u.adaLN_modulation.1.weight", P, i),
      W ("%s.%u.adaLN_modulation.1.bias", P, i), AVATAR_ACT_NONE);
  avatar_op_layer_norm (ops, h, x, W ("%s.%u.norm1.weight", P, i), W ("%s.%u.norm1.bias", P, i),
      FALSE, EPS);
  avatar_op_linear (ops, qkv, h, W ("%s.%u.self_attn_qkv.weight", P, i),
      W ("%s.%u.self_attn_qkv.bias", P, i), AVATAR_ACT_NONE);
  heads = avatar_tensor_split_last (qkv, heads_dim);
  avatar_op_attention (ops, avatar_tensor_split_last (h, heads_dim),
      avatar_tensor_slice (heads, 1, 0, d / heads_dim),
      avatar_tensor_slice (heads, 1, d / heads_dim, d / heads_dim),
      avatar_tensor_slice (heads, 1, 2 * (d / heads_dim), d / heads_dim), 1 / sqrt (heads_dim), 0,
      0, mask);
  avatar_op_linear_add (ops, x, h, W ("%s.%u.self_attn_proj.weight", P, i),
      W ("%s.%u.self_attn_proj.bias", P, i), part (gates, 0, d), AVATAR_NO_TENSOR);
  avatar_op_layer_norm (ops, h, x, W ("%s.%u.norm2.weight", P, i), W ("%s.%u.norm2.bias", P, i),
      FALSE, EPS);
  hidden = avatar_ops_alloc (ops, 2, n, W ("%s.%u.mlp.fc1.weight", P, i).shape[0]);
  avatar_op_linear (ops, hidden, h, W ("%s.%u.mlp.fc1.weight", P, i),
      W ("%s.%u.mlp.fc1.bias", P, i), AVATAR_ACT_SILU);
  avatar_op_linear_add (ops, x, hidden, W ("%s.%u.mlp.fc2.weight", P, i),
      W ("%s.%u.mlp.fc2.bias", P, i), part (gates, 1, d), AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}

/* Text tokens [n, D] (2.7). Depends on t, so it runs in every step. */
static AvatarTensor
refine_text (AvatarTransformer *self, AvatarOps *ops, const AvatarText *text, double t)
{
  gint64 d = self->config->hidden, n = text->states.shape[0], k = text->states.shape[1];
  AvatarTensor x = avatar_ops_alloc (ops, 2, n, d);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor mean = avatar_ops_alloc (ops, 1, k), weight = AVATAR_NO_TENSOR;
  AvatarTensor c = avatar_ops_alloc (ops, 2, (gint64) 1, d);
  AvatarTensor term = avatar_ops_alloc (ops, 2, (gint64) 1, d);

  if (text->mask.rank) {
    weight = avatar_ops_alloc (ops, 1, n);
    for (gint64 i = 0; i < n && avatar_ops_running (ops); i++)
      avatar_tensor_f32 (weight)[i] = ((const guint8 *) text->mask.data)[i] ? 1 : 0;
  }
  avatar_op_mean_rows (ops, mean, text->states, weight);
  mlp (self, ops, c, as_row (mean), "txt_in.c_embedder.linear_1", "txt_in.c_embedder.linear_2",
      AVATAR_ACT_SILU);
  embed_number (self, ops, term, "txt_in.t_embedder", t);
  avatar_op_axpby (ops, c, 1, term, 1);
  avatar_op_act (ops, c, AVATAR_ACT_SILU);
  avatar_op_linear (ops, x, text->states, W ("txt_in.input_embedder.weight"),
      W ("txt_in.input_embedder.bias"), AVATAR_ACT_NONE);
  for (guint i = 0; i < self->config->refiner_depth; i++)
    refine_block (self, ops, x, c, i, text->mask);
  avatar_ops_release (ops, mark);
  return x;
}

/* What attention needs of one forward: keys and values of all L tokens, and where RoPE applies. */
typedef struct
{
  AvatarTensor k, v; /* [L, D] */
  AvatarTensor cos, sin;
  AvatarTensor silu_vec; /* [1, D] */
} Forward;

/* The weights of one stream through attention; a single block has one stream. */
typedef struct
{
  AvatarTensor qkv_w, qkv_b;       /* q, k, v rows first */
  AvatarTensor q_norm, k_norm;     /* [head_dim] */
  AvatarTensor shift, scale, gate; /* [D] */
} Stream;

/* h [n, D] = modulated rows of x */
static void
modulate (AvatarOps *ops, AvatarTensor h, AvatarTensor x, AvatarTensor shift, AvatarTensor scale)
{
  avatar_op_layer_norm (ops, h, x, scale, shift, TRUE, EPS);
}

/* RMS norm, then RoPE for those of the rows from @first that are image tokens (2.8, 2.10). */
static void
norm_heads (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, AvatarTensor w,
    const Forward *f, gint64 first, gint64 image_tokens)
{
  gint64 n = x.shape[0], turned = CLAMP (image_tokens - first, 0, n);
  AvatarTensor heads = avatar_tensor_split_last (x, self->config->head_dim);

  if (turned > 0)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (heads, 0, turned), w,
        avatar_tensor_rows (f->cos, first, turned), avatar_tensor_rows (f->sin, first, turned),
        EPS);
  if (turned < n)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (heads, turned, n - turned), w,
        AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, EPS);
}

/* Keys and values of the tokens x [n, D], which lie at @offset of all; the first
 * @image_tokens of them are turned. */
static void
keys_and_values (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, const Stream *s,
    const Forward *f, gint64 offset, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = x.shape[0];
  AvatarTensor h = avatar_ops_alloc (ops, 2, MIN (n, (gint64) ROW_CHUNK), d);

  for (gint64 r = 0; r < n; r += ROW_CHUNK) {
    gint64 m = MIN (ROW_CHUNK, n - r);
    AvatarTensor part_h = avatar_tensor_rows (h, 0, m);
    AvatarTensor k = avatar_tensor_rows (f->k, offset + r, m);

    modulate (ops, part_h, avatar_tensor_rows (x, r, m), s->shift, s->scale);
    avatar_op_linear (ops, k, part_h, avatar_tensor_rows (s->qkv_w, d, d),
        avatar_tensor_rows (s->qkv_b, d, d), AVATAR_ACT_NONE);
    norm_heads (self, ops, k, s->k_norm, f, r, image_tokens);
    avatar_op_linear (ops, avatar_tensor_rows (f->v, offset + r, m), part_h,
        avatar_tensor_rows (s->qkv_w, 2 * d, d), avatar_tensor_rows (s->qkv_b, 2 * d, d),
        AVATAR_ACT_NONE);
  }
  avatar_ops_release (ops, mark);
}

/* o [m, D] = attention of the modulated rows h [m, D], which start at @first of their stream */
static void
attend (AvatarTransformer *self, AvatarOps *ops, AvatarTensor o, AvatarTensor h, const Stream *s,
    const Forward *f, gint64 first, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, hd = self->config->head_dim;
  AvatarTensor q = avatar_ops_alloc (ops, 2, h.shape[0], d);

  avatar_op_linear (ops, q, h, avatar_tensor_rows (s->qkv_w, 0, d),
      avatar_tensor_rows (s->qkv_b, 0, d), AVATAR_ACT_NONE);
  norm_heads (self, ops, q, s->q_norm, f, first, image_tokens);
  avatar_op_attention (ops, avatar_tensor_split_last (o, hd), avatar_tensor_split_last (q, hd),
      avatar_tensor_split_last (f->k, hd), avatar_tensor_split_last (f->v, hd), 1 / sqrt (hd), 0, 0,
      AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}

static Stream
double_stream (AvatarTransformer *self, guint i, const char *name, AvatarTensor mod)
{
  gint64 d = self->config->hidden;

  return (Stream){
    .qkv_w = W ("double_blocks.%u.%s_attn_qkv.weight", i, name),
    .qkv_b = W ("double_blocks.%u.%s_attn_qkv.bias", i, name),
    .q_norm = W ("double_blocks.%u.%s_attn_q_norm.weight", i, name),
    .k_norm = W ("double_blocks.%u.%s_attn_k_norm.weight", i, name),
    .shift = part (mod, 0, d),
    .scale = part (mod, 1, d),
    .gate = part (mod, 2, d),
  };
}

/* Attention, projection and MLP of one stream x [n, D], rows in place (2.8, steps 3 and 4) */
static void
double_rest (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, guint i, const char *name,
    const Stream *s, AvatarTensor mod, const Forward *f, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = x.shape[0], most = MIN (n, (gint64) ROW_CHUNK);
  AvatarTensor h = avatar_ops_alloc (ops, 2, most, d), o = avatar_ops_alloc (ops, 2, most, d);
  AvatarTensor hidden = avatar_ops_alloc (ops, 2, most, (gint64) self->config->mlp);

  for (gint64 r = 0; r < n; r += ROW_CHUNK) {
    gint64 m = MIN (ROW_CHUNK, n - r);
    AvatarTensor rows = avatar_tensor_rows (x, r, m), hr = avatar_tensor_rows (h, 0, m);
    AvatarTensor or = avatar_tensor_rows (o, 0, m), mr = avatar_tensor_rows (hidden, 0, m);

    modulate (ops, hr, rows, s->shift, s->scale);
    attend (self, ops, or, hr, s, f, r, image_tokens);
    avatar_op_linear_add (ops, rows, or, W ("double_blocks.%u.%s_attn_proj.weight", i, name),
        W ("double_blocks.%u.%s_attn_proj.bias", i, name), s->gate, AVATAR_NO_TENSOR);
    modulate (ops, hr, rows, part (mod, 3, d), part (mod, 4, d));
    avatar_op_linear (ops, mr, hr, W ("double_blocks.%u.%s_mlp.fc1.weight", i, name),
        W ("double_blocks.%u.%s_mlp.fc1.bias", i, name), AVATAR_ACT_GELU_TANH);
    avatar_op_linear_add (ops, rows, mr, W ("double_blocks.%u.%s_mlp.fc2.weight", i, name),
        W ("double_blocks.%u.%s_mlp.fc2.bias", i, name), part (mod, 5, d), AVATAR_NO_TENSOR);
  }
  avatar_ops_release (ops, mark);
}

/* img [Lx, D], txt [Lt, D] (2.8) */
static void
double_block (AvatarTransformer *self, AvatarOps *ops, AvatarTensor img, AvatarTensor txt, guint i,
    const Forward *f)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, lx = img.shape[0];
  AvatarTensor img_mod = avatar_ops_alloc (ops, 2, (gint64) 1, 6 * d);
  AvatarTensor txt_mod = avatar_ops_alloc (ops, 2, (gint64) 1, 6 * d);
  Stream si, st;

  avatar_op_linear (ops, img_mod, f->silu_vec, W ("double_blocks.%u.img_mod.linear.weight", i),
      W ("double_blocks.%u.img_mod.linear.bias", i), AVATAR_ACT_NONE);
  avatar_op_linear (ops, txt_mod, f->silu_vec, W ("double_blocks.%u.txt_mod.linear.weight", i),
      W ("double_blocks.%u.txt_mod.linear.bias", i), AVATAR_ACT_NONE);
  si = double_stream (self, i, "img", img_mod);
  st = double_stream (self, i, "txt", txt_mod);
  keys_and_values (self, ops, img, &si, f, 0, lx);
  keys_and_values (self, ops, txt, &st, f, lx, 0);
  double_rest (self, ops, img, i, "img", &si, img_mod, f, lx);
  double_rest (self, ops, txt, i, "txt", &st, txt_mod, f, 0);
  avatar_ops_release (ops, mark);
}

/* Adapter @a on the video tokens [T S, D] (2.9); face [T S] */
static void
audio_adapter (AvatarTransformer *self, AvatarOps *ops, AvatarTensor video, guint a,
    const AvatarScene *scene, const AvatarSpeech *speech, AvatarTensor face)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, da = self->config->adapter_dim, s = scene->h * scene->w;
  gint64 step = MAX (1, ROW_CHUNK / s), most = MIN (step, scene->frames) * s;
  AvatarTensor h = avatar_ops_alloc (ops, 2, most, d), q = avatar_ops_alloc (ops, 2, most, da);
  AvatarTensor o = avatar_ops_alloc (ops, 2, most, da);

  for (gint64 t = 0; t < scene->frames; t += step) {
    gint64 n = MIN (step, scene->frames - t);
    AvatarTensor rows = avatar_tensor_rows (video, t * s, n * s);
    AvatarTensor hr = avatar_tensor_rows (h, 0, n * s), qr = avatar_tensor_rows (q, 0, n * s);
    AvatarTensor or = avatar_tensor_rows (o, 0, n * s);
    AvatarTensor kv = avatar_tensor_rows (speech->kv[a], t, n);

    avatar_op_layer_norm (ops, hr, rows, W ("audio_adapter_blocks.%u.norm2.weight", a),
        W ("audio_adapter_blocks.%u.norm2.bias", a), FALSE, EPS_AFFINE);
    avatar_op_linear (ops, qr, hr, W ("audio_adapter_blocks.%u.to_q.weight", a), AVATAR_NO_TENSOR,
        AVATAR_ACT_NONE);
    avatar_op_frame_attention (ops, avatar_tensor_reshape (or, 3, n, s, da),
        avatar_tensor_reshape (qr, 3, n, s, da), avatar_tensor_cols (kv, 0, da),
        avatar_tensor_cols (kv, da, da), 1 / sqrt (da));
    avatar_op_linear_add (ops, rows, or, W ("audio_adapter_blocks.%u.to_out.weight", a),
        AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, avatar_tensor_rows (face, t * s, n * s));
  }
  avatar_ops_release (ops, mark);
}

/* x [L, D] (2.10). Rows outside @from .. @to are not needed afterwards and not computed: of the
 * last block only the video tokens are read. */
static void
single_block (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, guint i, const Forward *f,
    gint64 image_tokens, gint64 from, gint64 to)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, width = self->config->mlp;
  gint64 most = MIN (to - from, (gint64) ROW_CHUNK);
  AvatarTensor mod = avatar_ops_alloc (ops, 2, (gint64) 1, 3 * d);
  AvatarTensor w1 = W ("single_blocks.%u.linear1.weight", i);
  AvatarTensor b1 = W ("single_blocks.%u.linear1.bias", i);
  AvatarTensor h = avatar_ops_alloc (ops, 2, most, d);
  AvatarTensor z = avatar_ops_alloc (ops, 2, most, d + width); /* attention | mlp */
  Stream s = {
    .qkv_w = w1,
    .qkv_b = b1,
    .q_norm = W ("single_blocks.%u.q_norm.weight", i),
    .k_norm = W ("single_blocks.%u.k_norm.weight", i),
    .shift = part (mod, 0, d),
    .scale = part (mod, 1, d),
    .gate = part (mod, 2, d),
  };

  avatar_op_linear (ops, mod, f->silu_vec, W ("single_blocks.%u.modulation.linear.weight", i),
      W ("single_blocks.%u.modulation.linear.bias", i), AVATAR_ACT_NONE);
  keys_and_values (self, ops, x, &s, f, 0, image_tokens);
  for (gint64 r = from; r < to; r += ROW_CHUNK) {
    gint64 m = MIN (ROW_CHUNK, to - r);
    AvatarTensor rows = avatar_tensor_rows (x, r, m), hr = avatar_tensor_rows (h, 0, m);
    AvatarTensor zr = avatar_tensor_rows (z, 0, m);

    modulate (ops, hr, rows, s.shift, s.scale);
    attend (self, ops, avatar_tensor_cols (zr, 0, d), hr, &s, f, r, image_tokens);
    avatar_op_linear (ops, avatar_tensor_cols (zr, d, width), hr,
        avatar_tensor_rows (w1, 3 * d, width), avatar_tensor_rows (b1, 3 * d, width),
        AVATAR_ACT_GELU_TANH);
    avatar_op_linear_add (ops, rows, zr, W ("single_blocks.%u.linear2.weight", i),
        W ("single_blocks.%u.linear2.bias", i), s.gate, AVATAR_NO_TENSOR);
  }
  avatar_ops_release (ops, mark);
}

/* velocity [C, T, h8, w8] from the video tokens (2.11) */
static void
final_layer (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor video,
    const Forward *f)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = video.shape[0];
  AvatarTensor mod = avatar_ops_alloc (ops, 2, (gint64) 1, 2 * d);
  AvatarTensor w = W ("final_layer.linear.weight");
  AvatarTensor patches = avatar_ops_alloc (ops, 2, n, w.shape[0]);
  AvatarTensor h = avatar_ops_alloc (ops, 2, MIN (n, (gint64) ROW_CHUNK), d);

  avatar_op_linear (ops, mod, f->silu_vec, W ("final_layer.adaLN_modulation.1.weight"),
      W ("final_layer.adaLN_modulation.1.bias"), AVATAR_ACT_NONE);
  for (gint64 r = 0; r < n; r += ROW_CHUNK) {
    gint64 m = MIN (ROW_CHUNK, n - r);
    AvatarTensor hr = avatar_tensor_rows (h, 0, m);

    modulate (ops, hr, avatar_tensor_rows (video, r, m), part (mod, 0, d), part (mod, 1, d));
    avatar_op_linear (ops, avatar_tensor_rows (patches, r, m), hr, w, W ("final_layer.linear.bias"),
        AVATAR_ACT_NONE);
  }
  avatar_op_patchify (ops, velocity, patches, self->config->patch, TRUE);
  avatar_ops_release (ops, mark);
}

/* z [L, D] = reference | video | text tokens (2.5, steps 3 to 5) */
static AvatarTensor
embed_tokens (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, const AvatarScene *scene,
    const AvatarText *text, double t)
{
  gint64 d = self->config->hidden, s = scene->h * scene->w, lx = (scene->frames + 1) * s;
  AvatarTensor z = avatar_ops_alloc (ops, 2, lx + text->used, d);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor video = embed_patches (self, ops, x, "img_in"), txt;

  if (scene->ref_added.shape[0] == video.shape[0])
    avatar_op_axpby (ops, video, 1, scene->ref_added, 1);
  else
    for (gint64 j = 0; j < scene->frames; j++)
      avatar_op_axpby (ops, avatar_tensor_rows (video, j * s, s), 1, scene->ref_added, 1);
  avatar_op_copy (ops, avatar_tensor_rows (z, 0, s), scene->ref_first);
  avatar_op_copy (ops, avatar_tensor_rows (z, s, lx - s), video);
  txt = refine_text (self, ops, text, t);
  tap (self, ops, "txt_in", txt);
  avatar_op_copy (ops, avatar_tensor_rows (z, lx, text->used),
      avatar_tensor_rows (txt, 0, text->used));
  avatar_ops_release (ops, mark);
  return z;
}

void
avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, double t, const AvatarScene *scene, const AvatarSpeech *speech,
    const AvatarText *text, double motion_exp, double motion_pose, double fps, double face_scale)
{
  const AvatarTransformerConfig *c = self->config;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = c->hidden, s = scene->h * scene->w, lx = (scene->frames + 1) * s;
  AvatarTensor vec = avatar_ops_alloc (ops, 2, (gint64) 1, d);
  AvatarTensor face = avatar_ops_alloc (ops, 1, scene->frames * s), z, img, txt, video;
  Forward f = { .cos = scene->cos, .sin = scene->sin, .silu_vec = vec };

  condition_vector (self, ops, vec, t, text->pooled, motion_exp, motion_pose, fps);
  tap (self, ops, "vec", vec);
  avatar_op_act (ops, vec, AVATAR_ACT_SILU);
  avatar_op_axpby (ops, face, face_scale, scene->face, 0);
  z = embed_tokens (self, ops, x, scene, text, t);
  f.k = avatar_ops_alloc (ops, 2, z.shape[0], d);
  f.v = avatar_ops_alloc (ops, 2, z.shape[0], d);
  img = avatar_tensor_rows (z, 0, lx);
  video = avatar_tensor_rows (z, s, lx - s);
  txt = avatar_tensor_rows (z, lx, z.shape[0] - lx);
  tap (self, ops, "img_in", img);
  for (guint i = 0; i < c->n_double; i++) {
    double_block (self, ops, img, txt, i, &f);
    for (guint a = 0; a < c->n_adapters; a++)
      if (c->adapter_after[a] == i)
        audio_adapter (self, ops, video, a, scene, speech, face);
    tap_block (self, ops, "double", i, img);
  }
  for (guint i = 0; i < c->n_single; i++) {
    gboolean last = i + 1 == c->n_single;

    single_block (self, ops, z, i, &f, lx, last ? s : 0, last ? lx : z.shape[0]);
    tap_block (self, ops, "single", i, z);
  }
  final_layer (self, ops, velocity, video, &f);
  avatar_ops_release (ops, mark);
}
