/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The weights of one part of a model on a device, by checkpoint name. */
#pragma once

#include "engine/base/tensor.h"

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * AvatarWeights: float32 views of the tensors of one part. Tensors that are float32 and aligned
 * in the file are used where they are mapped; others are converted once, into memory that is
 * entered in the device's ledger. With @dry nothing is converted and all data are %NULL.
 */
typedef struct _AvatarWeights AvatarWeights;

/* @part: "transformer", "vae", "whisper", "text". Returns %NULL with @error. */
AvatarWeights *avatar_weights_new (AvatarModel *model, AvatarDevice *device, const char *part,
    gboolean dry, GError **error);
/* The same over a table of name -> AvatarTensor, whose data must outlive the weights. */
AvatarWeights *avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device,
    const char *part, gboolean dry, GError **error);
void avatar_weights_free (AvatarWeights *self);
/* The tensor @format, which must be of the shape given as @rank gint64 after the format's
 * arguments are applied by g_strdup_printf(). Never fails: avatar_model_open() has checked names
 * and shapes against the configuration; a tensor that is missing all the same is remembered and
 * reported by avatar_weights_check(). */
AvatarTensor avatar_weights_get (AvatarWeights *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
gboolean avatar_weights_has (AvatarWeights *self, const char *name);
gboolean avatar_weights_check (AvatarWeights *self, GError **error);
/* Memory that the conversion took, or would take. */
guint64 avatar_weights_bytes (AvatarWeights *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeights, avatar_weights_free)

G_END_DECLS
