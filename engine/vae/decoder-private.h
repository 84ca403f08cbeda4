/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage's own state, shared by its files: tile-decode.c (one
 * tile), decoder-memory.c (memory taken and given back), decoder.c (the public functions). */
#pragma once

#include "engine/device/memory-arbiter.h"
#include "engine/ops/pixels.h"
#include "engine/vae/model.h"
#include "engine/vae/decoder.h"
#include "engine/vae/tiles.h"

G_BEGIN_DECLS

struct _AvatarDecoder
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarVaeConfig *config;
  AvatarVaeModel vae;
  AvatarVaeTiles tiles;
  AvatarPixels pixels;
  gint64 h, w; /* of a latent frame */

  GMutex lock; /* protects ops against cancel */
  GMutex turn; /* held at work; who has it may replace ops */
  AvatarMemoryClient *memory_client;
  AvatarOps *ops;  /* %NULL: no memory is held: before the first tile, or in between */
  void *tail;      /* what state.tail held when memory was given back; NULL: nothing */
  gint cancelled;  /* atomic */
  gboolean shares; /* the arena is the device's scratch memory, taken for one tile at a time */
  gsize kept;      /* bytes that are then held between tiles */
  gsize predicted; /* bytes of the arena */
  gsize peak;      /* the most that was used of it */
  gsize mark;      /* of the arena, above the state */
  AvatarVaeTimeState state;
  AvatarTensor
      bytes; /* frames of the last tile, uint8 [n, frame size]; of a discrete device, a few */
  AvatarTensor bad; /* whether they are no colours */

  GArray *latents; /* floats [n, C, h, w] as pushed */
  gboolean drained;
  guint8 *host; /* frames of the last tile: page-locked if they came from a discrete device;
                   %NULL: they are in @bytes */
  gsize host_size;
  gint64 n_ready, next; /* frames of the last tile, and how many of them have been pulled */
  AvatarDecodeStats stats;
};

/* Bytes of a video frame. */
gsize avatar_decoder_frame_size (AvatarDecoder *self);
/* Takes room for what outlives a tile of up to @latents. */
void avatar_decoder_begin (AvatarDecoder *self, AvatarOps *ops, gint64 latents);
/* Decodes the first @n latents of the queue; returns how many frames are ready as bytes. */
gint64 avatar_decoder_decode (AvatarDecoder *self, AvatarOps *ops, gint64 n, gboolean alone);
/* The high-water mark of decoding tiles of up to @latents with as much of the last level stored as
 * fits into @room; the least, if nothing does. */
gsize avatar_decoder_choose (AvatarDecoder *self, gint64 latents, guint64 room);
/* Whether the least is within the budget at all. */
gboolean avatar_decoder_check_least (AvatarDecoder *self, gint64 latents, GError **error);
/* Reads the weights, if they are not there. */
gboolean avatar_decoder_load (AvatarDecoder *self, gboolean dry_run, GError **error);
/* With the turn: takes the memory for tiles of up to @latents, in the place of other stages at rest if
 * need be. */
gboolean avatar_decoder_allocate (AvatarDecoder *self, gint64 latents, GError **error);
/* With the turn: gives it back, so that the stream can go on later. */
void avatar_decoder_release_memory (AvatarDecoder *self);
/* Joins the decoders that share the device's scratch memory, with enough of it for tiles of
 * @latents. */
gboolean avatar_decoder_share (AvatarDecoder *self, gint64 latents, GError **error);
void avatar_decoder_unshare (AvatarDecoder *self);
/* Bytes that are held between tiles of up to @latents if the arena is shared. */
gsize avatar_decoder_kept_bytes (AvatarDecoder *self, gint64 latents);
/* With the turn: gives the scratch memory back, and keeps the frames of the last tile. */
void avatar_decoder_rest (AvatarDecoder *self);
/* Gives it back with all of the stream. */
void avatar_decoder_drop (AvatarDecoder *self);
void avatar_decoder_free_host (AvatarDecoder *self);
/* AvatarReclaimFunc */
AvatarReclaimResult avatar_decoder_reclaim (gpointer decoder, AvatarReclaimMode mode);

G_END_DECLS
