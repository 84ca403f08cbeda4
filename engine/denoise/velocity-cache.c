/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* History of velocities: see the header. */
#include "engine/denoise/velocity-cache.h"

#include <string.h>

/* @n: number of steps; @first: slot of the oldest one
 * @steps: [history]: index of the step in each slot
 * @arena: [branches, history]: on the device, as the velocity of a window
 * @host: [branches, history]: on the host, [latents, C, plane]
 * @counts: [branches, history]: number of windows in each latent frame of @host, [latents] */
struct _AvatarVelocityCache
{
  AvatarVelocityShape shape;
  AvatarTokenStorage storage;
  guint latents, n, first;
  guint steps[AVATAR_FORECAST_MAX_HISTORY];
  AvatarTensor *arena;
  float **host;
  guint **counts;
};

/* Allocates values of a window, [C, T plane]. */
static AvatarTensor
alloc (AvatarOps *ops, const AvatarVelocityShape *shape)
{
  return avatar_ops_alloc_as (ops, AVATAR_F32, 2, shape->channels, shape->frames * shape->plane);
}

AvatarVelocityCache *
avatar_velocity_cache_new (AvatarOps *ops, AvatarTokenStorage storage,
    const AvatarVelocityShape *shape)
{
  AvatarVelocityCache *self = g_new0 (AvatarVelocityCache, 1);
  guint n = shape->branches * shape->history;

  g_assert (shape->history >= 1 && shape->history <= AVATAR_FORECAST_MAX_HISTORY);
  self->shape = *shape;
  self->storage = storage;
  self->arena = g_new0 (AvatarTensor, n);
  self->host = g_new0 (float *, n);
  self->counts = g_new0 (guint *, n);
  for (guint i = 0; i < n && storage == AVATAR_TOKEN_STORAGE_DEVICE; i++)
    self->arena[i] = alloc (ops, shape);
  return self;
}

static void
free_host (AvatarVelocityCache *self)
{
  for (guint i = 0; i < self->shape.branches * self->shape.history; i++) {
    g_clear_pointer (&self->host[i], g_free);
    g_clear_pointer (&self->counts[i], g_free);
  }
}

void
avatar_velocity_cache_free (AvatarVelocityCache *self)
{
  if (!self)
    return;
  free_host (self);
  g_free (self->host);
  g_free (self->counts);
  g_free (self->arena);
  g_free (self);
}

void
avatar_velocity_cache_reset (AvatarVelocityCache *self, guint latents)
{
  if (self->latents != latents)
    free_host (self);
  self->latents = latents;
  self->n = self->first = 0;
}

/* Returns the slot of the @k-th step, from the oldest one. */
static guint
slot_at (const AvatarVelocityCache *self, guint k)
{
  return (self->first + k) % self->shape.history;
}

void
avatar_velocity_cache_begin (AvatarVelocityCache *self, guint step, guint first)
{
  guint last = self->n > 0 ? self->steps[slot_at (self, self->n - 1)] : 0, slot;

  if (self->n > 0 && last == step)
    return;
  if (last < first)
    self->n = 0;
  if (self->n == self->shape.history)
    self->first = slot_at (self, 1);
  else
    self->n++;
  slot = slot_at (self, self->n - 1);
  self->steps[slot] = step;
  for (guint b = 0; b < self->shape.branches; b++)
    if (self->counts[b * self->shape.history + slot])
      memset (self->counts[b * self->shape.history + slot], 0, self->latents * sizeof (guint));
}

guint
avatar_velocity_cache_steps (const AvatarVelocityCache *self, guint *steps)
{
  for (guint k = 0; k < self->n; k++)
    steps[k] = self->steps[slot_at (self, k)];
  return self->n;
}

/* Adds @window [C, T, plane] at @start to the means of the clip. @i: index of the host memory */
static void
add_window (const AvatarVelocityCache *self, guint i, const float *window, guint start)
{
  gsize channels = self->shape.channels, frames = self->shape.frames, n = self->shape.plane;

  for (gsize j = 0; j < frames; j++) {
    guint f = (start + j) % self->latents, count = ++self->counts[i][f];

    for (gsize c = 0; c < channels; c++) {
      float *mean = self->host[i] + (f * channels + c) * n;
      const float *v = window + (c * frames + j) * n;

      for (gsize k = 0; k < n; k++)
        mean[k] = count == 1 ? v[k] : mean[k] + (v[k] - mean[k]) / count;
    }
  }
}

/* Fills @window [C, T, plane] with the means of the clip at @start. */
static void
get_window (const AvatarVelocityCache *self, guint i, float *window, guint start)
{
  gsize channels = self->shape.channels, frames = self->shape.frames, n = self->shape.plane;

  for (gsize j = 0; j < frames; j++)
    for (gsize c = 0; c < channels; c++)
      memcpy (window + (c * frames + j) * n,
          self->host[i] + ((start + j) % self->latents * channels + c) * n, n * sizeof (float));
}

/* Returns a tensor with the values of @v as those of a window. */
static AvatarTensor
as_window (const AvatarVelocityCache *self, AvatarTensor v)
{
  return avatar_tensor (AVATAR_F32, v.data, 2, self->shape.channels,
      self->shape.frames * self->shape.plane);
}

static gsize
window_values (const AvatarVelocityCache *self)
{
  return self->shape.channels * self->shape.frames * self->shape.plane;
}

void
avatar_velocity_cache_store (AvatarVelocityCache *self, AvatarOps *ops, AvatarTensor v,
    guint branch, guint start)
{
  guint i = branch * self->shape.history + slot_at (self, self->n - 1);
  g_autofree float *window = NULL;

  g_assert (self->n > 0);
  v = as_window (self, v);
  if (self->storage == AVATAR_TOKEN_STORAGE_DEVICE) {
    avatar_op_copy (ops, self->arena[i], v);
    return;
  }
  if (!avatar_ops_running (ops))
    return;
  if (!self->host[i]) {
    self->host[i] = g_new0 (float, self->latents * self->shape.channels * self->shape.plane);
    self->counts[i] = g_new0 (guint, self->latents);
  }
  window = g_new (float, window_values (self));
  avatar_op_download (ops, window, v);
  add_window (self, i, window, start);
}

void
avatar_velocity_cache_combine (AvatarVelocityCache *self, AvatarOps *ops, AvatarTensor v,
    guint branch, guint start, const double *weights)
{
  gboolean on_host = self->storage == AVATAR_TOKEN_STORAGE_HOST;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor values = on_host ? alloc (ops, &self->shape) : AVATAR_NO_TENSOR;
  g_autofree float *window = on_host && !ops->dry_run ? g_new (float, window_values (self)) : NULL;

  g_assert (self->n > 0 || ops->dry_run);
  v = as_window (self, v);
  /* a dry run counts a full history */
  for (guint k = 0; k < (ops->dry_run ? self->shape.history : self->n); k++) {
    guint i = branch * self->shape.history + slot_at (self, k);

    if (on_host && avatar_ops_running (ops)) {
      get_window (self, i, window, start);
      avatar_op_upload (ops, values, window);
    }
    avatar_op_axpby (ops, v, ops->dry_run ? 1 : weights[k], on_host ? values : self->arena[i],
        k > 0);
  }
  avatar_ops_release (ops, mark);
}

guint64
avatar_velocity_cache_host_bytes (const AvatarVelocityCache *self, guint latents)
{
  if (self->storage == AVATAR_TOKEN_STORAGE_DEVICE)
    return 0;
  return (guint64) self->shape.branches * self->shape.history * latents * self->shape.channels
      * self->shape.plane * sizeof (float);
}
