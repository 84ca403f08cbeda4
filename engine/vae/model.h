/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One network of the VAE with the weights of a model. */
#pragma once

#include "engine/vae/networks.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/**
 * AvatarVaeModel:
 * @network: (owned): the network
 * @weights: (owned): the context whose arena holds the weights; a dry run without loaded weights
 * @weight_bytes: the size of that arena in bytes
 *
 * A network and its weights, which are read, packed and copied to the device when it is made. The
 * files are not read afterwards.
 */
typedef struct
{
  AvatarVaeNetwork *network;
  AvatarOps *weights;
  guint64 weight_bytes;
} AvatarVaeModel;

/* Makes the network @kind of @model. @mode selects loaded weights, or shapes only for a dry run.
 * Returns FALSE with AVATAR_ERROR_SETTINGS, AVATAR_ERROR_NOT_FOUND, AVATAR_ERROR_MEMORY or
 * AVATAR_ERROR_READ; the caller calls avatar_vae_model_clear() in any case. */
gboolean avatar_vae_model_init (AvatarVaeModel *self, AvatarModel *model, AvatarDevice *device,
    AvatarVaeKind kind, AvatarWeightsMode mode, GError **error);
void avatar_vae_model_clear (AvatarVaeModel *self);
/* Returns TRUE if @self has shapes only. */
gboolean avatar_vae_model_is_dry_run (const AvatarVaeModel *self);
/* Returns a context for activations, in the dtype that @device uses for pixels, or NULL with
 * @error. Takes ownership of @arena as avatar_ops_new() does. */
AvatarOps *avatar_vae_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error);
/* Returns FALSE with AVATAR_ERROR_SETTINGS if the VAE cannot process pictures of @width x @height
 * pixels. */
gboolean avatar_vae_check_size (AvatarModel *model, guint width, guint height, GError **error);

G_END_DECLS
