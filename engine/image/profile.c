/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion to sRGB with LittleCMS. Phones store Display P3, whose values look paler as sRGB. */
#include "engine/image/profile.h"

#include <lcms2.h>

#include <stdlib.h>

/* Maximum difference, in levels of 255, below which a profile counts as sRGB and the pixels are
 * kept. */
#define SAME 3
#define STEP 51

static gboolean
changes (cmsHTRANSFORM transform)
{
  for (guint i = 0; i < 6 * 6 * 6; i++) {
    guint8 before[4] = { i % 6 * STEP, i / 6 % 6 * STEP, i / 36 * STEP, 255 }, after[4];

    cmsDoTransform (transform, before, after, 1);
    for (guint c = 0; c < 3; c++)
      if (abs (after[c] - before[c]) > SAME)
        return TRUE;
  }
  return FALSE;
}

static cmsHTRANSFORM
make_transform (cmsHPROFILE from, gboolean alpha)
{
  cmsHPROFILE to = cmsCreate_sRGBProfile ();
  const cmsUInt32Number format = alpha ? TYPE_RGBA_8 : TYPE_RGB_8;
  cmsHTRANSFORM transform = NULL;

  if (to && cmsGetColorSpace (from) == cmsSigRgbData)
    transform = cmsCreateTransform (from, format, to, format, INTENT_RELATIVE_COLORIMETRIC,
        cmsFLAGS_COPY_ALPHA);
  if (to)
    cmsCloseProfile (to);
  return transform;
}

void
avatar_profile_convert (GdkPixbuf *pixbuf, GBytes *profile)
{
  gsize n;
  const void *bytes = g_bytes_get_data (profile, &n);
  cmsHPROFILE from = n <= G_MAXUINT32 ? cmsOpenProfileFromMem (bytes, n) : NULL;
  cmsHTRANSFORM transform = from ? make_transform (from, gdk_pixbuf_get_has_alpha (pixbuf)) : NULL;
  const guint width = gdk_pixbuf_get_width (pixbuf);

  if (transform && changes (transform)) {
    guint8 *row = gdk_pixbuf_get_pixels (pixbuf);

    for (int y = 0; y < gdk_pixbuf_get_height (pixbuf); y++) {
      cmsDoTransform (transform, row, row, width);
      row += gdk_pixbuf_get_rowstride (pixbuf);
    }
  }
  if (transform)
    cmsDeleteTransform (transform);
  if (from)
    cmsCloseProfile (from);
}
