/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights by name, for tests that look at single tensors. */
#pragma once

#include "engine/model/model.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* @handles: name -> AvatarWeight */
typedef struct
{
  AvatarWeightList *list;
  GHashTable *handles;
} NamedWeights;

static inline void
named_weights_clear (NamedWeights *self)
{
  g_clear_pointer (&self->list, avatar_weight_list_free);
  g_clear_pointer (&self->handles, g_hash_table_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (NamedWeights, named_weights_clear)

static inline void
named_weights_init (NamedWeights *self, guint n_groups)
{
  self->list = avatar_weight_list_new (n_groups);
  self->handles = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
}

static inline void
named_weights_add (NamedWeights *self, const char *name, guint group, AvatarWeightClass storage)
{
  AvatarWeight *handle = g_new0 (AvatarWeight, 1);

  avatar_weight_list_add_tensor (self->list, handle, name, group, storage);
  g_hash_table_insert (self->handles, g_strdup (name), handle);
}

/* Adds all of @tensors, name -> AvatarTensor, that are no scales: matrices in the dtype of
 * activations, vectors in float32. */
static inline void
named_weights_add_all (NamedWeights *self, GHashTable *tensors)
{
  GHashTableIter iter;
  gpointer name, value;

  g_hash_table_iter_init (&iter, tensors);
  while (g_hash_table_iter_next (&iter, &name, &value))
    if (!g_str_has_suffix (name, "_scale"))
      named_weights_add (self, name, AVATAR_WEIGHT_GROUP_FIXED,
          ((AvatarTensor *) value)->rank < 2 ? AVATAR_WEIGHT_CLASS_F32
                                             : AVATAR_WEIGHT_CLASS_ACTIVATION);
}

/* All tensors of @component in the device's memory. Returns %NULL if they cannot be loaded. */
static inline AvatarWeights *
named_weights_open (NamedWeights *self, AvatarModel *model, AvatarDevice *device,
    AvatarComponentKind component)
{
  named_weights_init (self, 0);
  named_weights_add_all (self, avatar_model_get_component (model, component, NULL));
  return avatar_weights_new (model, device, component, self->list, NULL, AVATAR_WEIGHTS_LOAD, NULL);
}

static inline AvatarTensor
named_weights_get (const NamedWeights *self, const char *name)
{
  const AvatarWeight *handle = g_hash_table_lookup (self->handles, name);

  if (!handle)
    g_error ("no tensor \"%s\"", name);
  return avatar_weight_tensor (*handle);
}

G_END_DECLS
