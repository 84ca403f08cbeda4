/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks of the transformer, from patches to velocity. All operations except attention treat each
 * row separately. A block therefore computes the keys and values of all rows first, and then the
 * rest in chunks of rows, in place (docs/dev/spec/denoise.md 5.4). The back-end defines the length
 * of a chunk. It does not depend on the memory budget, so that results do not either.
 *
 * Shapes: T latent frames, S tokens of a frame, Lx = (T + 1) S image tokens (reference first), Lt
 * text tokens, L = Lx + Lt tokens, D hidden size, M width of the MLP. */
#include "engine/denoise/transformer-private.h"

#include "engine/ops/sparse-attention.h"

#include <math.h>

static void
tap_block (AvatarTransformer *self, AvatarOps *ops, const char *kind, guint i, AvatarTensor value)
{
  g_autofree char *name = self->tap ? g_strdup_printf ("%s_%u", kind, i) : NULL;

  if (name)
    avatar_transformer_tap (self, ops, name, value);
}

/* Returns the length of a chunk of @rows rows. */
static gint64
chunk_rows (AvatarOps *ops, gint64 rows)
{
  return MIN (rows, ops->row_chunk);
}

/**
 * Forward: state of one forward. One matrix product computes keys and values of 16 bits, in @kv.
 * For 8-bit attention the keys are quantised as they are computed, and the values when their
 * largest magnitude is known
 * @z: tokens [L, D], reference | video | text; @img, @video, @txt: views of its rows
 * @kv: keys and values, [L, 2 D], or values only, [L, D], for 8-bit attention
 * @k, @v: keys and values, [L, D]
 * @cos, @sin: rotary tables of the image tokens, float32
 * @modulation: all vectors of the step, float32
 * @faces: [n_speakers, T S] float32, factors for each video token
 * @is_sparse: attention of the block's image tokens is sparse; @blocks: means of keys and values
 */
typedef struct
{
  AvatarTransformer *self;
  AvatarOps *ops;
  const AvatarForwardInput *in;
  AvatarTensor z, img, video, txt;
  AvatarTensor kv, k, v, cos, sin, modulation, faces;
  gboolean use_8bit_attention, is_sparse;
  AvatarKeyBlocks blocks;
} Forward;

/**
 * Stream: stream of tokens in a block; a single block has one
 * @qkv: layer whose first 3 D rows compute q, k and v
 * @q_norm, @k_norm: scales of the norms, [head_dim]
 * @mod: vectors [D]: shift, scale and gate of attention, then of the MLP
 * @image_tokens: number of its image tokens, which come first; RoPE applies to them only
 */
typedef struct
{
  const AvatarModuleWeights *qkv;
  AvatarTensor q_norm, k_norm;
  AvatarTensor mod[6];
  gint64 image_tokens;
} Stream;

/* Gets @n vectors [D] of the modulation, from float @offset on. */
static void
get_vectors (const Forward *f, AvatarTensor *vectors, guint n, gint64 offset)
{
  gint64 d = f->self->config->hidden;

  for (guint i = 0; i < n; i++)
    vectors[i] = avatar_tensor_rows (f->modulation, offset + i * d, d);
}

/* Returns the modulated rows of x, [n, D], in the dtype that @layer computes in. */
static AvatarTensor
modulate (AvatarOps *ops, AvatarTensor x, AvatarTensor shift, AvatarTensor scale,
    const AvatarModuleWeights *layer)
{
  AvatarTensor w = avatar_weight_tensor (layer->weight);
  AvatarTensor h = avatar_ops_alloc_operand (ops, x.shape[0], x.shape[1], w);

  avatar_op_layer_norm (ops, h, x, scale, shift, AVATAR_NORM_ONE_PLUS_SCALE, AVATAR_EPS);
  return h;
}

/* Computes y = act (x w^T + b), with x converted to the dtype that @layer computes in. */
static void
linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *layer,
    AvatarAct act)
{
  AvatarTensor w = avatar_weight_tensor (layer->weight);
  gsize mark = avatar_ops_mark (ops);

  avatar_op_linear (ops, y, avatar_ops_operand (ops, x, w), w, avatar_weight_tensor (layer->bias),
      act);
  avatar_ops_release (ops, mark);
}

/* Computes the same with rows @first .. @first + @n of w and b. */
static void
linear_rows (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *layer,
    gint64 first, gint64 n, AvatarAct act)
{
  AvatarTensor w = avatar_tensor_rows (avatar_weight_tensor (layer->weight), first, n);
  AvatarTensor b = avatar_tensor_rows (avatar_weight_tensor (layer->bias), first, n);
  gsize mark = avatar_ops_mark (ops);

  avatar_op_linear (ops, y, avatar_ops_operand (ops, x, w), w, b, act);
  avatar_ops_release (ops, mark);
}

/* Computes y += gate row_scale (x w^T + b). */
static void
linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *layer,
    AvatarTensor gate, AvatarTensor row_scale)
{
  AvatarTensor w = avatar_weight_tensor (layer->weight);
  gsize mark = avatar_ops_mark (ops);

  avatar_op_linear_add (ops, y, avatar_ops_operand (ops, x, w), w,
      avatar_weight_tensor (layer->bias), gate, row_scale);
  avatar_ops_release (ops, mark);
}

/* Computes y [n, D] = RMS norm of the heads of x, and applies RoPE to the rows that are image
 * tokens (docs/dev/spec/denoise.md 2.8, 2.10). @first: index of the first row in the stream */
static void
norm_heads (const Forward *f, AvatarTensor y, AvatarTensor x, AvatarTensor w, gint64 first,
    gint64 image_tokens)
{
  AvatarOps *ops = f->ops;
  gint64 n = x.shape[0], turned = CLAMP (image_tokens - first, 0, n);

  x = avatar_tensor_split_last (x, f->self->config->head_dim);
  y = avatar_tensor_split_last (y, f->self->config->head_dim);
  if (turned > 0)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (y, 0, turned),
        avatar_tensor_rows (x, 0, turned), w, avatar_tensor_rows (f->cos, first, turned),
        avatar_tensor_rows (f->sin, first, turned), AVATAR_EPS);
  if (turned < n)
    avatar_op_rms_norm_rope (ops, avatar_tensor_rows (y, turned, n - turned),
        avatar_tensor_rows (x, turned, n - turned), w, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR,
        AVATAR_EPS);
}

/* Sets the keys of a block: memory for 8-bit keys, or a view of @kv. @norm, @norm2: key norms of
 * its streams; @norm2 may be AVATAR_NO_TENSOR */
static void
begin_keys (Forward *f, AvatarTensor norm, AvatarTensor norm2)
{
  gint64 d = f->self->config->hidden;

  f->k = f->use_8bit_attention ? avatar_ops_alloc_normed (f->ops, f->kv.shape[0], d, norm, norm2)
                               : avatar_tensor_cols (f->kv, 0, d);
}

/* Computes keys and values of the tokens x [n, D] of a stream, which starts at row @offset of all
 * tokens. */
static void
keys_and_values (const Forward *f, AvatarTensor x, const Stream *s, gint64 offset)
{
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = f->self->config->hidden, n = x.shape[0], max_rows = chunk_rows (ops, n);

  for (gint64 r = 0; r < n; r += max_rows) {
    gint64 m = MIN (max_rows, n - r);
    AvatarTensor kv = avatar_tensor_rows (f->kv, offset + r, m), k;
    AvatarTensor h = modulate (ops, avatar_tensor_rows (x, r, m), s->mod[0], s->mod[1], s->qkv);

    if (f->use_8bit_attention) {
      k = avatar_ops_alloc (ops, 2, m, d);
      linear_rows (ops, k, h, s->qkv, d, d, AVATAR_ACT_NONE);
      linear_rows (ops, kv, h, s->qkv, 2 * d, d, AVATAR_ACT_NONE);
    } else {
      k = avatar_tensor_cols (kv, 0, d);
      linear_rows (ops, kv, h, s->qkv, d, 2 * d, AVATAR_ACT_NONE);
    }
    norm_heads (f, avatar_tensor_rows (f->k, offset + r, m), k, s->k_norm, r, s->image_tokens);
    avatar_ops_release (ops, mark);
  }
}

/* Sets the values of a block, quantised for 8-bit attention, and the means of keys and values if
 * the attention of block @layer is sparse. They are released with the block. */
static void
finish_values (Forward *f, guint layer)
{
  gint64 d = f->self->config->hidden, hd = f->self->config->head_dim;

  f->v = f->use_8bit_attention ? avatar_ops_quantise_all (f->ops, f->kv)
                               : avatar_tensor_cols (f->kv, d, d);
  f->is_sparse = f->in->sparse && layer >= f->in->sparse->dense_layers;
  if (f->is_sparse)
    f->blocks = avatar_ops_key_blocks (f->ops, avatar_tensor_split_last (f->k, hd),
        avatar_tensor_split_last (f->v, hd));
}

/* Computes o [m, heads, head_dim] = attention of the queries q, which start at row @first of their
 * stream. @n_sparse: number of queries, from the first, that may be sparse */
static void
attend_queries (const Forward *f, AvatarTensor o, AvatarTensor q, gint64 first, gint64 n_sparse)
{
  gint64 hd = f->self->config->head_dim, n = q.shape[0];
  AvatarTensor k = avatar_tensor_split_last (f->k, hd), v = avatar_tensor_split_last (f->v, hd);
  AvatarSparseAttention sparse = { .k = k,
    .v = v,
    .blocks = f->blocks,
    .scale = 1 / sqrt (hd),
    .q_start = first,
    .sink = f->img.shape[0] };

  if (!f->is_sparse)
    n_sparse = 0;
  if (n_sparse > 0) {
    sparse.o = avatar_tensor_rows (o, 0, n_sparse);
    sparse.q = avatar_tensor_rows (q, 0, n_sparse);
    sparse.tau = f->in->sparse->tau;
    avatar_op_sparse_attention (f->ops, &sparse);
  }
  if (n_sparse < n)
    avatar_op_attention (f->ops, avatar_tensor_rows (o, n_sparse, n - n_sparse),
        avatar_tensor_rows (q, n_sparse, n - n_sparse), k, v, 1 / sqrt (hd), 0, 0,
        AVATAR_NO_TENSOR);
}

/* Computes o [m, D] = attention of the modulated rows h [m, D], which start at row @first of their
 * stream. */
static void
attend (const Forward *f, AvatarTensor o, AvatarTensor h, const Stream *s, gint64 first)
{
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = f->self->config->hidden, hd = f->self->config->head_dim;
  AvatarTensor q = avatar_ops_alloc (ops, 2, h.shape[0], d), normed = q;

  linear_rows (ops, q, h, s->qkv, 0, d, AVATAR_ACT_NONE);
  if (f->use_8bit_attention)
    normed = avatar_ops_alloc_normed (ops, h.shape[0], d, s->q_norm, AVATAR_NO_TENSOR);
  norm_heads (f, normed, q, s->q_norm, first, s->image_tokens);
  attend_queries (f, avatar_tensor_split_last (o, hd), avatar_tensor_split_last (normed, hd), first,
      CLAMP (s->image_tokens - first, 0, h.shape[0]));
  avatar_ops_release (ops, mark);
}

/* Returns a stream of double block @i. */
static Stream
double_stream (const Forward *f, const AvatarStreamWeights *b, guint i, AvatarStreamKind kind)
{
  Stream s = {
    .qkv = &b->qkv,
    .q_norm = avatar_weight_tensor (b->q_norm.weight),
    .k_norm = avatar_weight_tensor (b->k_norm.weight),
    .image_tokens = kind == AVATAR_STREAM_IMAGE ? f->img.shape[0] : 0,
  };

  get_vectors (f, s.mod, 6, avatar_modulation_double (f->self->config, i, kind));
  return s;
}

/* Computes attention, projection and MLP of one stream x [n, D] in place
 * (docs/dev/spec/denoise.md 2.8, steps 3 and 4). */
static void
double_rest (const Forward *f, AvatarTensor x, const AvatarStreamWeights *b, const Stream *s)
{
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = f->self->config->hidden, n = x.shape[0], max_rows = chunk_rows (ops, n);

  for (gint64 r = 0; r < n; r += max_rows) {
    gint64 m = MIN (max_rows, n - r);
    AvatarTensor rows = avatar_tensor_rows (x, r, m), h, o = avatar_ops_alloc (ops, 2, m, d),
                 hidden;

    avatar_ops_throttle (ops);
    h = modulate (ops, rows, s->mod[0], s->mod[1], &b->qkv);
    attend (f, o, h, s, r);
    linear_add (ops, rows, o, &b->proj, s->mod[2], AVATAR_NO_TENSOR);
    avatar_ops_release (ops, mark);
    h = modulate (ops, rows, s->mod[3], s->mod[4], &b->mlp.fc1);
    hidden = avatar_ops_alloc (ops, 2, m, (gint64) f->self->config->mlp);
    linear (ops, hidden, h, &b->mlp.fc1, AVATAR_ACT_GELU_TANH);
    linear_add (ops, rows, hidden, &b->mlp.fc2, s->mod[5], AVATAR_NO_TENSOR);
    avatar_ops_release (ops, mark);
  }
}

/* Adds what adapter @a makes of the voices to video tokens, from latent frame @t on: for each
 * speaker the output times the mask. @q: queries [n, S, adapter_dim]; @o: memory for as much */
static void
add_voices (const Forward *f, guint a, gint64 t, AvatarTensor q, AvatarTensor o)
{
  AvatarOps *ops = f->ops;
  gint64 n = q.shape[0], s = q.shape[1], da = q.shape[2];
  AvatarTensor rows = avatar_tensor_rows (f->video, t * s, n * s);

  for (guint k = 0; k < f->faces.shape[0]; k++) {
    const AvatarAudioKV *audio = &f->in->audio_kv[f->in->same_audio ? 0 : k];
    AvatarTensor kv = avatar_tensor_rows (audio->kv[a], t, n);
    AvatarTensor face
        = avatar_tensor_reshape (avatar_tensor_rows (f->faces, k, 1), 1, f->faces.shape[1]);

    avatar_op_frame_attention (ops, o, q, avatar_tensor_cols (kv, 0, da),
        avatar_tensor_cols (kv, da, da), 1 / sqrt (da));
    linear_add (ops, rows, avatar_tensor_reshape (o, 2, n * s, da),
        &f->self->params->adapters[a].to_out, AVATAR_NO_TENSOR,
        avatar_tensor_rows (face, t * s, n * s));
  }
}

/* Applies adapter @a to the video tokens [T S, D] (docs/dev/spec/denoise.md 2.9). The queries are
 * those of the tokens before it for all speakers. */
static void
audio_adapter (const Forward *f, guint a)
{
  const AvatarAudioAdapter *b = &f->self->params->adapters[a];
  const AvatarReferenceTokens *ref = f->in->reference_tokens;
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops);
  gint64 d = f->self->config->hidden, da = f->self->config->adapter_dim, s = ref->h * ref->w;
  gint64 step = CLAMP (ops->row_chunk / s, 1, ref->frames), max_rows = step * s;
  AvatarTensor h = avatar_ops_alloc (ops, 2, max_rows, d),
               q = avatar_ops_alloc (ops, 2, max_rows, da);
  AvatarTensor o = avatar_ops_alloc (ops, 2, max_rows, da);

  for (gint64 t = 0; t < ref->frames; t += step) {
    gint64 n = MIN (step, ref->frames - t);
    AvatarTensor rows = avatar_tensor_rows (f->video, t * s, n * s);
    AvatarTensor hr = avatar_tensor_rows (h, 0, n * s), qr = avatar_tensor_rows (q, 0, n * s);

    avatar_affine_norm (ops, hr, rows, &b->norm2, AVATAR_EPS_AFFINE);
    linear (ops, qr, hr, &b->to_q, AVATAR_ACT_NONE);
    add_voices (f, a, t, avatar_tensor_reshape (qr, 3, n, s, da),
        avatar_tensor_reshape (avatar_tensor_rows (o, 0, n * s), 3, n, s, da));
  }
  avatar_ops_release (ops, mark);
}

/* Computes double block @i on img [Lx, D] and txt [Lt, D] (docs/dev/spec/denoise.md 2.8). The
 * caller releases the text stream's weight group, which the adapter after the block uses too. */
static void
double_block (Forward *f, guint i)
{
  const AvatarDoubleBlock *b = &f->self->params->double_blocks[i];
  gsize mark = avatar_ops_mark (f->ops);
  Stream img, txt;

  avatar_transformer_acquire (f->self, f->ops, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  avatar_transformer_acquire (f->self, f->ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
  img = double_stream (f, &b->img, i, AVATAR_STREAM_IMAGE);
  txt = double_stream (f, &b->txt, i, AVATAR_STREAM_TEXT);
  begin_keys (f, img.k_norm, txt.k_norm);
  keys_and_values (f, f->img, &img, 0);
  keys_and_values (f, f->txt, &txt, f->img.shape[0]);
  finish_values (f, i);
  double_rest (f, f->img, &b->img, &img);
  avatar_transformer_release (f->self, f->ops, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  double_rest (f, f->txt, &b->txt, &txt);
  avatar_ops_release (f->ops, mark);
}

/* Computes attention and MLP of @m rows of the tokens, from row @r, in place. */
static void
single_rest (const Forward *f, const AvatarSingleBlock *b, const Stream *s, gint64 r, gint64 m)
{
  AvatarOps *ops = f->ops;
  gint64 d = f->self->config->hidden, width = f->self->config->mlp;
  AvatarTensor rows = avatar_tensor_rows (f->z, r, m), h;
  AvatarTensor both = avatar_ops_alloc (ops, 2, m, d + width); /* attention | mlp */

  h = modulate (ops, rows, s->mod[0], s->mod[1], &b->linear1);
  attend (f, avatar_tensor_cols (both, 0, d), h, s, r);
  linear_rows (ops, avatar_tensor_cols (both, d, width), h, &b->linear1, 3 * d, width,
      AVATAR_ACT_GELU_TANH);
  linear_add (ops, rows, both, &b->linear2, s->mod[2], AVATAR_NO_TENSOR);
}

/* Computes single block @i on all tokens [L, D] (docs/dev/spec/denoise.md 2.10). Only rows
 * @from .. @to are computed: the final layer reads only the video tokens of the last block. */
static void
single_block (Forward *f, guint i, gint64 from, gint64 to)
{
  const AvatarSingleBlock *b = &f->self->params->single_blocks[i];
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops), chunk_mark;
  gint64 max_rows = chunk_rows (ops, to - from);
  Stream s = { .qkv = &b->linear1, .image_tokens = f->img.shape[0] };

  avatar_transformer_acquire (f->self, ops, AVATAR_WEIGHT_GROUP_SINGLE, i);
  s.q_norm = avatar_weight_tensor (b->q_norm.weight);
  s.k_norm = avatar_weight_tensor (b->k_norm.weight);
  get_vectors (f, s.mod, 3, avatar_modulation_single (f->self->config, i));
  begin_keys (f, s.k_norm, AVATAR_NO_TENSOR);
  keys_and_values (f, f->z, &s, 0);
  finish_values (f, f->self->config->n_double + i);
  chunk_mark = avatar_ops_mark (ops);
  for (gint64 r = from; r < to; r += max_rows) {
    avatar_ops_throttle (ops);
    single_rest (f, b, &s, r, MIN (max_rows, to - r));
    avatar_ops_release (ops, chunk_mark);
  }
  avatar_transformer_release (f->self, ops, AVATAR_WEIGHT_GROUP_SINGLE, i);
  avatar_ops_release (ops, mark);
}

/* Computes the velocity [C, T, h8, w8] from the video tokens (docs/dev/spec/denoise.md 2.11). */
static void
final_layer (const Forward *f, AvatarTensor velocity)
{
  const AvatarModuleWeights *layer = &f->self->params->final_linear;
  AvatarOps *ops = f->ops;
  gsize mark = avatar_ops_mark (ops);
  gint64 n = f->video.shape[0], max_rows = chunk_rows (ops, n);
  AvatarTensor mod[2];
  AvatarTensor patches
      = avatar_ops_alloc_as (ops, AVATAR_F32, 2, n, avatar_weight_tensor (layer->weight).shape[0]);
  gsize chunk_mark = avatar_ops_mark (ops);

  get_vectors (f, mod, 2, avatar_modulation_final (f->self->config));
  for (gint64 r = 0; r < n; r += max_rows) {
    gint64 m = MIN (max_rows, n - r);
    AvatarTensor h = modulate (ops, avatar_tensor_rows (f->video, r, m), mod[0], mod[1], layer);

    linear (ops, avatar_tensor_rows (patches, r, m), h, layer, AVATAR_ACT_NONE);
    avatar_ops_release (ops, chunk_mark);
  }
  avatar_op_patchify (ops, velocity, patches, f->self->config->patch, AVATAR_UNPATCHIFY);
  avatar_ops_release (ops, mark);
}

/* Sets z to the reference, video and text tokens (docs/dev/spec/denoise.md 2.5, steps 3 to 5). */
static void
embed_tokens (const Forward *f)
{
  const AvatarReferenceTokens *ref = f->in->reference_tokens;
  AvatarOps *ops = f->ops;
  gint64 s = ref->h * ref->w;

  avatar_transformer_embed_patches (f->self, ops, f->video, f->in->x, &f->self->params->img_in);
  if (ref->added.shape[0] == f->video.shape[0])
    avatar_op_axpby (ops, f->video, 1, ref->added, 1);
  else
    for (gint64 j = 0; j < ref->frames; j++)
      avatar_op_axpby (ops, avatar_tensor_rows (f->video, j * s, s), 1, ref->added, 1);
  avatar_op_copy (ops, avatar_tensor_rows (f->z, 0, s), ref->first);
  avatar_op_upload_raw (ops, f->txt, f->in->step->text);
}

/* Computes all blocks before the last single block, except for a prefix that is valid. */
static void
run_blocks (Forward *f)
{
  const AvatarForwardReuse *reuse = f->in->reuse;
  const AvatarTransformerConfig *c = f->self->config;
  guint prefix_end
      = reuse && reuse->shared_prefix.rank && c->n_adapters ? c->adapter_after[0] : G_MAXUINT;
  gboolean prefix_valid = prefix_end != G_MAXUINT && reuse->prefix_valid;

  if (!prefix_valid)
    embed_tokens (f);
  avatar_transformer_tap (f->self, f->ops, "img_in", f->img);
  for (guint i = prefix_valid ? prefix_end : 0; i < c->n_double; i++) {
    if (prefix_valid && i == prefix_end) {
      avatar_op_copy (f->ops, f->z, reuse->shared_prefix);
      avatar_transformer_acquire (f->self, f->ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
    } else {
      double_block (f, i);
      if (i == prefix_end)
        avatar_op_copy (f->ops, reuse->shared_prefix, f->z);
    }
    for (guint a = 0; a < c->n_adapters; a++)
      if (c->adapter_after[a] == i)
        audio_adapter (f, a);
    avatar_transformer_release (f->self, f->ops, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
    tap_block (f->self, f->ops, "double", i, f->img);
  }
  for (guint i = 0; i + 1 < c->n_single; i++) {
    single_block (f, i, 0, f->z.shape[0]);
    tap_block (f->self, f->ops, "single", i, f->z);
  }
}

void
avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    const AvatarForwardInput *in)
{
  const AvatarTransformerConfig *c = self->config;
  gsize mark = avatar_ops_mark (ops);
  const AvatarReferenceTokens *ref = in->reference_tokens;
  const AvatarForwardReuse *reuse = in->reuse;
  gint64 d = c->hidden, s = ref->h * ref->w, lx = (ref->frames + 1) * s;
  gint64 l = lx + in->step->prompt->used;
  /* sparse attention has 16-bit operands */
  gboolean use_8bit_attention
      = self->fp8 && !in->sparse && avatar_ops_supports_8bit_attention (ops, c->head_dim);
  Forward f = {
    .self = self,
    .ops = ops,
    .in = in,
    .use_8bit_attention = use_8bit_attention,
    .faces = avatar_ops_alloc_as (ops, AVATAR_F32, 2, ref->faces.shape[0], ref->frames * s),
    .z = avatar_ops_alloc (ops, 2, l, d),
    .kv = avatar_ops_alloc (ops, 2, l, use_8bit_attention ? d : 2 * d),
    .cos = ref->cos,
    .sin = ref->sin,
    .modulation = avatar_ops_alloc_as (ops, AVATAR_F32, 1, avatar_transformer_modulation_n (c)),
  };

  f.img = avatar_tensor_rows (f.z, 0, lx);
  f.video = avatar_tensor_rows (f.z, s, lx - s);
  f.txt = avatar_tensor_rows (f.z, lx, l - lx);
  avatar_op_upload (ops, f.modulation, in->step->modulation);
  avatar_op_axpby (ops, f.faces, in->face_scale, ref->faces, 0);
  if (reuse && reuse->load)
    reuse->load (ops, f.z, reuse->data);
  else
    run_blocks (&f);
  if (reuse && reuse->store)
    reuse->store (ops, f.z, reuse->data);
  single_block (&f, c->n_single - 1, s, lx);
  tap_block (self, ops, "single", c->n_single - 1, f.z);
  final_layer (&f, velocity);
  avatar_ops_release (ops, mark);
}
