/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* List of the weights that a network needs. Each entry has a name, the handle that is bound to
 * it, a weight group and a storage class. Networks describe their blocks by static tables, and
 * names are formatted once, when a list is created. Packing, placement and streaming do not
 * interpret names. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

typedef struct _AvatarWeights AvatarWeights;

/**
 * AvatarWeight: handle of one tensor
 * @weights: (nullable): weights that the tensor belongs to; not owned
 * @index: index in the list that the weights were opened with
 *
 * avatar_weights_new() fills the handle, which is valid until these weights are freed. The handle
 * of a tensor that the network does not have, such as a missing bias, is all zero.
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

/* Choice of the dtype that a tensor has in a device's memory. */
typedef enum
{
  AVATAR_WEIGHT_CLASS_F32,         /* float32: vectors */
  AVATAR_WEIGHT_CLASS_ACTIVATION,  /* the dtype of activations: matrices and their biases */
  AVATAR_WEIGHT_CLASS_QUANTISABLE, /* that, or 8 bits if the file or the settings have 8 */
  AVATAR_WEIGHT_CLASS_STORED_8BIT, /* that, or 8 bits if the file has 8; always expanded */
} AvatarWeightClass;

/* Kinds of modules, which differ in their tensors' names and storage classes. */
typedef enum
{
  AVATAR_MODULE_LINEAR,      /* NAME.weight, a matrix or the taps of a convolution, and NAME.bias */
  AVATAR_MODULE_QUANTISABLE, /* the same, with a matrix that may be quantised */
  AVATAR_MODULE_MODULATION,  /* the same, but not quantised at load, as it is used rarely */
  AVATAR_MODULE_MATRIX,      /* NAME.weight alone */
  AVATAR_MODULE_NORM,        /* NAME.weight and NAME.bias, vectors */
  AVATAR_MODULE_SCALE,       /* NAME.weight alone, a vector */
  AVATAR_MODULE_VECTOR,      /* a vector with the name NAME */
} AvatarModuleKind;

/**
 * AvatarWeightRow: one module of a block
 * @name: name in the checkpoint after the prefix of the block
 * @offset: offset of its #AvatarModuleWeights in the block's struct (bytes)
 * @kind: tensors of the module
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

/* Initialiser of the row for member @field of struct @Block. @kind is an AvatarModuleKind
 * without its prefix AVATAR_MODULE_. */
#define AVATAR_WEIGHT_ROW(Block, field, name, kind, group)            \
  {                                                                   \
    name, G_STRUCT_OFFSET (Block, field), AVATAR_MODULE_##kind, group \
  }
#define AVATAR_WEIGHT_TABLE(rows) \
  {                               \
    (rows), G_N_ELEMENTS (rows)   \
  }

/* Group of the fixed tensors, which are always on the device. */
#define AVATAR_WEIGHT_GROUP_FIXED G_MAXUINT

/**
 * AvatarWeightEntry: one tensor
 * @name: (owned): name in the checkpoint
 * @handle: handle that is filled when weights are opened; not owned
 * @group: index of the weight group, or AVATAR_WEIGHT_GROUP_FIXED
 * @storage: dtype on the device
 */
typedef struct
{
  char *name;
  AvatarWeight *handle;
  guint group;
  AvatarWeightClass storage;
} AvatarWeightEntry;

/**
 * AvatarWeightList: weights of a network
 * @n_groups: number of weight groups, without the fixed tensors
 * @entries: (owned): array of AvatarWeightEntry
 */
typedef struct
{
  guint n_groups;
  GArray *entries;
} AvatarWeightList;

AvatarWeightList *avatar_weight_list_new (guint n_groups);
void avatar_weight_list_free (AvatarWeightList *self);
/* Returns: (transfer none): entry @i. */
const AvatarWeightEntry *avatar_weight_list_nth (const AvatarWeightList *self, guint i);
/* Returns: (transfer full): SHA-256 of the names in their order, in hexadecimal. */
char *avatar_weight_list_checksum (const AvatarWeightList *self);
/* Adds one tensor.
 * @handle: must outlive the list
 * @name: name in the checkpoint, which is copied
 * @group: index of the weight group, or AVATAR_WEIGHT_GROUP_FIXED */
void avatar_weight_list_add_tensor (AvatarWeightList *self, AvatarWeight *handle, const char *name,
    guint group, AvatarWeightClass storage);
/* Adds the modules of one block.
 * @table: modules of the block
 * @block: struct that @table describes; must outlive the list
 * @groups: weight groups, indexed by the rows' @group
 * @prefix: printf format of the prefix of the block's names */
void avatar_weight_list_add (AvatarWeightList *self, const AvatarWeightTable *table, gpointer block,
    const guint *groups, const char *prefix, ...) G_GNUC_PRINTF (5, 6);

/* Returns: the tensor in the device's memory. It has no data in a dry run, and while its group
 * is not acquired. AVATAR_NO_TENSOR for a handle that is all zero. */
AvatarTensor avatar_weight_tensor (AvatarWeight weight);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeightList, avatar_weight_list_free)

G_END_DECLS
