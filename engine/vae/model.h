/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network of the VAE made from a model folder. */
#pragma once

#include "engine/vae/networks.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* @weights: the part "vae", which must outlive the network. @bytes: memory for packed weights and
 * for @weights. */
AvatarVaeNetwork *avatar_vae_network_of_model (AvatarModel *model, AvatarDevice *device,
    AvatarWeights *weights, gboolean decoder, gboolean dry, guint64 *bytes, GError **error);
/* Whether a video of this size can be cut into latent cells. */
gboolean avatar_vae_check_size (AvatarModel *model, guint width, guint height, GError **error);

G_END_DECLS
