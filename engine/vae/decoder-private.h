/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoder's state, and functions that its files share: decoder.c has the public functions,
 * tile-decode.c decodes one tile, decoder-memory.c allocates and releases memory. */
#pragma once

#include "engine/device/memory-arbiter.h"
#include "engine/ops/pixels.h"
#include "engine/vae/model.h"
#include "engine/vae/decoder.h"
#include "engine/vae/tiles.h"

G_BEGIN_DECLS

/**
 * AvatarDecoder:
 * @group: device that the decoder was made with; @device: its first member, which computes
 * @h, @w: size of a latent frame
 * @lock: protects @ops against avatar_decoder_cancel()
 * @exec_lock: held while a tile is decoded; its holder may replace @ops
 * @memory_client: (nullable): registration with the arbiter; %NULL on a host device
 * @ops: (nullable): the context; %NULL while no memory is held, before the first tile or between
 *   two tiles
 * @saved_tail: (nullable): host copy of state.tail while the memory is released
 * @cancelled: (atomic): set by avatar_decoder_cancel()
 * @uses_scratch: %TRUE if the arena is the scratch memory of the device, acquired for one tile at a
 *   time
 * @persistent_bytes: bytes that are held between two tiles if @uses_scratch
 * @predicted_bytes: size of the arena
 * @peak_bytes: largest part of the arena that was used
 * @state_mark: mark of the arena above @state, @frames and @non_finite
 * @state: state between two tiles
 * @frames: uint8 [n, frame size], the frames of the last tile; on a discrete device, some of them
 * @non_finite: int32 [1], not 0 if @frames were converted from NaN or infinity
 * @context_latents: with groups: number of latents before a group that are decoded again
 * @latents: floats [n, C, h, w], the queue of latents; with groups, it begins with the context of
 *   the next group
 * @n_pushed, @n_decoded: with groups: number of latents of the stream that were pushed, and that
 *   were decoded
 * @group_ends: guint64, the values of @n_pushed at which groups end that were not decoded yet
 * @drained: %TRUE after avatar_decoder_drain()
 * @host_frames: (nullable): the frames of the last tile, page-locked on a discrete device; %NULL:
 *   they are in @frames
 * @host_frames_size: size of @host_frames in bytes, on a discrete device
 * @deadline: see avatar_decoder_set_deadline()
 * @n_ready: number of frames of the last tile
 * @n_pulled: number of them that were pulled
 */
struct _AvatarDecoder
{
  AvatarModel *model;
  AvatarDevice *group, *device;
  const AvatarVaeConfig *config;
  AvatarVaeModel vae;
  AvatarVaeTiles tiles;
  AvatarPixels pixels;
  gint64 h, w;

  GMutex lock;
  GMutex exec_lock;
  AvatarMemoryClient *memory_client;
  AvatarOps *ops;
  void *saved_tail;
  gint cancelled;
  gboolean uses_scratch;
  gsize persistent_bytes;
  gsize predicted_bytes;
  gsize peak_bytes;
  gsize state_mark;
  AvatarVaeTimeState state;
  AvatarTensor frames;
  AvatarTensor non_finite;

  gint64 context_latents;
  GArray *latents;
  guint64 n_pushed, n_decoded;
  GArray *group_ends;
  gboolean drained;
  guint8 *host_frames;
  gsize host_frames_size;
  gint64 deadline;
  gint64 n_ready, n_pulled;
  AvatarDecodeStats stats;
};

/* Returns the bytes of a video frame. */
gsize avatar_decoder_frame_size (AvatarDecoder *self);
/* Allocates the tensors that outlive a tile of up to @latents from the arena of @ops. */
void avatar_decoder_alloc_state (AvatarDecoder *self, AvatarOps *ops, gint64 latents);
/* Decodes the first @n latents of the queue. Returns the number of frames that are final. */
gint64 avatar_decoder_decode_tile (AvatarDecoder *self, AvatarOps *ops, gint64 n,
    AvatarVaeTileScope scope);
/* Decodes the first @n latents of the queue, of which @context belong to groups before. Returns the
 * number of frames of the others. */
gint64 avatar_decoder_decode_group (AvatarDecoder *self, AvatarOps *ops, gint64 n, gint64 context);
/* Chooses how much of the last level is stored, so that tiles of up to @latents fit in
 * @available_bytes. Returns the size of the arena; it is the minimum, and larger than
 * @available_bytes, if nothing fits. */
gsize avatar_decoder_plan_memory (AvatarDecoder *self, gint64 latents, guint64 available_bytes);
/* Returns FALSE with AVATAR_ERROR_MEMORY if the minimum exceeds the budget. */
gboolean avatar_decoder_check_budget (AvatarDecoder *self, gint64 latents, GError **error);
/* Replaces the network by one with loaded weights, or with shapes only. */
gboolean avatar_decoder_load_weights (AvatarDecoder *self, AvatarWeightsMode mode, GError **error);
/* Allocates the memory for tiles of up to @latents and restores the state of the stream. Idle
 * stages of the device release memory for it. Called with @exec_lock. */
gboolean avatar_decoder_acquire_memory (AvatarDecoder *self, gint64 latents, GError **error);
/* Frees that memory and saves the state, so that the stream can continue. Called with
 * @exec_lock. */
void avatar_decoder_release_memory (AvatarDecoder *self);
/* Frees that memory without saving the state. */
void avatar_decoder_discard_memory (AvatarDecoder *self);
/* Joins the decoders that share the scratch memory of a host device, with a size for tiles of up to
 * @latents. */
gboolean avatar_decoder_join_scratch (AvatarDecoder *self, gint64 latents, GError **error);
void avatar_decoder_leave_scratch (AvatarDecoder *self);
/* Returns the bytes that are held between two tiles of up to @latents with scratch memory. */
gsize avatar_decoder_get_persistent_bytes (AvatarDecoder *self, gint64 latents);
/* Saves the state and the frames of the last tile, and releases the scratch memory. Called with
 * @exec_lock. */
void avatar_decoder_release_scratch (AvatarDecoder *self);
void avatar_decoder_free_host_frames (AvatarDecoder *self);
/* Implements AvatarReclaimFunc. */
AvatarReclaimResult avatar_decoder_reclaim (gpointer decoder, AvatarReclaimMode mode);

G_END_DECLS
