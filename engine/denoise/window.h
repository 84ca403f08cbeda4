/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One window of latent frames: what the sampler asks of the transformer, with guidance. */
#pragma once

#include "engine/denoise/step-cache.h"
#include "engine/denoise/transformer.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Host copies of what conditions every window of a stream. */
typedef struct
{
  AvatarText text[2]; /* positive, negative prompt */
  float *reference;   /* [C, n_reference, h8, w8] */
  guint n_reference;  /* 0, 1: one latent frame for all; else one for each of a window's */
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
  gboolean share;             /* branches share what they have in common; takes memory for it */
  AvatarTokenStorage storage; /* of the step cache */

  gint64 frames, channels, h8, w8;
  AvatarStepConditioning *moments; /* [steps, 2]: positive, negative prompt */
  gboolean *full;                  /* [steps]: FALSE: a cached step */
  AvatarReferenceTokens scene;
  AvatarAudioKV speech[2];   /* with audio; without (guidance only) */
  AvatarStepCache *tokens;   /* of the last full step; NULL: no step is cached */
  AvatarTensor second, fork; /* velocity of the other branch; tokens both branches share */
} AvatarWindow;

/* What depends on the settings and prompts only: the moments of all steps. Needs the arena only
 * until it returns. FALSE with @error. */
gboolean avatar_window_prepare (AvatarWindow *self, AvatarOps *ops, GError **error);
/* Makes the constants of all windows in the arena, after avatar_window_prepare(). */
void avatar_window_begin (AvatarWindow *self, AvatarOps *ops);
/* The constants that change with the audio: [4 frames - 3, features] on the host. */
void avatar_window_set_audio (AvatarWindow *self, AvatarOps *ops, const float *audio);
/* velocity [C, T, h8, w8] float32 at step @i; returns the number of full forwards. @place: where
 * the window lies in the clip. */
guint avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition place);
/* The same, but both branches of guidance apart: the one with audio in @velocity, the other one in the
 * window's @second. */
guint avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition place);
/* Whether there are two, and the scale between them at step @i. */
gboolean avatar_window_is_guided (const AvatarWindow *self, guint i, double *scale);
/* The noise level at step @i. */
double avatar_window_sigma (const AvatarWindow *self, guint i);
/* Steps that are alike do the same work: kind of step @i, after avatar_window_prepare(). */
guint avatar_window_kind (const AvatarWindow *self, guint i);
/* What the host holds while @latents latent frames in @windows windows are made. */
guint64 avatar_window_host_bytes (const AvatarWindow *self, AvatarDType dtype, guint latents,
    guint windows);
/* Frees what the host holds. */
void avatar_window_clear (AvatarWindow *self);

G_END_DECLS
