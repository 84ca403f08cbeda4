/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of files that torch.save() wrote before version 1.6, which are sequences of pickles
 * (docs/dev/spec/vae-text-face-formats.md 5.3). */
#pragma once

#include "engine/formats/pickle.h"

G_BEGIN_DECLS

typedef struct _AvatarTorchLegacy AvatarTorchLegacy;

/* Returns: TRUE if @data begins such a file. */
gboolean avatar_torch_legacy_is (const guint8 *data, gsize size);
/* @data: [size] contents of the file; must outlive the reader
 * @name: name of the file for errors; must outlive the reader
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_FORMAT */
AvatarTorchLegacy *
avatar_torch_legacy_open (const guint8 *data, gsize size, const char *name, GError **error);
void avatar_torch_legacy_free (AvatarTorchLegacy *self);
/* Returns: (transfer none): pickle of the saved object. */
AvatarPickle *avatar_torch_legacy_get_pickle (AvatarTorchLegacy *self);
/* Returns: size of the file before the data of the tensors (bytes). */
gsize avatar_torch_legacy_header_size (AvatarTorchLegacy *self);
/* Finds a storage; an AvatarStorageFunc.
 * @self: an AvatarTorchLegacy */
const guint8 *avatar_torch_legacy_find (const char *key, gsize *size, gpointer self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorchLegacy, avatar_torch_legacy_free)

G_END_DECLS
