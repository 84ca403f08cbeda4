/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Window conditioning, which is constant over the steps of a window: reference tokens, positions
 * and face mask (docs/dev/spec/denoise.md 2.5), and the keys and values of the audio adapters
 * (docs/dev/spec/denoise.md 2.9). */
#include "engine/denoise/transformer-private.h"
#include "engine/denoise/rope.h"

/* Reduces the face masks @in [n_speakers, h8, w8] to those of the video tokens, [n_speakers, T S]:
 * nearest-neighbour, the first cell of each patch (docs/dev/spec/denoise.md 2.5, step 6). */
static void
reduce_masks (const AvatarTransformerConfig *c, const AvatarReferenceInput *in,
    const AvatarReferenceTokens *ref, float *masks)
{
  gint64 tokens = ref->frames * ref->h * ref->w;

  for (guint k = 0; k < in->n_speakers; k++) {
    const float *face = in->faces + k * in->h8 * in->w8;

    for (gint64 i = 0; i < tokens; i++)
      masks[k * tokens + i]
          = face[i / ref->w % ref->h * c->patch[1] * in->w8 + i % ref->w * c->patch[2]];
  }
}

/* Fills the rotary tables of all image tokens and the face masks of the video tokens. */
static void
fill_tables (AvatarTransformer *self, AvatarOps *ops, const AvatarReferenceInput *in,
    AvatarReferenceTokens *ref)
{
  const AvatarTransformerConfig *c = self->config;
  gint64 tokens = ref->frames * ref->h * ref->w;
  gint64 rows = tokens + ref->h * ref->w, half = c->head_dim / 2;
  g_autofree float *cos = g_new0 (float, rows *half);
  g_autofree float *sin = g_new0 (float, rows *half);
  g_autofree float *masks = g_new0 (float, in->n_speakers *tokens);

  if (avatar_ops_running (ops)) {
    avatar_rope_fill (avatar_tensor (AVATAR_F32, cos, 2, rows, half),
        avatar_tensor (AVATAR_F32, sin, 2, rows, half), ref->frames, ref->h, ref->w, c->rope_dim,
        c->rope_theta);
    reduce_masks (c, in, ref, masks);
  }
  avatar_op_upload (ops, ref->cos, cos);
  avatar_op_upload (ops, ref->sin, sin);
  avatar_op_upload (ops, ref->faces, masks);
}

void
avatar_transformer_embed_reference (AvatarTransformer *self, AvatarOps *ops,
    const AvatarReferenceInput *in, AvatarReferenceTokens *ref)
{
  const AvatarTransformerConfig *c = self->config;
  gint64 frames = in->frames, h = in->h8 / c->patch[1], w = in->w8 / c->patch[2], s = h * w;
  gint64 channels = c->in_channels, n_reference = in->n_latents;
  AvatarTensor latents, first, tokens;
  gsize mark;

  ref->frames = frames;
  ref->h = h;
  ref->w = w;
  ref->first = avatar_ops_alloc (ops, 2, s, (gint64) c->hidden);
  ref->added = avatar_ops_alloc (ops, 2, n_reference * s, (gint64) c->hidden);
  ref->faces = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (gint64) in->n_speakers, frames * s);
  ref->cos = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (frames + 1) * s, (gint64) c->head_dim / 2);
  ref->sin = avatar_ops_alloc_as (ops, AVATAR_F32, 2, (frames + 1) * s, (gint64) c->head_dim / 2);
  mark = avatar_ops_mark (ops);
  latents = avatar_ops_alloc_as (ops, AVATAR_F32, 4, channels, n_reference, in->h8, in->w8);
  first = avatar_ops_alloc_as (ops, AVATAR_F32, 4, channels, (gint64) c->patch[0], in->h8, in->w8);
  avatar_op_upload (ops, latents, in->latents);
  avatar_op_copy (ops, first, avatar_tensor_slice (latents, 1, 0, c->patch[0]));
  avatar_transformer_embed_patches (self, ops, ref->first, first, &self->params->img_in);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_REFERENCE, 0);
  tokens = avatar_ops_alloc (ops, 2, n_reference * s, (gint64) c->hidden);
  avatar_transformer_embed_patches (self, ops, tokens, latents, &self->params->ref_in);
  avatar_linear (ops, ref->added, tokens, &self->params->before_proj, AVATAR_ACT_NONE);
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_REFERENCE, 0);
  fill_tables (self, ops, in, ref);
  avatar_ops_release (ops, mark);
}

/* Computes the audio tokens [frames n, D] of features [frames, n_features]
 * (docs/dev/spec/denoise.md 2.5, step 2). */
static void
project_audio (AvatarTransformer *self, AvatarOps *ops, AvatarTensor tokens, AvatarTensor audio)
{
  const AvatarTransformerConfig *c = self->config;
  const AvatarTransformerWeights *p = self->params;
  gsize mark = avatar_ops_mark (ops);
  gint64 frames = audio.shape[0];
  AvatarTensor a = avatar_ops_alloc (ops, 2, frames, (gint64) c->audio_intermediate);
  AvatarTensor b = avatar_ops_alloc (ops, 2, frames, (gint64) c->audio_intermediate);
  AvatarTensor wide
      = avatar_tensor_reshape (tokens, 2, frames, (gint64) c->audio_tokens * c->hidden);

  avatar_linear (ops, a, audio, &p->audio_proj[0], AVATAR_ACT_RELU);
  avatar_linear (ops, b, a, &p->audio_proj[1], AVATAR_ACT_RELU);
  avatar_linear (ops, wide, b, &p->audio_proj[2], AVATAR_ACT_NONE);
  avatar_affine_norm (ops, tokens, tokens, &p->audio_norm, AVATAR_EPS_AFFINE);
  avatar_ops_release (ops, mark);
}

void
avatar_transformer_project_audio (AvatarTransformer *self, AvatarOps *ops, const float *audio,
    gint64 frames, AvatarAudioKV *audio_kv)
{
  const AvatarTransformerConfig *c = self->config;
  const AvatarAudioAdapter *adapters = self->params->adapters;
  gint64 n = c->audio_tokens, d = c->hidden, latents = (frames + 3) / 4;
  AvatarTensor features, all, normed;
  gsize mark;

  for (guint i = 0; i < c->n_adapters; i++)
    audio_kv->kv[i] = avatar_ops_alloc (ops, 3, latents, 4 * n, (gint64) 2 * c->adapter_dim);
  mark = avatar_ops_mark (ops);
  features = avatar_ops_alloc (ops, 2, frames,
      (gint64) c->audio_steps * c->audio_states * c->audio_channels);
  avatar_op_upload (ops, features, audio);
  /* the first latent frame represents one video frame instead of four, so that frame's tokens are
   * repeated three times (docs/dev/spec/denoise.md 2.9) */
  all = avatar_ops_alloc (ops, 2, (frames + 3) * n, d);
  normed = avatar_ops_alloc (ops, 2, (frames + 3) * n, d);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_AUDIO, 0);
  project_audio (self, ops, avatar_tensor_rows (all, 3 * n, frames * n), features);
  avatar_transformer_tap (self, ops, "audio_proj", avatar_tensor_rows (all, 3 * n, frames * n));
  for (guint i = 0; i < 3; i++)
    avatar_op_copy (ops, avatar_tensor_rows (all, i * n, n), avatar_tensor_rows (all, 3 * n, n));
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_AUDIO, 0);
  avatar_transformer_acquire (self, ops, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0);
  for (guint i = 0; i < c->n_adapters; i++) {
    AvatarTensor kv
        = avatar_tensor_reshape (audio_kv->kv[i], 2, latents * 4 * n, (gint64) 2 * c->adapter_dim);

    avatar_affine_norm (ops, normed, all, &adapters[i].norm1, AVATAR_EPS_AFFINE);
    avatar_linear (ops, kv, normed, &adapters[i].to_kv, AVATAR_ACT_NONE);
  }
  avatar_transformer_release (self, ops, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0);
  avatar_ops_release (ops, mark);
}
