/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's tiles (docs/dev/spec/vae-text-face-formats.md 1.8), the same for decoding and
 * encoding: overlapping tiles in time, each made of overlapping tiles in space, blended in place in
 * upstream's order. The partition is part of the function: group norms see one tile. */
#pragma once

#include "engine/vae/networks.h"

G_BEGIN_DECLS

/* Upstream's tiles share a quarter of their length. */
#define AVATAR_VAE_OVERLAP 4

/* Along one axis: tiles of @length begin every @step inputs; of the outputs, @keep are kept of
 * each tile and the first @blend are blended with the tile before. */
typedef struct
{
  gint64 length, step, blend, keep;
} AvatarVaeAxis;

typedef struct
{
  AvatarVaeNetwork *network;
  gboolean decoder, tiling;
  gint64 spatial_ratio, temporal_ratio;
  AvatarVaeAxis space, time; /* time.length does not count the frame of context in front */
  gint64 channels_out;
} AvatarVaeTiles;

/* What a tile in time leaves to the next one. Both tensors are [frames, H', W', C']. */
typedef struct
{
  AvatarTensor tile, tail;
  gint64 n_tail;
  guint index;
} AvatarVaeTimeState;

/* @tile_size, @tile_frames: in pixels and video frames; @overlap: the n-th part of a tile is shared
 * with its neighbour. */
void avatar_vae_tiles_init (AvatarVaeTiles *self, const AvatarVaeConfig *config, gboolean decoder,
    gboolean tiling, guint tile_size, guint tile_frames, guint overlap);
gint64 avatar_vae_tiles_frames_out (const AvatarVaeTiles *self, gint64 frames_in);
gint64 avatar_vae_tiles_size_out (const AvatarVaeTiles *self, gint64 size_in);
/* Room for tiles of up to @frames inputs of [h, w]. */
AvatarVaeTimeState avatar_vae_time_state_new (const AvatarVaeTiles *self, AvatarOps *ops,
    gint64 frames, gint64 h, gint64 w);
/* The next tile in time, x [t, h, w, C]: the frames that are final, a view of @state->tile.
 * @alone: the stream has no other tile, so that all frames are. May be empty (shape[0] = 0). */
AvatarTensor avatar_vae_time_tile (const AvatarVaeTiles *self, AvatarOps *ops,
    AvatarVaeTimeState *state, AvatarTensor x, gboolean alone);
/* All tiles of x [T, h, w, C] into out [T', H', W', C']. */
void
avatar_vae_tiles_run (const AvatarVaeTiles *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x);

G_END_DECLS
