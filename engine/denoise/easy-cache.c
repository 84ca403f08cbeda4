/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decision of step-cache=easy: see the header. */
#include "engine/denoise/easy-cache.h"

#include <math.h>
#include <string.h>

/* @channels, @plane: channels of a latent frame, and values of each
 * @latents: latent frames of the clip; @n: its values
 * @x: latents of the last step; @full_x: latents of the last full step before it
 * @v: velocity of the last full step; @full_v: that of the one before
 * @n_full: number of full steps since the history was dropped, at most 2
 * @was_full: the last step was full, and its rate is not computed yet
 * @rate: change of the velocity for a change of the latents
 * @change: relative change of the velocity since the last full step, predicted */
struct _AvatarEasyCache
{
  gsize channels, plane, n;
  guint latents;
  float *x, *full_x, *v, *full_v;
  guint n_full;
  gboolean was_full;
  double rate, change;
};

AvatarEasyCache *
avatar_easy_cache_new (gsize channels, gsize plane)
{
  AvatarEasyCache *self = g_new0 (AvatarEasyCache, 1);

  self->channels = channels;
  self->plane = plane;
  return self;
}

static void
free_values (AvatarEasyCache *self)
{
  g_clear_pointer (&self->x, g_free);
  g_clear_pointer (&self->full_x, g_free);
  g_clear_pointer (&self->v, g_free);
  g_clear_pointer (&self->full_v, g_free);
}

void
avatar_easy_cache_free (AvatarEasyCache *self)
{
  if (!self)
    return;
  free_values (self);
  g_free (self);
}

void
avatar_easy_cache_reset (AvatarEasyCache *self, guint latents)
{
  free_values (self);
  self->latents = latents;
  self->n = latents * self->channels * self->plane;
  self->x = g_new0 (float, self->n);
  self->full_x = g_new0 (float, self->n);
  self->v = g_new0 (float, self->n);
  self->full_v = g_new0 (float, self->n);
  avatar_easy_cache_drop (self);
}

void
avatar_easy_cache_drop (AvatarEasyCache *self)
{
  self->n_full = 0;
  self->was_full = FALSE;
  self->rate = self->change = 0;
}

/* Returns the sum of |a - b|; @b: (nullable): zeros */
static double
distance (const float *a, const float *b, gsize n)
{
  double sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += fabs (a[i] - (b ? (double) b[i] : 0));
  return sum;
}

static void
swap (float **a, float **b)
{
  float *other = *a;

  *a = *b;
  *b = other;
}

/* Computes the rate from the last two full steps. */
static void
measure (AvatarEasyCache *self)
{
  if (self->n_full >= 2)
    self->rate
        = distance (self->v, self->full_v, self->n) / distance (self->x, self->full_x, self->n);
  memcpy (self->full_x, self->x, self->n * sizeof (float));
  swap (&self->v, &self->full_v);
  self->change = 0;
  self->was_full = FALSE;
}

gboolean
avatar_easy_cache_begin (AvatarEasyCache *self, const float *x, double threshold, guint may_skip)
{
  gboolean skip = FALSE;

  if (self->was_full)
    measure (self);
  if (self->n_full >= 2) {
    self->change
        += self->rate * distance (x, self->x, self->n) / distance (self->full_v, NULL, self->n);
    skip = may_skip && self->change < threshold; /* FALSE for NaN */
  }
  memcpy (self->x, x, self->n * sizeof (float));
  if (!skip) {
    self->was_full = TRUE;
    self->n_full = MIN (self->n_full + 1, 2);
  }
  return skip;
}

void
avatar_easy_cache_store (AvatarEasyCache *self, const float *v, guint frames, guint start)
{
  for (guint j = 0; j < frames; j++) {
    float *to = self->v + (start + j) % self->latents * self->channels * self->plane;

    for (guint c = 0; c < self->channels; c++)
      memcpy (to + c * self->plane, v + (c * frames + j) * self->plane,
          self->plane * sizeof (float));
  }
}

guint64
avatar_easy_cache_host_bytes (const AvatarEasyCache *self, guint latents)
{
  return 4 * (guint64) latents * self->channels * self->plane * sizeof (float);
}
