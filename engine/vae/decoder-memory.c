/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoder's memory: how much of it, when it is taken, and how it is given back between two tiles
 * of a stream. */
#include "engine/vae/decoder-private.h"

#include "engine/device/device.h"
#include "engine/device/scratch.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.
/* How often memory is asked for that others were just to give back. */
#define ATTEMPTS 3

/* The high-water mark of decoding tiles of up to @latents. */
static gsize
plan_tile (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarVaeTimeState state = self->state;

  avatar_decoder_begin (self, ops, latents);
  avatar_decoder_decode (self, ops, latents, !self->tiles.tiling);
  self->state = state;
  return avatar_arena_peak (ops->arena);
}

/* Parts of the last level that are stored, from all to as little as will do. */
#define PARTS 24

gsize
avatar_decoder_choose (AvatarDecoder *self, gint64 latents, guint64 room)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  gint64 tile = self->tiles.tiling ? self->tiles.space.length : G_MAXINT64;
  const gint64 shape[3] = { latents, MIN (self->h, tile), MIN (self->w, tile) };
  AvatarVaeNetwork *network = self->vae.network;
  guint64 input, output;
  guint low = 0, high = PARTS;
  gsize peak;

  avatar_vae_network_set_limits (network, latents, G_MAXUINT64, G_MAXUINT64);
  peak = plan_tile (self, latents);
  if (peak <= room)
    return peak;
  avatar_vae_network_get_last_level (network, ops, shape, &input, &output);
  /* the largest part between the convolutions with which it fits, the input being made anew */
  while (low < high) {
    guint middle = (low + high + 1) / 2;

    avatar_vae_network_set_limits (network, latents, 0, output * middle / PARTS);
    if (plan_tile (self, latents) <= room)
      low = middle;
    else
      high = middle - 1;
  }
  /* then the largest input: that of smaller tiles at the borders may find room */
  for (guint part = PARTS; part > 0; part--) {
    avatar_vae_network_set_limits (network, latents, input * part / PARTS, output * low / PARTS);
    peak = plan_tile (self, latents);
    if (peak <= room)
      return peak;
  }
  avatar_vae_network_set_limits (network, latents, 0, output * low / PARTS);
  return plan_tile (self, latents);
}

gboolean
avatar_decoder_check_least (AvatarDecoder *self, gint64 latents, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  AvatarBackendDevice *handle = avatar_device_get_handle (self->device);
  guint64 needed
      = avatar_device_get_allocation_size (self->device, avatar_decoder_choose (self, latents, 0))
      + avatar_device_get_allocation_size (self->device, self->vae.bytes);
  AvatarMemory memory;

  if (backend->discrete)
    needed += backend->overhead (handle);
  avatar_device_get_memory (self->device, &memory);
  if (memory.budget == 0 || needed <= memory.budget)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the decoder needs a budget of at least %.0f MiB on %s for this video, but it is %.0f MiB; "
      "raise it or choose a smaller video, or smaller tiles",
      ceil (needed / MIB), avatar_device_get_name (self->device), memory.budget / MIB);
  return FALSE;
}

void
avatar_decoder_free_host (AvatarDecoder *self)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);

  if (self->host && backend->discrete)
    backend->host_free (avatar_device_get_handle (self->device), self->host, self->host_size);
  else
    g_free (self->host);
  self->host = NULL;
}

static gboolean
allocate_host (AvatarDecoder *self, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  gsize size = self->state.tile.shape[0] * avatar_decoder_frame_size (self);

  if (!backend->discrete || (self->host && self->host_size >= size))
    return TRUE;
  avatar_decoder_free_host (self);
  self->host_size = size;
  self->host = backend->host_new (avatar_device_get_handle (self->device), size);
  if (!self->host)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the decoder: the system has no %.0f MiB of page-locked memory left for frames; close other "
        "programs, or raise the limit (ulimit -l)",
        size / 1048576.);
  return self->host != NULL;
}

gboolean
avatar_decoder_load (AvatarDecoder *self, gboolean dry_run, GError **error)
{
  gboolean ok;

  avatar_vae_model_clear (&self->vae);
  ok = avatar_vae_model_init (&self->vae, self->model, self->device, TRUE, dry_run, error);
  self->tiles.network = self->vae.network;
  return ok;
}

gsize
avatar_decoder_kept_bytes (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarVaeTimeState state = self->state;
  gsize bytes;

  avatar_decoder_begin (self, ops, latents);
  bytes = avatar_tensor_bytes (self->state.tail) + avatar_tensor_bytes (self->bytes);
  self->state = state;
  self->bytes = AVATAR_NO_TENSOR;
  return bytes;
}

gboolean
avatar_decoder_share (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarScratch *scratch = avatar_device_get_scratch (self->device);
  gsize kept = avatar_decoder_kept_bytes (self, latents);
  guint64 room;

  if (!avatar_ledger_add (self->device, kept, "the decoder's frames", error))
    return FALSE;
  self->kept = kept;
  room = avatar_device_get_available_bytes (self->device);
  room += MIN (avatar_scratch_get_size (scratch), G_MAXUINT64 - room);
  self->predicted = avatar_decoder_choose (self, latents, room);
  self->shares = avatar_scratch_join (scratch, self->predicted, "the decoder", error);
  return self->shares;
}

void
avatar_decoder_unshare (AvatarDecoder *self)
{
  if (self->shares)
    avatar_scratch_leave (avatar_device_get_scratch (self->device));
  if (self->kept)
    avatar_ledger_remove (self->device, self->kept);
  self->shares = FALSE;
  self->kept = 0;
}

/* The scratch memory, or %NULL if the decoder was cancelled while it waited. */
static AvatarArena *
borrow_arena (AvatarDecoder *self, GError **error)
{
  void *memory
      = avatar_scratch_acquire (avatar_device_get_scratch (self->device), &self->cancelled);

  if (memory)
    return avatar_arena_new_over (self->device, memory, self->predicted);
  if (g_atomic_int_get (&self->cancelled))
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the decoder: %s has no %.1f MiB left; close other programs or choose a smaller video",
        avatar_device_get_name (self->device), self->predicted / MIB);
  return NULL;
}

void
avatar_decoder_rest (AvatarDecoder *self)
{
  gsize frame = avatar_decoder_frame_size (self);

  if (!self->ops)
    return;
  if (!self->host)
    self->host = g_malloc (avatar_tensor_bytes (self->bytes));
  memcpy (self->host, self->bytes.data, self->n_ready * frame);
  self->peak = MAX (self->peak, avatar_arena_peak (self->ops->arena));
  avatar_decoder_release_memory (self);
  avatar_scratch_release (avatar_device_get_scratch (self->device));
}

/* For the arena, and for the weights if they were given back. */
static void
make_room (AvatarDecoder *self, gint64 latents)
{
  guint64 best = avatar_device_get_allocation_size (self->device,
      avatar_decoder_choose (self, latents, G_MAXUINT64));
  guint64 least
      = avatar_device_get_allocation_size (self->device, avatar_decoder_choose (self, latents, 0));
  guint64 weights = 0;

  if (avatar_vae_model_is_dry_run (&self->vae))
    weights = avatar_device_get_allocation_size (self->device, self->vae.bytes);
  avatar_memory_client_request (self->memory_client, weights + best, weights + least,
      &self->cancelled);
}

/* The weights, if they are not there; sizes alone after a failure. */
static gboolean
ensure_weights (AvatarDecoder *self, GError **error)
{
  if (!avatar_vae_model_is_dry_run (&self->vae) || avatar_decoder_load (self, FALSE, error))
    return TRUE;
  avatar_decoder_load (self, TRUE, NULL);
  return FALSE;
}

/* As much as there is room for, after others were asked for theirs. */
static AvatarArena *
take_arena (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarArena *arena = NULL;
  GError *reason = NULL;

  for (guint i = 0; i < ATTEMPTS && !arena; i++) {
    g_clear_error (&reason);
    if (self->memory_client)
      make_room (self, latents);
    if (!ensure_weights (self, &reason))
      continue;
    self->predicted
        = avatar_decoder_choose (self, latents, avatar_device_get_available_bytes (self->device));
    arena = avatar_arena_new (self->device, self->predicted, "the decoder", &reason);
    if (!self->memory_client)
      break;
  }
  if (!arena)
    g_propagate_error (error, reason);
  else
    g_clear_error (&reason);
  return arena;
}

gboolean
avatar_decoder_allocate (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarVaeTimeState before = self->state;
  AvatarArena *arena
      = self->shares ? borrow_arena (self, error) : take_arena (self, latents, error);
  AvatarOps *ops = arena ? avatar_vae_ops_new (self->device, arena, error) : NULL;

  if (!ops) {
    if (arena && self->shares)
      avatar_scratch_release (avatar_device_get_scratch (self->device));
    return FALSE;
  }
  avatar_decoder_begin (self, ops, latents);
  self->state.index = before.index;
  self->state.n_tail = before.n_tail;
  if (self->tail)
    avatar_op_upload_raw (ops, self->state.tail, self->tail);
  g_clear_pointer (&self->tail, g_free);
  g_mutex_lock (&self->lock);
  self->ops = ops;
  if (g_atomic_int_get (&self->cancelled))
    avatar_ops_cancel (ops);
  g_mutex_unlock (&self->lock);
  if (self->memory_client)
    avatar_memory_client_set_reclaimable (self->memory_client, TRUE);
  return allocate_host (self, error);
}

void
avatar_decoder_drop (AvatarDecoder *self)
{
  g_mutex_lock (&self->lock);
  g_clear_pointer (&self->ops, avatar_ops_free);
  g_mutex_unlock (&self->lock);
}

void
avatar_decoder_release_memory (AvatarDecoder *self)
{
  if (!self->ops)
    return;
  if (self->state.n_tail > 0) {
    self->tail = g_malloc0 (avatar_tensor_bytes (self->state.tail));
    avatar_op_download_raw (self->ops, self->tail, self->state.tail);
  }
  avatar_decoder_drop (self);
}

AvatarReclaimResult
avatar_decoder_reclaim (gpointer decoder, AvatarReclaimMode mode)
{
  AvatarDecoder *self = decoder;

  if (!g_mutex_trylock (&self->turn))
    return AVATAR_RECLAIM_BUSY;
  avatar_decoder_release_memory (self);
  if (mode == AVATAR_RECLAIM_ALL) {
    avatar_decoder_load (self, TRUE, NULL); /* sizes alone */
    avatar_memory_client_set_reclaimable (self->memory_client, FALSE);
  }
  g_mutex_unlock (&self->turn);
  return AVATAR_RECLAIM_DONE;
}
