/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage: latents queue up until a tile in time is complete, its frames leave before
 * the next tile is decoded. Without tiling the whole stream is one tile. */
#include "engine/vae/stage.h"

#include "engine/memory/device.h"
#include "engine/vae/model.h"
#include "engine/vae/pixels.h"
#include "engine/vae/tiles.h"
#include "engine/weights/finite.h"

#include <string.h>

struct _AvatarDecoder
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarVaeConfig *config;
  AvatarWeights *weights;
  AvatarVaeNetwork *network;
  AvatarVaeTiles tiles;
  gint64 h, w; /* of a latent frame */
  gboolean parity;
  guint64 weight_bytes;

  GMutex lock;    /* protects ops against cancel; the streaming thread alone replaces it */
  AvatarOps *ops; /* %NULL: a whole stream whose length is not known yet */
  gboolean cancelled;
  gsize predicted;
  gsize mark; /* of the arena, above the state */
  AvatarVaeTimeState state;

  GArray *latents; /* floats [n, C, h, w] as pushed */
  gboolean drained;
  AvatarTensor ready; /* frames of the last tile [n, H, W, 3] */
  gint64 next;        /* of them */
  AvatarDecodeStats stats;
};

void
avatar_decode_settings_init (AvatarDecodeSettings *settings, AvatarModel *model)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);

  *settings = (AvatarDecodeSettings){ info->tiling, info->tile_size, info->tile_frames, FALSE };
}

static gboolean
check_settings (const AvatarDecodeSettings *s, const AvatarVaeConfig *config, GError **error)
{
  guint size = 4 * config->spatial_ratio, frames = 4 * config->temporal_ratio;

  /* upstream's integer arithmetic only adds up for quarters of whole latents */
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
  self->device = avatar_device_or_host (device, error);
  if (!self->device)
    return NULL;
  self->config = config;
  self->parity = settings->parity;
  self->w = width / config->spatial_ratio;
  self->h = height / config->spatial_ratio;
  self->latents = g_array_new (FALSE, FALSE, sizeof (float));
  avatar_vae_tiles_init (&self->tiles, config, TRUE, settings->tiling,
      settings->tile_size ? settings->tile_size : config->sample_size,
      settings->tile_frames ? settings->tile_frames : config->sample_tsize);
  self->weights = avatar_weights_new (model, self->device, "vae", dry, error);
  if (!self->weights)
    return NULL;
  self->network = avatar_vae_network_of_model (model, self->device, self->weights, TRUE, dry,
      &self->weight_bytes, error);
  if (!self->network)
    return NULL;
  self->tiles.network = self->network;
  return g_steal_pointer (&self);
}

/* Room for what outlives a tile of up to @latents. */
static void
begin (AvatarDecoder *self, AvatarOps *ops, gint64 latents)
{
  self->state = avatar_vae_time_state_new (&self->tiles, ops, latents, self->h, self->w);
  self->mark = avatar_ops_mark (ops);
}

static gsize
latent_floats (AvatarDecoder *self)
{
  return (gsize) self->config->latent_channels * self->h * self->w;
}

/* Decodes the first @n latents of the queue. */
static AvatarTensor
decode (AvatarDecoder *self, AvatarOps *ops, gint64 n, gboolean alone)
{
  gint64 channels = self->config->latent_channels, area = self->h * self->w;
  AvatarTensor z = avatar_ops_alloc (ops, 4, n, self->h, self->w, channels);
  AvatarTensor frames;

  if (avatar_ops_running (ops)) {
    const float *latents = (const float *) self->latents->data;
    float factor = self->config->scaling_factor, shift = self->config->shift_factor;
    float *dst = z.data;

    for (gint64 t = 0; t < n; t++)
      for (gint64 i = 0; i < area; i++)
        for (gint64 c = 0; c < channels; c++)
          *dst++ = latents[(t * channels + c) * area + i] / factor + shift;
  }
  frames = avatar_vae_time_tile (&self->tiles, ops, &self->state, z, alone);
  avatar_ops_release (ops, self->mark);
  return frames;
}

/* The most latents of one tile when @latents are all there will be. */
static gint64
tile_latents (AvatarDecoder *self, gint64 latents)
{
  return self->tiles.tiling ? self->tiles.time.length + 1 : latents;
}

/* The high-water mark of decoding a tile of up to @latents. */
static gsize
plan_tile (AvatarDecoder *self, gint64 latents)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry (), NULL);

  begin (self, ops, latents);
  decode (self, ops, latents, !self->tiles.tiling);
  return avatar_arena_peak (ops->arena);
}

static gboolean
allocate (AvatarDecoder *self, gint64 latents, GError **error)
{
  AvatarArena *arena;
  AvatarOps *ops;

  self->predicted = plan_tile (self, latents);
  self->state = (AvatarVaeTimeState){ 0 };
  arena = avatar_arena_new (self->device, self->predicted, "the decoder", error);
  if (!arena)
    return FALSE;
  ops = avatar_ops_new (self->device, arena, error);
  if (!ops)
    return FALSE;
  begin (self, ops, latents);
  g_mutex_lock (&self->lock);
  self->ops = ops;
  if (self->cancelled)
    avatar_ops_cancel (ops);
  g_mutex_unlock (&self->lock);
  return TRUE;
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
  avatar_vae_network_free (self->network);
  avatar_weights_free (self->weights);
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
  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (avatar_is_finite (self->ready.data, avatar_tensor_n (self->ready)))
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
  self->ready = decode (self, self->ops, n, alone);
  self->next = 0;
  if (!check_ready (self, error)) {
    self->ready = AVATAR_NO_TENSOR;
    return FALSE;
  }
  self->stats.latents = n;
  self->stats.frames = self->ready.shape[0];
  self->stats.seconds = (g_get_monotonic_time () - start) * 1e-6;
  g_array_remove_range (self->latents, 0,
      alone ? self->latents->len
            : MIN (self->latents->len, self->tiles.time.step * latent_floats (self)));
  return TRUE;
}

AvatarPull
avatar_decoder_pull (AvatarDecoder *self, guint8 *rgb, gsize stride, GError **error)
{
  gint64 row, n;

  if (is_cancelled (self, error))
    return AVATAR_PULL_ERROR;
  while (!avatar_tensor_given (self->ready) || self->next >= self->ready.shape[0]) {
    n = next_tile (self);
    if (n == 0)
      return AVATAR_PULL_EMPTY;
    if (!decode_next (self, n, error))
      return AVATAR_PULL_ERROR;
  }
  row = self->ready.shape[2] * self->ready.shape[3];
  for (gint64 y = 0; y < self->ready.shape[1]; y++)
    avatar_vae_pixels (rgb + y * stride,
        avatar_tensor_f32 (self->ready) + (self->next * self->ready.shape[1] + y) * row, row,
        self->parity);
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
  self->ready = AVATAR_NO_TENSOR;
  self->next = 0;
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
  *weight_bytes = self->weight_bytes;
  *arena_bytes = plan_tile (self, largest);
  ops = avatar_ops_new (self->device, avatar_arena_new_dry (), NULL);
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
