/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of zip archives with stored (not compressed) entries, which it does not copy. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef struct _AvatarZip AvatarZip;

/* Reads and checks the directory of @bytes.
 * @name: name of the file for errors
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_FORMAT */
AvatarZip *avatar_zip_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_zip_free (AvatarZip *self);
/* Returns: number of entries. */
guint avatar_zip_n (AvatarZip *self);
/* Returns: (transfer none): name of entry @i, in the order of the directory. */
const char *avatar_zip_nth (AvatarZip *self, guint i);
gboolean avatar_zip_has (AvatarZip *self, const char *entry);
/* The checksum is not verified, since that would read the whole entry.
 * @size: (out): size of the entry (bytes)
 * Returns: (transfer none): bytes of @entry, at any alignment; %NULL with AVATAR_ERROR_FORMAT if
 * it is missing, compressed or encrypted */
const guint8 *avatar_zip_get (AvatarZip *self, const char *entry, gsize *size, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarZip, avatar_zip_free)

G_END_DECLS
