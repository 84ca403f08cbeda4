/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Noise that is given in a file, in place of seeded noise: what a run of another implementation drew. */
#pragma once

#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/* @values: [channels, frames, h, w]; %NULL: none is given */
typedef struct
{
  float *values;
  guint frames;
} AvatarNoiseFile;

/* @shape: what the one tensor of the file must be, as [channels, frames, h, w], with or without a first
 * dimension of 1; of frames the fewest that do. It must be finite. @what: its setting, for messages */
gboolean avatar_noise_file_read (AvatarNoiseFile *self, AvatarTensorFile *file, const char *what,
    const gint64 shape[4], GError **error);
/* The same of the file at @path. */
gboolean avatar_noise_file_load (AvatarNoiseFile *self, const char *path, const char *what,
    const gint64 shape[4], GError **error);
/* Frame @frame of it to frame @j of z [channels, @frames, h, w], whose frames have @n values a channel. */
void avatar_noise_file_copy (const AvatarNoiseFile *self, guint64 frame, float *z, gint64 channels,
    gint64 frames, gint64 j, gsize n);
void avatar_noise_file_clear (AvatarNoiseFile *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarNoiseFile, avatar_noise_file_clear)

G_END_DECLS
