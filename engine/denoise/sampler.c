/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sigmas, guidance, noise and windows (docs/dev/spec/denoise.md 4). */
#include "engine/denoise/sampler.h"

#include <math.h>

/* Upstream's shift from step to step (latent frames), and number of steps in its first phase. */
#define CLIP_SHIFT 10
#define FIRST_PHASE 10

double
avatar_sigma (guint i, guint steps, double shift)
{
  double u = 1. - (double) i / steps;

  return shift * u / (1. + (shift - 1.) * u);
}

double
avatar_sigma_listed (const double *sigmas, guint n, guint i, guint steps)
{
  guint64 position = (guint64) i * n;
  guint k = position / steps;
  double part = (double) (position % steps) / steps;
  double left = k < n ? sigmas[k] : 0, right = k + 1 < n ? sigmas[k + 1] : 0;

  return part > 0 ? left + part * (right - left) : left;
}

static AvatarGuidance
guidance_of (gboolean is_first, guint i, guint steps, double guidance_scale)
{
  double left = 1. - (double) i / steps;

  if (is_first)
    return (AvatarGuidance){ 2. + (guidance_scale - 2.) * left, 0.6, TRUE };
  return (AvatarGuidance){ 3.5 + 3. * left, 1., FALSE };
}

AvatarGuidance
avatar_guidance (guint i, guint steps, double guidance_scale)
{
  return guidance_of (i < FIRST_PHASE, i, steps, guidance_scale);
}

AvatarGuidance
avatar_guidance_by_sigma (guint i, guint steps, double guidance_scale, double sigma, double border)
{
  return guidance_of (sigma > border, i, steps, guidance_scale);
}

/* Replaces the counter @c by random bits: Philox 4x32-10. */
static void
philox (guint32 c[4], guint64 key)
{
  guint32 k0 = (guint32) key, k1 = key >> 32;

  for (guint round = 0; round < 10; round++) {
    guint64 a = (guint64) 0xD2511F53u * c[0], b = (guint64) 0xCD9E8D57u * c[2];
    guint32 next[4] = { (b >> 32) ^ c[1] ^ k0, (guint32) b, (a >> 32) ^ c[3] ^ k1, (guint32) a };

    for (guint i = 0; i < 4; i++)
      c[i] = next[i];
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

void
avatar_noise_fill (float *out, gsize n, guint64 seed, guint64 frame)
{
  for (gsize i = 0; i < n; i += 4) {
    guint32 c[4] = { (guint32) (i / 4), (guint32) frame, frame >> 32, 0 };
    float z[4];

    philox (c, seed);
    for (guint j = 0; j < 4; j += 2) {
      double radius = sqrt (-2. * log ((c[j] + 1.) * 0x1p-32));
      double angle = 2. * G_PI * (c[j + 1] * 0x1p-32);

      z[j] = radius * cos (angle);
      z[j + 1] = radius * sin (angle);
    }
    for (gsize j = 0; j < 4 && i + j < n; j++)
      out[i + j] = z[j];
  }
}

AvatarClip
avatar_clip_plan (guint frames, guint window)
{
  guint one = 4 * (window - 1) + 1; /* video frames of one window */
  AvatarClip clip = { .window = window };

  if (frames <= one) {
    clip.latents = clip.kept = window;
  } else {
    guint all = frames + 5;

    clip.latents = (all / (one - 1) + 1) * (window - 1) + 1;
    clip.kept = all / 4 + 1;
  }
  clip.windows = (clip.latents + window - 1) / window;
  return clip;
}

guint
avatar_clip_shift (const AvatarClip *clip, guint i)
{
  return clip->windows > 1 ? (guint) ((guint64) i * CLIP_SHIFT % clip->window) : 0;
}

guint
avatar_clip_latent (const AvatarClip *clip, guint shift, guint k, guint j)
{
  return (clip->window * k + j + clip->latents - shift) % clip->latents;
}

guint
avatar_clip_audio (const AvatarClip *clip, guint shift, guint k, guint r)
{
  guint all = 4 * clip->latents;

  return (4 * clip->window * k + r + all - 4 * shift) % all;
}
