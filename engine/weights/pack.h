/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights as a device wants them: the tensors of a unit in the device's dtypes, one after the
 * other at aligned offsets. The image of a unit depends on the file and the settings only. */
#pragma once

#include "engine/formats/tensor-source.h"
#include "engine/weights/weight-list.h"
#include "engine/weights/weight-types.h"

G_BEGIN_DECLS

/**
 * AvatarPackedTensor: one tensor in its unit's image.
 * @entry: position in the list of weights
 * @source: tensor in the file
 * @source_scale: scale factors of an 8-bit source, one for each row or one for all; else not set
 * @loras: that add to it, or %NULL: while it is packed, or, if @rank is not 0, to its expanded copy
 * @dtype: in the image; @offset: bytes from the start of the image
 * @scale_offset: of an 8-bit tensor: its rows' factors
 * @expand_offset: in the scratch memory where an 8-bit tensor becomes one of @expanded; only if
 *   the model does not compute in 8 bits
 * @rank: of what @loras add to a tensor that is 8-bit in its file: up [out, rank] down^T with
 *   down [in, rank], both of @expanded, at @up_offset and @down_offset
 */
typedef struct
{
  char *name;
  guint entry;
  AvatarTensorSource source, source_scale;
  GPtrArray *loras;
  AvatarDType dtype, expanded;
  gboolean expands;
  gsize offset, scale_offset, expand_offset;
  gint64 rank;
  gsize up_offset, down_offset;
} AvatarPackedTensor;

/* @bytes: of the image; @scratch: of what is expanded */
typedef struct
{
  GArray *tensors; /* of AvatarPackedTensor */
  gsize bytes, scratch;
} AvatarWeightGroup;

/* Array of AvatarWeightGroup, which owns all: the groups of @list, and after them the fixed tensors.
 * @tensors: name -> AvatarTensorSource, with all that @list names; @activation: the device's
 * dtype for matrices. The LoRAs of @settings must outlive it. */
GArray *avatar_pack_plan (GHashTable *tensors, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarDType activation);
/* FALSE with AVATAR_ERROR_SETTINGS if there is a LoRA that cannot be added. */
gboolean avatar_pack_check (GArray *units, GError **error);
/* Writes the image of @unit with all cores. Fails with AVATAR_ERROR_READ if the file has been cut
 * short, with AVATAR_ERROR_FORMAT if values that are to be quantised are not finite, and with
 * AVATAR_ERROR_CANCELLED as soon as @cancelled (optional) is not 0. */
gboolean avatar_pack_group (const AvatarWeightGroup *unit, guint8 *image, const gint *cancelled,
    GError **error);

G_END_DECLS
