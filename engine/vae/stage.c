/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage: latents queue up until a tile in time is complete, its frames leave before
 * the next tile is decoded. Without tiling the whole stream is one tile. */
#include "engine/vae/stage.h"

#include "engine/memory/device.h"
#include "engine/vae/model.h"
#include "engine/vae/tiles.h"
#include "engine/weights/finite.h"

#include <string.h>

struct _AvatarDecoder
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarVaeConfig *config;
  AvatarVaeModel vae;
  AvatarVaeTiles tiles;
  AvatarPixels pixels;
  gint64 h, w; /* of a latent frame */

  GMutex lock;    /* protects ops against cancel; the streaming thread alone replaces it */
  AvatarOps *ops; /* %NULL: a whole stream whose length is not known yet */
  gboolean cancelled;
  gsize predicted;
  gsize mark; /* of the arena, above the state */
  AvatarVaeTimeState state;
  AvatarTensor
      bytes; /* frames of the last tile, uint8 [n, frame_size], or on a discrete device a few */
  AvatarTensor bad; /* whether they are no colours */

  GArray *latents; /* floats [n, C, h, w] as pushed */
  gboolean drained;
  guint8 *host; /* what bytes holds, on a discrete device: page-locked, else NULL */
  gsize host_size;
  gint64 n_ready, next; /* frames of the last tile, and how many of them have been pulled */
  AvatarDecodeStats stats;
};

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
    const AvatarDecodeSettings *settings, gboolean dry, GError **error)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (model)->vae;
  g_autoptr (AvatarDecoder) self = NULL;

  if (!avatar_vae_check_size (model, width, height, error)
      || !check_settings (settings, config, error))
    return NULL;
  self = g_new0 (AvatarDecoder, 1);
  g_mutex_init (&self->lock);
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
  if (!avatar_vae_model_init (&self->vae, model, self->device, TRUE, dry, error))
    return NULL;
  self->tiles.network = self->vae.network;
  return g_steal_pointer (&self);
}

static gsize
frame_size (AvatarDecoder *self)
{
  gint64 ratio = self->config->spatial_ratio;

  return avatar_pixels_size (self->pixels.format, self->h * ratio, self->w * ratio);
}

/* Frames that become bytes at a time on a device from which they are copied. */
#define PIECE 8

/* Room for what outlives a tile of up to @latents. */
static void
begin (AvatarDecoder *self, AvatarOps *ops, gint64 latents)
{
  gint64 frames = avatar_vae_tiles_frames_out (&self->tiles, latents);

  if (ops->backend->discrete)
    frames = MIN (frames, PIECE);
  self->state = avatar_vae_time_state_new (&self->tiles, ops, latents, self->h, self->w);
  self->bytes = avatar_ops_alloc_as (ops, AVATAR_U8, 2, frames, (gint64) frame_size (self));
  self->bad = avatar_ops_alloc_as (ops, AVATAR_I32, 1, (gint64) 1);
  self->mark = avatar_ops_mark (ops);
}

static gsize
latent_floats (AvatarDecoder *self)
{
  return (gsize) self->config->latent_channels * self->h * self->w;
}

/* The first @n latents of the queue as pixels [n, h, w, C], unscaled. */
static float *
unscaled (AvatarDecoder *self, gint64 n)
{
  gint64 channels = self->config->latent_channels, area = self->h * self->w;
  const float *latents = (const float *) self->latents->data;
  float factor = self->config->scaling_factor, shift = self->config->shift_factor;
  float *z = g_new (float, n *area *channels), *dst = z;

  for (gint64 t = 0; t < n; t++)
    for (gint64 i = 0; i < area; i++)
      for (gint64 c = 0; c < channels; c++)
        *dst++ = latents[(t * channels + c) * area + i] / factor + shift;
  return z;
}

static void
to_bytes (AvatarDecoder *self, AvatarOps *ops, AvatarTensor frames)
{
  gint64 n = frames.shape[0], most = self->bytes.shape[0];

  for (gint64 i = 0; i < n; i += most) {
    gint64 piece = MIN (most, n - i);
    AvatarTensor bytes = avatar_tensor_rows (self->bytes, 0, piece);

    avatar_op_to_bytes (ops, bytes, avatar_tensor_rows (frames, i, piece), &self->pixels,
        self->bad);
    if (ops->backend->discrete)
      avatar_op_download_raw (ops, self->host ? self->host + i * frame_size (self) : NULL, bytes);
  }
}

/* Decodes the first @n latents of the queue; returns how many frames are ready as bytes. */
static gint64
decode (AvatarDecoder *self, AvatarOps *ops, gint64 n, gboolean alone)
{
  g_autofree float *host = ops->dry ? NULL : unscaled (self, n);
  AvatarTensor z
      = avatar_ops_alloc (ops, 4, n, self->h, self->w, (gint64) self->config->latent_channels);
  AvatarTensor frames;

  avatar_op_upload (ops, z, host);
  frames = avatar_vae_time_tile (&self->tiles, ops, &self->state, z, alone);
  avatar_op_clear (ops, self->bad);
  to_bytes (self, ops, frames);
  avatar_ops_release (ops, self->mark);
  return frames.shape[0];
}

/* The most latents of one tile when @latents are all there will be. */
static gint64
tile_latents (AvatarDecoder *self, gint64 latents)
{
  return self->tiles.tiling ? self->tiles.time.length + 1 : latents;
}

/* The high-water mark of decoding tiles of up to @latents: of each length, because a shorter one may
 * be stored where a longer one is not. */
static gsize
plan_tile (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry (), NULL);
  AvatarVaeTimeState state = self->state;

  begin (self, ops, latents);
  for (gint64 n = self->tiles.tiling ? 1 : latents; n <= latents; n++)
    decode (self, ops, n, !self->tiles.tiling);
  self->state = state;
  return avatar_arena_peak (ops->arena);
}

/* Parts of the last level that are stored, from all to as little as will do. */
#define PARTS 24

/* Stores as much as @room allows of what could be computed again; returns the high-water mark. */
static gsize
choose_limits (AvatarDecoder *self, gint64 latents, guint64 room)
{
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry (), NULL);
  gint64 tile = self->tiles.tiling ? self->tiles.space.length : G_MAXINT64;
  const gint64 shape[3] = { latents, MIN (self->h, tile), MIN (self->w, tile) };
  AvatarVaeNetwork *network = self->vae.network;
  guint64 input, output;
  guint low = 0, high = PARTS;
  gsize peak;

  avatar_vae_network_set_limits (network, G_MAXUINT64, G_MAXUINT64);
  peak = plan_tile (self, latents);
  if (peak <= room)
    return peak;
  avatar_vae_network_get_last_level (network, ops, shape, &input, &output);
  /* the largest part between the convolutions with which it fits, the input being made anew */
  while (low < high) {
    guint middle = (low + high + 1) / 2;

    avatar_vae_network_set_limits (network, 0, output * middle / PARTS);
    if (plan_tile (self, latents) <= room)
      low = middle;
    else
      high = middle - 1;
  }
  /* then the largest input: that of smaller tiles at the borders may find room */
  for (guint part = PARTS; part > 0; part--) {
    avatar_vae_network_set_limits (network, input * part / PARTS, output * low / PARTS);
    peak = plan_tile (self, latents);
    if (peak <= room)
      return peak;
  }
  avatar_vae_network_set_limits (network, 0, output * low / PARTS);
  return plan_tile (self, latents);
}

static void
free_host (AvatarDecoder *self)
{
  if (self->host)
    avatar_device_get_backend (self->device)
        ->host_free (avatar_device_get_handle (self->device), self->host, self->host_size);
  self->host = NULL;
}

static gboolean
allocate_host (AvatarDecoder *self, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  gsize size = self->state.tile.shape[0] * frame_size (self);

  if (!backend->discrete || (self->host && self->host_size >= size))
    return TRUE;
  free_host (self);
  self->host_size = size;
  self->host = backend->host_new (avatar_device_get_handle (self->device), size);
  if (!self->host)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the decoder: the system has no %.0f MiB of page-locked memory left for frames; close other "
        "programs, or raise the limit (ulimit -l)",
        size / 1048576.);
  return self->host != NULL;
}

static gboolean
allocate (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarArena *arena;
  AvatarOps *ops;

  self->predicted = choose_limits (self, latents, avatar_device_get_room (self->device));
  self->state = (AvatarVaeTimeState){ 0 };
  arena = avatar_arena_new (self->device, self->predicted, "the decoder", error);
  if (!arena)
    return FALSE;
  ops = avatar_vae_ops_new (self->device, arena, error);
  if (!ops)
    return FALSE;
  begin (self, ops, latents);
  g_mutex_lock (&self->lock);
  self->ops = ops;
  if (self->cancelled)
    avatar_ops_cancel (ops);
  g_mutex_unlock (&self->lock);
  return allocate_host (self, error);
}

AvatarDecoder *
avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, GError **error)
{
  g_autoptr (AvatarDecoder) self
      = decoder_new (model, device, width, height, settings, FALSE, error);

  if (!self)
    return NULL;
  if (self->tiles.tiling && !allocate (self, tile_latents (self, 0), error))
    return NULL;
  return g_steal_pointer (&self);
}

void
avatar_decoder_free (AvatarDecoder *self)
{
  if (!self)
    return;
  avatar_ops_free (self->ops);
  avatar_vae_model_clear (&self->vae);
  if (self->device)
    free_host (self);
  if (self->latents)
    g_array_unref (self->latents);
  g_clear_pointer (&self->device, avatar_device_unref);
  avatar_model_unref (self->model);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static gboolean
is_cancelled (AvatarDecoder *self, GError **error)
{
  gboolean cancelled;

  g_mutex_lock (&self->lock);
  cancelled = self->cancelled;
  g_mutex_unlock (&self->lock);
  if (cancelled)
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
  return cancelled;
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
  static const char *const parts[] = { "vae", NULL };
  g_autofree char *what
      = g_strdup_printf ("tile %u was decoded to NaN or infinity", self->stats.index + 1);

  if (avatar_is_finite ((const float *) self->latents->data, self->latents->len))
    avatar_model_blame (self->model, parts, &self->ops->cancelled, what,
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

static gboolean
decode_next (AvatarDecoder *self, gint64 n, GError **error)
{
  gint64 start = g_get_monotonic_time ();
  gboolean alone = !self->tiles.tiling
      || (self->state.index == 0 && self->drained && n <= self->tiles.time.length);

  if (!self->ops && !allocate (self, n, error))
    return FALSE;
  self->stats.index = self->state.index;
  self->n_ready = decode (self, self->ops, n, alone);
  self->next = 0;
  if (!check_ready (self, error)) {
    self->n_ready = 0;
    return FALSE;
  }
  self->stats.latents = n;
  self->stats.frames = self->n_ready;
  self->stats.seconds = (g_get_monotonic_time () - start) * 1e-6;
  g_array_remove_range (self->latents, 0,
      alone ? self->latents->len
            : MIN (self->latents->len, self->tiles.time.step * latent_floats (self)));
  return TRUE;
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

  bytes += self->next * frame_size (self);
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
  g_mutex_lock (&self->lock);
  self->cancelled = FALSE;
  if (self->ops) {
    g_autoptr (GError) forgotten = NULL;

    avatar_ops_uncancel (self->ops);
    avatar_ops_check (self->ops, &forgotten);
  }
  if (!self->tiles.tiling) /* the next stream has another length */
    g_clear_pointer (&self->ops, avatar_ops_free);
  g_mutex_unlock (&self->lock);
  g_array_set_size (self->latents, 0);
  self->state.index = 0;
  self->state.n_tail = 0;
  self->drained = FALSE;
  self->n_ready = self->next = 0;
}

void
avatar_decoder_cancel (AvatarDecoder *self)
{
  g_mutex_lock (&self->lock);
  self->cancelled = TRUE;
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

  decode (self, ops, largest, FALSE);
  flops = ops->flops;
  bytes = ops->bytes;
  if (n > 1)
    decode (self, ops, largest, FALSE); /* blended with the one before */
  avatar_ops_count (ops, (n - 2) * (ops->flops - flops), (n - 2) * (ops->bytes - bytes));
  for (gint64 i = n * step; i + 1 < latents; i += step)
    decode (self, ops, latents - i, FALSE);
}

gboolean
avatar_decoder_plan (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, guint frames, guint64 *weight_bytes, guint64 *arena_bytes,
    double *flops, double *bytes, GError **error)
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
  *arena_bytes = plan_tile (self, largest);
  ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry (), NULL);
  begin (self, ops, largest);
  if (!self->tiles.tiling || latents <= self->tiles.time.length)
    decode (self, ops, latents, TRUE);
  else
    decode_tiles (self, ops, latents, largest);
  *flops = ops->flops;
  *bytes = ops->bytes;
  return TRUE;
}

void
avatar_decoder_get_arena (AvatarDecoder *self, gsize *predicted, gsize *peak)
{
  *predicted = self->ops ? self->predicted : 0;
  *peak = self->ops ? avatar_arena_peak (self->ops->arena) : 0;
}
