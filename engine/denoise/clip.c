/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Denoises a clip in upstream's windows: every step runs all windows of the clip, which are shifted
 * from step to step, and averages the frames that windows share (docs/dev/spec/denoise.md 4.5,
 * 4.8). The latents of the clip are on the host, so that device memory does not grow with its
 * length. */
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/sampler.h"

#include <string.h>

/**
 * Clip: state of the denoising of a clip; all arrays are owned
 * @shape: shape of @z and @sum, [C, P, h8, w8]
 * @z: latents of the clip
 * @sum: sum of the windows; @count: number of windows that were added to each latent frame, [P]
 * @x: latents of a window, [C, frames, h8, w8]; @audio: its features, [n_tracks, 4 frames - 3,
 *   n_features]
 */
typedef struct
{
  AvatarClip plan;
  AvatarLatentShape shape;
  float *z, *sum;
  guint *count;
  float *x, *audio;
} Clip;

static void
clip_clear (Clip *clip)
{
  g_free (clip->z);
  g_free (clip->sum);
  g_free (clip->count);
  g_free (clip->x);
  g_free (clip->audio);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Clip, clip_clear)

static void
clip_init (Clip *clip, const AvatarLatentStream *stream)
{
  clip->shape = stream->shape;
  clip->shape.frames = clip->plan.latents;
  clip->z = g_new (float, avatar_latent_shape_n (&clip->shape));
  clip->sum = g_new (float, avatar_latent_shape_n (&clip->shape));
  clip->count = g_new (guint, clip->plan.latents);
  clip->x = g_new (float, avatar_latent_shape_n (&stream->shape));
  clip->audio
      = g_new (float, stream->n_tracks *(4 * stream->shape.frames - 3) * stream->n_features);
}

/* Copies the features of window @k to audio, zeros after the end. */
static void
gather_audio (const AvatarLatentStream *stream, Clip *clip, guint shift, guint k)
{
  gsize rows = 4 * stream->shape.frames - 3, n = stream->n_features;
  guint64 pushed = avatar_latent_stream_pushed (stream);

  for (gsize r = 0; r < rows * stream->n_tracks; r++) {
    guint from = avatar_clip_audio (&clip->plan, shift, k, r % rows);
    const float *features
        = from < pushed ? avatar_latent_stream_features (stream, r / rows, from) : NULL;

    if (features)
      memcpy (clip->audio + r * n, features, n * sizeof (float));
    else
      memset (clip->audio + r * n, 0, n * sizeof (float));
  }
}

/* Copies the latents of window @k to x. */
static void
gather_latents (Clip *clip, gint64 frames, guint shift, guint k)
{
  gsize n = avatar_latent_shape_plane (&clip->shape);

  for (gint64 j = 0; j < frames; j++) {
    guint f = avatar_clip_latent (&clip->plan, shift, k, j);

    for (gint64 c = 0; c < clip->shape.channels; c++)
      memcpy (clip->x + (c * frames + j) * n, clip->z + (c * clip->shape.frames + f) * n,
          n * sizeof (float));
  }
}

/* Adds x, the latents of window @k, to the sum, and rounds the sum to @dtype. */
static void
add_latents (Clip *clip, gint64 frames, guint shift, guint k, AvatarDType dtype)
{
  gsize n = avatar_latent_shape_plane (&clip->shape);

  for (gint64 j = 0; j < frames; j++) {
    guint f = avatar_clip_latent (&clip->plan, shift, k, j);

    for (gint64 c = 0; c < clip->shape.channels; c++) {
      const float *x = clip->x + (c * frames + j) * n;
      float *sum = clip->sum + (c * clip->shape.frames + f) * n;

      for (gsize i = 0; i < n; i++)
        sum[i] += x[i];
      if (dtype != AVATAR_F32)
        avatar_dtype_round (sum, n, dtype);
    }
    clip->count[f]++;
  }
}

/* Computes step @i of window @k in a turn. x is on the host before and after. */
static gboolean
step_window (AvatarDenoiser *self, Clip *clip, guint i, guint k, GError **error)
{
  AvatarOps *ops = self->memory.ops;
  guint shift = avatar_clip_shift (&clip->plan, i);
  AvatarWindowPosition position = { k, avatar_clip_latent (&clip->plan, shift, k, 0) };
  AvatarStepBuffers b;
  gboolean ok;

  if (!avatar_step_begin_turn (self, error))
    return FALSE;
  avatar_ops_release (ops, self->memory.mark);
  avatar_window_set_audio (&self->window, ops, clip->audio);
  b = avatar_step_buffers_new (ops, &self->stream.shape);
  avatar_op_upload (ops, b.x, clip->x);
  self->stats.forwards += avatar_step_run (&self->window, ops, i, position, &b);
  ok = avatar_step_check (self->model, ops, &b, i, self->settings.steps, k, error);
  if (ok) {
    avatar_op_download (ops, clip->x, b.x);
    ok = avatar_ops_check (ops, error);
  }
  avatar_step_end_turn (self);
  return ok;
}

/* Computes step @i of all windows and averages them. */
static gboolean
step_all (AvatarDenoiser *self, Clip *clip, guint i, GError **error)
{
  AvatarDType dtype = self->settings.upstream_rounding ? AVATAR_F16 : AVATAR_F32;
  gsize n = avatar_latent_shape_plane (&clip->shape), all = avatar_latent_shape_n (&clip->shape);
  gint64 frames = self->stream.shape.frames;
  guint shift = avatar_clip_shift (&clip->plan, i);

  memset (clip->sum, 0, all * sizeof (float));
  memset (clip->count, 0, clip->plan.latents * sizeof (guint));
  avatar_window_begin_step (&self->window, i, clip->z);
  for (guint k = 0; k < clip->plan.windows; k++) {
    gather_audio (&self->stream, clip, shift, k);
    gather_latents (clip, frames, shift, k);
    if (!step_window (self, clip, i, k, error))
      return FALSE;
    add_latents (clip, frames, shift, k, dtype);
  }
  for (gsize j = 0; j < all; j++)
    clip->z[j] = clip->sum[j] / clip->count[j / n % clip->plan.latents];
  if (dtype != AVATAR_F32)
    avatar_dtype_round (clip->z, all, dtype);
  return TRUE;
}

AvatarPull
avatar_denoiser_run_clip (AvatarDenoiser *self, GError **error)
{
  gint64 begin_time = g_get_monotonic_time ();
  AvatarLatentStream *stream = &self->stream;
  guint64 total = avatar_latent_stream_total (stream);
  g_auto (Clip) clip
      = { .plan = avatar_clip_plan (avatar_latent_stream_pushed (stream), stream->shape.frames) };

  if (clip.plan.windows == 1) /* no shift and no average */
    return avatar_denoiser_run_window (self, error);
  clip_init (&clip, stream);
  for (guint f = 0; f < clip.plan.latents; f++)
    if (!avatar_step_noise (&self->settings, &self->noise, &clip.shape, clip.z, f, f, error))
      return AVATAR_PULL_ERROR;
  avatar_denoiser_reset_cache (self, clip.plan.latents, clip.plan.windows);
  avatar_denoiser_report (self, 0, 0);
  for (guint i = 0; i < self->settings.steps; i++) {
    if (!step_all (self, &clip, i, error))
      return AVATAR_PULL_ERROR;
    avatar_denoiser_report (self, 0, i + 1);
  }
  while (stream->emitted < total)
    avatar_latent_stream_emit (stream, clip.z, clip.plan.latents, stream->emitted);
  self->stats.index = stream->n_windows++;
  self->stats.latents = total;
  self->stats.seconds = (g_get_monotonic_time () - begin_time) * 1e-6;
  return AVATAR_PULL_OK;
}
