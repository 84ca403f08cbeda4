/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reference latent of the portrait (docs/dev/spec/denoise.md 4.4), the noise of its posterior
 * (docs/dev/spec/denoise.md 4.6), and the masks of the faces. */
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/sampler.h"
#include "engine/denoise/speakers.h"
#include "engine/denoise/upstream-rounding.h"
#include "engine/vae/encoder.h"

#include <string.h>

/* First frame number of seeded noise for the posterior. No video has a frame of that number, so
 * this noise is independent of the initial noise. */
#define POSTERIOR_FRAME ((guint64) 1 << 63)

/* Returns TRUE if the reference latent is the mode of the posterior. */
static gboolean
uses_mode (const AvatarDenoiseSettings *s)
{
  return !s->posterior_noise || strcmp (s->posterior_noise, "mode") == 0;
}

gboolean
avatar_conditioning_init_posterior (AvatarConditioning *self, const AvatarDenoiseSettings *s,
    GError **error)
{
  const gint64 shape[4]
      = { self->shape.channels, self->shape.frames, self->shape.h8, self->shape.w8 };

  self->conditions.n_reference = uses_mode (s) ? 1 : self->shape.frames;
  self->seeded_posterior = s->posterior_noise && strcmp (s->posterior_noise, "seeded") == 0;
  return self->use == AVATAR_DENOISER_PLAN || uses_mode (s) || self->seeded_posterior
      || avatar_noise_file_load (&self->posterior_noise, s->posterior_noise, "posterior-noise",
          shape, error);
}

/* Returns the pixels of @image in -1..1, [height, width, 3]. Free with g_free(). */
static float *
prepare_pixels (AvatarConditioning *self, const AvatarImage *image)
{
  float *rgb = g_new (float, (gsize) image->width * image->height * 3);

  if (self->settings->upstream_rounding) {
    avatar_upstream_pixels (rgb, image);
    return rgb;
  }
  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++)
      rgb[(gsize) y * 3 * image->width + x]
          = image->data[(gsize) y * image->stride + x] / 127.5f - 1.f;
  return rgb;
}

/* Returns the noise of frame @j of the posterior: [channels, h8, w8]; %NULL for its mode. Free with
 * g_free(). */
static float *
posterior_noise (AvatarConditioning *self, guint j)
{
  gsize n = self->shape.h8 * self->shape.w8;
  float *noise;

  if (!self->seeded_posterior && !self->posterior_noise.values)
    return NULL;
  noise = g_new (float, self->shape.channels *n);
  if (self->posterior_noise.values)
    avatar_noise_file_copy (&self->posterior_noise, j, noise, self->shape.channels, 1, 0, n);
  else
    avatar_noise_fill (noise, self->shape.channels * n, self->settings->seed, POSTERIOR_FRAME + j);
  return noise;
}

void
avatar_conditioning_sample_reference (AvatarConditioning *self)
{
  const AvatarVaeConfig *vae = &avatar_model_get_config (self->model)->vae;
  gsize n = self->shape.h8 * self->shape.w8, all = self->shape.channels * n,
        frames = self->conditions.n_reference;
  float *reference = g_new (float, all *frames);
  g_autofree float *one = g_new (float, all);

  for (guint j = 0; j < frames; j++) {
    g_autofree float *noise = posterior_noise (self, j);

    avatar_posterior_sample (one, self->posterior_moments, noise, all, vae->shift_factor,
        vae->scaling_factor,
        self->settings->upstream_rounding ? AVATAR_ROUNDING_UPSTREAM : AVATAR_ROUNDING_NONE);
    for (gint64 c = 0; c < self->shape.channels; c++)
      memcpy (reference + (c * frames + j) * n, one + c * n, n * sizeof (float));
  }
  self->conditions.reference = reference;
}

/* Computes the moments of the posterior of @image. @moments: (out): [2 channels, h8, w8] */
static gboolean
encode_reference (AvatarConditioning *self, const AvatarImage *image, float *moments,
    GError **error)
{
  g_autoptr (AvatarVaeEncoder) encoder = avatar_vae_encoder_new (self->model, self->device,
      self->settings->width, self->settings->height, error);
  g_autofree float *rgb = NULL;

  if (!encoder)
    return FALSE;
  rgb = prepare_pixels (self, image);
  return avatar_vae_encode_moments (encoder, rgb, moments, error);
}

gboolean
avatar_conditioning_set_image (AvatarConditioning *self, const AvatarImage *image, GError **error)
{
  g_autofree float *moments
      = g_new (float, 2 * self->shape.channels * self->shape.h8 * self->shape.w8);
  AvatarImage *copy = NULL;

  if (encode_reference (self, image, moments, error))
    copy = avatar_image_new (image->width, image->height, image->channels, image->stride,
        image->data, error);
  if (!copy)
    return FALSE;
  self->posterior_moments = g_steal_pointer (&moments);
  self->image = copy;
  return TRUE;
}

void
avatar_conditioning_make_face_masks (AvatarConditioning *self)
{
  self->conditions.faces = avatar_speakers_make_masks (self->settings, self->model);
}

gboolean
avatar_conditioning_check_image (const AvatarConditioning *self, const AvatarImage *image,
    GError **error)
{
  guint width = self->settings->width, height = self->settings->height;

  if (image->width != width || image->height != height || image->channels != 3) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the portrait is %ux%u with %u channels; %ux%u with 3 were expected; fit it to the size of "
        "the video",
        image->width, image->height, image->channels, width, height);
    return FALSE;
  }
  return TRUE;
}

void
avatar_conditioning_clear (AvatarConditioning *self)
{
  for (guint i = 0; i < 2; i++) {
    g_free ((float *) self->conditions.text[i].states);
    g_free ((float *) self->conditions.text[i].pooled);
    g_free ((guint8 *) self->conditions.text[i].mask);
  }
  g_free (self->conditions.reference);
  g_free (self->conditions.faces);
  g_free (self->posterior_moments);
  avatar_image_free (self->image);
  avatar_noise_file_clear (&self->posterior_noise);
  avatar_text_encoder_free (self->text);
}

/* Replaces the portrait, its latent and the masks of the faces. */
static gboolean
replace_image (AvatarConditioning *self, const AvatarImage *image, GError **error)
{
  float *moments = self->posterior_moments;
  AvatarImage *before = self->image;

  if (!avatar_conditioning_set_image (self, image, error))
    return FALSE;
  g_free (moments);
  avatar_image_free (before);
  g_free (self->conditions.reference);
  avatar_conditioning_sample_reference (self);
  g_free (self->conditions.faces);
  avatar_conditioning_make_face_masks (self);
  return TRUE;
}

/* Sets the reference. Called with the lock held. */
static gboolean
set_reference (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  AvatarConditioning *c = &self->conditioning;

  if (self->memory.client)
    avatar_denoiser_memory_release (&self->memory); /* the VAE's encoder needs memory */
  if (self->peer)                                   /* its constants depend on the portrait */
    avatar_denoiser_memory_lock_and_release (&self->peer->memory);
  if (!replace_image (c, image, error))
    return FALSE;
  self->memory.has_constants = FALSE;
  return avatar_denoiser_memory_acquire (&self->memory, c->text_needs.min_weight_bytes, error)
      && avatar_conditioning_encode_texts (c, &self->memory, image, &self->progress, error);
}

gboolean
avatar_denoiser_set_reference (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  gboolean ok;

  if (!avatar_conditioning_check_image (&self->conditioning, image, error))
    return FALSE;
  g_mutex_lock (&self->memory.exec_lock);
  ok = set_reference (self, image, error);
  g_mutex_unlock (&self->memory.exec_lock);
  return ok;
}
