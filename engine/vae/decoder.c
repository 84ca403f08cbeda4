/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage. Latents are queued until a temporal tile or a group is complete. All frames
 * of a tile are pulled before the next tile is decoded. Without tiling, the whole stream is one
 * tile. */
#include "engine/vae/decoder-private.h"

#include "engine/base/reserved.h"
#include "engine/device/device.h"
#include "engine/model/nan-search.h"

#include <string.h>

/* Chosen by measurement: docs/measurements/live.md, "Decoding window by window". */
#define DEFAULT_CONTEXT_LATENTS 2
#define DEFAULT_FADE_FRAMES 4
#define MAX_CONTEXT_LATENTS 16
#define MAX_FADE_FRAMES 64

void
avatar_decode_settings_init (AvatarDecodeSettings *settings, AvatarModel *model)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);

  *settings = (AvatarDecodeSettings){ .tiling = info->tiling,
    .tile_size = info->tile_size,
    .tile_frames = info->tile_frames };
}

/* Returns the smallest tile, a multiple of @unit and at most @max_size, that covers @size in tiles
 * of nearly equal length. */
static guint
even_tile (guint size, guint unit, guint max_size)
{
  guint n = 1, tile;

  /* all of the n tiles but one keep 7 / 8 of their length */
  do {
    tile = (size * 8 + 7 * n + 1 - 1) / (7 * n + 1);
    tile = (tile + unit - 1) / unit * unit;
    n++;
  } while (tile > max_size);
  return tile;
}

void
avatar_decode_settings_fast (AvatarDecodeSettings *settings, AvatarModel *model, guint width,
    guint height)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (model)->vae;
  guint unit = 8 * config->spatial_ratio, max_size = MAX (2 * config->sample_size, unit);

  settings->tiling = TRUE;
  settings->overlap = 8;
  settings->tile_size = MAX (even_tile (width, unit, max_size), even_tile (height, unit, max_size));
  settings->tile_frames = 8 * config->temporal_ratio * MAX (1, config->sample_tsize / 32);
}

void
avatar_decode_settings_stream (AvatarDecodeSettings *settings, AvatarModel *model, guint width,
    guint height)
{
  avatar_decode_settings_fast (settings, model, width, height);
  settings->temporal_tiles = AVATAR_TEMPORAL_TILES_GROUPS;
  settings->context_latents = DEFAULT_CONTEXT_LATENTS;
  settings->fade_frames = DEFAULT_FADE_FRAMES;
}

/* Groups do not overlap, so that they may have any number of latents. */
static gboolean
check_groups (const AvatarDecodeSettings *s, const AvatarVaeConfig *config, GError **error)
{
  if (s->temporal_tiles != AVATAR_TEMPORAL_TILES_OVERLAP
      && s->temporal_tiles != AVATAR_TEMPORAL_TILES_GROUPS) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "temporal tiles of kind %u; expected a value of AvatarTemporalTiles", s->temporal_tiles);
    return FALSE;
  }
  if (s->temporal_tiles == AVATAR_TEMPORAL_TILES_OVERLAP
      || (s->context_latents <= MAX_CONTEXT_LATENTS && s->fade_frames <= MAX_FADE_FRAMES))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "the decoder decodes %u latents of context again and fades over %u frames; expected at most %u "
      "latents and %u frames",
      s->context_latents, s->fade_frames, MAX_CONTEXT_LATENTS, MAX_FADE_FRAMES);
  return FALSE;
}

static gboolean
check_settings (const AvatarDecodeSettings *s, const AvatarVaeConfig *config, GError **error)
{
  guint overlap = s->overlap ? s->overlap : AVATAR_VAE_OVERLAP;
  guint size = overlap * config->spatial_ratio, frames = config->temporal_ratio;

  if (s->temporal_tiles == AVATAR_TEMPORAL_TILES_OVERLAP)
    frames *= overlap;

  if (!AVATAR_CHECK_RESERVED (s, "AvatarDecodeSettings", error)
      || !AVATAR_CHECK_RESERVED (&s->pixels, "AvatarPixels", error))
    return FALSE;
  if (!check_groups (s, config, error))
    return FALSE;
  if (overlap < 2 || overlap > 16) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "decoder tiles share 1 / %u of their length; expected 1 / 2 to 1 / 16, or 0 for 1 / %u",
        overlap, AVATAR_VAE_OVERLAP);
    return FALSE;
  }
  /* upstream's integer arithmetic is exact only if overlaps are whole latents */
  if (s->tile_size % size == 0 && s->tile_frames % frames == 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "decoder tiles of %u pixels and %u frames; expected multiples of %u pixels and %u frames, "
      "or 0 for the default of the model",
      s->tile_size, s->tile_frames, size, frames);
  return FALSE;
}

static AvatarDecoder *
decoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, AvatarWeightsMode mode, GError **error)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (model)->vae;
  g_autoptr (AvatarDecoder) self = NULL;

  if (!avatar_vae_check_size (model, width, height, error)
      || !check_settings (settings, config, error))
    return NULL;
  self = g_new0 (AvatarDecoder, 1);
  g_mutex_init (&self->lock);
  g_mutex_init (&self->exec_lock);
  self->model = avatar_model_ref (model);
  self->group = avatar_device_ref (device);
  self->device = avatar_device_ref (avatar_device_get_member (device, 0));
  self->config = config;
  self->deadline = AVATAR_NO_DEADLINE;
  self->pixels = settings->pixels;
  self->w = width / config->spatial_ratio;
  self->h = height / config->spatial_ratio;
  self->context_latents = settings->context_latents ?: DEFAULT_CONTEXT_LATENTS;
  self->latents = g_array_new (FALSE, FALSE, sizeof (float));
  self->group_ends = g_array_new (FALSE, FALSE, sizeof (guint64));
  avatar_vae_tiles_init (&self->tiles, config, AVATAR_VAE_DECODER,
      &(AvatarVaeTileSettings){ .tiling = settings->tiling,
          .tile_size = settings->tile_size ? settings->tile_size : config->sample_size,
          .tile_frames = settings->tile_frames ? settings->tile_frames : config->sample_tsize,
          .overlap = settings->overlap ? settings->overlap : AVATAR_VAE_OVERLAP,
          .groups = settings->temporal_tiles == AVATAR_TEMPORAL_TILES_GROUPS,
          .fade_frames = settings->fade_frames });
  if (!avatar_vae_model_init (&self->vae, model, self->device, AVATAR_VAE_DECODER, mode, error))
    return NULL;
  self->tiles.network = self->vae.network;
  return g_steal_pointer (&self);
}

static gsize
latent_floats (AvatarDecoder *self)
{
  return (gsize) self->config->latent_channels * self->h * self->w;
}

/* Returns the maximum number of latents of one tile of a stream of @latents. */
static gint64
tile_latents (AvatarDecoder *self, gint64 latents)
{
  if (!self->tiles.tiling)
    return latents;
  return self->tiles.time.length + (self->tiles.groups ? self->context_latents : 1);
}

AvatarDecoder *
avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, GError **error)
{
  gboolean discrete = avatar_device_get_backend (device)->discrete;
  g_autoptr (AvatarDecoder) self = decoder_new (model, device, width, height, settings,
      discrete ? AVATAR_WEIGHTS_SHAPES_ONLY : AVATAR_WEIGHTS_LOAD, error);

  if (!self)
    return NULL;
  if (discrete) {
    /* memory is allocated for the first tile: other stages may use it until then */
    self->memory_client = avatar_memory_client_new (self->device, avatar_decoder_reclaim, self);
    if (self->tiles.tiling && !avatar_decoder_check_budget (self, tile_latents (self, 0), error))
      return NULL;
  } else if (self->tiles.tiling
      && !avatar_decoder_join_scratch (self, tile_latents (self, 0), error)) {
    return NULL;
  }
  return g_steal_pointer (&self);
}

void
avatar_decoder_free (AvatarDecoder *self)
{
  if (!self)
    return;
  avatar_memory_client_free (self->memory_client);
  avatar_ops_free (self->ops);
  avatar_decoder_leave_scratch (self);
  avatar_vae_model_clear (&self->vae);
  if (self->device)
    avatar_decoder_free_host_frames (self);
  if (self->latents)
    g_array_unref (self->latents);
  if (self->group_ends)
    g_array_unref (self->group_ends);
  g_free (self->saved_tail);
  g_clear_pointer (&self->device, avatar_device_unref);
  g_clear_pointer (&self->group, avatar_device_unref);
  avatar_model_unref (self->model);
  g_mutex_clear (&self->exec_lock);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static gboolean
is_cancelled (AvatarDecoder *self, GError **error)
{
  if (!g_atomic_int_get (&self->cancelled))
    return FALSE;
  g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
  return TRUE;
}

gboolean
avatar_decoder_push (AvatarDecoder *self, const float *latent, GError **error)
{
  if (is_cancelled (self, error))
    return FALSE;
  if (self->drained) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a latent was pushed after the end of the stream; reset the decoder first");
    return FALSE;
  }
  g_array_append_vals (self->latents, latent, latent_floats (self));
  self->n_pushed++;
  return TRUE;
}

gboolean
avatar_decoder_end_group (AvatarDecoder *self, GError **error)
{
  GArray *ends = self->group_ends;

  if (is_cancelled (self, error))
    return FALSE;
  if (self->tiles.groups && self->n_pushed > self->n_decoded
      && (ends->len == 0 || self->n_pushed > g_array_index (ends, guint64, ends->len - 1)))
    g_array_append_val (ends, self->n_pushed);
  return TRUE;
}

/* Returns the number of latents of the next group with its context, or 0 if it is not complete. */
static gint64
count_next_group (AvatarDecoder *self)
{
  gint64 n = self->n_pushed - self->n_decoded, full = self->tiles.time.length;

  if (self->group_ends->len > 0)
    n = g_array_index (self->group_ends, guint64, 0) - self->n_decoded;
  else if (n < full && !self->drained)
    n = 0;
  return n > 0 ? MIN (n, full) + MIN ((gint64) self->n_decoded, self->context_latents) : 0;
}

/* Returns the number of latents of the next tile, or 0 if it is not complete. */
static gint64
count_next_latents (AvatarDecoder *self)
{
  gint64 n = self->latents->len / latent_floats (self), full = self->tiles.time.length + 1;

  if (self->tiles.groups)
    return count_next_group (self);
  if (self->tiles.tiling && n >= full)
    return full;
  /* after the first tile, a latent of context has no frames of its own */
  return self->drained && n > (self->state.index > 0 ? 1 : 0) ? n : 0;
}

/* Sets @error for frames that are not finite, with their origin as far as it can be found. */
static void
set_non_finite_error (AvatarDecoder *self, GError **error)
{
  static const AvatarComponentKind searched[] = { AVATAR_COMPONENT_VAE, AVATAR_N_COMPONENTS };
  g_autofree char *what
      = g_strdup_printf ("tile %u was decoded to NaN or infinity", self->stats.index + 1);

  if (avatar_is_finite ((const float *) self->latents->data, self->latents->len))
    avatar_model_find_non_finite (self->model, searched, &self->cancelled, what,
        "the latents are far outside the range of this model; check the stage that computes them",
        error);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "%s, because the latents contain NaN or infinity; check the stage that computes them",
        what);
}

/* Returns FALSE with @error if decoding failed, or if frames are not finite. */
static gboolean
check_frames (AvatarDecoder *self, GError **error)
{
  gint32 non_finite = 0;

  avatar_op_download_raw (self->ops, &non_finite, self->non_finite);
  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (!non_finite)
    return TRUE;
  set_non_finite_error (self, error);
  return FALSE;
}

/* Decodes the next @n latents. Returns the number of frames. @n_done: (out): number of latents that
 * no later tile needs. */
static gint64
decode (AvatarDecoder *self, gint64 n, gint64 *n_done)
{
  gint64 context = MIN ((gint64) self->n_decoded, self->context_latents);
  gboolean whole = !self->tiles.tiling
      || (self->state.index == 0 && self->drained && n <= self->tiles.time.length);

  if (self->tiles.groups) {
    *n_done = MAX (0, n - self->context_latents);
    return avatar_decoder_decode_group (self, self->ops, n, context);
  }
  *n_done = whole ? n : MIN (n, self->tiles.time.step);
  return avatar_decoder_decode_tile (self, self->ops, n,
      whole ? AVATAR_VAE_TILE_WHOLE_STREAM : AVATAR_VAE_TILE_PART_OF_STREAM);
}

/* Decodes the next @n latents when it is the decoder's turn. @n_done: (out): see decode() */
static gboolean
decode_in_turn (AvatarDecoder *self, gint64 n, gint64 *n_done, GError **error)
{
  AvatarTurns *turns = avatar_device_get_turns (self->device);
  gboolean ok;

  self->n_pulled = 0;
  if (!avatar_turns_begin (turns, self->deadline, &self->cancelled)) {
    is_cancelled (self, error);
    return FALSE;
  }
  self->stats.index = self->state.index;
  self->n_ready = decode (self, n, n_done);
  ok = check_frames (self, error);
  avatar_turns_end (turns);
  return ok;
}

/* Removes latents that were decoded from the queue.
 * @n: number of latents that were decoded, with context
 * @n_done: number of latents that are not needed again */
static void
remove_decoded (AvatarDecoder *self, gint64 n, gint64 n_done)
{
  GArray *ends = self->group_ends;

  g_array_remove_range (self->latents, 0, n_done * latent_floats (self));
  if (!self->tiles.groups)
    return;
  self->n_decoded += n - MIN ((gint64) self->n_decoded, self->context_latents);
  while (ends->len > 0 && g_array_index (ends, guint64, 0) <= self->n_decoded)
    g_array_remove_index (ends, 0);
}

/* Decodes a tile of @n latents. Called with exec_lock. */
static gboolean
decode_next_locked (AvatarDecoder *self, gint64 n, GError **error)
{
  gint64 n_done;

  if (!self->ops && !avatar_decoder_acquire_memory (self, tile_latents (self, n), error))
    return FALSE;
  if (!decode_in_turn (self, n, &n_done, error)) {
    self->n_ready = 0;
    return FALSE;
  }
  self->stats.latents = n;
  self->stats.frames = self->n_ready;
  remove_decoded (self, n, n_done);
  if (self->memory_client && avatar_memory_client_has_waiters (self->memory_client))
    avatar_decoder_release_memory (self);
  return TRUE;
}

static gboolean
decode_next (AvatarDecoder *self, gint64 n, GError **error)
{
  gint64 start = g_get_monotonic_time ();
  gboolean ok;

  g_mutex_lock (&self->exec_lock);
  ok = decode_next_locked (self, n, error);
  if (self->uses_scratch)
    avatar_decoder_release_scratch (self);
  g_mutex_unlock (&self->exec_lock);
  self->stats.seconds = (g_get_monotonic_time () - start) * 1e-6;
  return ok;
}

static void
copy_plane (guint8 *to, gsize stride, const guint8 **from, gint64 rows, gint64 row)
{
  for (gint64 y = 0; y < rows; y++, *from += row)
    memcpy (to + y * stride, *from, row);
}

static void
copy_frame (AvatarDecoder *self, guint8 *const *planes, const gsize *strides)
{
  gint64 height = self->h * self->config->spatial_ratio;
  gint64 width = self->w * self->config->spatial_ratio;
  const guint8 *bytes = self->host_frames ? self->host_frames : self->frames.data;

  bytes += self->n_pulled * avatar_decoder_frame_size (self);
  switch (self->pixels.format) {
    case AVATAR_PIXEL_FORMAT_RGB:
      copy_plane (planes[0], strides[0], &bytes, height, 3 * width);
      break;
    case AVATAR_PIXEL_FORMAT_NV12:
      copy_plane (planes[0], strides[0], &bytes, height, width);
      copy_plane (planes[1], strides[1], &bytes, height / 2, width);
      break;
    case AVATAR_PIXEL_FORMAT_I420:
      copy_plane (planes[0], strides[0], &bytes, height, width);
      copy_plane (planes[1], strides[1], &bytes, height / 2, width / 2);
      copy_plane (planes[2], strides[2], &bytes, height / 2, width / 2);
      break;
  }
}

void
avatar_decoder_set_deadline (AvatarDecoder *self, gint64 deadline)
{
  self->deadline = deadline;
}

guint
avatar_decoder_get_n_ready (AvatarDecoder *self)
{
  return self->n_pulled < self->n_ready ? (guint) (self->n_ready - self->n_pulled) : 0;
}

gboolean
avatar_decoder_is_due (AvatarDecoder *self)
{
  return self->n_pulled >= self->n_ready && count_next_latents (self) > 0;
}

AvatarPull
avatar_decoder_pull (AvatarDecoder *self, guint8 *rgb, gsize stride, GError **error)
{
  g_assert (self->pixels.format == AVATAR_PIXEL_FORMAT_RGB);
  return avatar_decoder_pull_planes (self, &rgb, &stride, error);
}

AvatarPull
avatar_decoder_pull_planes (AvatarDecoder *self, guint8 *const *planes, const gsize *strides,
    GError **error)
{
  gint64 n;

  if (is_cancelled (self, error))
    return AVATAR_PULL_ERROR;
  while (self->n_pulled >= self->n_ready) {
    n = count_next_latents (self);
    if (n == 0)
      return AVATAR_PULL_EMPTY;
    if (!decode_next (self, n, error))
      return AVATAR_PULL_ERROR;
  }
  copy_frame (self, planes, strides);
  self->n_pulled++;
  return AVATAR_PULL_OK;
}

gboolean
avatar_decoder_drain (AvatarDecoder *self, GError **error)
{
  if (is_cancelled (self, error))
    return FALSE;
  self->drained = TRUE;
  return TRUE;
}

void
avatar_decoder_reset (AvatarDecoder *self)
{
  g_mutex_lock (&self->exec_lock);
  g_mutex_lock (&self->lock);
  g_atomic_int_set (&self->cancelled, FALSE);
  if (self->ops) {
    g_autoptr (GError) discarded = NULL;

    avatar_ops_uncancel (self->ops);
    avatar_ops_check (self->ops, &discarded);
  }
  g_mutex_unlock (&self->lock);
  if (!self->tiles.tiling) /* the next stream has another length */
    avatar_decoder_discard_memory (self);
  g_clear_pointer (&self->saved_tail, g_free);
  self->state.index = 0;
  self->state.n_tail = 0;
  g_mutex_unlock (&self->exec_lock);
  g_array_set_size (self->latents, 0);
  g_array_set_size (self->group_ends, 0);
  self->n_pushed = self->n_decoded = 0;
  self->drained = FALSE;
  self->n_ready = self->n_pulled = 0;
}

void
avatar_decoder_cancel (AvatarDecoder *self)
{
  g_mutex_lock (&self->lock);
  g_atomic_int_set (&self->cancelled, TRUE);
  if (self->ops)
    avatar_ops_cancel (self->ops);
  g_mutex_unlock (&self->lock);
}

AvatarDevice *
avatar_decoder_get_device (AvatarDecoder *self)
{
  return self->group;
}

void
avatar_decoder_get_stats (AvatarDecoder *self, AvatarDecodeStats *stats)
{
  *stats = self->stats;
}

/* Decodes all temporal tiles in a dry run. The tiles of @largest latents after the first have equal
 * cost, so one of them is run and counted for all. */
static void
decode_tiles (AvatarDecoder *self, AvatarOps *ops, gint64 latents, gint64 largest)
{
  gint64 step = self->tiles.time.step, n = (latents - largest) / step + 1;
  const AvatarVaeTileScope part = AVATAR_VAE_TILE_PART_OF_STREAM;
  double flops, bytes;

  avatar_decoder_decode_tile (self, ops, largest, part);
  flops = ops->flops;
  bytes = ops->bytes;
  if (n > 1)
    avatar_decoder_decode_tile (self, ops, largest, part); /* with blending */
  avatar_ops_count (ops, (n - 2) * (ops->flops - flops), (n - 2) * (ops->bytes - bytes));
  for (gint64 i = n * step; i + 1 < latents; i += step)
    avatar_decoder_decode_tile (self, ops, latents - i, part);
}

/* Decodes all groups in a dry run, as if only the setting of their length divided them. Groups of
 * equal cost are run once and counted for all. */
static void
decode_groups (AvatarDecoder *self, AvatarOps *ops, gint64 latents)
{
  gint64 length = self->tiles.time.length, n;

  for (gint64 done = 0; done < latents; done += n) {
    gint64 context = MIN (done, self->context_latents), more;
    double flops = ops->flops, bytes = ops->bytes;

    n = MIN (length, latents - done);
    avatar_decoder_decode_group (self, ops, context + n, context);
    more = (latents - done) / length - 1;
    if (context < self->context_latents || more <= 0)
      continue;
    avatar_ops_count (ops, more * (ops->flops - flops), more * (ops->bytes - bytes));
    done += more * length;
  }
}

/* Sets the bytes of @cost for tiles of up to @largest latents, within @available_bytes. */
static void
plan_memory (AvatarDecoder *self, gint64 largest, guint64 available_bytes, AvatarStageCost *cost)
{
  guint64 persistent = 0, used;

  if (self->tiles.tiling && !avatar_device_get_backend (self->device)->discrete)
    persistent = avatar_decoder_get_persistent_bytes (self, largest);
  cost->weight_bytes = self->vae.weight_bytes;
  used = cost->weight_bytes + persistent;
  cost->min_arena_bytes = avatar_decoder_plan_memory (self, largest, 0) + persistent;
  cost->arena_bytes
      = avatar_decoder_plan_memory (self, largest, available_bytes - MIN (available_bytes, used))
      + persistent;
}

gboolean
avatar_decoder_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDecoderPlanParams *params, AvatarStageCost *cost, GError **error)
{
  g_autoptr (AvatarDecoder) self = decoder_new (model, device, params->width, params->height,
      params->settings, AVATAR_WEIGHTS_SHAPES_ONLY, error);
  g_autoptr (AvatarOps) ops = NULL;
  gint64 latents, largest;

  if (!self)
    return FALSE;
  latents = (params->frames + self->tiles.temporal_ratio - 2) / self->tiles.temporal_ratio + 1;
  largest = tile_latents (self, latents);
  plan_memory (self, largest, params->available_bytes, cost);
  ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  avatar_decoder_alloc_state (self, ops, largest);
  if (self->tiles.groups)
    decode_groups (self, ops, latents);
  else if (!self->tiles.tiling || latents <= self->tiles.time.length)
    avatar_decoder_decode_tile (self, ops, latents, AVATAR_VAE_TILE_WHOLE_STREAM);
  else
    decode_tiles (self, ops, latents, largest);
  cost->flops = ops->flops;
  cost->bytes = ops->bytes;
  return TRUE;
}

void
avatar_decoder_get_arena (AvatarDecoder *self, gsize *predicted_bytes, gsize *peak_bytes)
{
  gboolean allocated = self->ops || self->uses_scratch;

  if (self->ops && !self->uses_scratch)
    self->peak_bytes = avatar_arena_peak (self->ops->arena);
  *predicted_bytes = allocated ? self->predicted_bytes + self->persistent_bytes : 0;
  *peak_bytes = allocated ? self->peak_bytes + self->persistent_bytes : 0;
}
