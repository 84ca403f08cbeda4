/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/latent-stream.h"

#include <string.h>

void
avatar_latent_stream_init (AvatarLatentStream *self, const AvatarLatentShape *shape,
    gsize n_features)
{
  *self = (AvatarLatentStream){ .shape = *shape, .n_features = n_features };
  self->features = g_array_new (FALSE, FALSE, sizeof (float));
  self->ready = g_array_new (FALSE, FALSE, sizeof (float));
}

void
avatar_latent_stream_clear (AvatarLatentStream *self)
{
  g_clear_pointer (&self->features, g_array_unref);
  g_clear_pointer (&self->ready, g_array_unref);
  g_clear_pointer (&self->last_window, g_free);
}

void
avatar_latent_stream_reset (AvatarLatentStream *self)
{
  g_array_set_size (self->features, 0);
  g_array_set_size (self->ready, 0);
  self->ready_next = 0;
  self->first_frame = self->pushed = self->start = self->emitted = 0;
  self->n_windows = 0;
  self->drained = self->is_cut = FALSE;
  g_clear_pointer (&self->last_window, g_free);
}

gboolean
avatar_latent_stream_push (AvatarLatentStream *self, const float *features, AvatarDType dtype,
    GError **error)
{
  gsize n = self->n_features;

  if (self->drained) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "features came after the end of the stream; reset the denoiser first");
    return FALSE;
  }
  if (!avatar_is_finite (features, n)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the audio features of video frame %" G_GUINT64_FORMAT
        " are NaN or infinite; check the encoder that computed them",
        self->pushed);
    return FALSE;
  }
  g_array_append_vals (self->features, features, n);
  if (dtype != AVATAR_F32)
    avatar_dtype_round ((float *) self->features->data + self->features->len - n, n, dtype);
  self->pushed++;
  return TRUE;
}

void
avatar_latent_stream_replace (AvatarLatentStream *self, guint64 first, guint64 n,
    const float *features, AvatarDType dtype)
{
  gsize row = self->n_features;
  guint64 end = MIN (n, self->pushed - MIN (first, self->pushed)) + first;

  for (guint64 i = MAX (first, self->first_frame); i < end; i++) {
    float *to = (float *) self->features->data + (i - self->first_frame) * row;

    memcpy (to, features, row * sizeof (float));
    if (dtype != AVATAR_F32)
      avatar_dtype_round (to, row, dtype);
  }
}

guint64
avatar_latent_stream_total (const AvatarLatentStream *self)
{
  return self->pushed ? (self->pushed + 2) / 4 + 1 : 0;
}

guint64
avatar_latent_stream_next_start (const AvatarLatentStream *self, guint overlap)
{
  gint64 frames = self->shape.frames, total = avatar_latent_stream_total (self);
  guint64 start = self->last_window ? self->start + frames - overlap : 0;

  if (self->drained && (guint64) total < start + frames)
    start = MAX (total - frames, 0);
  return start;
}

gboolean
avatar_latent_stream_has_window (const AvatarLatentStream *self, AvatarDenoiseMode mode,
    guint overlap)
{
  if (self->drained)
    return self->emitted < avatar_latent_stream_total (self);
  if (mode == AVATAR_DENOISE_MODE_CLIP)
    return FALSE;
  return self->pushed
      > 4 * (avatar_latent_stream_next_start (self, overlap) + self->shape.frames - 1);
}

float *
avatar_latent_stream_audio (const AvatarLatentStream *self, guint64 start)
{
  gsize rows = 4 * self->shape.frames - 3;
  float *audio = g_new0 (float, rows * self->n_features);
  guint64 first = 4 * start - self->first_frame, have = self->pushed - self->first_frame;

  if (have > first)
    memcpy (audio, (float *) self->features->data + first * self->n_features,
        MIN (rows, have - first) * self->n_features * sizeof (float));
  return audio;
}

void
avatar_latent_stream_emit (AvatarLatentStream *self, const float *z, gint64 frames, gint64 j)
{
  gsize n = avatar_latent_shape_plane (&self->shape);

  for (gint64 c = 0; c < self->shape.channels; c++)
    g_array_append_vals (self->ready, z + (c * frames + j) * n, n);
  self->emitted++;
}

/* Sets the start of the last window, and drops the features before it. */
static void
set_start (AvatarLatentStream *self, guint64 start)
{
  self->start = start;
  self->is_cut = FALSE;
  if (4 * start > self->first_frame) {
    g_array_remove_range (self->features, 0, (4 * start - self->first_frame) * self->n_features);
    self->first_frame = 4 * start;
  }
}

void
avatar_latent_stream_finish_window (AvatarLatentStream *self, float *z, guint64 start)
{
  g_free (self->last_window);
  self->last_window = z;
  set_start (self, start);
}

void
avatar_latent_stream_skip (AvatarLatentStream *self, guint n)
{
  g_assert (self->last_window && self->pushed >= 4 * (self->start + n));
  self->emitted += n;
  set_start (self, self->start + n);
}

guint
avatar_latent_stream_n_ready (const AvatarLatentStream *self)
{
  return self->ready->len / avatar_latent_shape_frame (&self->shape) - self->ready_next;
}

void
avatar_latent_stream_pull (AvatarLatentStream *self, float *latent)
{
  gsize n = avatar_latent_shape_frame (&self->shape);

  g_assert (avatar_latent_stream_n_ready (self) > 0);
  memcpy (latent, (float *) self->ready->data + n * self->ready_next++, n * sizeof (float));
  if (avatar_latent_stream_n_ready (self) == 0) {
    g_array_set_size (self->ready, 0);
    self->ready_next = 0;
  }
}
