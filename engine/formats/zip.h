/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stored (not compressed) entries of a zip archive, without copies. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef struct _AvatarZip AvatarZip;

/* Reads and checks the directory of @bytes. @name: path of the file, for messages */
AvatarZip *avatar_zip_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_zip_free (AvatarZip *self);
guint avatar_zip_n (AvatarZip *self);
/* Returns the name of entry @i, in the order of the directory. */
const char *avatar_zip_nth (AvatarZip *self, guint i);
gboolean avatar_zip_has (AvatarZip *self, const char *entry);
/* Returns the bytes of @entry; %NULL with @error if it is missing, compressed or encrypted. They
 * may begin at any address. The checksum is not verified, since that would read the whole entry. */
const guint8 *avatar_zip_get (AvatarZip *self, const char *entry, gsize *size, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarZip, avatar_zip_free)

G_END_DECLS
