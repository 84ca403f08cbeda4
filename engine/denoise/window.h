/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One window of latent frames: conditioning of the transformer, and guidance. */
#pragma once

#include "engine/denoise/step-cache.h"
#include "engine/denoise/transformer.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Conditions of all windows of a stream, on the host. */
typedef struct
{
  AvatarText text[2]; /* positive, negative prompt */
  float *reference;   /* [C, n_reference, h8, w8] */
  guint n_reference;  /* 0, 1: one latent frame for all; else one for each frame of a window */
  float *face;        /* [h8, w8] */
} AvatarConditions;

typedef struct
{
  AvatarTransformer *transformer;
  const AvatarConditions *conditions;
  double motion_exp, motion_pose, fps, cfg_scale, flow_shift;
  gboolean parity; /* upstream's roundings (engine/denoise/parity.h) */
  guint steps;
  AvatarStepCacheMode cache;
  double cache_threshold;
  gboolean share;             /* compute the common prefix of both branches once */
  AvatarTokenStorage storage; /* of the step cache */

  gint64 frames, channels, h8, w8;
  AvatarStepConditioning *moments; /* [steps, 2]: positive, negative prompt */
  gboolean *full;                  /* [steps]: FALSE: a cached step */
  AvatarReferenceTokens scene;
  AvatarAudioKV speech[2];   /* with audio; without (guidance only) */
  AvatarStepCache *tokens;   /* of the last full step; NULL: no step is cached */
  AvatarTensor second, fork; /* velocity of the other branch; tokens both branches share */
} AvatarWindow;

/* Computes the step conditioning of all steps, which depends on settings and prompts only, and
 * stores it on the host. The arena is free again on return. Returns FALSE with @error. */
gboolean avatar_window_prepare (AvatarWindow *self, AvatarOps *ops, GError **error);
/* Makes the constants of all windows in the arena, after avatar_window_prepare(). */
void avatar_window_begin (AvatarWindow *self, AvatarOps *ops);
/* Computes keys and values of the audio. @audio: features, [4 frames - 3, n_features], on the host. */
void avatar_window_set_audio (AvatarWindow *self, AvatarOps *ops, const float *audio);
/* Computes @velocity [C, T, h8, w8] of step @i, with guidance, in float32. Returns the number of
 * full forwards. @place: position of the window in the clip. */
guint avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition place);
/* Computes both branches of guidance separately: the one with audio in @velocity, the other one in
 * the window's @second. */
guint avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition place);
/* TRUE if there are two branches. @scale: (out): guidance scale of step @i. */
gboolean avatar_window_is_guided (const AvatarWindow *self, guint i, double *scale);
/* Noise level at step @i. */
double avatar_window_sigma (const AvatarWindow *self, guint i);
/* Kind of step @i, after avatar_window_prepare(). Steps of one kind do the same work. */
guint avatar_window_kind (const AvatarWindow *self, guint i);
/* Bytes on the host during the denoising of @latents latent frames in @windows windows. */
guint64 avatar_window_host_bytes (const AvatarWindow *self, AvatarDType dtype, guint latents,
    guint windows);
/* Frees the memory on the host. */
void avatar_window_clear (AvatarWindow *self);

G_END_DECLS
