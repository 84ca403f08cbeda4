/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of the weights that a network needs, each with the handle that it is bound to, its weight
 * group and its storage class. Networks describe their blocks by static tables; names are formatted
 * once, when a list is made. Packing, placement and streaming take no meaning from names. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

typedef struct _AvatarWeights AvatarWeights;

/**
 * AvatarWeight: handle of one tensor. Filled by avatar_weights_new(), and valid as long as those
 * weights are; all zero for a tensor that a network does not have, such as the bias of a projection
 * without one.
 * @weights: (nullable): the weights that it belongs to, not owned
 * @index: position in the list that the weights were opened with
 */
typedef struct
{
  AvatarWeights *weights;
  guint index;
} AvatarWeight;

/* Parameters of a module: a linear layer, a convolution or a norm. */
typedef struct
{
  AvatarWeight weight, bias;
} AvatarModuleWeights;

/* Dtypes that a tensor may have in a device's memory. */
typedef enum
{
  AVATAR_WEIGHT_CLASS_F32,         /* vectors */
  AVATAR_WEIGHT_CLASS_ACTIVATION,  /* the dtype of activations: matrices and their biases */
  AVATAR_WEIGHT_CLASS_QUANTISABLE, /* the same, or 8 bits if the file or the settings say so */
  AVATAR_WEIGHT_CLASS_STORED_8BIT, /* the same, or 8 bits if the file says so; always expanded */
} AvatarWeightClass;

/* Tensors of a module, their names and classes. */
typedef enum
{
  AVATAR_MODULE_LINEAR,      /* NAME.weight, a matrix or the taps of a convolution, and NAME.bias */
  AVATAR_MODULE_QUANTISABLE, /* the same with a matrix that may have 8 bits */
  AVATAR_MODULE_MODULATION,  /* the same, used once: not worth rounding where the file does not */
  AVATAR_MODULE_MATRIX,      /* NAME.weight alone */
  AVATAR_MODULE_NORM,        /* NAME.weight and NAME.bias, vectors */
  AVATAR_MODULE_SCALE,       /* NAME.weight alone, a vector */
  AVATAR_MODULE_VECTOR,      /* a vector called NAME */
} AvatarModuleKind;

/**
 * AvatarWeightRow: one module of a block.
 * @name: follows the block's prefix in the checkpoint
 * @offset: of its #AvatarModuleWeights in the block's struct
 * @group: index in the groups of the block, see avatar_weight_list_add()
 */
typedef struct
{
  const char *name;
  gsize offset;
  AvatarModuleKind kind;
  guint group;
} AvatarWeightRow;

typedef struct
{
  const AvatarWeightRow *rows;
  guint n_rows;
} AvatarWeightTable;

/* Initialiser of the row for @field of the struct @Block; @kind without its prefix. */
#define AVATAR_WEIGHT_ROW(Block, field, name, kind, group)            \
  {                                                                   \
    name, G_STRUCT_OFFSET (Block, field), AVATAR_MODULE_##kind, group \
  }
#define AVATAR_WEIGHT_TABLE(rows) \
  {                               \
    (rows), G_N_ELEMENTS (rows)   \
  }

#define AVATAR_WEIGHT_GROUP_FIXED G_MAXUINT /* always on the device */

/**
 * AvatarWeightEntry: one tensor.
 * @name: (owned): in the checkpoint
 * @handle: filled when weights are opened
 * @group: the weight group, or AVATAR_WEIGHT_GROUP_FIXED
 */
typedef struct
{
  char *name;
  AvatarWeight *handle;
  guint group;
  AvatarWeightClass storage;
} AvatarWeightEntry;

/**
 * AvatarWeightList:
 * @n_groups: groups in which weights go to the device
 * @entries: of AvatarWeightEntry
 */
typedef struct
{
  guint n_groups;
  GArray *entries;
} AvatarWeightList;

AvatarWeightList *avatar_weight_list_new (guint n_groups);
void avatar_weight_list_free (AvatarWeightList *self);
const AvatarWeightEntry *avatar_weight_list_nth (const AvatarWeightList *self, guint i);
/* SHA-256 of the names in their order. Free with g_free(). */
char *avatar_weight_list_checksum (const AvatarWeightList *self);
/* Adds one tensor. @handle must outlive the list. */
void avatar_weight_list_add_tensor (AvatarWeightList *self, AvatarWeight *handle, const char *name,
    guint group, AvatarWeightClass storage);
/* Adds the modules of one block. @block: struct that @table describes, which must outlive the list;
 * @groups: weight groups by the group index of rows; @prefix: format of what precedes the names. */
void avatar_weight_list_add (AvatarWeightList *self, const AvatarWeightTable *table, gpointer block,
    const guint *groups, const char *prefix, ...) G_GNUC_PRINTF (5, 6);

/* The tensor where it is now: without data in a dry run, and while its group is not on the device.
 * AVATAR_NO_TENSOR for a handle that is all zero. */
AvatarTensor avatar_weight_tensor (AvatarWeight weight);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeightList, avatar_weight_list_free)

G_END_DECLS
