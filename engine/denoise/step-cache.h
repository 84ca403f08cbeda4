/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The step cache: stores the tokens of the last full step. In a cached step only the last single
 * block and the final layer run, on these tokens, with the modulation of the step
 * (docs/dev/spec/denoise.md 2.13, 4.10). A cache belongs to one denoiser and is not thread-safe. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Chooses the full steps. @is_full: (out): [steps], TRUE for steps in which all blocks run;
 * @modulations: [steps] pointers to [n] floats, which AVATAR_STEP_CACHE_ADAPTIVE compares; not read
 * in other modes */
void avatar_step_cache_schedule (gboolean *is_full, guint steps, AvatarStepCacheMode mode,
    double threshold, const float *const *modulations, gsize n);

/**
 * AvatarTokenStorage:
 * @AVATAR_TOKEN_STORAGE_HOST: tokens are stored on the host
 * @AVATAR_TOKEN_STORAGE_DEVICE: tokens are stored in the arena, for one window only
 */
typedef enum
{
  AVATAR_TOKEN_STORAGE_HOST,
  AVATAR_TOKEN_STORAGE_DEVICE,
} AvatarTokenStorage;

/**
 * AvatarWindowPosition: position of a window in a clip
 * @window: index of the window
 * @start: latent frame of the clip at which it starts; frames after the end of the clip wrap around
 */
typedef struct
{
  guint window, start;
} AvatarWindowPosition;

/* Tokens [reference S | T frames of S | text] of every window and branch. A frame that windows
 * share has the tokens of the window that stored it last. Reference and text of a window are those
 * of the window that stored its first frame, as in upstream (docs/dev/spec/denoise.md 4.10). */
typedef struct _AvatarStepCache AvatarStepCache;

/* Makes a cache. @s: tokens of a frame; @text: largest number of text tokens; @width: values of a
 * token. With AVATAR_TOKEN_STORAGE_DEVICE the tensors are allocated in the arena of @ops. */
AvatarStepCache *avatar_step_cache_new (AvatarOps *ops, AvatarTokenStorage storage, guint branches,
    gint64 s, gint64 frames, gint64 text, gint64 width);
/* Frees the cache and its memory on the host. @self may be %NULL. */
void avatar_step_cache_free (AvatarStepCache *self);
/* Drops all tokens. @latents, @windows: number of latent frames and windows of the clip */
void avatar_step_cache_reset (AvatarStepCache *self, guint latents, guint windows);
/* Stores @tokens [L, width] of one branch of a full step. Waits for the device if the tokens are
 * stored on the host. Errors are kept in @ops. */
void avatar_step_cache_store (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens,
    guint branch, AvatarWindowPosition position);
/* Fills @tokens [L, width] with those that were stored. */
void avatar_step_cache_load (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens,
    guint branch, AvatarWindowPosition position);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarStepCache, avatar_step_cache_free)

G_END_DECLS
