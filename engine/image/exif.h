/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Orientation of a picture from its EXIF data. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Returns the orientation from 1 to 8 as defined by EXIF, or 1 (upright) if it is missing or the
 * data are damaged.
 * @tiff: EXIF data of @n bytes, from the byte order mark on */
guint avatar_exif_orientation (const guint8 *tiff, gsize n);

G_END_DECLS
