/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits: their size, alpha, and scaling to a size that the model can make. */
#include <avatar/image.h>

#include "engine/image/load.h"
#include "engine/image/resample.h"
#include "engine/image/resize.h"

#include <math.h>
#include <string.h>

#define MAX_SIDE 16384
#define MAX_ASPECT 16
#define MAX_VIDEO_SIDE 4096 /* as in AvatarDenoiseSettings */
#define GREY 128

gboolean
avatar_image_check_size (guint width, guint height, guint shrunk, const char *name, GError **error)
{
  if (width > 0 && height > 0 && width <= MAX_SIDE && height <= MAX_SIDE
      && MAX (width, height) <= MAX_ASPECT * MIN (width, height)
      && width * height / shrunk / shrunk <= AVATAR_MAX_PIXELS)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
      "%s is %u x %u pixels; expected sides of 1 to %d, none more than %d times the other, and at "
      "most %d million pixels (of a JPEG that is not progressive any number); crop it around the "
      "face, or scale it down",
      name, width, height, MAX_SIDE, MAX_ASPECT, AVATAR_MAX_PIXELS / 1000000);
  return FALSE;
}

static guint8 *
allocate (guint width, guint height, guint channels, GError **error)
{
  guint8 *data = g_try_malloc ((gsize) width * height * channels);

  if (!data)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "no memory is left for a picture of %u x %u pixels; take a smaller one", width, height);
  return data;
}

AvatarImage *
avatar_image_new (guint width, guint height, guint channels, guint stride, const guint8 *data,
    GError **error)
{
  g_autofree guint8 *copy = NULL;
  AvatarImage *self;

  if (channels != 3 && channels != 4) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a picture with %u channels; expected 3 (RGB) or 4 (RGBA)", channels);
    return NULL;
  }
  if (!avatar_image_check_size (width, height, 1, "the picture", error))
    return NULL;
  if (stride < width * channels) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "rows of %u bytes; %u pixels of %u channels need %u", stride, width, channels,
        width * channels);
    return NULL;
  }
  copy = allocate (width, height, channels, error);
  if (!copy)
    return NULL;
  for (guint y = 0; y < height; y++)
    memcpy (copy + (gsize) y * width * channels, data + (gsize) y * stride, width * channels);
  self = g_new (AvatarImage, 1);
  *self = (AvatarImage){ width, height, width * channels, channels, g_steal_pointer (&copy), 1 };
  return self;
}

void
avatar_image_free (AvatarImage *self)
{
  if (!self)
    return;
  g_free (self->data);
  g_free (self);
}

/* RGB, with alpha blended over mid-grey. */
static AvatarImage *
to_opaque (const AvatarImage *image, GError **error)
{
  guint8 *out = allocate (image->width, image->height, 3, error);
  AvatarImage *self;

  if (!out)
    return NULL;
  self = g_new (AvatarImage, 1);
  *self = (AvatarImage){ image->width, image->height, image->width * 3, 3, out, image->shrunk };
  for (guint y = 0; y < image->height; y++) {
    const guint8 *in = image->data + (gsize) y * image->stride;

    for (guint x = 0; x < image->width; x++, in += image->channels)
      for (guint c = 0; c < 3; c++) {
        guint alpha = image->channels == 4 ? in[3] : 255;

        *out++ = (in[c] * alpha + GREY * (255 - alpha) + 127) / 255;
      }
  }
  return self;
}

/* The largest part of the picture that has the shape of @width x @height, around its centre. */
static AvatarRegion
crop (const AvatarImage *image, guint width, guint height)
{
  double w = image->width, h = image->height;
  double part_w = MIN (w, h * width / height), part_h = MIN (h, w * height / width);

  return (AvatarRegion){ (w - part_w) / 2, (h - part_h) / 2, (w + part_w) / 2, (h + part_h) / 2 };
}

/* The size that @model makes of the portrait if nobody asks for one. TRUE: of all of it, in
 * nearly its shape. */
static gboolean
choose_size (const AvatarImage *image, AvatarModel *model, guint *width, guint *height)
{
  const AvatarConfig *config = avatar_model_get_config (model);

  *width = *height = config->size;
  if (!config->resize.multiple)
    return FALSE;
  avatar_resize_rule (&config->resize, image->width, image->height, config->size, width, height);
  return TRUE;
}

static guint
move_edge (double value, double from, double until, guint size)
{
  return (guint) CLAMP (floor ((value - from) * size / (until - from) + .5), 0., (double) size);
}

static AvatarBox
move_box (AvatarBox box, AvatarRegion r, guint width, guint height)
{
  guint x0 = move_edge (box.x, r.left, r.right, width);
  guint x1 = move_edge ((double) box.x + box.width, r.left, r.right, width);
  guint y0 = move_edge (box.y, r.top, r.bottom, height);
  guint y1 = move_edge ((double) box.y + box.height, r.top, r.bottom, height);

  return (AvatarBox){ x0, y0, x1 - x0, y1 - y0 };
}

static gboolean
check_video_size (guint width, guint height, const AvatarModelInfo *info, GError **error)
{
  if (width && height && width <= MAX_VIDEO_SIDE && height <= MAX_VIDEO_SIDE
      && width % info->size_multiple == 0 && height % info->size_multiple == 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "a video of %u x %u pixels is impossible; both sides must be multiples of %u up to %d", width,
      height, info->size_multiple, MAX_VIDEO_SIDE);
  return FALSE;
}

/* Takes @box, if there is one, from the portrait to what @region of it becomes. */
static gboolean
follow_box (const AvatarImage *image, AvatarRegion region, guint width, guint height,
    AvatarBox *box, GError **error)
{
  AvatarBox moved;

  if (!box || !box->width || !box->height)
    return TRUE;
  if ((guint64) box->x + box->width > image->width
      || (guint64) box->y + box->height > image->height) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face box %u,%u %ux%u reaches beyond the portrait of %u x %u pixels", box->x, box->y,
        box->width, box->height, image->width, image->height);
    return FALSE;
  }
  moved = move_box (*box, region, width, height);
  if (!moved.width || !moved.height) {
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face box lies outside of what is left of the portrait after cropping it to the "
        "video's shape; choose another size or crop the portrait around the face");
    return FALSE;
  }
  *box = moved;
  return TRUE;
}

AvatarImage *
avatar_image_fit (const AvatarImage *image, AvatarModel *model, guint width, guint height,
    AvatarBox *box, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autoptr (AvatarImage) opaque = NULL;
  AvatarRegion region = { 0, 0, image->width, image->height };
  gboolean whole;

  if (!avatar_image_check_size (image->width, image->height, 1, "the portrait", error))
    return NULL;
  whole = !width && !height && choose_size (image, model, &width, &height);
  if (!check_video_size (width, height, info, error))
    return NULL;
  if (!whole)
    region = crop (image, width, height);
  if (!follow_box (image, region, width, height, box, error))
    return NULL;
  if (image->channels != 3) {
    opaque = to_opaque (image, error);
    if (!opaque)
      return NULL;
  }
  return avatar_resample (opaque ? opaque : image, region, AVATAR_FILTER_LANCZOS, width, height,
      error);
}
