/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packed buffers: the tensors of a weight group in the dtypes of a device, one after the other at
 * aligned offsets. The content depends only on the file and the settings. */
#pragma once

#include "engine/formats/tensor-source.h"
#include "engine/weights/weight-list.h"
#include "engine/weights/weight-types.h"

G_BEGIN_DECLS

/**
 * AvatarPackedLora: a LoRA whose multiplier changes, packed with a tensor
 * @index: index of the LoRA in those of the settings
 * @lora: (owned): array of one AvatarLora
 * @rank: rank of the product of two matrices; 0: it adds no product
 * @up_offset, @down_offset: offsets of the factors, as in AvatarPackedTensor (bytes)
 * @has_diff: it adds whole values
 * @diff_offset: their offset, in the shape of the tensor, of its dtype @expanded (bytes)
 */
typedef struct
{
  guint index;
  GPtrArray *lora;
  gint64 rank;
  gsize up_offset, down_offset;
  gboolean has_diff;
  gsize diff_offset;
} AvatarPackedLora;

/**
 * AvatarPackedTensor: one tensor of a packed buffer
 * @name: (owned): name in the checkpoint
 * @entry: index in the list of weights
 * @source: tensor in the file
 * @source_scale: scale factors of an 8-bit source, one or one for each row; unset if it has none
 * @loras: (nullable): array of AvatarLora that add to it. They are added when the tensor is packed,
 *   or to its expanded copy if @rank is not 0
 * @scheduled: (owned) (nullable): array of AvatarPackedLora, which are added to the expanded copy
 * @dtype: dtype in the packed buffer
 * @expanded: dtype of the expanded copy
 * @expands: the model computes with an expanded copy: of 8-bit values, or to add @scheduled
 * @offset: offset in the packed buffer (bytes)
 * @scale_offset: offset of the scale factors of an 8-bit tensor, [rows] float32 (bytes)
 * @expand_offset: offset of the expanded copy in the scratch memory (bytes)
 * @rank: total rank of @loras, if the file stores the tensor in 8 bits; otherwise 0
 * @up_offset: offset of the LoRAs' left factor, [rows, rank] of dtype @expanded (bytes)
 * @down_offset: offset of the right factor, [columns, rank] (bytes); up down^T is added
 */
typedef struct
{
  char *name;
  guint entry;
  AvatarTensorSource source, source_scale;
  GPtrArray *loras;
  GArray *scheduled;
  AvatarDType dtype, expanded;
  gboolean expands;
  gsize offset, scale_offset, expand_offset;
  gint64 rank;
  gsize up_offset, down_offset;
} AvatarPackedTensor;

/**
 * AvatarWeightGroup: weights that are copied to a device together
 * @tensors: (owned): array of AvatarPackedTensor
 * @bytes: size of the packed buffer
 * @scratch_bytes: size of the expanded copies
 */
typedef struct
{
  GArray *tensors;
  gsize bytes, scratch_bytes;
} AvatarWeightGroup;

/* @tensors: table of name -> AvatarTensorSource with all names of @list
 * @settings: its LoRAs must outlive the groups
 * @activation: dtype of matrices on the device
 * Returns: (transfer full): array of AvatarWeightGroup: the groups of @list, and after them one
 * group with the fixed tensors. */
GArray *avatar_pack_plan (GHashTable *tensors, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarDType activation);
/* Returns: FALSE with AVATAR_ERROR_SETTINGS if a LoRA cannot be added to one of @groups. */
gboolean avatar_pack_check (GArray *groups, GError **error);
/* Writes the packed buffer of @group on all cores.
 * @packed: [group->bytes] the buffer
 * @cancelled: (atomic) (nullable): stops packing when it is not 0
 * Fails with AVATAR_ERROR_READ if the file was truncated, with AVATAR_ERROR_FORMAT if values to be
 * quantised are not finite, and with AVATAR_ERROR_CANCELLED. */
gboolean avatar_pack_group (const AvatarWeightGroup *group, guint8 *packed, const gint *cancelled,
    GError **error);

/* Returns: (transfer none): element @i of an array of AvatarWeightGroup. */
static inline AvatarWeightGroup *
avatar_weight_group_nth (GArray *groups, guint i)
{
  return &g_array_index (groups, AvatarWeightGroup, i);
}

G_END_DECLS
