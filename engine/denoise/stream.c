/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Denoises one window after the other. The first frames of a window overlap the last ones of the
 * previous window. In every step they are set to these, with noise added for the sigma of the step
 * (Lugmayr et al. 2022, without resampling), so that the further frames continue them.
 *
 * The first steps decide where head and eyes are in the further frames. The noise of these steps
 * hides it in the shared frames, so that motion jumps where the further frames begin. The velocity
 * of the last shared frame is known, however. AVATAR_CONTINUATION_CORRECTED takes the error that
 * the transformer makes in it for an estimate of that in the next frames, and removes it there. */
#include "engine/denoise/denoiser-private.h"

#include <math.h>
#include <string.h>

/* Latent frames (160 ms) after which a correction has decayed to 1 / e. */
#define CORRECTION_LENGTH 4.0

/* Overlap with the last window.
 * @frames: number of frames; 0: there is no last window
 * @offset: index of the first one in the last window
 * @noise: initial noise of this window, [C, frames of a window, h8, w8]; not owned */
typedef struct
{
  gint64 frames, offset;
  const float *noise;
} Overlap;

/* Sets the first frames of x to those of the last window, with noise of level @sigma. Computed on
 * the host, where both operands are. On the device they would use memory during all forwards, where
 * resident weights save much more copying. */
static void
set_overlap (const AvatarLatentStream *stream, AvatarOps *ops, AvatarTensor x,
    const Overlap *overlap, double sigma)
{
  const AvatarLatentShape *shape = &stream->shape;
  gint64 n = avatar_latent_shape_plane (shape), row = overlap->frames * n, all = shape->frames * n;
  g_autofree float *blend = g_new (float, shape->channels *row);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor first;

  if (overlap->frames == 0)
    return;
  for (gint64 c = 0; c < shape->channels; c++)
    for (gint64 i = 0; i < row; i++)
      blend[c * row + i] = (1 - sigma) * stream->last_window[c * all + overlap->offset * n + i]
          + sigma * overlap->noise[c * all + i];
  first = avatar_step_alloc_overlap (ops, shape, overlap->frames);
  avatar_op_upload (ops, first, blend);
  x = avatar_tensor (AVATAR_F32, x.data, 2, shape->channels, all);
  avatar_op_copy (ops, avatar_tensor_cols (x, 0, row), first);
  avatar_ops_release (ops, mark);
}

static gboolean
is_abandoned (AvatarDenoiser *self)
{
  return g_atomic_int_get (&self->abandoned);
}

/* Corrects the frames of x that follow the overlap, after a step by @dt. The error of the velocity
 * of the last frame of the overlap, v - (noise - latents), is subtracted from the velocity of the
 * k-th frame after it, times exp (-k / CORRECTION_LENGTH). Overwrites v. */
static void
correct_velocity (const AvatarLatentStream *stream, AvatarOps *ops, const AvatarStepBuffers *b,
    const Overlap *overlap, double dt)
{
  const AvatarLatentShape *shape = &stream->shape;
  gint64 n = avatar_latent_shape_plane (shape), last = overlap->frames - 1;
  g_autofree float *v = g_new (float, avatar_latent_shape_n (shape));

  avatar_op_download (ops, v, b->v);
  for (gint64 c = 0; c < shape->channels; c++) {
    gsize first = c * shape->frames * n;
    const float *noise = overlap->noise + first + last * n;
    const float *latents = stream->last_window + first + (overlap->offset + last) * n;
    float *error = v + first + last * n;

    for (gint64 i = 0; i < n; i++)
      error[i] -= noise[i] - latents[i];
    for (gint64 j = last + 1; j < shape->frames; j++)
      for (gint64 i = 0; i < n; i++)
        v[first + j * n + i] = -dt * exp ((last - j) / CORRECTION_LENGTH) * error[i];
    memset (v + first, 0, overlap->frames * n * sizeof (float));
  }
  avatar_op_upload (ops, b->v, v);
  avatar_op_axpby (ops, b->x, 1, b->v, 1);
}

/* Begins step @i, with the latents @x on the host if it needs them. */
static void
begin_step (AvatarDenoiser *self, guint i, AvatarTensor x)
{
  g_autofree float *host = NULL;

  if (avatar_window_needs_latents (&self->window)) {
    host = g_new0 (float, avatar_latent_shape_n (&self->stream.shape));
    avatar_op_download (self->memory.ops, host, x);
  }
  avatar_window_begin_step (&self->window, i, host);
}

/* Runs all steps of a window, unless it is abandoned; the latents stay on the device meanwhile. @z:
 * (out): latents, [C, frames, h8, w8]; @audio: features, [n_tracks, 4 frames - 3, n_features] */
static gboolean
sample (AvatarDenoiser *self, float *z, const Overlap *overlap, const float *audio, GError **error)
{
  const AvatarLatentStream *stream = &self->stream;
  AvatarOps *ops = self->memory.ops;
  guint steps = self->window.steps;
  gboolean is_corrected = overlap->frames > 0 && !stream->is_cut
      && self->settings.continuation == AVATAR_CONTINUATION_CORRECTED;
  AvatarStepBuffers b;

  avatar_window_set_audio (&self->window, ops, audio);
  avatar_denoiser_reset_cache (self, stream->shape.frames, 1);
  b = avatar_step_buffers_new (ops, &stream->shape);
  avatar_op_upload (ops, b.x, overlap->noise);
  avatar_denoiser_report (self, stream->n_windows, 0);
  for (guint i = 0; i < steps && !is_abandoned (self); i++) {
    gboolean ok;

    if (!avatar_step_begin_turn (self, error))
      return FALSE;
    set_overlap (stream, ops, b.x, overlap, avatar_window_sigma (&self->window, i));
    begin_step (self, i, b.x);
    self->stats.forwards
        += avatar_step_run (&self->window, ops, i, (AvatarWindowPosition){ 0 }, &b);
    ok = avatar_step_check (self->model, ops, &b, i, steps, stream->n_windows, error);
    avatar_step_end_turn (self);
    if (!ok)
      return FALSE;
    if (is_corrected)
      correct_velocity (stream, ops, &b, overlap,
          avatar_window_sigma (&self->window, i + 1) - avatar_window_sigma (&self->window, i));
    if (self->settings.upstream_rounding)
      avatar_op_scale_round (ops, b.x, 1, AVATAR_F16);
    avatar_denoiser_report (self, stream->n_windows, i + 1);
  }
  set_overlap (stream, ops, b.x, overlap, 0);
  avatar_op_download (ops, z, b.x);
  return avatar_ops_check (ops, error);
}

/* Adds the new frames of z, the window at @start, to the ready frames. */
static void
emit_window (AvatarLatentStream *stream, const float *z, guint64 start, AvatarDenoiseStats *stats)
{
  guint64 end = start + stream->shape.frames;

  if (stream->drained)
    end = MIN (end, avatar_latent_stream_total (stream));
  stats->index = stream->n_windows++;
  stats->latents = end - stream->emitted;
  while (stream->emitted < end)
    avatar_latent_stream_emit (stream, z, stream->shape.frames, stream->emitted - start);
}

AvatarPull
avatar_denoiser_run_window (AvatarDenoiser *self, GError **error)
{
  gint64 begin_time = g_get_monotonic_time ();
  AvatarLatentStream *stream = &self->stream;
  guint64 start = avatar_latent_stream_next_start (stream, self->settings.overlap);
  g_autofree float *z = g_new (float, avatar_latent_shape_n (&stream->shape));
  g_autofree float *noise = g_new (float, avatar_latent_shape_n (&stream->shape));
  g_autofree float *audio = avatar_latent_stream_audio (stream, start);
  Overlap overlap = { .noise = noise, .offset = start - stream->start };

  g_atomic_int_set (&self->abandoned, FALSE);
  if (stream->last_window)
    overlap.frames = stream->shape.frames - overlap.offset;
  for (gint64 j = 0; j < stream->shape.frames; j++)
    if (!avatar_step_noise (&self->settings, &self->noise, &stream->shape, noise, j, start + j,
            error))
      return AVATAR_PULL_ERROR;
  if (!sample (self, z, &overlap, audio, error))
    return AVATAR_PULL_ERROR;
  if (is_abandoned (self))
    return AVATAR_PULL_EMPTY;
  emit_window (stream, z, start, &self->stats);
  avatar_latent_stream_finish_window (stream, g_steal_pointer (&z), start);
  self->stats.seconds = (g_get_monotonic_time () - begin_time) * 1e-6;
  return AVATAR_PULL_OK;
}
