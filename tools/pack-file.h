/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One part of a model as a file of its own: safetensors whose large tensors begin on pages, in the order in
 * which a run uses them. */
#pragma once

#include "engine/model/model.h"
#include "engine/weights/pack.h"
#include "engine/model/component.h"

/* What there is to tell while it is written. @bytes: done, of all parts */
typedef void (*PackProgressFunc) (const char *part, guint64 bytes, gpointer data);

/* @quantise, @loras: of the transformer; see AvatarWeightSettings
 * @metadata: a JSON object of strings for the file's table
 * @cancelled: ends the work when it is not 0 */
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

/* Array of AvatarPackedTensor: what becomes of the tensors of @part, in the order of their use. @dtype of each is
 * what it will be stored in. FALSE with @error if a LoRA cannot be merged. Adds to the total. */
GArray *pack_list (Pack *pack, AvatarComponentKind part, GError **error);
/* Writes them to @path, which must not be there. */
gboolean
pack_write (Pack *pack, AvatarComponentKind part, GArray *list, const char *path, GError **error);
