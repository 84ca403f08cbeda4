/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer's blocks, from patches to velocity. Everything but attention works on rows, so
 * each block makes the keys and values of all rows first and then takes a chunk of rows at a time
 * through the rest, in place (docs/dev/spec/denoise.md 5.4). The chunk is the back-end's and does
 * not depend on any budget, so that results do not either.
 *
 * Letters: T latent frames, S tokens a frame, Lx = (T + 1) S image tokens (reference first),
 * Lt text tokens, L = Lx + Lt, D hidden, M mlp. */
#include "engine/denoise/transformer-private.h"

#include <math.h>

static void
tap_block (AvatarTransformer *self, AvatarOps *ops, const char *kind, guint i, AvatarTensor value)
{
  g_autofree char *name = self->tap ? g_strdup_printf ("%s_%u", kind, i) : NULL;

  if (name)
    avatar_transformer_tap (self, ops, name, value);
}

static gint64
chunk_of (AvatarOps *ops, gint64 rows)
{
  return MIN (rows, ops->row_chunk);
}

/* What attention needs of one forward: keys and values of all L tokens, and where RoPE applies.
 * Keys and values of 16 bits lie side by side, as one product makes them; where attention is in 8
 * bits the keys are made in them, and the values turned into them when the largest is known. */
typedef struct
{
  AvatarTensor kv;         /* [L, 2 D], or, in 8 bits, the values [L, D] */
  AvatarTensor k, v;       /* [L, D] */
  AvatarTensor cos, sin;   /* of the image tokens */
  AvatarTensor modulation; /* float32, all vectors of the moment */
  gboolean use_8bit_attention;
} Forward;

/* The weights of one stream through attention; a single block has one stream. */
typedef struct
{
  AvatarTensor qkv_w, qkv_b;   /* q, k, v rows first */
  AvatarTensor q_norm, k_norm; /* [head_dim] */
  AvatarTensor mod[6];         /* [D]: shift, scale, gate of attention, then of the MLP */
} Stream;

/* The vectors of a block, @n of them from float @offset. */
static void
take_vectors (const Forward *f, AvatarTensor *vectors, guint n, gint64 offset, gint64 d)
{
  for (guint i = 0; i < n; i++)
    vectors[i] = avatar_tensor_rows (f->modulation, offset + i * d, d);
}

/* [n, D]: modulated rows of x in the dtype that @w computes in */
static AvatarTensor
modulate (AvatarOps *ops, AvatarTensor x, AvatarTensor shift, AvatarTensor scale, AvatarTensor w)
{
  AvatarTensor h = avatar_ops_alloc_operand (ops, x.shape[0], x.shape[1], w);

  avatar_op_layer_norm (ops, h, x, scale, shift, TRUE, AVATAR_EPS);
  return h;
}

/* y = act (x w^T + b) with x in whatever dtype the weight computes in */
static void
linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    AvatarAct act)
{
  gsize mark = avatar_ops_mark (ops);

  avatar_op_linear (ops, y, avatar_ops_operand (ops, x, w), w, b, act);
  avatar_ops_release (ops, mark);
}

static void
linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    AvatarTensor gate, AvatarTensor row_scale)
{
  gsize mark = avatar_ops_mark (ops);

  avatar_op_linear_add (ops, y, avatar_ops_operand (ops, x, w), w, b, gate, row_scale);
  avatar_ops_release (ops, mark);
}

/* y [n, D] = RMS norm of the heads of x, then RoPE for those of the rows from @first that are image
 * tokens (docs/dev/spec/denoise.md 2.8, 2.10). */
static void
norm_heads (AvatarTransformer *self, AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    const Forward *f, gint64 first, gint64 image_tokens)
{
  gint64 n = x.shape[0], turned = CLAMP (image_tokens - first, 0, n);

  x = avatar_tensor_split_last (x, self->config->head_dim);
  y = avatar_tensor_split_last (y, self->config->head_dim);
  if (turned > 0)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (y, 0, turned),
        avatar_tensor_rows (x, 0, turned), w, avatar_tensor_rows (f->cos, first, turned),
        avatar_tensor_rows (f->sin, first, turned), AVATAR_EPS);
  if (turned < n)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (y, turned, n - turned),
        avatar_tensor_rows (x, turned, n - turned), w, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR,
        AVATAR_EPS);
}

/* Room for the keys of a block; @norm2: of its second stream, or none */
static void
begin_keys (AvatarTransformer *self, AvatarOps *ops, Forward *f, AvatarTensor norm,
    AvatarTensor norm2)
{
  gint64 d = self->config->hidden;

  f->k = f->use_8bit_attention ? avatar_ops_alloc_normed (ops, f->kv.shape[0], d, norm, norm2)
                               : avatar_tensor_cols (f->kv, 0, d);
}

/* Keys and values of the tokens x [n, D], which lie at @offset of all; the first
 * @image_tokens of them are turned. */
static void
keys_and_values (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, const Stream *s,
    const Forward *f, gint64 offset, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = x.shape[0], most = chunk_of (ops, n);

  for (gint64 r = 0; r < n; r += most) {
    gint64 m = MIN (most, n - r);
    AvatarTensor kv = avatar_tensor_rows (f->kv, offset + r, m), k;
    AvatarTensor h = modulate (ops, avatar_tensor_rows (x, r, m), s->mod[0], s->mod[1], s->qkv_w);

    if (f->use_8bit_attention) {
      k = avatar_ops_alloc (ops, 2, m, d);
      linear (ops, k, h, avatar_tensor_rows (s->qkv_w, d, d), avatar_tensor_rows (s->qkv_b, d, d),
          AVATAR_ACT_NONE);
      linear (ops, kv, h, avatar_tensor_rows (s->qkv_w, 2 * d, d),
          avatar_tensor_rows (s->qkv_b, 2 * d, d), AVATAR_ACT_NONE);
    } else {
      k = avatar_tensor_cols (kv, 0, d);
      linear (ops, kv, h, avatar_tensor_rows (s->qkv_w, d, 2 * d),
          avatar_tensor_rows (s->qkv_b, d, 2 * d), AVATAR_ACT_NONE);
    }
    norm_heads (self, ops, avatar_tensor_rows (f->k, offset + r, m), k, s->k_norm, f, r,
        image_tokens);
    avatar_ops_release (ops, mark);
  }
}

/* All values are there. What this takes of the arena is released with the block. */
static void
finish_values (AvatarTransformer *self, AvatarOps *ops, Forward *f)
{
  gint64 d = self->config->hidden;

  f->v = f->use_8bit_attention ? avatar_ops_quantise_all (ops, f->kv)
                               : avatar_tensor_cols (f->kv, d, d);
}

/* o [m, D] = attention of the modulated rows h [m, D], which start at @first of their stream */
static void
attend (AvatarTransformer *self, AvatarOps *ops, AvatarTensor o, AvatarTensor h, const Stream *s,
    const Forward *f, gint64 first, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, hd = self->config->head_dim;
  AvatarTensor q = avatar_ops_alloc (ops, 2, h.shape[0], d), normed = q;

  linear (ops, q, h, avatar_tensor_rows (s->qkv_w, 0, d), avatar_tensor_rows (s->qkv_b, 0, d),
      AVATAR_ACT_NONE);
  if (f->use_8bit_attention)
    normed = avatar_ops_alloc_normed (ops, h.shape[0], d, s->q_norm, AVATAR_NO_TENSOR);
  norm_heads (self, ops, normed, q, s->q_norm, f, first, image_tokens);
  avatar_op_attention (ops, avatar_tensor_split_last (o, hd), avatar_tensor_split_last (normed, hd),
      avatar_tensor_split_last (f->k, hd), avatar_tensor_split_last (f->v, hd), 1 / sqrt (hd), 0, 0,
      AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}

static Stream
double_stream (AvatarTransformer *self, const Forward *f, guint i, gboolean text)
{
  const char *name = text ? "txt" : "img";
  Stream s = {
    .qkv_w = AVATAR_W ("double_blocks.%u.%s_attn_qkv.weight", i, name),
    .qkv_b = AVATAR_W ("double_blocks.%u.%s_attn_qkv.bias", i, name),
    .q_norm = AVATAR_W ("double_blocks.%u.%s_attn_q_norm.weight", i, name),
    .k_norm = AVATAR_W ("double_blocks.%u.%s_attn_k_norm.weight", i, name),
  };

  take_vectors (f, s.mod, 6, avatar_modulation_double (self->config, i, text),
      self->config->hidden);
  return s;
}

/* Attention, projection and MLP of one stream x [n, D], rows in place
 * (docs/dev/spec/denoise.md 2.8, steps 3 and 4) */
static void
double_rest (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, guint i, gboolean text,
    const Stream *s, const Forward *f, gint64 image_tokens)
{
  gsize mark = avatar_ops_mark (ops);
  const char *name = text ? "txt" : "img";
  gint64 d = self->config->hidden, n = x.shape[0], most = chunk_of (ops, n);
  AvatarTensor fc1 = AVATAR_W ("double_blocks.%u.%s_mlp.fc1.weight", i, name);

  for (gint64 r = 0; r < n; r += most) {
    gint64 m = MIN (most, n - r);
    AvatarTensor rows = avatar_tensor_rows (x, r, m), h, o = avatar_ops_alloc (ops, 2, m, d),
                 hidden;

    avatar_ops_throttle (ops);
    h = modulate (ops, rows, s->mod[0], s->mod[1], s->qkv_w);
    attend (self, ops, o, h, s, f, r, image_tokens);
    linear_add (ops, rows, o, AVATAR_W ("double_blocks.%u.%s_attn_proj.weight", i, name),
        AVATAR_W ("double_blocks.%u.%s_attn_proj.bias", i, name), s->mod[2], AVATAR_NO_TENSOR);
    avatar_ops_release (ops, mark);
    h = modulate (ops, rows, s->mod[3], s->mod[4], fc1);
    hidden = avatar_ops_alloc (ops, 2, m, (gint64) self->config->mlp);
    linear (ops, hidden, h, fc1, AVATAR_W ("double_blocks.%u.%s_mlp.fc1.bias", i, name),
        AVATAR_ACT_GELU_TANH);
    linear_add (ops, rows, hidden, AVATAR_W ("double_blocks.%u.%s_mlp.fc2.weight", i, name),
        AVATAR_W ("double_blocks.%u.%s_mlp.fc2.bias", i, name), s->mod[5], AVATAR_NO_TENSOR);
    avatar_ops_release (ops, mark);
  }
}

/* Adapter @a on the video tokens [T S, D] (docs/dev/spec/denoise.md 2.9); face [T S] */
static void
audio_adapter (AvatarTransformer *self, AvatarOps *ops, AvatarTensor video, guint a,
    const AvatarReferenceTokens *scene, const AvatarAudioKV *speech, AvatarTensor face)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, da = self->config->adapter_dim, s = scene->h * scene->w;
  gint64 step = CLAMP (ops->row_chunk / s, 1, scene->frames), most = step * s;
  AvatarTensor h = avatar_ops_alloc (ops, 2, most, d), q = avatar_ops_alloc (ops, 2, most, da);
  AvatarTensor o = avatar_ops_alloc (ops, 2, most, da);

  for (gint64 t = 0; t < scene->frames; t += step) {
    gint64 n = MIN (step, scene->frames - t);
    AvatarTensor rows = avatar_tensor_rows (video, t * s, n * s);
    AvatarTensor hr = avatar_tensor_rows (h, 0, n * s), qr = avatar_tensor_rows (q, 0, n * s);
    AvatarTensor or = avatar_tensor_rows (o, 0, n * s);
    AvatarTensor kv = avatar_tensor_rows (speech->kv[a], t, n);

    avatar_op_layer_norm (ops, hr, rows, AVATAR_W ("audio_adapter_blocks.%u.norm2.weight", a),
        AVATAR_W ("audio_adapter_blocks.%u.norm2.bias", a), FALSE, AVATAR_EPS_AFFINE);
    linear (ops, qr, hr, AVATAR_W ("audio_adapter_blocks.%u.to_q.weight", a), AVATAR_NO_TENSOR,
        AVATAR_ACT_NONE);
    avatar_op_frame_attention (ops, avatar_tensor_reshape (or, 3, n, s, da),
        avatar_tensor_reshape (qr, 3, n, s, da), avatar_tensor_cols (kv, 0, da),
        avatar_tensor_cols (kv, da, da), 1 / sqrt (da));
    linear_add (ops, rows, or, AVATAR_W ("audio_adapter_blocks.%u.to_out.weight", a),
        AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, avatar_tensor_rows (face, t * s, n * s));
  }
  avatar_ops_release (ops, mark);
}

/* One forward's tokens: z [L, D] = reference | video | text, and views of its parts. */
typedef struct
{
  AvatarTensor z, img, video, txt;
} Tokens;

/* img [Lx, D], txt [Lt, D] (docs/dev/spec/denoise.md 2.8), and the adapter after it */
static void
double_block (AvatarTransformer *self, AvatarOps *ops, const Tokens *tokens, guint i, Forward *f)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 lx = tokens->img.shape[0];
  Stream img, txt;

  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
  img = double_stream (self, f, i, FALSE);
  txt = double_stream (self, f, i, TRUE);
  begin_keys (self, ops, f, img.k_norm, txt.k_norm);
  keys_and_values (self, ops, tokens->img, &img, f, 0, lx);
  keys_and_values (self, ops, tokens->txt, &txt, f, lx, 0);
  finish_values (self, ops, f);
  double_rest (self, ops, tokens->img, i, FALSE, &img, f, lx);
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  double_rest (self, ops, tokens->txt, i, TRUE, &txt, f, 0);
  avatar_ops_release (ops, mark);
}

/* x [L, D] (docs/dev/spec/denoise.md 2.10). Rows outside @from .. @to are not needed afterwards and
 * not computed: of the last block only the video tokens are read. */
static void
single_block (AvatarTransformer *self, AvatarOps *ops, AvatarTensor x, guint i, Forward *f,
    gint64 image_tokens, gint64 from, gint64 to)
{
  gsize mark = avatar_ops_mark (ops), chunk_mark;
  gint64 d = self->config->hidden, width = self->config->mlp, most = chunk_of (ops, to - from);
  AvatarTensor w1, b1;
  Stream s;

  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_SINGLE, i);
  w1 = AVATAR_W ("single_blocks.%u.linear1.weight", i);
  b1 = AVATAR_W ("single_blocks.%u.linear1.bias", i);
  s = (Stream){
    .qkv_w = w1,
    .qkv_b = b1,
    .q_norm = AVATAR_W ("single_blocks.%u.q_norm.weight", i),
    .k_norm = AVATAR_W ("single_blocks.%u.k_norm.weight", i),
  };
  take_vectors (f, s.mod, 3, avatar_modulation_single (self->config, i), d);
  begin_keys (self, ops, f, s.k_norm, AVATAR_NO_TENSOR);
  keys_and_values (self, ops, x, &s, f, 0, image_tokens);
  finish_values (self, ops, f);
  chunk_mark = avatar_ops_mark (ops);
  for (gint64 r = from; r < to; r += most) {
    gint64 m = MIN (most, to - r);
    AvatarTensor rows = avatar_tensor_rows (x, r, m), h;
    AvatarTensor z = avatar_ops_alloc (ops, 2, m, d + width); /* attention | mlp */

    avatar_ops_throttle (ops);
    h = modulate (ops, rows, s.mod[0], s.mod[1], w1);
    attend (self, ops, avatar_tensor_cols (z, 0, d), h, &s, f, r, image_tokens);
    linear (ops, avatar_tensor_cols (z, d, width), h, avatar_tensor_rows (w1, 3 * d, width),
        avatar_tensor_rows (b1, 3 * d, width), AVATAR_ACT_GELU_TANH);
    linear_add (ops, rows, z, AVATAR_W ("single_blocks.%u.linear2.weight", i),
        AVATAR_W ("single_blocks.%u.linear2.bias", i), s.mod[2], AVATAR_NO_TENSOR);
    avatar_ops_release (ops, chunk_mark);
  }
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_SINGLE, i);
  avatar_ops_release (ops, mark);
}

/* velocity [C, T, h8, w8] from the video tokens (docs/dev/spec/denoise.md 2.11) */
static void
final_layer (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor video,
    const Forward *f)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 d = self->config->hidden, n = video.shape[0], most = chunk_of (ops, n);
  AvatarTensor w = AVATAR_W ("final_layer.linear.weight"), mod[2];
  AvatarTensor patches = avatar_ops_alloc_as (ops, AVATAR_F32, 2, n, w.shape[0]);
  gsize chunk_mark = avatar_ops_mark (ops);

  take_vectors (f, mod, 2, avatar_modulation_final (self->config), d);
  for (gint64 r = 0; r < n; r += most) {
    gint64 m = MIN (most, n - r);
    AvatarTensor h = modulate (ops, avatar_tensor_rows (video, r, m), mod[0], mod[1], w);

    linear (ops, avatar_tensor_rows (patches, r, m), h, w, AVATAR_W ("final_layer.linear.bias"),
        AVATAR_ACT_NONE);
    avatar_ops_release (ops, chunk_mark);
  }
  avatar_op_patchify (ops, velocity, patches, self->config->patch, TRUE);
  avatar_ops_release (ops, mark);
}

/* z = reference | video | text tokens (docs/dev/spec/denoise.md 2.5, steps 3 to 5) */
static void
embed_tokens (AvatarTransformer *self, AvatarOps *ops, const Tokens *tokens, AvatarTensor x,
    const AvatarReferenceTokens *scene, const AvatarStepConditioning *moment)
{
  gint64 s = scene->h * scene->w;

  avatar_transformer_embed_patches (self, ops, tokens->video, x, "img_in");
  if (scene->ref_added.shape[0] == tokens->video.shape[0])
    avatar_op_axpby (ops, tokens->video, 1, scene->ref_added, 1);
  else
    for (gint64 j = 0; j < scene->frames; j++)
      avatar_op_axpby (ops, avatar_tensor_rows (tokens->video, j * s, s), 1, scene->ref_added, 1);
  avatar_op_copy (ops, avatar_tensor_rows (tokens->z, 0, s), scene->ref_first);
  avatar_op_upload_raw (ops, tokens->txt, moment->text);
}

/* Everything in front of the last single block, or what @reuse has of it. */
static void
all_but_last (AvatarTransformer *self, AvatarOps *ops, const Tokens *tokens, AvatarTensor x,
    const AvatarStepConditioning *moment, const AvatarReferenceTokens *scene,
    const AvatarAudioKV *speech, AvatarTensor face, Forward *f, const AvatarForwardReuse *reuse)
{
  const AvatarTransformerConfig *c = self->config;
  guint fork_at = reuse && reuse->fork.rank && c->n_adapters ? c->adapter_after[0] : G_MAXUINT;
  gboolean prefix_valid = fork_at != G_MAXUINT && reuse->prefix_valid;

  if (!prefix_valid)
    embed_tokens (self, ops, tokens, x, scene, moment);
  avatar_transformer_tap (self, ops, "img_in", tokens->img);
  for (guint i = prefix_valid ? fork_at : 0; i < c->n_double; i++) {
    if (prefix_valid && i == fork_at) {
      avatar_op_copy (ops, tokens->z, reuse->fork);
      avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
    } else {
      double_block (self, ops, tokens, i, f);
      if (i == fork_at)
        avatar_op_copy (ops, reuse->fork, tokens->z);
    }
    for (guint a = 0; a < c->n_adapters; a++)
      if (c->adapter_after[a] == i)
        audio_adapter (self, ops, tokens->video, a, scene, speech, face);
    avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
    tap_block (self, ops, "double", i, tokens->img);
  }
  for (guint i = 0; i + 1 < c->n_single; i++) {
    single_block (self, ops, tokens->z, i, f, tokens->img.shape[0], 0, tokens->z.shape[0]);
    tap_block (self, ops, "single", i, tokens->z);
  }
}

void
avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, const AvatarStepConditioning *moment, const AvatarReferenceTokens *scene,
    const AvatarAudioKV *speech, double face_scale, const AvatarForwardReuse *reuse)
{
  const AvatarTransformerConfig *c = self->config;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = c->hidden, s = scene->h * scene->w, lx = (scene->frames + 1) * s;
  gint64 l = lx + moment->prompt->used;
  AvatarTensor face = avatar_ops_alloc_as (ops, AVATAR_F32, 1, scene->frames * s);
  Tokens tokens = { .z = avatar_ops_alloc (ops, 2, l, d) };
  gboolean use_8bit_attention = self->fp8 && avatar_ops_supports_8bit_attention (ops, c->head_dim);
  Forward f = {
    .use_8bit_attention = use_8bit_attention,
    .kv = avatar_ops_alloc (ops, 2, l, use_8bit_attention ? d : 2 * d),
    .cos = scene->cos,
    .sin = scene->sin,
    .modulation = avatar_ops_alloc_as (ops, AVATAR_F32, 1, avatar_transformer_modulation_n (c)),
  };

  tokens.img = avatar_tensor_rows (tokens.z, 0, lx);
  tokens.video = avatar_tensor_rows (tokens.z, s, lx - s);
  tokens.txt = avatar_tensor_rows (tokens.z, lx, l - lx);
  avatar_op_upload (ops, f.modulation, moment->modulation);
  avatar_op_axpby (ops, face, face_scale, scene->face, 0);
  if (reuse && reuse->fill)
    reuse->fill (ops, tokens.z, reuse->data);
  else
    all_but_last (self, ops, &tokens, x, moment, scene, speech, face, &f, reuse);
  if (reuse && reuse->keep)
    reuse->keep (ops, tokens.z, reuse->data);
  single_block (self, ops, tokens.z, c->n_single - 1, &f, lx, s, lx);
  tap_block (self, ops, "single", c->n_single - 1, tokens.z);
  final_layer (self, ops, velocity, tokens.video, &f);
  avatar_ops_release (ops, mark);
}
