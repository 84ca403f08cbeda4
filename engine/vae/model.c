/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes a network of the VAE from the tensors of a model. */
#include "engine/vae/model.h"

#include "engine/device/device.h"
#include "engine/model/model.h"

typedef struct
{
  GHashTable *tensors;
  AvatarWeightsMode mode;
} Component;

static AvatarTensor
lookup (gpointer data, const char *name, GError **error)
{
  const Component *component = data;
  const AvatarTensorSource *t = g_hash_table_lookup (component->tensors, name);
  AvatarTensor found = AVATAR_NO_TENSOR;

  if (!t)
    return found;
  if (component->mode == AVATAR_WEIGHTS_SHAPES_ONLY)
    return avatar_tensor_of_shape (AVATAR_F32, NULL, t->rank, t->shape);
  if (!avatar_weights_read (component->tensors, name, &found, error))
    return AVATAR_NO_TENSOR;
  return found;
}

AvatarOps *
avatar_vae_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error)
{
  AvatarOps *ops = avatar_ops_new (device, arena, error);

  if (ops)
    ops->dtype = avatar_device_get_backend (device)->pixels;
  return ops;
}

/* Makes the network with its weights in the arena of @ops. */
static AvatarVaeNetwork *
make_network (AvatarOps *ops, AvatarModel *model, AvatarVaeKind kind, AvatarWeightsMode mode,
    GError **error)
{
  Component component = { .mode = mode };
  AvatarVaeSource source = { .ops = ops,
    .config = &avatar_model_get_config (model)->vae,
    .lookup = lookup,
    .data = &component };
  AvatarVaeNetwork *network;

  component.tensors = avatar_model_get_component (model, AVATAR_COMPONENT_VAE, NULL);
  network = avatar_vae_network_new (&source, kind);
  if (!network)
    g_propagate_error (error, source.error);
  return network;
}

static gboolean
load_weights (AvatarVaeModel *self, AvatarModel *model, AvatarDevice *device, AvatarVaeKind kind,
    GError **error)
{
  AvatarArena *arena
      = avatar_arena_new (device, self->weight_bytes, "the weights of the video VAE", error);
  AvatarOps *ops = arena ? avatar_vae_ops_new (device, arena, error) : NULL;

  if (!ops)
    return FALSE;
  g_clear_pointer (&self->network, avatar_vae_network_free);
  g_clear_pointer (&self->weights, avatar_ops_free);
  self->weights = ops;
  self->network = make_network (ops, model, kind, AVATAR_WEIGHTS_LOAD, error);
  /* the network may run on another queue */
  avatar_ops_finish (ops);
  return self->network && avatar_ops_check (ops, error);
}

/* Refuses, in a dry run as well, numbers of channels that the device does not support. */
static gboolean
check_limits (AvatarModel *model, AvatarDevice *device, GError **error)
{
  const AvatarVaeConfig *c = &avatar_model_get_config (model)->vae;
  gint64 multiple = avatar_device_get_backend (device)->channel_multiple;

  for (guint i = 0; multiple && i < c->n_stages; i++)
    if (c->channels[i] % multiple) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "this model's VAE has %u channels in stage %u; %s supports multiples of %" G_GINT64_FORMAT
          "; choose device=cpu",
          c->channels[i], i, avatar_device_get_name (device), multiple);
      return FALSE;
    }
  return TRUE;
}

gboolean
avatar_vae_model_init (AvatarVaeModel *self, AvatarModel *model, AvatarDevice *device,
    AvatarVaeKind kind, AvatarWeightsMode mode, GError **error)
{
  *self = (AvatarVaeModel){ 0 };
  if (!check_limits (model, device, error))
    return FALSE;
  if (mode == AVATAR_WEIGHTS_LOAD && !avatar_model_has_weights (model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "\"%s\" names sizes without weights, which are sufficient for a plan only; to run, set the "
        "folder of a model",
        avatar_model_get_path (model));
    return FALSE;
  }
  self->weights = avatar_vae_ops_new (device, avatar_arena_new_dry_run (), NULL);
  self->network = make_network (self->weights, model, kind, AVATAR_WEIGHTS_SHAPES_ONLY, error);
  if (!self->network)
    return FALSE;
  self->weight_bytes = avatar_arena_peak (self->weights->arena);
  return mode == AVATAR_WEIGHTS_SHAPES_ONLY || load_weights (self, model, device, kind, error);
}

void
avatar_vae_model_clear (AvatarVaeModel *self)
{
  g_clear_pointer (&self->network, avatar_vae_network_free);
  g_clear_pointer (&self->weights, avatar_ops_free);
}

gboolean
avatar_vae_model_is_dry_run (const AvatarVaeModel *self)
{
  return avatar_arena_is_dry_run (self->weights->arena);
}

gboolean
avatar_vae_check_size (AvatarModel *model, guint width, guint height, GError **error)
{
  guint ratio = avatar_model_get_config (model)->vae.spatial_ratio;

  if (width > 0 && height > 0 && width % ratio == 0 && height % ratio == 0 && width <= 16384
      && height <= 16384)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "video size %ux%u: width and height must be multiples of %u, up to 16384", width, height,
      ratio);
  return FALSE;
}
