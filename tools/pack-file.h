/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes one component of a model to a safetensors file, in the order of use and with large tensors
 * aligned to pages. */
#pragma once

#include "engine/model/model.h"
#include "engine/weights/pack.h"
#include "engine/model/component.h"

/* Progress callback.
 * @bytes: number of bytes written, of all components */
typedef void (*PackProgressFunc) (const char *component, guint64 bytes, gpointer data);

/**
 * Pack: state of one run
 * @quantise, @loras: settings of the transformer, as in AvatarWeightSettings
 * @metadata: JSON object of strings for the header of the file
 * @cancelled: flag that ends the work when it is not 0
 */
typedef struct
{
  AvatarModel *model;
  AvatarQuantise quantise;
  GPtrArray *loras;
  const char *metadata;
  const gint *cancelled;
  PackProgressFunc progress;
  gpointer data;
  guint64 done, total; /* bytes of tensors */
} Pack;

/* Lists the tensors of @component in the order of use, each with the dtype in which it will be
 * stored, and adds their size to the total.
 * Returns: (transfer full) (nullable): array of AvatarPackedTensor; %NULL with @error if a LoRA
 * cannot be merged. */
GArray *pack_list (Pack *pack, AvatarComponentKind component, GError **error);
/* Writes the tensors to @path, which must not exist. */
gboolean pack_write (Pack *pack, AvatarComponentKind component, GArray *list, const char *path,
    GError **error);
