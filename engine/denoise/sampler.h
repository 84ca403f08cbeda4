/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic of the sampler: sigmas, guidance, noise, and upstream's windows over long clips. Pure
 * functions, which any thread may call. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Returns sigma_i of flow matching with @shift, i = 0 .. @steps (docs/dev/spec/denoise.md 4.7). */
double avatar_sigma (guint i, guint steps, double shift);

/* Returns sigma of step @i, 0 .. @steps, from a list for @n steps, which 0 follows: the value at
 * i n / steps of the list, interpolated linearly, which is sigmas[i] if @steps is @n. */
double avatar_sigma_listed (const double *sigmas, guint n, guint i, guint steps);

/**
 * AvatarGuidance: guidance of one step in upstream's two phases (docs/dev/spec/denoise.md 4.9)
 * @scale: guidance scale
 * @face_scale: factor on the face mask
 * @negative: TRUE if the branch without audio uses the negative prompt, FALSE for the positive one
 */
typedef struct
{
  double scale, face_scale;
  gboolean negative;
} AvatarGuidance;

/* Returns the guidance of step @i. */
AvatarGuidance avatar_guidance (guint i, guint steps, double guidance_scale);
/* Returns the guidance of step @i, which has noise level @sigma. The first phase has the levels
 * above @border, the second one the others. */
AvatarGuidance
avatar_guidance_by_sigma (guint i, guint steps, double guidance_scale, double sigma, double border);

/* Fills @out [@n] with standard normal noise of latent frame @frame: Philox 4x32-10 (Salmon et al.
 * 2011) and Box-Muller. The noise of a frame depends on the seed and its index only. */
void avatar_noise_fill (float *out, gsize n, guint64 seed, guint64 frame);

/**
 * AvatarClip: upstream's division of a clip into windows (docs/dev/spec/denoise.md 4.5), without
 * its limit of 400 frames
 * @window: latent frames of a window; @windows: number of windows
 * @latents: P, latent frames that are denoised
 * @kept: latent frames that cover the audio
 */
typedef struct
{
  guint window, windows;
  guint latents, kept;
} AvatarClip;

/* Divides a clip of @frames video frames into windows of @window latent frames. */
AvatarClip avatar_clip_plan (guint frames, guint window);
/* Returns the shift of all windows in step @i, in latent frames (docs/dev/spec/denoise.md 4.8). */
guint avatar_clip_shift (const AvatarClip *clip, guint i);
/* Returns the latent frame of the clip at index @j of window @k with @shift. */
guint avatar_clip_latent (const AvatarClip *clip, guint shift, guint k, guint j);
/* Returns the video frame of the clip whose features are row @r of window @k. */
guint avatar_clip_audio (const AvatarClip *clip, guint shift, guint k, guint r);

G_END_DECLS
