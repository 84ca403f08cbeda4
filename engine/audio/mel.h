/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's log-mel front end for 16 kHz (docs/dev/spec/denoise.md 3.2). */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

#define AVATAR_MEL_HOP 160

typedef struct
{
  AvatarTensor basis;   /* [402, 400]: cosines, then sines, of the 201 bins, times the window */
  AvatarTensor filters; /* [mels, 201] */
} AvatarMel;

/* Takes its tables from the arena, to stay there. */
void avatar_mel_init (AvatarMel *self, AvatarOps *ops, guint mels);
/* Room for @frames * 160 samples and what lies around them; the first sample is at the pointer
 * that avatar_mel_samples() gives. */
AvatarTensor avatar_mel_alloc_input (AvatarOps *ops, gint64 frames);
float *avatar_mel_samples (AvatarTensor input);
/* @mel [frames, mels] of @input, which is changed at its ends. */
void avatar_mel_run (const AvatarMel *self, AvatarOps *ops, AvatarTensor mel, AvatarTensor input);

G_END_DECLS
