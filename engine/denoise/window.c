/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditioning of one window and classifier-free guidance over it (Ho and Salimans 2022). */
#include "engine/denoise/window.h"
#include "engine/denoise/sampler.h"

#include <string.h>

/* A tensor of the arena with the host's @data. */
static AvatarTensor
upload (AvatarOps *ops, AvatarTensor t, const float *data)
{
  if (avatar_ops_running (ops))
    memcpy (t.data, data, avatar_tensor_bytes (t));
  return t;
}

static gint64
audio_features (AvatarWindow *self)
{
  const AvatarTransformerConfig *c = self->transformer->config;

  return (gint64) c->audio_steps * c->audio_states * c->audio_channels;
}

void
avatar_window_begin (AvatarWindow *self, AvatarOps *ops, gint64 frames, gint64 channels, gint64 h8,
    gint64 w8)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  const AvatarConditions *cond = self->conditions;
  gboolean guided = self->cfg_scale > 1;
  AvatarTensor reference = avatar_ops_alloc (ops, 4, channels, (gint64) 1, h8, w8);
  AvatarTensor face = avatar_ops_alloc (ops, 2, h8, w8);

  upload (ops, reference, cond->reference);
  upload (ops, face, cond->face);
  avatar_transformer_scene (self->transformer, ops, reference, face, frames, &self->scene);
  for (guint i = 0; i < (guided ? 2 : 1); i++) {
    gint64 n = cond->n_states[i];

    self->text[i] = (AvatarText){
      .states = upload (ops, avatar_ops_alloc (ops, 2, n, (gint64) c->text_dim), cond->states[i]),
      .pooled = upload (ops, avatar_ops_alloc (ops, 2, (gint64) 1, (gint64) c->pooled_dim),
          cond->pooled[i]),
      .used = n,
    };
  }
  if (guided) {
    AvatarTensor silence;

    self->second = avatar_ops_alloc (ops, 4, channels, frames, h8, w8);
    /* zero features, not the features of silence (spec 3.4) */
    silence = avatar_ops_alloc (ops, 2, 4 * frames - 3, audio_features (self));
    if (avatar_ops_running (ops))
      memset (silence.data, 0, avatar_tensor_bytes (silence));
    avatar_transformer_speech (self->transformer, ops, silence, &self->speech[1]);
  }
}

void
avatar_window_listen (AvatarWindow *self, AvatarOps *ops, const float *audio)
{
  AvatarTensor t = avatar_ops_alloc (ops, 2, 4 * self->scene.frames - 3, audio_features (self));

  upload (ops, t, audio);
  avatar_transformer_speech (self->transformer, ops, t, &self->speech[0]);
}

static void
forward (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, double t,
    guint speech, guint text, double face_scale)
{
  avatar_transformer_forward (self->transformer, ops, velocity, x, t, &self->scene,
      &self->speech[speech], &self->text[text], self->motion_exp, self->motion_pose, self->fps,
      face_scale);
}

guint
avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x,
    guint i, double t)
{
  AvatarGuidance g;

  if (self->cfg_scale <= 1) {
    forward (self, ops, velocity, x, t, 0, 0, 1);
    return 1;
  }
  g = avatar_guidance (i, self->steps, self->cfg_scale);
  forward (self, ops, self->second, x, t, 1, g.negative ? 1 : 0, g.face_scale);
  forward (self, ops, velocity, x, t, 0, 0, g.face_scale);
  /* v = vu + g (vc - vu) */
  avatar_op_axpby (ops, velocity, 1 - g.scale, self->second, g.scale);
  return 2;
}
