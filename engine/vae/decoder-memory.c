/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans, allocates and releases the decoder's memory, which other stages may use between two tiles
 * of a stream. */
#include "engine/vae/decoder-private.h"

#include "engine/device/device.h"
#include "engine/device/scratch.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.
/* Number of attempts to allocate memory: another stage may allocate what a third one released. */
#define MAX_ATTEMPTS 3

/* Returns the size of the arena for tiles of up to @latents, with the limits of the network. */
static gsize
measure_tile (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarVaeTimeState state = self->state;

  avatar_decoder_alloc_state (self, ops, latents);
  if (self->tiles.groups)
    avatar_decoder_decode_group (self, ops, latents, latents - self->tiles.time.length);
  else
    avatar_decoder_decode_tile (self, ops, latents,
        self->tiles.tiling ? AVATAR_VAE_TILE_PART_OF_STREAM : AVATAR_VAE_TILE_WHOLE_STREAM);
  self->state = state;
  return avatar_arena_peak (ops->arena);
}

/* Granularity of the limits: the last level is stored in steps of 1 / LIMIT_STEPS. */
#define LIMIT_STEPS 24

gsize
avatar_decoder_plan_memory (AvatarDecoder *self, gint64 latents, guint64 available_bytes)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  gint64 tile = self->tiles.tiling ? self->tiles.space.length : G_MAXINT64;
  const gint64 shape[3] = { latents, MIN (self->h, tile), MIN (self->w, tile) };
  AvatarVaeNetwork *network = self->vae.network;
  guint64 input_bytes, output_bytes;
  guint low = 0, high = LIMIT_STEPS;
  gsize peak;

  avatar_vae_network_set_limits (network, latents, G_MAXUINT64, G_MAXUINT64);
  peak = measure_tile (self, latents);
  if (peak <= available_bytes)
    return peak;
  avatar_vae_network_get_last_level (network, ops, shape, &input_bytes, &output_bytes);
  /* finds the largest limit of the tensor between two convolutions; the input is recomputed */
  while (low < high) {
    guint middle = (low + high + 1) / 2;

    avatar_vae_network_set_limits (network, latents, 0, output_bytes * middle / LIMIT_STEPS);
    if (measure_tile (self, latents) <= available_bytes)
      low = middle;
    else
      high = middle - 1;
  }
  /* finds the largest limit of the input: that of the smaller tiles at the borders may fit */
  for (guint part = LIMIT_STEPS; part > 0; part--) {
    avatar_vae_network_set_limits (network, latents, input_bytes * part / LIMIT_STEPS,
        output_bytes * low / LIMIT_STEPS);
    peak = measure_tile (self, latents);
    if (peak <= available_bytes)
      return peak;
  }
  avatar_vae_network_set_limits (network, latents, 0, output_bytes * low / LIMIT_STEPS);
  return measure_tile (self, latents);
}

gboolean
avatar_decoder_check_budget (AvatarDecoder *self, gint64 latents, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  AvatarBackendDevice *handle = avatar_device_get_handle (self->device);
  guint64 needed = avatar_device_get_allocation_size (self->device,
                       avatar_decoder_plan_memory (self, latents, 0))
      + avatar_device_get_allocation_size (self->device, self->vae.weight_bytes);
  AvatarMemory memory;

  if (backend->discrete)
    needed += backend->overhead (handle);
  avatar_device_get_memory (self->device, &memory);
  if (memory.budget == 0 || needed <= memory.budget)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the decoder needs a budget of at least %.0f MiB on %s for this video, but the budget is "
      "%.0f MiB; raise it, or choose a smaller video or smaller tiles",
      ceil (needed / MIB), avatar_device_get_name (self->device), memory.budget / MIB);
  return FALSE;
}

void
avatar_decoder_free_host_frames (AvatarDecoder *self)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);

  if (self->host_frames && backend->discrete)
    backend->host_free (avatar_device_get_handle (self->device), self->host_frames,
        self->host_frames_size);
  else
    g_free (self->host_frames);
  self->host_frames = NULL;
}

static gboolean
allocate_host (AvatarDecoder *self, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  gsize size = self->state.tile.shape[0] * avatar_decoder_frame_size (self);

  if (!backend->discrete || (self->host_frames && self->host_frames_size >= size))
    return TRUE;
  avatar_decoder_free_host_frames (self);
  self->host_frames_size = size;
  self->host_frames = backend->host_new (avatar_device_get_handle (self->device), size);
  if (!self->host_frames)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the decoder cannot allocate %.0f MiB of page-locked memory for frames; close other "
        "programs, or raise the limit (ulimit -l)",
        size / MIB);
  return self->host_frames != NULL;
}

gboolean
avatar_decoder_load_weights (AvatarDecoder *self, AvatarWeightsMode mode, GError **error)
{
  gboolean ok;

  avatar_vae_model_clear (&self->vae);
  ok = avatar_vae_model_init (&self->vae, self->model, self->device, AVATAR_VAE_DECODER, mode,
      error);
  self->tiles.network = self->vae.network;
  return ok;
}

gsize
avatar_decoder_get_persistent_bytes (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarVaeTimeState state = self->state;
  gsize bytes;

  avatar_decoder_alloc_state (self, ops, latents);
  bytes = avatar_tensor_bytes (self->state.tail) + avatar_tensor_bytes (self->frames);
  self->state = state;
  self->frames = AVATAR_NO_TENSOR;
  return bytes;
}

gboolean
avatar_decoder_join_scratch (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarScratch *scratch = avatar_device_get_scratch (self->device);
  gsize persistent = avatar_decoder_get_persistent_bytes (self, latents);
  guint64 available;

  if (!avatar_ledger_add (self->device, persistent, "the decoder's frames", error))
    return FALSE;
  self->persistent_bytes = persistent;
  available = avatar_device_get_available_bytes (self->device);
  available += MIN (avatar_scratch_get_size (scratch), G_MAXUINT64 - available);
  self->predicted_bytes = avatar_decoder_plan_memory (self, latents, available);
  self->uses_scratch = avatar_scratch_join (scratch, self->predicted_bytes, "the decoder", error);
  return self->uses_scratch;
}

void
avatar_decoder_leave_scratch (AvatarDecoder *self)
{
  if (self->uses_scratch)
    avatar_scratch_leave (avatar_device_get_scratch (self->device));
  if (self->persistent_bytes)
    avatar_ledger_remove (self->device, self->persistent_bytes);
  self->uses_scratch = FALSE;
  self->persistent_bytes = 0;
}

/* Acquires the scratch memory. Returns NULL with AVATAR_ERROR_CANCELLED or AVATAR_ERROR_MEMORY. */
static AvatarArena *
acquire_scratch (AvatarDecoder *self, GError **error)
{
  void *memory
      = avatar_scratch_acquire (avatar_device_get_scratch (self->device), &self->cancelled);

  if (memory)
    return avatar_arena_new_over (self->device, memory, self->predicted_bytes);
  if (g_atomic_int_get (&self->cancelled))
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the decoder cannot allocate %.1f MiB on %s; close other programs or choose a smaller video",
        self->predicted_bytes / MIB, avatar_device_get_name (self->device));
  return NULL;
}

void
avatar_decoder_release_scratch (AvatarDecoder *self)
{
  gsize frame_size = avatar_decoder_frame_size (self);

  if (!self->ops)
    return;
  if (!self->host_frames)
    self->host_frames = g_malloc (avatar_tensor_bytes (self->frames));
  memcpy (self->host_frames, self->frames.data, self->n_ready * frame_size);
  self->peak_bytes = MAX (self->peak_bytes, avatar_arena_peak (self->ops->arena));
  avatar_decoder_release_memory (self);
  avatar_scratch_release (avatar_device_get_scratch (self->device));
}

/* Requests memory for the arena, and for the weights if they are not loaded. */
static void
request_memory (AvatarDecoder *self, gint64 latents)
{
  guint64 preferred = avatar_device_get_allocation_size (self->device,
      avatar_decoder_plan_memory (self, latents, G_MAXUINT64));
  guint64 minimum = avatar_device_get_allocation_size (self->device,
      avatar_decoder_plan_memory (self, latents, 0));
  guint64 weights = 0;

  if (avatar_vae_model_is_dry_run (&self->vae))
    weights = avatar_device_get_allocation_size (self->device, self->vae.weight_bytes);
  avatar_memory_client_request (self->memory_client, weights + preferred, weights + minimum,
      &self->cancelled);
}

/* Loads the weights if they are not loaded. After a failure, the network has shapes only. */
static gboolean
ensure_weights (AvatarDecoder *self, GError **error)
{
  if (!avatar_vae_model_is_dry_run (&self->vae)
      || avatar_decoder_load_weights (self, AVATAR_WEIGHTS_LOAD, error))
    return TRUE;
  avatar_decoder_load_weights (self, AVATAR_WEIGHTS_SHAPES_ONLY, NULL);
  return FALSE;
}

/* Allocates an arena of the largest useful size, after idle stages have released memory. */
static AvatarArena *
allocate_arena (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarArena *arena = NULL;
  GError *reason = NULL;

  for (guint i = 0; i < MAX_ATTEMPTS && !arena; i++) {
    g_clear_error (&reason);
    if (self->memory_client)
      request_memory (self, latents);
    if (!ensure_weights (self, &reason))
      continue;
    self->predicted_bytes = avatar_decoder_plan_memory (self, latents,
        avatar_device_get_available_bytes (self->device));
    arena = avatar_arena_new (self->device, self->predicted_bytes, "the decoder", &reason);
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
avatar_decoder_acquire_memory (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarVaeTimeState before = self->state;
  AvatarArena *arena
      = self->uses_scratch ? acquire_scratch (self, error) : allocate_arena (self, latents, error);
  AvatarOps *ops = arena ? avatar_vae_ops_new (self->device, arena, error) : NULL;

  if (!ops) {
    if (arena && self->uses_scratch)
      avatar_scratch_release (avatar_device_get_scratch (self->device));
    return FALSE;
  }
  avatar_decoder_alloc_state (self, ops, latents);
  self->state.index = before.index;
  self->state.n_tail = before.n_tail;
  if (self->saved_tail)
    avatar_op_upload_raw (ops, self->state.tail, self->saved_tail);
  g_clear_pointer (&self->saved_tail, g_free);
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
avatar_decoder_discard_memory (AvatarDecoder *self)
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
    self->saved_tail = g_malloc0 (avatar_tensor_bytes (self->state.tail));
    avatar_op_download_raw (self->ops, self->saved_tail, self->state.tail);
  }
  avatar_decoder_discard_memory (self);
}

AvatarReclaimResult
avatar_decoder_reclaim (gpointer decoder, AvatarReclaimMode mode)
{
  AvatarDecoder *self = decoder;

  if (!g_mutex_trylock (&self->exec_lock))
    return AVATAR_RECLAIM_BUSY;
  avatar_decoder_release_memory (self);
  if (mode == AVATAR_RECLAIM_ALL) {
    avatar_decoder_load_weights (self, AVATAR_WEIGHTS_SHAPES_ONLY, NULL);
    avatar_memory_client_set_reclaimable (self->memory_client, FALSE);
  }
  g_mutex_unlock (&self->exec_lock);
  return AVATAR_RECLAIM_DONE;
}
