/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights in float32 in the host's memory, loaded once for all stages that use the same part of the
 * same model on the same device. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/model/component.h"

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * AvatarSharedWeights: read only once loaded.
 * @arena: their memory; @views: of AvatarTensor, in the order of the list that they were loaded by
 */
typedef struct
{
  AvatarArena *arena;
  GArray *views;
} AvatarSharedWeights;

/* Fills @weights, or returns %FALSE with @error; what it has made by then is freed by the caller. */
typedef gboolean (*AvatarSharedLoad) (AvatarSharedWeights *weights, gpointer data, GError **error);

/**
 * AvatarSharedKey: stages with the same key share their weights.
 * @names: see avatar_weight_list_checksum()
 */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarComponentKind part;
  const char *names;
} AvatarSharedKey;

/* Returns these weights, which @load loads unless they are there; waits while another thread loads
 * them. The caller holds references to the model and the device until
 * avatar_shared_weights_release(). Any thread. */
AvatarSharedWeights *avatar_shared_weights_acquire (const AvatarSharedKey *key,
    AvatarSharedLoad load, gpointer data, GError **error);
/* Frees the weights when the last stage has released them. */
void avatar_shared_weights_release (AvatarSharedWeights *weights);

G_END_DECLS
