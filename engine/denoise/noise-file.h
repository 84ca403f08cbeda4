/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Noise from a file in place of seeded noise, for instance that of another implementation. */
#pragma once

#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/* @values: (nullable): [channels, frames, h, w] */
typedef struct
{
  float *values;
  guint frames;
} AvatarNoiseFile;

/* Reads the only tensor of @file, which must be finite. @shape: [channels, minimum of frames, h,
 * w], which the tensor may have with a leading dimension of 1. @what: the name of the setting, for
 * messages. */
gboolean avatar_noise_file_read (AvatarNoiseFile *self, AvatarTensorFile *file, const char *what,
    const gint64 shape[4], GError **error);
/* Opens the file at @path and reads it. */
gboolean avatar_noise_file_load (AvatarNoiseFile *self, const char *path, const char *what,
    const gint64 shape[4], GError **error);
/* Copies frame @frame to frame @j of z [channels, @frames, h, w]. @n: h w */
void avatar_noise_file_copy (const AvatarNoiseFile *self, guint64 frame, float *z, gint64 channels,
    gint64 frames, gint64 j, gsize n);
void avatar_noise_file_clear (AvatarNoiseFile *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarNoiseFile, avatar_noise_file_clear)

G_END_DECLS
