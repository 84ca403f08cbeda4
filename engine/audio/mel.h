/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Log-mel spectrogram as the input of Whisper, for 16 kHz audio (docs/dev/spec/denoise.md 3.2). */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

#define AVATAR_MEL_HOP 160 /* samples from one frame to the next */

typedef struct
{
  AvatarTensor basis;   /* [402, 400]: cosines, then sines, of the 201 bins, times the window */
  AvatarTensor filters; /* [mels, 201] */
} AvatarMel;

/* Allocates the tables from the arena, where they stay, and fills them unless @ops is a dry run.
 * @mels: number of mel bands */
void avatar_mel_init (AvatarMel *self, AvatarOps *ops, guint mels);
/* Allocates the input for @frames: frames * AVATAR_MEL_HOP samples with a margin on both sides. */
AvatarTensor avatar_mel_alloc_input (AvatarOps *ops, gint64 frames);
/* Returns the address of the first sample of @input. */
float *avatar_mel_samples (AvatarTensor input);
/* Computes @mel [frames, mels] from @input, in whose margins the samples are mirrored. */
void avatar_mel_run (const AvatarMel *self, AvatarOps *ops, AvatarTensor mel, AvatarTensor input);

G_END_DECLS
