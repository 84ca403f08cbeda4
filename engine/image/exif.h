/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Orientation of a picture, from its EXIF data. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* @tiff: EXIF data from the byte order on. Returns 1 to 8, as EXIF counts them; 1, upright,
 * where there is none or the data are broken. */
guint avatar_exif_orientation (const guint8 *tiff, gsize n);

G_END_DECLS
