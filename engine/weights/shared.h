/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights in float32 in the host's memory, shared by all stages that use the same component of the
 * same model on the same device. All functions are thread-safe. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/model/component.h"

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * AvatarSharedWeights: weights of one component, constant after they are loaded
 * @arena: memory of the values
 * @views: array of AvatarTensor, in the order of the list of names
 */
typedef struct
{
  AvatarArena *arena;
  GArray *views;
} AvatarSharedWeights;

/* Fills @weights. If it returns %FALSE with @error, the caller frees the members that are set. */
typedef gboolean (*AvatarSharedLoad) (AvatarSharedWeights *weights, gpointer data, GError **error);

/**
 * AvatarSharedKey: stages with the same key share their weights
 * @names: checksum of the names of the weights, see avatar_weight_list_checksum()
 */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarComponentKind component;
  const char *names;
} AvatarSharedKey;

/* Finds the weights of @key, or loads them with @load, which is called with @data. Blocks while
 * another thread loads them. The caller must hold references to the model and the device of @key
 * until it calls avatar_shared_weights_release().
 * Returns: the weights, or %NULL with the error of @load. */
AvatarSharedWeights *avatar_shared_weights_acquire (const AvatarSharedKey *key,
    AvatarSharedLoad load, gpointer data, GError **error);
/* Ends the use of @weights (nullable), and frees them if no other stage uses them. */
void avatar_shared_weights_release (AvatarSharedWeights *weights);

G_END_DECLS
