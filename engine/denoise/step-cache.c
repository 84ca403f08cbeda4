/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The step cache (docs/dev/spec/denoise.md 4.10). */
#include "engine/denoise/step-cache.h"

#include <math.h>

/* Upstream's table is for 50 steps. Full steps are those up to 15, those from 41 on, and every
 * fifth step between them. */
#define UPSTREAM_STEPS 50
#define UPSTREAM_FIRST 16
#define UPSTREAM_LAST 41
#define UPSTREAM_EVERY 5
/* First step of guidance with other texts (docs/dev/spec/denoise.md 4.9). Tokens of earlier steps
 * do not apply to it. */
#define SECOND_PHASE 10

/* Scales an index among upstream's steps to @n steps, rounded up. */
static guint
scale_step (guint step, guint n)
{
  return (step * n + UPSTREAM_STEPS - 1) / UPSTREAM_STEPS;
}

/* Returns the relative change of the modulation from @a to @b: TeaCache's measure (Liu et al. 2024,
 * "Timestep Embedding Tells") without its fitted polynomial. */
static double
relative_change (const float *a, const float *b, gsize n)
{
  double difference = 0, size = 0;

  for (gsize i = 0; i < n; i++) {
    difference += fabsf (b[i] - a[i]);
    size += fabsf (a[i]);
  }
  return size > 0 ? difference / size : 0;
}

void
avatar_step_cache_schedule (gboolean *is_full, guint steps, AvatarStepCacheMode mode,
    double threshold, const float *const *modulations, gsize n)
{
  guint first = scale_step (UPSTREAM_FIRST, steps), last = scale_step (UPSTREAM_LAST, steps);
  double accumulated = 0;

  /* Upstream's full steps near the middle gain little for their cost
   * (docs/measurements/numerics.md); only the first ones are necessary. */
  if (mode == AVATAR_STEP_CACHE_ADAPTIVE) {
    first = MIN (first, SECOND_PHASE + 1);
    last = steps;
  }
  for (guint i = 0; i < steps; i++) {
    is_full[i] = TRUE;
    if (i > 0 && mode == AVATAR_STEP_CACHE_ADAPTIVE)
      accumulated += relative_change (modulations[i - 1], modulations[i], n);
    if (mode != AVATAR_STEP_CACHE_NONE && i >= first && i < last && i + 1 < steps
        && i != SECOND_PHASE)
      is_full[i]
          = mode == AVATAR_STEP_CACHE_UPSTREAM ? i % UPSTREAM_EVERY == 0 : accumulated >= threshold;
    if (is_full[i])
      accumulated = 0;
  }
}

/* @s: tokens of a frame; @row: bytes of a token
 * @arena: [branches]: all tokens, on the device
 * @video: [branches]: tokens of the video, [latents, s], on the host
 * @ends: [branches, windows]: tokens of the reference [s] and of the text, on the host
 * @owner: [latents]: window that stored the frame last */
struct _AvatarStepCache
{
  AvatarTokenStorage storage;
  guint branches, latents, windows;
  gint64 s, frames;
  gsize row;
  AvatarTensor *arena;
  guint8 **video, **ends;
  guint *owner;
};

AvatarStepCache *
avatar_step_cache_new (AvatarOps *ops, AvatarTokenStorage storage, guint branches, gint64 s,
    gint64 frames, gint64 text, gint64 width)
{
  AvatarStepCache *self = g_new0 (AvatarStepCache, 1);

  self->storage = storage;
  self->branches = branches;
  self->s = s;
  self->frames = frames;
  self->row = width * avatar_dtype_size (ops->dtype);
  self->arena = g_new0 (AvatarTensor, branches);
  self->video = g_new0 (guint8 *, branches);
  for (guint b = 0; b < branches && storage == AVATAR_TOKEN_STORAGE_DEVICE; b++)
    self->arena[b] = avatar_ops_alloc (ops, 2, (frames + 1) * s + text, width);
  return self;
}

/* Frees all tokens on the host. */
static void
drop_tokens (AvatarStepCache *self)
{
  for (guint i = 0; i < self->branches; i++)
    g_clear_pointer (&self->video[i], g_free);
  for (guint i = 0; self->ends && i < self->branches * self->windows; i++)
    g_free (self->ends[i]);
  g_clear_pointer (&self->ends, g_free);
  g_clear_pointer (&self->owner, g_free);
}

void
avatar_step_cache_free (AvatarStepCache *self)
{
  if (!self)
    return;
  drop_tokens (self);
  g_free (self->video);
  g_free (self->arena);
  g_free (self);
}

void
avatar_step_cache_reset (AvatarStepCache *self, guint latents, guint windows)
{
  g_return_if_fail (self->storage == AVATAR_TOKEN_STORAGE_HOST || windows == 1);
  drop_tokens (self);
  self->latents = latents;
  self->windows = windows;
  self->ends = g_new0 (guint8 *, self->branches * windows);
  self->owner = g_new0 (guint, latents);
}

/* Returns the frame of the clip at index @j of the window. */
static guint
frame_at (AvatarStepCache *self, AvatarWindowPosition position, gint64 j)
{
  return (position.start + j) % self->latents;
}

void
avatar_step_cache_store (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens, guint branch,
    AvatarWindowPosition position)
{
  gint64 s = self->s, l = tokens.shape[0], text = l - (self->frames + 1) * s;
  gsize frame = s * self->row;
  guint8 **ends;

  if (self->storage == AVATAR_TOKEN_STORAGE_DEVICE) {
    avatar_op_copy (ops, avatar_tensor_rows (self->arena[branch], 0, l), tokens);
    return;
  }
  if (!avatar_ops_running (ops))
    return;
  ends = &self->ends[branch * self->windows + position.window];
  if (!self->video[branch])
    self->video[branch] = g_malloc0 (self->latents * frame);
  *ends = g_realloc (*ends, frame + text * self->row);
  avatar_op_download_raw (ops, *ends, avatar_tensor_rows (tokens, 0, s));
  for (gint64 j = 0; j < self->frames; j++) {
    guint f = frame_at (self, position, j);

    avatar_op_download_raw (ops, self->video[branch] + f * frame,
        avatar_tensor_rows (tokens, (j + 1) * s, s));
    self->owner[f] = position.window;
  }
  avatar_op_download_raw (ops, *ends + frame, avatar_tensor_rows (tokens, l - text, text));
}

void
avatar_step_cache_load (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens, guint branch,
    AvatarWindowPosition position)
{
  gint64 s = self->s, l = tokens.shape[0], text = l - (self->frames + 1) * s;
  gsize frame = s * self->row;
  const guint8 *ends;

  if (self->storage == AVATAR_TOKEN_STORAGE_DEVICE) {
    avatar_op_copy (ops, tokens, avatar_tensor_rows (self->arena[branch], 0, l));
    return;
  }
  if (!avatar_ops_running (ops))
    return;
  ends = self->ends[branch * self->windows + self->owner[frame_at (self, position, 0)]];
  g_assert (ends && self->video[branch]);
  avatar_op_upload_raw (ops, avatar_tensor_rows (tokens, 0, s), ends);
  for (gint64 j = 0; j < self->frames; j++)
    avatar_op_upload_raw (ops, avatar_tensor_rows (tokens, (j + 1) * s, s),
        self->video[branch] + frame_at (self, position, j) * frame);
  avatar_op_upload_raw (ops, avatar_tensor_rows (tokens, l - text, text), ends + frame);
}
