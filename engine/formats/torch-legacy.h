/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files as torch.save wrote them before version 1.6, one pickle after the other
 * (docs/dev/spec/vae-text-face-formats.md 5.3). */
#pragma once

#include "engine/formats/pickle.h"

G_BEGIN_DECLS

typedef struct _AvatarTorchLegacy AvatarTorchLegacy;

/* TRUE if the first bytes are those of such a file. */
gboolean avatar_torch_legacy_is (const guint8 *data, gsize size);
/* @data: must outlive the reader. @name: path of the file, for messages */
AvatarTorchLegacy *
avatar_torch_legacy_open (const guint8 *data, gsize size, const char *name, GError **error);
void avatar_torch_legacy_free (AvatarTorchLegacy *self);
/* Pickle of the saved object; owned by @self. */
AvatarPickle *avatar_torch_legacy_get_pickle (AvatarTorchLegacy *self);
/* Size of the file before the data of the tensors. */
gsize avatar_torch_legacy_header_size (AvatarTorchLegacy *self);
/* An AvatarStorageFunc. */
const guint8 *avatar_torch_legacy_find (const char *key, gsize *size, gpointer self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorchLegacy, avatar_torch_legacy_free)

G_END_DECLS
