/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Face mask as in upstream's get_facemask (docs/dev/spec/denoise.md 4.3): the box is enlarged about
 * its centre, then reduced bilinearly without antialiasing. */
#include "engine/image/face.h"

#include <math.h>

/* Enlarges one axis and clips it to the picture: [*from, *to). */
static void
grow (double start, double length, double area, guint limit, gint64 *from, gint64 *to)
{
  double centre = floor ((start + (start + length)) / 2), half = floor (area * length / 2);

  *from = (gint64) CLAMP (centre - half, 0, limit);
  *to = (gint64) CLAMP (centre + half, 0, limit);
}

/* Counts the two middle pixels of cell @i that are in [from, to). */
static guint
middle_pixels (guint i, guint scale, gint64 from, gint64 to)
{
  gint64 first = (gint64) i * scale + scale / 2 - 1;

  return (first >= from && first < to) + (first + 1 >= from && first + 1 < to);
}

void
avatar_face_mask (float *mask, guint width, guint height, AvatarFaceBox box, double area,
    guint scale)
{
  gint64 x0 = 0, x1 = width, y0 = 0, y1 = height;
  guint cells_x = width / scale, cells_y = height / scale;

  if (box.width > 0 && box.height > 0 && isfinite (box.x + box.y + box.width + box.height)) {
    grow (box.x, box.width, area, width, &x0, &x1);
    grow (box.y, box.height, area, height, &y0, &y1);
  }
  for (guint y = 0; y < cells_y; y++)
    for (guint x = 0; x < cells_x; x++)
      mask[y * cells_x + x]
          = .25f * middle_pixels (y, scale, y0, y1) * middle_pixels (x, scale, x0, x1);
}

void
avatar_face_mask_from_image (float *mask, const AvatarImage *image, guint scale)
{
  guint cells_x = image->width / scale, cells_y = image->height / scale;

  for (guint y = 0; y < cells_y; y++)
    for (guint x = 0; x < cells_x; x++) {
      const guint8 *p = image->data + (gsize) (y * scale + scale / 2 - 1) * image->stride
          + (x * scale + scale / 2 - 1) * image->channels;
      guint sum = p[0] + p[image->channels] + p[image->stride] + p[image->stride + image->channels];

      mask[y * cells_x + x] = sum / (4 * 255.f);
    }
}
