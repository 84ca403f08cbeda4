/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Noise from a file, which replaces seeded noise; for instance noise of another implementation. */
#pragma once

#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/* @values: (nullable): [channels, frames, h, w]; owned; %NULL: there is no file */
typedef struct
{
  float *values;
  guint frames;
} AvatarNoiseFile;

/* Reads the only tensor of @file, which must be finite. @shape: expected [channels, minimum number
 * of frames, h, w]; the tensor may have a leading dimension of 1; @setting: name of the setting,
 * for messages. Returns FALSE with AVATAR_ERROR_FORMAT, AVATAR_ERROR_MISMATCH, AVATAR_ERROR_DATA or
 * AVATAR_ERROR_READ. */
gboolean avatar_noise_file_read (AvatarNoiseFile *self, AvatarTensorFile *file, const char *setting,
    const gint64 shape[4], GError **error);
/* Opens the file at @path and reads it, as avatar_noise_file_read() does. */
gboolean avatar_noise_file_load (AvatarNoiseFile *self, const char *path, const char *setting,
    const gint64 shape[4], GError **error);
/* Copies frame @frame of the file to frame @j of z [@channels, @frames, h, w]. @n: h w */
void avatar_noise_file_copy (const AvatarNoiseFile *self, guint64 frame, float *z, gint64 channels,
    gint64 frames, gint64 j, gsize n);
/* Frees the values. */
void avatar_noise_file_clear (AvatarNoiseFile *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarNoiseFile, avatar_noise_file_clear)

G_END_DECLS
