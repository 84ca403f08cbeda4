/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The step cache: in which steps the blocks run, and the tokens of the last step in which they
 * did. In a cached step only the last single block and the final layer run, on those tokens, with
 * the modulation of the step (docs/dev/spec/denoise.md 2.13, 4.10). */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* full [steps]: whether all blocks run in step i. @modulations: [steps], what AVATAR_STEP_CACHE_ADAPTIVE
 * goes by, [n] floats each; not read in other modes. */
void avatar_step_cache_schedule (gboolean *full, guint steps, AvatarStepCacheMode mode,
    double threshold, const float *const *modulations, gsize n);

typedef enum
{
  AVATAR_TOKEN_STORAGE_HOST,
  AVATAR_TOKEN_STORAGE_ARENA, /* on the device; for one window only */
} AvatarTokenStorage;

/**
 * AvatarWindowPosition: where a window of T frames lies in a clip of @latents latent frames.
 * @window: its index; @start: the clip's frame at the window's first, before wrapping around
 */
typedef struct
{
  guint window, start;
} AvatarWindowPosition;

/* Tokens [reference S | T frames of S | text] of every window and branch; frames that windows
 * share belong to the one that wrote them last, and a window's reference and text are those of
 * the owner of its first frame, as upstream has it (docs/dev/spec/denoise.md 4.10). */
typedef struct _AvatarTokens AvatarStepCache;

/* @s: tokens a frame; @text: at most; @width: of a token. ARENA: takes its memory from @ops'
 * arena. */
AvatarStepCache *avatar_step_cache_new (AvatarOps *ops, AvatarTokenStorage storage, guint branches,
    gint64 s, gint64 frames, gint64 text, gint64 width);
void avatar_step_cache_free (AvatarStepCache *self);
/* How many latent frames and windows the clip has; forgets what was kept. */
void avatar_step_cache_reset (AvatarStepCache *self, guint latents, guint windows);
void avatar_step_cache_store (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens,
    guint branch, AvatarWindowPosition place);
void avatar_step_cache_load (AvatarStepCache *self, AvatarOps *ops, AvatarTensor tokens,
    guint branch, AvatarWindowPosition place);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarStepCache, avatar_step_cache_free)

G_END_DECLS
