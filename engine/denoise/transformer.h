/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The audio-driven video diffusion transformer (docs/dev/spec/denoise.md 2; upstream
 * hymm_sp/modules/models_audio.py).
 *
 * A forward needs three things that do not depend on the latents and are made ahead of it:
 * the scene and the speech of a window, on the device, and the moments of the sampler (time and
 * prompt), kept on the host, since they are many and each is used in one forward only. */
#pragma once

#include "engine/denoise/transformer-weights.h"
#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* For tests: called with every named intermediate result, in the device's memory. */
typedef void (*AvatarTapFunc) (const char *name, AvatarTensor value, gpointer user_data);

typedef struct
{
  const AvatarTransformerConfig *config;
  AvatarWeights *weights;                 /* not owned */
  const AvatarTransformerWeights *params; /* not owned; bound to @weights */
  gboolean fp8;                           /* attention in e4m3, too, where the device can */
  AvatarTapFunc tap;
  gpointer tap_data;
} AvatarTransformer;

/**
 * AvatarReferenceTokens: what is constant over the steps of a window, in tokens. T latent frames, S tokens
 * a frame, D the hidden size.
 * @ref_first: [S, D] reference tokens in front; @ref_added: [T * S, D] or [S, D] (the same for
 *   every frame), added to the video tokens
 * @face: [T * S] float32 face mask, one value a token
 * @cos, @sin: [(T + 1) * S, head_dim / 2] float32
 */
typedef struct
{
  gint64 frames, h, w; /* T, and the token grid: S = h * w */
  AvatarTensor ref_first, ref_added, face, cos, sin;
} AvatarReferenceTokens;

/**
 * AvatarAudioKV: one branch's audio.
 * @kv: per adapter, keys and values [T, tokens, 2 * adapter_dim]
 */
typedef struct
{
  AvatarTensor kv[AVATAR_MAX_BLOCKS];
} AvatarAudioKV;

/**
 * AvatarText: one prompt's encoding, on the host.
 * @states: [n, text_dim]; @pooled: [pooled_dim]
 * @mask: (nullable) [n], which rows the refiner takes as valid; %NULL: all
 * @used: rows that go on to the blocks after the refiner (the sum of the mask)
 */
typedef struct
{
  const float *states, *pooled;
  const guint8 *mask;
  gint64 n, used;
} AvatarText;

/**
 * AvatarStepConditioning: what a forward needs of its time and prompt, on the host. Filled by
 * avatar_transformer_modulate() and avatar_transformer_refine().
 * @modulation: shifts, scales and gates of all blocks, avatar_transformer_modulation_n() floats
 * @text: refined text [used, D] in the device's dtype; not needed by a cached forward
 */
typedef struct
{
  double t; /* 0 .. 1000 */
  const AvatarText *prompt;
  double motion_exp, motion_pose, fps;
  float *modulation;
  void *text;
} AvatarStepConditioning;

typedef void (*AvatarTokensFunc) (AvatarOps *ops, AvatarTensor tokens, gpointer data);

/**
 * AvatarForwardReuse: what forwards have in common; all fields optional.
 * @fork: [L, D]: the tokens in front of the first adapter, which are the same for two forwards
 *   that differ in their speech only. Written, or, if @prefix_valid, where the forward begins
 * @keep: called with the tokens in front of the last single block, [L, D]
 * @fill: a cached forward: must write these tokens; only the last block is run
 *   (docs/dev/spec/denoise.md 2.13)
 */
typedef struct
{
  AvatarTensor fork;
  gboolean prefix_valid;
  AvatarTokensFunc keep, fill;
  gpointer data;
} AvatarForwardReuse;

/* The way of everything in front of the first forward (@ahead) or of forwards; free with g_free().
 */
AvatarWeightSchedule *
avatar_transformer_weight_schedule (const AvatarTransformerConfig *config, gboolean ahead);

/* Floats of a moment's modulation. */
gint64 avatar_transformer_modulation_n (const AvatarTransformerConfig *config);
/* Fills the modulation of @moments, weight by weight rather than moment by moment. */
void avatar_transformer_modulate (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *moments, guint n);
/* Fills the text of @moments. */
void avatar_transformer_refine (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *moments, guint n);
/* @reference: host [C, n_reference, h8, w8] scaled latents, 1 or @frames of them; @face: host
 * [h8, w8] of the latent grid. Tensors come from the arena and live until the caller releases it.
 * Host data are not read in a plan. */
void avatar_transformer_embed_reference (AvatarTransformer *self, AvatarOps *ops,
    const float *reference, gint64 n_reference, const float *face, gint64 frames, gint64 h8,
    gint64 w8, AvatarReferenceTokens *scene);
/* @audio: host [n, steps * states * channels], the features of @n = 4 T - 3 video frames. */
void avatar_transformer_project_audio (AvatarTransformer *self, AvatarOps *ops, const float *audio,
    gint64 n, AvatarAudioKV *speech);
/**
 * AvatarForwardInput:
 * @x: latents [C, T, h8, w8] float32
 * @face_scale: factor on the face mask
 * @reuse: (nullable)
 */
typedef struct
{
  AvatarTensor x;
  const AvatarStepConditioning *moment;
  const AvatarReferenceTokens *scene;
  const AvatarAudioKV *speech;
  double face_scale;
  const AvatarForwardReuse *reuse;
} AvatarForwardInput;

/* velocity [C, T, h8, w8] float32 */
void avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    const AvatarForwardInput *in);

G_END_DECLS
