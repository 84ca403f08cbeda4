/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The entries of a zip archive that lie in it as they are (stored), without copying them. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef struct _AvatarZip AvatarZip;

/* Reads the directory of @bytes and checks all that it says. @name is for messages. */
AvatarZip *avatar_zip_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_zip_free (AvatarZip *self);
guint avatar_zip_n (AvatarZip *self);
/* In the order of their names in the directory. */
const char *avatar_zip_nth (AvatarZip *self, guint i);
gboolean avatar_zip_has (AvatarZip *self, const char *entry);
/* The bytes of @entry; %NULL with @error if it is missing, compressed or encrypted. Not aligned in
 * any way, and not compared with their checksum, which would read them all. */
const guint8 *avatar_zip_get (AvatarZip *self, const char *entry, gsize *size, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarZip, avatar_zip_free)

G_END_DECLS
