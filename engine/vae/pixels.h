/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a decoder gives as bytes. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* @n values in -1..1, else taken for the nearest end, to the nearest of 256 levels. @parity: as upstream,
 * which has float16 here and drops what is behind the point. */
void avatar_vae_pixels (guint8 *bytes, const float *values, gsize n, gboolean parity);

G_END_DECLS
