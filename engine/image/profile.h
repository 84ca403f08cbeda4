/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Colour profiles of pictures. */
#pragma once

#include <gdk-pixbuf/gdk-pixbuf.h>

G_BEGIN_DECLS

/* Converts @pixbuf to sRGB, by its ICC @profile. One that is broken, is not of RGB or is as good as
 * sRGB changes nothing. */
void avatar_profile_convert (GdkPixbuf *pixbuf, GBytes *profile);

G_END_DECLS
