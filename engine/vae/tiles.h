/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's tiling (docs/dev/spec/vae-text-face-formats.md 1.8), for decoding and encoding:
 * overlapping temporal tiles, each made of overlapping spatial tiles, blended in upstream's order.
 * The partition affects the result, because a group norm covers one tile. */
#pragma once

#include "engine/vae/networks.h"

G_BEGIN_DECLS

/* Neighbouring tiles of upstream share 1 / 4 of their length. */
#define AVATAR_VAE_OVERLAP 4

/**
 * AvatarVaeAxis:
 * @length: length of a tile, in inputs
 * @step: distance between the starts of two tiles, in inputs
 * @blend: number of outputs that a tile blends with the tile before it
 * @keep: number of outputs of a tile that remain in the result
 *
 * Tiles along one axis.
 */
typedef struct
{
  gint64 length, step, blend, keep;
} AvatarVaeAxis;

/**
 * AvatarVaeTileSettings:
 * @tiling: %FALSE to process everything as one tile
 * @tile_size: side of a spatial tile in pixels
 * @tile_frames: length of a temporal tile in video frames
 * @overlap: neighbouring tiles share 1 / @overlap of their length
 * @groups: decodes groups of latents that do not overlap in time; not used without @tiling
 * @fade_frames: number of frames over which a jump between two groups is faded out; 0: it is not
 */
typedef struct
{
  gboolean tiling;
  guint tile_size, tile_frames, overlap;
  gboolean groups;
  guint fade_frames;
} AvatarVaeTileSettings;

/**
 * AvatarVaeTiles:
 * @network: the network that processes a tile; set by the caller
 * @kind: its kind
 * @tiling, @groups, @fade_frames: see #AvatarVaeTileSettings
 * @spatial_ratio, @temporal_ratio: pixels per latent cell, video frames per latent frame
 * @space: spatial tiles, the same for rows and columns
 * @time: temporal tiles; its length does not count the frames of context before a tile, and is all
 *   that groups use
 * @channels_out: channels of the result
 */
typedef struct
{
  AvatarVaeNetwork *network;
  AvatarVaeKind kind;
  gboolean tiling, groups;
  gint64 fade_frames;
  gint64 spatial_ratio, temporal_ratio;
  AvatarVaeAxis space, time;
  gint64 channels_out;
} AvatarVaeTiles;

/**
 * AvatarVaeTimeState:
 * @tile: [frames, H', W', C'], the result of the current tile
 * @tail: [blend, H', W', C'], the last frames of the tile before; [1, H', W', C'] with groups that
 *   are faded
 * @n_tail: number of frames in @tail
 * @index: number of tiles that were processed
 *
 * State between two temporal tiles of a stream.
 */
typedef struct
{
  AvatarTensor tile, tail;
  gint64 n_tail;
  guint index;
} AvatarVaeTimeState;

typedef enum
{
  AVATAR_VAE_TILE_PART_OF_STREAM, /* is blended with other temporal tiles */
  AVATAR_VAE_TILE_WHOLE_STREAM,   /* the only temporal tile of the stream */
} AvatarVaeTileScope;

void avatar_vae_tiles_init (AvatarVaeTiles *self, const AvatarVaeConfig *config, AvatarVaeKind kind,
    const AvatarVaeTileSettings *settings);
/* Returns the number of frames, or the side, of the result of an input of that size. */
gint64 avatar_vae_tiles_frames_out (const AvatarVaeTiles *self, gint64 frames_in);
gint64 avatar_vae_tiles_size_out (const AvatarVaeTiles *self, gint64 size_in);
/* Allocates the state for temporal tiles of up to @frames inputs of [@h, @w] from the arena. */
AvatarVaeTimeState avatar_vae_time_state_new (const AvatarVaeTiles *self, AvatarOps *ops,
    gint64 frames, gint64 h, gint64 w);
/* Processes the next temporal tile @x [t, h, w, C]. Returns the frames that are final, as a view
 * [n, H', W', C'] of state->tile; n may be 0. All frames of a AVATAR_VAE_TILE_WHOLE_STREAM are
 * final. */
AvatarTensor avatar_vae_time_tile (const AvatarVaeTiles *self, AvatarOps *ops,
    AvatarVaeTimeState *state, AvatarTensor x, AvatarVaeTileScope scope);
/* Decodes the next group @x [t, h, w, C], whose first @context latents belong to groups before.
 * Returns the frames of the other latents, as a view [n, H', W', C'] of state->tile. They depend on
 * no later latent. The difference between the last frame before the group and the same frame as
 * decoded here decays to 0 over the first fade_frames frames, since the group norms of two groups
 * differ. */
AvatarTensor avatar_vae_time_group (const AvatarVaeTiles *self, AvatarOps *ops,
    AvatarVaeTimeState *state, AvatarTensor x, gint64 context);
/* Processes all tiles of @x [T, h, w, C] into @out [T', H', W', C']. */
void
avatar_vae_tiles_run (const AvatarVaeTiles *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x);

G_END_DECLS
