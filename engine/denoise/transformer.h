/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The audio-driven video diffusion transformer (spec denoise.md 2; upstream models_audio.py). */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/config.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* For tests: called with every named intermediate result. */
typedef void (*AvatarTapFunc) (const char *name, AvatarTensor value, gpointer user_data);

typedef struct
{
  const AvatarTransformerConfig *config;
  AvatarWeights *weights; /* not owned */
  AvatarTapFunc tap;
  gpointer tap_data;
} AvatarTransformer;

/**
 * AvatarScene: what is constant over the steps of a window, in tokens. T latent frames, S tokens
 * a frame, D the hidden size.
 * @ref_first: [S, D] reference tokens in front; @ref_added: [T * S, D] or [S, D] (the same for
 *   every frame), added to the video tokens
 * @face: [T * S] face mask, one value a token
 * @cos, @sin: [(T + 1) * S, head_dim / 2]
 */
typedef struct
{
  gint64 frames, h, w; /* T, and the token grid: S = h * w */
  AvatarTensor ref_first, ref_added, face, cos, sin;
} AvatarScene;

/**
 * AvatarSpeech: one branch's audio.
 * @kv: per adapter, keys and values [T, tokens, 2 * adapter_dim]
 */
typedef struct
{
  AvatarTensor kv[AVATAR_MAX_BLOCKS];
} AvatarSpeech;

/**
 * AvatarText: one branch's text conditioning.
 * @states: [n, text_dim]; @pooled: [1, pooled_dim]
 * @mask: optional, uint8 [n], which rows the refiner takes as valid
 * @used: rows that go on to the blocks after the refiner (the sum of the mask)
 */
typedef struct
{
  AvatarTensor states, pooled, mask;
  gint64 used;
} AvatarText;

/* @reference [C, 1 or T, h8, w8] scaled latents; @face [h8, w8] of the latent grid. Tensors come
 * from the arena and live until the caller releases it. */
void avatar_transformer_scene (AvatarTransformer *self, AvatarOps *ops, AvatarTensor reference,
    AvatarTensor face, gint64 frames, AvatarScene *scene);
/* @audio [4 T - 3, steps * states * channels]: the features of the window's video frames. */
void avatar_transformer_speech (AvatarTransformer *self, AvatarOps *ops, AvatarTensor audio,
    AvatarSpeech *speech);
/* velocity [C, T, h8, w8] of x at time @t (0 .. 1000). @face_scale: factor on the face mask. */
void avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, double t, const AvatarScene *scene, const AvatarSpeech *speech,
    const AvatarText *text, double motion_exp, double motion_pose, double fps, double face_scale);

G_END_DECLS
