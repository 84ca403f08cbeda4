/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encodes one picture, in upstream's tiles if the model decodes in tiles. */
#include "engine/vae/encoder.h"

#include "engine/device/device.h"
#include "engine/device/memory-arbiter.h"
#include "engine/vae/model.h"
#include "engine/vae/tiles.h"

struct _AvatarVaeEncoder
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarVaeModel vae;
  AvatarVaeTiles tiles;
  gint64 width, height;
  gsize predicted_bytes;
  AvatarOps *ops;
};

/* Encodes @rgb [height, width, 3] to @out [2, channels, h, w]; both are NULL in a dry run. */
static void
encode (AvatarVaeEncoder *self, AvatarOps *ops, const float *rgb, float *out)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (self->model)->vae;
  gint64 h = avatar_vae_tiles_size_out (&self->tiles, self->height);
  gint64 w = avatar_vae_tiles_size_out (&self->tiles, self->width);
  gint64 channels = config->latent_channels;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x = avatar_ops_alloc (ops, 4, (gint64) 1, self->height, self->width, (gint64) 3);
  AvatarTensor moments = avatar_ops_alloc (ops, 4, (gint64) 1, h, w, 2 * channels);

  avatar_op_upload (ops, x, rgb);
  avatar_vae_tiles_run (&self->tiles, ops, moments, x);
  if (!ops->dry_run) {
    g_autofree float *m = g_new0 (float, avatar_tensor_n (moments));

    avatar_op_download (ops, m, moments);
    for (gint64 c = 0; c < 2 * channels; c++)
      for (gint64 i = 0; i < h * w; i++)
        out[c * h * w + i] = m[i * 2 * channels + c];
  }
  avatar_ops_release (ops, mark);
}

static AvatarVaeEncoder *
encoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    AvatarWeightsMode mode, GError **error)
{
  const AvatarConfig *config = avatar_model_get_config (model);
  g_autoptr (AvatarVaeEncoder) self = NULL;

  if (!avatar_vae_check_size (model, width, height, error))
    return NULL;
  self = g_new0 (AvatarVaeEncoder, 1);
  self->model = avatar_model_ref (model);
  self->device = avatar_device_ref (device);
  self->width = width;
  self->height = height;
  avatar_vae_tiles_init (&self->tiles, &config->vae, AVATAR_VAE_ENCODER,
      &(AvatarVaeTileSettings){ .tiling = config->vae_tiling,
          .tile_size = config->vae.sample_size,
          .tile_frames = config->vae.sample_tsize,
          .overlap = AVATAR_VAE_OVERLAP });
  if (!avatar_vae_model_init (&self->vae, model, self->device, AVATAR_VAE_ENCODER, mode, error))
    return NULL;
  self->tiles.network = self->vae.network;
  return g_steal_pointer (&self);
}

/* Implements AvatarReclaimFunc. It is never called, because the client exists during the request
 * only and is never set reclaimable. */
static AvatarReclaimResult
reclaim_nothing (gpointer stage, AvatarReclaimMode mode)
{
  return AVATAR_RECLAIM_DONE;
}

/* Lets idle stages of the device release the memory that the encoder will allocate. */
static gboolean
request_memory (AvatarModel *model, AvatarDevice *device, guint width, guint height, GError **error)
{
  static const gint never;
  g_autoptr (AvatarMemoryClient) memory_client = NULL;
  AvatarStageCost cost;
  guint64 bytes;

  if (!avatar_device_get_backend (device)->discrete)
    return TRUE;
  if (!avatar_vae_encoder_plan (model, device, width, height, &cost, error))
    return FALSE;
  bytes = avatar_device_get_allocation_size (device, cost.weight_bytes)
      + avatar_device_get_allocation_size (device, cost.arena_bytes);
  memory_client = avatar_memory_client_new (device, reclaim_nothing, NULL);
  avatar_memory_client_request (memory_client, bytes, bytes, &never);
  return TRUE;
}

AvatarVaeEncoder *
avatar_vae_encoder_new (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    GError **error)
{
  g_autoptr (AvatarVaeEncoder) self = NULL;
  g_autoptr (AvatarOps) dry_run = NULL;
  AvatarArena *arena;

  if (!request_memory (model, device, width, height, error))
    return NULL;
  self = encoder_new (model, device, width, height, AVATAR_WEIGHTS_LOAD, error);
  if (!self)
    return NULL;
  dry_run = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  encode (self, dry_run, NULL, NULL);
  self->predicted_bytes = avatar_arena_peak (dry_run->arena);
  arena = avatar_arena_new (self->device, self->predicted_bytes, "the portrait encoder", error);
  if (!arena)
    return NULL;
  self->ops = avatar_vae_ops_new (self->device, arena, error);
  if (!self->ops)
    return NULL;
  return g_steal_pointer (&self);
}

gboolean
avatar_vae_encode_moments (AvatarVaeEncoder *self, const float *rgb, float *moments, GError **error)
{
  encode (self, self->ops, rgb, moments);
  return avatar_ops_check (self->ops, error);
}

gboolean
avatar_vae_encode_image (AvatarVaeEncoder *self, const float *rgb, float *mean, GError **error)
{
  const AvatarVaeConfig *config = &avatar_model_get_config (self->model)->vae;
  gsize n = config->latent_channels * avatar_vae_tiles_size_out (&self->tiles, self->height)
      * avatar_vae_tiles_size_out (&self->tiles, self->width);
  g_autofree float *moments = g_new (float, 2 * n);

  if (!avatar_vae_encode_moments (self, rgb, moments, error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    mean[i] = (moments[i] - config->shift_factor) * config->scaling_factor;
  return TRUE;
}

void
avatar_vae_encoder_free (AvatarVaeEncoder *self)
{
  if (!self)
    return;
  avatar_ops_free (self->ops);
  avatar_vae_model_clear (&self->vae);
  g_clear_pointer (&self->device, avatar_device_unref);
  avatar_model_unref (self->model);
  g_free (self);
}

gboolean
avatar_vae_encoder_plan (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    AvatarStageCost *cost, GError **error)
{
  g_autoptr (AvatarVaeEncoder) self
      = encoder_new (model, device, width, height, AVATAR_WEIGHTS_SHAPES_ONLY, error);

  if (!self)
    return FALSE;
  self->ops = avatar_vae_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  encode (self, self->ops, NULL, NULL);
  *cost = (AvatarStageCost){
    .weight_bytes = self->vae.weight_bytes,
    .arena_bytes = avatar_arena_peak (self->ops->arena),
    .min_arena_bytes = avatar_arena_peak (self->ops->arena),
    .flops = self->ops->flops,
    .bytes = self->ops->bytes,
  };
  return TRUE;
}

void
avatar_vae_encoder_get_arena (AvatarVaeEncoder *self, gsize *predicted_bytes, gsize *peak_bytes)
{
  *predicted_bytes = self->predicted_bytes;
  *peak_bytes = avatar_arena_peak (self->ops->arena);
}
