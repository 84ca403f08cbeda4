/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two networks of the causal video VAE on one tile; all sizes from the configuration. */
#pragma once

#include "engine/vae/blocks.h"

G_BEGIN_DECLS

typedef struct _AvatarVaeNetwork AvatarVaeNetwork;

/* Returns %NULL with @source->error. */
AvatarVaeNetwork *avatar_vae_decoder_network_new (AvatarVaeSource *source);
AvatarVaeNetwork *avatar_vae_encoder_network_new (AvatarVaeSource *source);
void avatar_vae_network_free (AvatarVaeNetwork *self);
/* How much of the last level is stored rather than computed again, in bytes: of what enters it, all
 * if of an input of @longest frames (of the same height and width) it were no more than @most_input, else
 * nothing; of what lies between the convolutions of its resnets up to @most_between. The result is the same
 * to the bit, and shorter inputs never take more memory. Without limits at first. */
void avatar_vae_network_set_limits (AvatarVaeNetwork *self, gint64 longest, guint64 most_input,
    guint64 most_between);
/* The bytes of what enters the last level, and of what it gives, for an input of this shape. */
void avatar_vae_network_get_last_level (AvatarVaeNetwork *self, AvatarOps *ops, const gint64 in[3],
    guint64 *input, guint64 *output);
/* Decoder: out [4 (T - 1) + 1, 8 h, 8 w, 3] of latents x [T, h, w, C] (unscaled).
 * Encoder: moments out [(T - 1) / 4 + 1, H / 8, W / 8, 2 C] of pictures x [T, H, W, 3] in -1..1:
 * C means, then C log variances as they come, unclamped. */
void
avatar_vae_network_run (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarVaeNetwork, avatar_vae_network_free)

G_END_DECLS
