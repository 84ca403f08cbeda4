/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decision of step-cache=easy: EasyCache ("Less is Enough: Training-Free Video Diffusion
 * Acceleration via Runtime-Adaptive Caching", arXiv 2507.02860). Between two full steps, the rate
 * at which the velocity changes with the latents is measured. A step is skipped while the sum of
 * the relative changes that the rate predicts is below a threshold. Sums run on the host in a fixed
 * order and in double precision. Not thread-safe. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct _AvatarEasyCache AvatarEasyCache;

/* Makes a cache for steps of @plane values in each channel of a latent frame, and @channels. */
AvatarEasyCache *avatar_easy_cache_new (gsize channels, gsize plane);
/* Frees the cache. @self may be %NULL. */
void avatar_easy_cache_free (AvatarEasyCache *self);
/* Drops all state. @latents: latent frames of the clip */
void avatar_easy_cache_reset (AvatarEasyCache *self, guint latents);
/* Drops what was measured, so that the next two steps are full. */
void avatar_easy_cache_drop (AvatarEasyCache *self);
/* Begins a step of the clip. @x: latents before it, [values of the clip], which are copied;
 * @may_skip: FALSE: the step is full in any case. Returns TRUE if the step is skipped. Values that
 * are NaN or do not change make the step full. */
gboolean
avatar_easy_cache_begin (AvatarEasyCache *self, const float *x, double threshold, guint may_skip);
/* Stores the velocity of a window in a full step. @v: [C, @frames, plane]; @start: latent frame of
 * the clip at which the window starts */
void avatar_easy_cache_store (AvatarEasyCache *self, const float *v, guint frames, guint start);
/* Returns the bytes on the host for a clip of @latents latent frames. */
guint64 avatar_easy_cache_host_bytes (const AvatarEasyCache *self, guint latents);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarEasyCache, avatar_easy_cache_free)

G_END_DECLS
