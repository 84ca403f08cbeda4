/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights of one component of a model on a device, opened from a list of names. In the host's
 * memory they are float32 and are read once, so that the file is not needed afterwards. On a
 * discrete device they are packed in the groups of the list, and streamed if memory is short. */
#pragma once

#include "engine/model/component.h"
#include "engine/ops/ops.h"
#include "engine/weights/weight-list.h"
#include "engine/weights/weight-types.h"

#include <avatar/model.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_WEIGHTS_LOAD,
  AVATAR_WEIGHTS_SHAPES_ONLY, /* nothing is read or allocated, and tensors have no data */
} AvatarWeightsMode;

/* Returns: dtype of matrices on @device, and of the activations that they are multiplied with. */
AvatarDType avatar_weights_dtype (AvatarDevice *device, const AvatarWeightSettings *settings);

/**
 * avatar_weights_new:
 * @model: model, to which a reference is kept
 * @device: device, to which a reference is kept
 * @component: component of the model, which must be present
 * @list: names of the weights; its handles are filled
 * @settings: (nullable): storage; %NULL for the dtypes of the file
 * @mode: %AVATAR_WEIGHTS_SHAPES_ONLY for a dry run
 *
 * Opens the weights of a component. One thread at a time may use them.
 *
 * Returns: (transfer full): the weights, or %NULL with @error: AVATAR_ERROR_NOT_FOUND if a tensor
 * is missing, AVATAR_ERROR_MEMORY, AVATAR_ERROR_SETTINGS if a LoRA cannot be added, or an error of
 * reading
 */
AvatarWeights *avatar_weights_new (AvatarModel *model, AvatarDevice *device,
    AvatarComponentKind component, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarWeightsMode mode, GError **error);
/* Opens weights like avatar_weights_new(), from @tensors instead of from a model.
 * @tensors: table of name -> AvatarTensorSource; the sources and their files must outlive the
 * weights
 * @component: component to name in errors */
AvatarWeights *avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device,
    AvatarComponentKind component, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarWeightsMode mode, GError **error);
/* Reads one tensor as float32.
 * @tensors: table of name -> AvatarTensorSource, which has @name
 * @t: (out): the tensor; free its data with g_free() */
gboolean
avatar_weights_read (GHashTable *tensors, const char *name, AvatarTensor *t, GError **error);
/* @self may be %NULL. Operations of the device that read the weights must be complete. */
void avatar_weights_free (AvatarWeights *self);
/* Returns: bytes of device memory that the weights occupy without a schedule: all weights as
 * float32, or packed fixed tensors, and in the host's memory also the buffer of the largest
 * group. */
guint64 avatar_weights_fixed_bytes (AvatarWeights *self);
/* Returns: size of the values in the dtypes of the file (bytes); 0 if the weights have no
 * groups. */
guint64 avatar_weights_file_bytes (AvatarWeights *self);

/**
 * avatar_weights_set_schedule:
 * @self: weights
 * @ops: context of the computation; nothing happens in a dry run
 * @schedule: order in which groups will be acquired, which is copied
 *
 * Allocates streaming slots, and keeps as many groups of the schedule resident as fit into the
 * available memory. An earlier schedule is dropped first, so operations that read weights must be
 * complete. Does nothing for weights that are always in memory.
 *
 * Returns: %FALSE with @error: AVATAR_ERROR_MEMORY, which has the missing number of bytes, if the
 * memory does not suffice for the slots
 */
gboolean avatar_weights_set_schedule (AvatarWeights *self, AvatarOps *ops,
    const AvatarWeightSchedule *schedule, GError **error);
/* Frees the memory of the schedule. Another one must be set before groups are acquired. Operations
 * that read weights must be complete. */
void avatar_weights_drop_schedule (AvatarWeights *self);
/* Makes the tensors of @group available to operations that are enqueued in the queue of @ops,
 * until avatar_weights_release(). Blocks until the copy of the group is enqueued, or the run is
 * cancelled. Does nothing in a dry run, after an error, and for weights that are always in
 * memory. Errors are stored in @ops. */
void avatar_weights_acquire (AvatarWeights *self, AvatarOps *ops, guint group);
/* Allows the memory of @group to be reused after the operations that are enqueued by now. */
void avatar_weights_release (AvatarWeights *self, AvatarOps *ops, guint group);

/* Sets the multipliers of the scheduled LoRAs, in order. In the host's memory the weights that they
 * add to are made again, if a multiplier changes. Does nothing in a dry run and after an error.
 * Errors are stored in @ops. */
void
avatar_weights_set_multipliers (AvatarWeights *self, AvatarOps *ops, const double *multipliers);

/* Returns: (transfer none) (nullable): array of AvatarWeightGroup (engine/weights/pack.h), the
 * fixed tensors last; %NULL for weights that are always in memory as float32. */
GArray *avatar_weights_get_groups (AvatarWeights *self);

/* Fills @stats; all zero unless the weights are streamed to a discrete device. */
void avatar_weights_get_stats (AvatarWeights *self, AvatarWeightStreamerStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeights, avatar_weights_free)

G_END_DECLS
