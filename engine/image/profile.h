/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Colour profiles of pictures. */
#pragma once

#include <gdk-pixbuf/gdk-pixbuf.h>

G_BEGIN_DECLS

/* Converts @pixbuf to sRGB according to its ICC @profile. A profile that is damaged, not RGB or
 * close to sRGB changes nothing. */
void avatar_profile_convert (GdkPixbuf *pixbuf, GBytes *profile);

G_END_DECLS
