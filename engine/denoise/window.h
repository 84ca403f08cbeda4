/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One window of latent frames: what the sampler asks of the transformer, with guidance. */
#pragma once

#include "engine/denoise/transformer.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Host copies of what conditions every window of a stream. */
typedef struct
{
  float *states[2], *pooled[2]; /* [n, text_dim], [pooled_dim]: positive, negative prompt */
  guint n_states[2];
  float *reference; /* [C, 1, h8, w8] */
  float *face;      /* [h8, w8] */
} AvatarConditions;

typedef struct
{
  AvatarTransformer *transformer;
  const AvatarConditions *conditions;
  double motion_exp, motion_pose, fps, cfg_scale;
  guint steps;
  guint n_texts;
  AvatarScene scene;
  AvatarSpeech speech[2]; /* with audio; without (guidance only) */
  AvatarText text[2];
  AvatarTensor second; /* velocity of the other branch */
} AvatarWindow;

/* Makes the constants of a window of @frames latent frames in the arena. h8, w8: latent size. */
void avatar_window_begin (AvatarWindow *self, AvatarOps *ops, gint64 frames, gint64 channels,
    gint64 h8, gint64 w8);
/* The constants that change with the audio: [4 frames - 3, features] on the host. */
void avatar_window_listen (AvatarWindow *self, AvatarOps *ops, const float *audio);
/* velocity [C, T, h8, w8] at step @i and time @t; returns the number of forwards. */
guint avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, double t);

G_END_DECLS
