/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder and the decoder network of the causal video VAE. A network processes one tile. All
 * sizes come from the configuration. */
#pragma once

#include "engine/vae/blocks.h"

G_BEGIN_DECLS

typedef struct _AvatarVaeNetwork AvatarVaeNetwork;

typedef enum
{
  AVATAR_VAE_ENCODER,
  AVATAR_VAE_DECODER,
} AvatarVaeKind;

/* Makes a network with the weights of @source, which may be freed afterwards; its arena may not.
 * Returns NULL with source->error set. */
AvatarVaeNetwork *avatar_vae_network_new (AvatarVaeSource *source, AvatarVaeKind kind);
void avatar_vae_network_free (AvatarVaeNetwork *self);
/**
 * avatar_vae_network_set_limits:
 * @max_frames: number of frames of the longest input that the network will process
 * @max_input_bytes: the input of the last level is stored if it has at most this size for an input
 *   of @max_frames, and is otherwise recomputed when it is read
 * @max_hidden_bytes: size up to which the tensor between the convolutions of a resnet of the last
 *   level is stored; the rest is recomputed
 *
 * Limits the memory of the last level, which is the largest. The result is bit-identical with any
 * limits, and shorter inputs of the same height and width never need more memory. A new network has
 * no limits.
 */
void avatar_vae_network_set_limits (AvatarVaeNetwork *self, gint64 max_frames,
    guint64 max_input_bytes, guint64 max_hidden_bytes);
/* Gets the sizes in bytes of the input and the output of the last level, for a network input of
 * shape @in [T, h, w] in the dtype of @ops. */
void avatar_vae_network_get_last_level (AvatarVaeNetwork *self, AvatarOps *ops, const gint64 in[3],
    guint64 *input_bytes, guint64 *output_bytes);
/* Runs the network. Both tensors have the dtype of @ops.
 * Decoder: unscaled latents @x [T, h, w, C], frames @out [4 (T - 1) + 1, 8 h, 8 w, 3].
 * Encoder: frames @x [T, H, W, 3] from -1 to 1, moments @out [(T - 1) / 4 + 1, H / 8, W / 8, 2 C]:
 * C means, then C logarithms of variances, not clamped. */
void
avatar_vae_network_run (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarVaeNetwork, avatar_vae_network_free)

G_END_DECLS
