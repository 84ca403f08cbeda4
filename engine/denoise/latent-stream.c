/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/latent-stream.h"

#include <string.h>

void
avatar_latent_stream_init (AvatarLatentStream *self, const AvatarLatentShape *shape,
    gsize n_features, guint n_tracks)
{
  *self = (AvatarLatentStream){ .shape = *shape, .n_features = n_features, .n_tracks = n_tracks };
  for (guint i = 0; i < n_tracks; i++)
    self->tracks[i].features = g_array_new (FALSE, FALSE, sizeof (float));
  self->ready = g_array_new (FALSE, FALSE, sizeof (float));
}

void
avatar_latent_stream_clear (AvatarLatentStream *self)
{
  for (guint i = 0; i < self->n_tracks; i++)
    g_clear_pointer (&self->tracks[i].features, g_array_unref);
  g_clear_pointer (&self->ready, g_array_unref);
  g_clear_pointer (&self->last_window, g_free);
}

void
avatar_latent_stream_reset (AvatarLatentStream *self)
{
  for (guint i = 0; i < self->n_tracks; i++) {
    g_array_set_size (self->tracks[i].features, 0);
    self->tracks[i].pushed = 0;
  }
  g_array_set_size (self->ready, 0);
  self->ready_next = 0;
  self->first_frame = self->start = self->emitted = 0;
  self->n_windows = 0;
  self->drained = self->is_cut = FALSE;
  g_clear_pointer (&self->last_window, g_free);
}

gboolean
avatar_latent_stream_push (AvatarLatentStream *self, guint track, const float *features,
    AvatarDType dtype, GError **error)
{
  AvatarFeatureTrack *t = &self->tracks[track];
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
        t->pushed);
    return FALSE;
  }
  if (t->pushed++ < self->first_frame) /* features of a further speaker, too late */
    return TRUE;
  g_array_append_vals (t->features, features, n);
  if (dtype != AVATAR_F32)
    avatar_dtype_round ((float *) t->features->data + t->features->len - n, n, dtype);
  return TRUE;
}

void
avatar_latent_stream_replace (AvatarLatentStream *self, guint track, guint64 first, guint64 n,
    const float *features, AvatarDType dtype)
{
  AvatarFeatureTrack *t = &self->tracks[track];
  gsize row = self->n_features;
  guint64 end = MIN (n, t->pushed - MIN (first, t->pushed)) + first;

  for (guint64 i = MAX (first, self->first_frame); i < end; i++) {
    float *to = (float *) t->features->data + (i - self->first_frame) * row;

    memcpy (to, features, row * sizeof (float));
    if (dtype != AVATAR_F32)
      avatar_dtype_round (to, row, dtype);
  }
}

guint64
avatar_latent_stream_pushed (const AvatarLatentStream *self)
{
  return self->tracks[0].pushed;
}

const float *
avatar_latent_stream_features (const AvatarLatentStream *self, guint track, guint64 frame)
{
  const AvatarFeatureTrack *t = &self->tracks[track];

  if (frame < self->first_frame || frame >= t->pushed)
    return NULL;
  return (const float *) t->features->data + (frame - self->first_frame) * self->n_features;
}

guint64
avatar_latent_stream_total (const AvatarLatentStream *self)
{
  guint64 pushed = avatar_latent_stream_pushed (self);

  return pushed ? (pushed + 2) / 4 + 1 : 0;
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
  guint64 last;

  if (self->drained)
    return self->emitted < avatar_latent_stream_total (self);
  if (mode == AVATAR_DENOISE_MODE_CLIP)
    return FALSE;
  last = 4 * (avatar_latent_stream_next_start (self, overlap) + self->shape.frames - 1);
  for (guint i = 0; i < self->n_tracks; i++)
    if (self->tracks[i].pushed <= last)
      return FALSE;
  return TRUE;
}

float *
avatar_latent_stream_audio (const AvatarLatentStream *self, guint64 start)
{
  gsize rows = 4 * self->shape.frames - 3, n = rows * self->n_features;
  float *audio = g_new0 (float, self->n_tracks *n);
  guint64 first = 4 * start;

  for (guint i = 0; i < self->n_tracks; i++) {
    guint64 end = MIN (self->tracks[i].pushed, avatar_latent_stream_pushed (self));

    if (end > first)
      memcpy (audio + i * n, avatar_latent_stream_features (self, i, first),
          MIN (rows, end - first) * self->n_features * sizeof (float));
  }
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
  if (4 * start <= self->first_frame)
    return;
  for (guint i = 0; i < self->n_tracks; i++) {
    GArray *features = self->tracks[i].features;
    gsize n = (4 * start - self->first_frame) * self->n_features;

    g_array_remove_range (features, 0, MIN (n, features->len));
  }
  self->first_frame = 4 * start;
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
  g_assert (self->last_window && avatar_latent_stream_pushed (self) >= 4 * (self->start + n));
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
