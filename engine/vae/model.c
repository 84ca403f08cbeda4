/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the tensors of a model folder to a network. */
#include "engine/vae/model.h"

static AvatarTensor
lookup (gpointer weights, const char *name)
{
  return avatar_weights_get (weights, "%s", name);
}

AvatarVaeNetwork *
avatar_vae_network_of_model (AvatarModel *model, AvatarDevice *device, AvatarWeights *weights,
    gboolean decoder, gboolean dry, guint64 *bytes, GError **error)
{
  AvatarVaeSource source = { .device = device,
    .config = &avatar_model_get_config (model)->vae,
    .lookup = lookup,
    .data = weights,
    .dry = dry };
  AvatarVaeNetwork *self = decoder ? avatar_vae_decoder_network_new (&source)
                                   : avatar_vae_encoder_network_new (&source);

  if (!self)
    g_propagate_error (error, source.error);
  *bytes = source.bytes + avatar_weights_bytes (weights);
  return self;
}

gboolean
avatar_vae_check_size (AvatarModel *model, guint width, guint height, GError **error)
{
  guint ratio = avatar_model_get_config (model)->vae.spatial_ratio;

  if (width > 0 && height > 0 && width % ratio == 0 && height % ratio == 0 && width <= 16384
      && height <= 16384)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "video size %ux%u: width and height must be multiples of %u, up to 16384", width, height,
      ratio);
  return FALSE;
}
