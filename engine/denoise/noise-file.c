/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/noise-file.h"

#include <string.h>

/* Gets the shape without a leading dimension of 1. @shape: (out): [channels, frames, h, w], in @t.
 * Returns FALSE for another number of dimensions. */
static gboolean
get_shape (const AvatarTensorSource *t, const gint64 **shape)
{
  *shape = t->shape + (t->rank == 5);
  return t->rank == 4 || (t->rank == 5 && t->shape[0] == 1);
}

static gboolean
check_shape (const AvatarTensorSource *t, const char *name, const char *setting,
    const gint64 expected[4], GError **error)
{
  const gint64 *found;
  g_autofree char *text = NULL;

  if (t->dtype <= AVATAR_BF16 && get_shape (t, &found) && found[0] == expected[0]
      && found[1] >= expected[1] && found[1] <= G_MAXINT && found[2] == expected[2]
      && found[3] == expected[3])
    return TRUE;
  text = avatar_tensor_source_describe (t);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: the tensor is %s; for %s a tensor of floats [%d, T, %d, %d] or [1, %d, T, %d, %d] was "
      "expected, with T at least %d latent frames; make the noise for this size of video",
      name, text, setting, (int) expected[0], (int) expected[2], (int) expected[3],
      (int) expected[0], (int) expected[2], (int) expected[3], (int) expected[1]);
  return FALSE;
}

gboolean
avatar_noise_file_read (AvatarNoiseFile *self, AvatarTensorFile *file, const char *setting,
    const gint64 shape[4], GError **error)
{
  const char *name = avatar_tensor_file_get_name (file);
  const char *unusable_reason = avatar_tensor_file_unusable_reason (file, AVATAR_TENSOR_UNNAMED);
  const gint64 *found;
  AvatarTensorSource t;

  if (unusable_reason) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: the tensor cannot be used: %s",
        name, unusable_reason);
    return FALSE;
  }
  if (avatar_tensor_file_n (file) != 1) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: the file has %u tensors; for %s one was expected", name, avatar_tensor_file_n (file),
        setting);
    return FALSE;
  }
  avatar_tensor_file_nth (file, 0, &t);
  if (!check_shape (&t, name, setting, shape, error))
    return FALSE;
  get_shape (&t, &found);
  self->values = avatar_tensor_source_read_all (&t, error);
  if (!self->values)
    return FALSE;
  self->frames = found[1];
  if (avatar_is_finite (self->values, avatar_tensor_source_n (&t)))
    return TRUE;
  avatar_noise_file_clear (self);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
      "%s: some values are NaN or infinite; for %s finite ones were expected", name, setting);
  return FALSE;
}

gboolean
avatar_noise_file_load (AvatarNoiseFile *self, const char *path, const char *setting,
    const gint64 shape[4], GError **error)
{
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open (path, error);

  if (file)
    return avatar_noise_file_read (self, file, setting, shape, error);
  g_prefix_error (error, "%s: ", setting);
  return FALSE;
}

void
avatar_noise_file_copy (const AvatarNoiseFile *self, guint64 frame, float *z, gint64 channels,
    gint64 frames, gint64 j, gsize n)
{
  for (gint64 c = 0; c < channels; c++)
    memcpy (z + (c * frames + j) * n, self->values + (c * self->frames + frame) * n,
        n * sizeof (float));
}

void
avatar_noise_file_clear (AvatarNoiseFile *self)
{
  g_clear_pointer (&self->values, g_free);
  self->frames = 0;
}
