/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The weights of one part of a model on a device: AvatarWeights, opened from a list of names. In the
 * host's memory they are float32, read once into memory of the device's ledger; the file may then
 * change or vanish. On a discrete device they are packed in the groups of the list. */
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
  AVATAR_WEIGHTS_SHAPES_ONLY, /* for a dry run: nothing is read or allocated, data are %NULL */
} AvatarWeightsMode;

/* The dtype of matrices on @device, and of activations with them. */
AvatarDType avatar_weights_dtype (AvatarDevice *device, gboolean half);

/* Opens the tensors of @list and fills its handles. @settings: (nullable): %NULL: as stored. A
 * tensor that is missing is AVATAR_ERROR_NOT_FOUND. */
AvatarWeights *avatar_weights_new (AvatarModel *model, AvatarDevice *device,
    AvatarComponentKind part, const AvatarWeightList *list, const AvatarWeightSettings *settings,
    AvatarWeightsMode mode, GError **error);
/* The same over a table of name -> AvatarTensor, whose data must outlive the weights. */
AvatarWeights *avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device,
    AvatarComponentKind part, const AvatarWeightList *list, const AvatarWeightSettings *settings,
    AvatarWeightsMode mode, GError **error);
/* One tensor of a part as float32 of the host; @t->data is to be freed with g_free(). The name must
 * be there. */
gboolean
avatar_weights_read (GHashTable *tensors, const char *name, AvatarTensor *t, GError **error);
void avatar_weights_free (AvatarWeights *self);
/* Device memory for what is fixed; on the host, if units come and go, for one of them as well. */
guint64 avatar_weights_fixed_bytes (AvatarWeights *self);
/* Size of the values of all tensors in the dtypes of the file, in bytes. */
guint64 avatar_weights_file_bytes (AvatarWeights *self);

/* Takes device memory for slots and for as many resident units of @route as there is room for (the
 * rest is streamed); an earlier route's is given back. AVATAR_ERROR_MEMORY says how much more
 * would do. */
gboolean avatar_weights_set_schedule (AvatarWeights *self, AvatarOps *ops,
    const AvatarWeightSchedule *route, GError **error);
/* Gives that memory back, for others to use in between. */
void avatar_weights_drop_schedule (AvatarWeights *self);
/* The unit's tensors are on the device, for what is given to @ops' queue, until leave. No-ops in
 * a plan and on devices that are not discrete. Failures are kept in @ops. */
void avatar_weights_acquire (AvatarWeights *self, AvatarOps *ops, guint unit);
void avatar_weights_release (AvatarWeights *self, AvatarOps *ops, guint unit);
/* Memory for what is always there: on the CPU all weights as float32. */
guint64 avatar_weights_bytes (AvatarWeights *self);

/* Of AvatarWeightGroup (engine/weights/pack.h); %NULL on a device that is not discrete. */
GArray *avatar_weights_get_groups (AvatarWeights *self);

/* For messages and tests. */
void avatar_weights_get_stats (AvatarWeights *self, AvatarWeightStreamerStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeights, avatar_weights_free)

G_END_DECLS
