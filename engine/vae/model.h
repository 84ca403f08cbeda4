/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network of the VAE made from a model folder. */
#pragma once

#include "engine/vae/networks.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/**
 * AvatarVaeModel: a network and its weights, which are read, packed and put on the device when it is
 * made; the files are not needed afterwards.
 * @weights: their arena, dry in a plan; @bytes: its size
 */
typedef struct
{
  AvatarVaeNetwork *network;
  AvatarOps *weights;
  guint64 bytes;
} AvatarVaeModel;

/* @self: cleared by the caller with avatar_vae_model_clear(), also after a failure. */
gboolean avatar_vae_model_init (AvatarVaeModel *self, AvatarModel *model, AvatarDevice *device,
    gboolean decoder, gboolean dry_run, GError **error);
void avatar_vae_model_clear (AvatarVaeModel *self);
/* Whether there are sizes alone. */
gboolean avatar_vae_model_is_dry_run (const AvatarVaeModel *self);
/* A context for its activations; takes over @arena as avatar_ops_new() does. */
AvatarOps *avatar_vae_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error);
/* Whether a video of this size can be cut into latent cells. */
gboolean avatar_vae_check_size (AvatarModel *model, guint width, guint height, GError **error);

G_END_DECLS
