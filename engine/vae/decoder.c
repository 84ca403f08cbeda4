/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage: latents queue up until a tile in time is complete, its frames leave before
 * the next tile is decoded. Without tiling the whole stream is one tile. */
#include "engine/vae/decoder-private.h"

#include "engine/base/reserved.h"
#include "engine/device/device.h"
#include "engine/model/nan-search.h"

#include <string.h>

void
avatar_decode_settings_init (AvatarDecodeSettings *settings, AvatarModel *model)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);

  *settings = (AvatarDecodeSettings){ .tiling = info->tiling,
    .tile_size = info->tile_size,
    .tile_frames = info->tile_frames };
}

/* The smallest tile of whole parts in which @size is covered without a remainder that is much smaller
 * than the others. */
static guint
even_tile (guint size, guint unit, guint most)
{
  guint n = 1, tile;

  /* n tiles of which all but one give 7 of their 8 parts */
  do {
    tile = (size * 8 + 7 * n + 1 - 1) / (7 * n + 1);
    tile = (tile + unit - 1) / unit * unit;
    n++;
  } while (tile > most);
  return tile;
}

void
avatar_decode_settings_fast (AvatarDecodeSettings *settings, AvatarModel *model, guint width,
    guint height)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (model)->vae;
  guint unit = 8 * config->spatial_ratio, most = MAX (2 * config->sample_size, unit);

  settings->tiling = TRUE;
  settings->overlap = 8;
  settings->tile_size = MAX (even_tile (width, unit, most), even_tile (height, unit, most));
  settings->tile_frames = 8 * config->temporal_ratio * MAX (1, config->sample_tsize / 32);
}

static gboolean
check_settings (const AvatarDecodeSettings *s, const AvatarVaeConfig *config, GError **error)
{
  guint overlap = s->overlap ? s->overlap : AVATAR_VAE_OVERLAP;
  guint size = overlap * config->spatial_ratio, frames = overlap * config->temporal_ratio;

  if (!AVATAR_CHECK_RESERVED (s, "AvatarDecodeSettings", error)
      || !AVATAR_CHECK_RESERVED (&s->pixels, "AvatarPixels", error))
    return FALSE;
  if (overlap < 2 || overlap > 16) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "decoder tiles that overlap by the %u-th part: 2 to 16 were expected, or 0 for %u", overlap,
        AVATAR_VAE_OVERLAP);
    return FALSE;
  }
  /* upstream's integer arithmetic only adds up for such parts of whole latents */
  if (s->tile_size % size == 0 && s->tile_frames % frames == 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "decoder tiles of %u pixels and %u frames: expected multiples of %u pixels and %u frames, "
      "or 0 for the model's own",
      s->tile_size, s->tile_frames, size, frames);
  return FALSE;
}

static AvatarDecoder *
decoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, gboolean dry_run, GError **error)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (model)->vae;
  g_autoptr (AvatarDecoder) self = NULL;

  if (!avatar_vae_check_size (model, width, height, error)
      || !check_settings (settings, config, error))
    return NULL;
  self = g_new0 (AvatarDecoder, 1);
  g_mutex_init (&self->lock);
  g_mutex_init (&self->turn);
  self->model = avatar_model_ref (model);
  self->device = avatar_device_ref (device);
  self->config = config;
  self->pixels = settings->pixels;
  self->w = width / config->spatial_ratio;
  self->h = height / config->spatial_ratio;
  self->latents = g_array_new (FALSE, FALSE, sizeof (float));
  avatar_vae_tiles_init (&self->tiles, config, TRUE, settings->tiling,
      settings->tile_size ? settings->tile_size : config->sample_size,
      settings->tile_frames ? settings->tile_frames : config->sample_tsize,
      settings->overlap ? settings->overlap : AVATAR_VAE_OVERLAP);
  if (!avatar_vae_model_init (&self->vae, model, self->device, TRUE, dry_run, error))
    return NULL;
  self->tiles.network = self->vae.network;
  return g_steal_pointer (&self);
}

static gsize
latent_floats (AvatarDecoder *self)
{
  return (gsize) self->config->latent_channels * self->h * self->w;
}

/* The most latents of one tile when @latents are all there will be. */
static gint64
tile_latents (AvatarDecoder *self, gint64 latents)
{
  return self->tiles.tiling ? self->tiles.time.length + 1 : latents;
}

AvatarDecoder *
avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, GError **error)
{
  gboolean discrete = avatar_device_get_backend (device)->discrete;
  g_autoptr (AvatarDecoder) self
      = decoder_new (model, device, width, height, settings, discrete, error);

  if (!self)
    return NULL;
  if (discrete) {
    /* memory is taken with the first tile: others may need theirs until then */
    self->memory_client = avatar_memory_client_new (device, avatar_decoder_reclaim, self);
    if (self->tiles.tiling && !avatar_decoder_check_least (self, tile_latents (self, 0), error))
      return NULL;
  } else if (self->tiles.tiling && !avatar_decoder_share (self, tile_latents (self, 0), error)) {
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
  avatar_decoder_unshare (self);
  avatar_vae_model_clear (&self->vae);
  if (self->device)
    avatar_decoder_free_host (self);
  if (self->latents)
    g_array_unref (self->latents);
  g_free (self->tail);
  g_clear_pointer (&self->device, avatar_device_unref);
  avatar_model_unref (self->model);
  g_mutex_clear (&self->turn);
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
        "a latent came after the end of the stream; reset the decoder first");
    return FALSE;
  }
  g_array_append_vals (self->latents, latent, latent_floats (self));
  return TRUE;
}

/* How many latents the next tile takes from the queue; 0: none now. */
static gint64
next_tile (AvatarDecoder *self)
{
  gint64 n = self->latents->len / latent_floats (self), full = self->tiles.time.length + 1;

  if (self->tiles.tiling && n >= full)
    return full;
  /* after the first tile, a context latent alone adds nothing */
  return self->drained && n > (self->state.index > 0 ? 1 : 0) ? n : 0;
}

/* Says of frames that are not finite where they come from, as far as that can be found out. */
static void
blame (AvatarDecoder *self, GError **error)
{
  static const AvatarComponentKind parts[] = { AVATAR_COMPONENT_VAE, AVATAR_N_COMPONENTS };
  g_autofree char *what
      = g_strdup_printf ("tile %u was decoded to NaN or infinity", self->stats.index + 1);

  if (avatar_is_finite ((const float *) self->latents->data, self->latents->len))
    avatar_model_find_non_finite (self->model, parts, &self->cancelled, what,
        "the latents are far beyond what this model makes; look at what makes them", error);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "%s: so are the latents; look at what makes them", what);
}

/* Whether all went well, and what is ready are colours. */
static gboolean
check_ready (AvatarDecoder *self, GError **error)
{
  gint32 bad = 0;

  avatar_op_download_raw (self->ops, &bad, self->bad);
  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (!bad)
    return TRUE;
  blame (self, error);
  return FALSE;
}

/* With the turn. */
static gboolean
decode_tile (AvatarDecoder *self, gint64 n, GError **error)
{
  gboolean alone = !self->tiles.tiling
      || (self->state.index == 0 && self->drained && n <= self->tiles.time.length);

  if (!self->ops && !avatar_decoder_allocate (self, tile_latents (self, n), error))
    return FALSE;
  self->stats.index = self->state.index;
  self->n_ready = avatar_decoder_decode (self, self->ops, n, alone);
  self->next = 0;
  if (!check_ready (self, error)) {
    self->n_ready = 0;
    return FALSE;
  }
  self->stats.latents = n;
  self->stats.frames = self->n_ready;
  g_array_remove_range (self->latents, 0,
      alone ? self->latents->len
            : MIN (self->latents->len, self->tiles.time.step * latent_floats (self)));
  if (self->memory_client && avatar_memory_client_has_waiters (self->memory_client))
    avatar_decoder_release_memory (self);
  return TRUE;
}

static gboolean
decode_next (AvatarDecoder *self, gint64 n, GError **error)
{
  gint64 start = g_get_monotonic_time ();
  gboolean ok;

  g_mutex_lock (&self->turn);
  ok = decode_tile (self, n, error);
  if (self->shares)
    avatar_decoder_rest (self);
  g_mutex_unlock (&self->turn);
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
  const guint8 *bytes = self->host ? self->host : self->bytes.data;

  bytes += self->next * avatar_decoder_frame_size (self);
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

guint
avatar_decoder_get_n_ready (AvatarDecoder *self)
{
  return self->next < self->n_ready ? (guint) (self->n_ready - self->next) : 0;
}

gboolean
avatar_decoder_is_due (AvatarDecoder *self)
{
  return self->next >= self->n_ready && next_tile (self) > 0;
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
  while (self->next >= self->n_ready) {
    n = next_tile (self);
    if (n == 0)
      return AVATAR_PULL_EMPTY;
    if (!decode_next (self, n, error))
      return AVATAR_PULL_ERROR;
  }
  copy_frame (self, planes, strides);
  self->next++;
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
  g_mutex_lock (&self->turn);
  g_mutex_lock (&self->lock);
  g_atomic_int_set (&self->cancelled, FALSE);
  if (self->ops) {
    g_autoptr (GError) forgotten = NULL;

    avatar_ops_uncancel (self->ops);
    avatar_ops_check (self->ops, &forgotten);
  }
  g_mutex_unlock (&self->lock);
  if (!self->tiles.tiling) /* the next stream has another length */
    avatar_decoder_drop (self);
  g_clear_pointer (&self->tail, g_free);
  self->state.index = 0;
  self->state.n_tail = 0;
  g_mutex_unlock (&self->turn);
  g_array_set_size (self->latents, 0);
  self->drained = FALSE;
  self->n_ready = self->next = 0;
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
  return self->device;
}

void
avatar_decoder_get_stats (AvatarDecoder *self, AvatarDecodeStats *stats)
{
  *stats = self->stats;
}

/* In a plan: all tiles in time; those of @largest latent frames behind the first are alike, and
 * one stands for them. */
static void
decode_tiles (AvatarDecoder *self, AvatarOps *ops, gint64 latents, gint64 largest)
{
  gint64 step = self->tiles.time.step, n = (latents - largest) / step + 1;
  double flops, bytes;

  avatar_decoder_decode (self, ops, largest, FALSE);
  flops = ops->flops;
  bytes = ops->bytes;
  if (n > 1)
    avatar_decoder_decode (self, ops, largest, FALSE); /* blended with the one before */
  avatar_ops_count (ops, (n - 2) * (ops->flops - flops), (n - 2) * (ops->bytes - bytes));
  for (gint64 i = n * step; i + 1 < latents; i += step)
    avatar_decoder_decode (self, ops, latents - i, FALSE);
}

gboolean
avatar_decoder_plan (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, guint frames, guint64 room, guint64 *weight_bytes,
    guint64 *arena_bytes, guint64 *least, double *flops, double *bytes, GError **error)
{
  g_autoptr (AvatarDecoder) self
      = decoder_new (model, device, width, height, settings, TRUE, error);
  g_autoptr (AvatarOps) ops = NULL;
  gint64 latents, largest;

  if (!self)
    return FALSE;
  latents = (frames + self->tiles.temporal_ratio - 2) / self->tiles.temporal_ratio + 1;
  largest = tile_latents (self, latents);
  *weight_bytes = self->vae.bytes;
  if (self->tiles.tiling && !avatar_device_get_backend (device)->discrete)
    self->kept = avatar_decoder_kept_bytes (self, largest);
  *least = avatar_decoder_choose (self, largest, 0) + self->kept;
  *arena_bytes
      = avatar_decoder_choose (self, largest, room - MIN (room, *weight_bytes + self->kept))
      + self->kept;
  self->kept = 0; /* nothing was taken */
  ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  avatar_decoder_begin (self, ops, largest);
  if (!self->tiles.tiling || latents <= self->tiles.time.length)
    avatar_decoder_decode (self, ops, latents, TRUE);
  else
    decode_tiles (self, ops, latents, largest);
  *flops = ops->flops;
  *bytes = ops->bytes;
  return TRUE;
}

void
avatar_decoder_get_arena (AvatarDecoder *self, gsize *predicted, gsize *peak)
{
  if (self->ops && !self->shares)
    self->peak = avatar_arena_peak (self->ops->arena);
  *predicted = self->ops || self->shares ? self->predicted + self->kept : 0;
  *peak = self->ops || self->shares ? self->peak + self->kept : 0;
}
