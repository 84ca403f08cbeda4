/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the denoiser is given beside sound and texts: the portrait as a latent
 * (docs/dev/spec/denoise.md 4.4), and noise in files (docs/dev/spec/denoise.md 4.6). */
#include "engine/denoise/parity.h"
#include "engine/denoise/denoiser-private.h"
#include "engine/image/face.h"
#include "engine/vae/encoder.h"

#include <string.h>

/* Noise of the posterior is drawn for frames that no video has. */
#define POSTERIOR_FRAME ((guint64) 1 << 63)

static gboolean
takes_mode (const AvatarDenoiseSettings *s)
{
  return !s->posterior_noise || strcmp (s->posterior_noise, "mode") == 0;
}

/* As 16-bit numbers, which they are where upstream's encoders make them. */
void
avatar_denoiser_round_texts (AvatarDenoiser *self)
{
  const AvatarTransformerConfig *c = self->transformer.config;

  for (guint i = 0; i < 2 && self->settings.upstream_rounding; i++) {
    AvatarText *text = &self->conditions.text[i];

    if (text->states)
      avatar_dtype_round ((float *) text->states, (gsize) text->n * c->text_dim, AVATAR_F16);
    if (text->pooled)
      avatar_dtype_round ((float *) text->pooled, c->pooled_dim, AVATAR_F16);
  }
}

gboolean
avatar_denoiser_take_noise (AvatarDenoiser *self, const AvatarDenoiseSettings *s, GError **error)
{
  const gint64 shape[4] = { self->channels, self->frames, self->h8, self->w8 };

  if (s->noise && s->noise_file) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "noise is given twice, in memory and as the file %s; give one", s->noise_file);
    return FALSE;
  }
  self->conditions.n_reference = takes_mode (s) ? 1 : self->frames;
  self->seeded_posterior = s->posterior_noise && strcmp (s->posterior_noise, "seeded") == 0;
  if (self->dry_run)
    return TRUE;
  if (s->noise_file && !avatar_noise_file_load (&self->noise, s->noise_file, "noise", shape, error))
    return FALSE;
  return takes_mode (s) || self->seeded_posterior
      || avatar_noise_file_load (&self->posterior, s->posterior_noise, "posterior-noise", shape,
          error);
}

/* The pixels in -1..1, [height, width, 3]. */
static float *
prepare_pixels (AvatarDenoiser *self, const AvatarImage *image)
{
  float *rgb = g_new (float, (gsize) image->width * image->height * 3);

  if (self->settings.upstream_rounding) {
    avatar_parity_pixels (rgb, image);
    return rgb;
  }
  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++)
      rgb[(gsize) y * 3 * image->width + x]
          = image->data[(gsize) y * image->stride + x] / 127.5f - 1.f;
  return rgb;
}

/* Noise of the posterior's frame @j: [channels, h8, w8]; %NULL for its mode. */
static float *
posterior_noise (AvatarDenoiser *self, guint j)
{
  gsize n = self->h8 * self->w8;
  float *noise;

  if (!self->seeded_posterior && !self->posterior.values)
    return NULL;
  noise = g_new (float, self->channels *n);
  if (self->posterior.values)
    avatar_noise_file_copy (&self->posterior, j, noise, self->channels, 1, 0, n);
  else
    avatar_noise_fill (noise, self->channels * n, self->settings.seed, POSTERIOR_FRAME + j);
  return noise;
}

/* The reference [channels, n_reference, h8, w8] of the posterior's moments. */
void
avatar_denoiser_sample_reference (AvatarDenoiser *self)
{
  const AvatarVaeConfig *vae = &avatar_model_get_config (self->model)->vae;
  gsize n = self->h8 * self->w8, all = self->channels * n, frames = self->conditions.n_reference;
  float *reference = g_new (float, all *frames);
  g_autofree float *one = g_new (float, all);

  for (guint j = 0; j < frames; j++) {
    g_autofree float *noise = posterior_noise (self, j);

    avatar_posterior_sample (one, self->moments, noise, all, vae->shift_factor, vae->scaling_factor,
        self->settings.upstream_rounding);
    for (gint64 c = 0; c < self->channels; c++)
      memcpy (reference + (c * frames + j) * n, one + c * n, n * sizeof (float));
  }
  self->conditions.reference = reference;
}

/* The posterior's moments of the portrait. */
static gboolean
encode_reference (AvatarDenoiser *self, const AvatarImage *image, float *moments, GError **error)
{
  g_autoptr (AvatarVaeEncoder) encoder = avatar_vae_encoder_new (self->model, self->device,
      self->settings.width, self->settings.height, error);
  g_autofree float *rgb = NULL;

  if (!encoder)
    return FALSE;
  rgb = prepare_pixels (self, image);
  return avatar_vae_encode_moments (encoder, rgb, moments, error);
}

gboolean
avatar_denoiser_take_image (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  g_autofree float *moments = g_new (float, 2 * self->channels * self->h8 * self->w8);
  AvatarImage *copy = NULL;

  if (encode_reference (self, image, moments, error))
    copy = avatar_image_new (image->width, image->height, image->channels, image->stride,
        image->data, error);
  if (!copy)
    return FALSE;
  self->moments = g_steal_pointer (&moments);
  self->image = copy;
  return TRUE;
}

void
avatar_denoiser_make_face_mask (AvatarDenoiser *self)
{
  self->conditions.face = g_new (float, self->h8 * self->w8);
  avatar_face_mask (self->conditions.face, self->settings.width, self->settings.height,
      self->settings.face_box, avatar_model_get_config (self->model)->face_mask_area,
      avatar_model_get_info (self->model)->latent_scale);
}

/* With the turn. */
static gboolean
take_reference (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  float *moments = self->moments;
  AvatarImage *before = self->image;

  if (self->memory_client)
    avatar_denoiser_release_memory (self); /* in turns with the portrait's encoder */
  if (!avatar_denoiser_take_image (self, image, error))
    return FALSE;
  g_free (moments);
  avatar_image_free (before);
  g_free (self->conditions.reference);
  avatar_denoiser_sample_reference (self);
  g_free (self->conditions.face);
  avatar_denoiser_make_face_mask (self);
  self->begun = FALSE;
  if (!avatar_denoiser_acquire_memory (self, self->text_needs.least, error)
      || !avatar_denoiser_encode_texts (self, image, error))
    return FALSE;
  avatar_denoiser_round_texts (self);
  return TRUE;
}

gboolean
avatar_denoiser_check_image (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  guint width = self->settings.width, height = self->settings.height;

  if (image->width != width || image->height != height || image->channels != 3) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the fitted portrait is %ux%u with %u channels; %ux%u with 3 were expected", image->width,
        image->height, image->channels, width, height);
    return FALSE;
  }
  return TRUE;
}

gboolean
avatar_denoiser_set_reference (AvatarDenoiser *self, const AvatarImage *image, GError **error)
{
  gboolean ok;

  if (!avatar_denoiser_check_image (self, image, error))
    return FALSE;
  g_mutex_lock (&self->turn);
  ok = take_reference (self, image, error);
  g_mutex_unlock (&self->turn);
  return ok;
}
