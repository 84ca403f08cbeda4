/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Difference between a portrait and what the VAE makes of it. */
#include "engine/device/device.h"
#include "engine/vae/encoder.h"

#include <avatar/decode.h>
#include <avatar/image.h>
#include <math.h>

/* PSNR of equal pictures (dB), in place of infinity. */
#define PSNR_OF_EQUAL 99.

/* Returns the latent of @image as the denoiser has it. Free with g_free(). */
static float *
encode (const AvatarImage *image, AvatarModel *model, AvatarDevice *host, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize cells = (gsize) (image->width / info->latent_scale) * (image->height / info->latent_scale);
  g_autoptr (AvatarVaeEncoder) encoder
      = avatar_vae_encoder_new (model, host, image->width, image->height, error);
  g_autofree float *rgb = g_new (float, (gsize) image->width * image->height * 3);
  g_autofree float *latent = g_new (float, cells * info->latent_channels);

  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++)
      rgb[(gsize) y * 3 * image->width + x]
          = image->data[(gsize) y * image->stride + x] / 127.5f - 1.f;
  if (!encoder || !avatar_vae_encode_image (encoder, rgb, latent, error))
    return NULL;
  return g_steal_pointer (&latent);
}

/* Decodes @latent to @rgb, the first frame of a video. */
static gboolean
decode (const float *latent, const AvatarImage *image, AvatarModel *model, AvatarDevice *host,
    guint8 *rgb, GError **error)
{
  AvatarDecodeSettings settings;
  g_autoptr (AvatarDecoder) decoder = NULL;

  avatar_decode_settings_init (&settings, model);
  decoder = avatar_decoder_new (model, host, image->width, image->height, &settings, error);
  return decoder && avatar_decoder_push (decoder, latent, error)
      && avatar_decoder_drain (decoder, error)
      && avatar_decoder_pull (decoder, rgb, (gsize) image->width * 3, error) == AVATAR_PULL_OK;
}

static double
psnr_of (const AvatarImage *image, const guint8 *rgb)
{
  gsize n = (gsize) image->width * image->height * 3;
  guint64 sum = 0;

  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++) {
      gint d = image->data[(gsize) y * image->stride + x] - rgb[(gsize) y * 3 * image->width + x];

      sum += (guint64) (d * d);
    }
  return sum == 0 ? PSNR_OF_EQUAL : 10 * log10 (255. * 255. * n / sum);
}

gboolean
avatar_image_measure (const AvatarImage *image, AvatarModel *model, AvatarDevice *device,
    double *psnr, GError **error)
{
  g_autoptr (AvatarDevice) host = NULL;
  g_autofree guint8 *rgb = NULL;
  g_autofree float *latent = NULL;

  g_return_val_if_fail (image->channels == 3, FALSE);
  host = avatar_device_or_host (device, error);
  if (!host)
    return FALSE;
  latent = encode (image, model, host, error);
  rgb = g_malloc ((gsize) image->width * image->height * 3);
  if (!latent || !decode (latent, image, model, host, rgb, error))
    return FALSE;
  *psnr = psnr_of (image, rgb);
  return TRUE;
}
