/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits: size limits, alpha, and scaling to a size that the model supports. */
#include <avatar/image.h>

#include "engine/image/load.h"
#include "engine/image/overview.h"
#include "engine/image/resample.h"
#include "engine/image/resize.h"

#include <math.h>
#include <string.h>

#define MAX_SIDE 16384
#define MAX_ASPECT 16
#define MAX_VIDEO_SIDE 4096 /* limit of AvatarDenoiseSettings */
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
      "most %d million pixels (any number for a JPEG that is not progressive); crop it around the "
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
        "not enough memory for a picture of %u x %u pixels; use a smaller one", width, height);
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
        "a picture has %u channels; expected 3 (RGB) or 4 (RGBA)", channels);
    return NULL;
  }
  if (!avatar_image_check_size (width, height, 1, "the picture", error))
    return NULL;
  if (stride < width * channels) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a picture has rows of %u bytes; expected at least %u pixels of %u channels, %u bytes",
        stride, width, channels, width * channels);
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

/* Converts to RGB and blends alpha over mid-grey. */
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

/* Moves the interval [*from, *until) of a side of @size pixels so that it contains the face with
 * a margin of half its length on either side, or a smaller one that fits. Moves by whole pixels, no
 * farther than needed, and stays within the picture. A face longer than the interval is centred. */
static void
follow_face (double *from, double *until, double size, double start, double length)
{
  double margin = MIN (length / 2, (*until - *from - length) / 2);
  double low = start - margin, high = start + length + margin, shift = 0;

  if (low < *from)
    shift = low - *from;
  else if (high > *until)
    shift = high - *until;
  shift = CLAMP (round (shift), -*from, size - *until);
  *from += shift;
  *until += shift;
}

/* Returns the largest region with the aspect ratio of @width x @height, centred or moved to contain
 * @face. */
static AvatarRegion
crop (const AvatarImage *image, guint width, guint height, const AvatarFaceBox *face)
{
  double w = image->width, h = image->height;
  double part_w = MIN (w, h * width / height), part_h = MIN (h, w * height / width);
  double left = (w - part_w) / 2, right = (w + part_w) / 2;
  double top = (h - part_h) / 2, bottom = (h + part_h) / 2;

  if (face && face->width > 0 && face->height > 0) {
    follow_face (&left, &right, w, face->x, face->width);
    follow_face (&top, &bottom, h, face->y, face->height);
  }
  return (AvatarRegion){ left, top, right, bottom };
}

/* Chooses the model's size for the portrait. Returns TRUE if all of the portrait is shown, with
 * nearly its aspect ratio. */
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

/* Maps the face to the region @r and clips it. */
static AvatarBox
move_box (AvatarFaceBox box, AvatarRegion r, guint width, guint height)
{
  guint x0 = move_edge (box.x, r.left, r.right, width);
  guint x1 = move_edge (box.x + box.width, r.left, r.right, width);
  guint y0 = move_edge (box.y, r.top, r.bottom, height);
  guint y1 = move_edge (box.y + box.height, r.top, r.bottom, height);

  return (AvatarBox){ x0, y0, x1 - x0, y1 - y0 };
}

static gboolean
check_video_size (guint width, guint height, const AvatarModelInfo *info, GError **error)
{
  if (width && height && width <= MAX_VIDEO_SIDE && height <= MAX_VIDEO_SIDE
      && width % info->size_multiple == 0 && height % info->size_multiple == 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "a video of %u x %u pixels is not supported; expected multiples of %u up to %d", width,
      height, info->size_multiple, MAX_VIDEO_SIDE);
  return FALSE;
}

/* Replaces a size of 0 by the model's choice.
 * @whole: (out): TRUE if all of the portrait is shown */
static gboolean
resolve_size (const AvatarImage *image, AvatarModel *model, guint *width, guint *height,
    gboolean *whole, GError **error)
{
  if (!avatar_image_check_size (image->width, image->height, 1, "the portrait", error))
    return FALSE;
  *whole = !*width && !*height && choose_size (image, model, width, height);
  return check_video_size (*width, *height, avatar_model_get_info (model), error);
}

/* Scales @region of the portrait in RGB. */
static AvatarImage *
scale (const AvatarImage *image, AvatarRegion region, guint width, guint height, GError **error)
{
  g_autoptr (AvatarImage) opaque = NULL;

  if (image->channels != 3) {
    opaque = to_opaque (image, error);
    if (!opaque)
      return NULL;
  }
  return avatar_resample (opaque ? opaque : image, region, AVATAR_FILTER_LANCZOS, width, height,
      error);
}

/* Converts @box, in pixels of the file, to pixels of @image. An empty box stays empty. */
static gboolean
convert_box (const AvatarImage *image, const AvatarBox *box, AvatarFaceBox *face, GError **error)
{
  guint n = MAX (image->shrunk, 1);

  *face = (AvatarFaceBox){ 0 };
  if (!box || !box->width || !box->height)
    return TRUE;
  if ((guint64) box->x + box->width > (guint64) image->width * n
      || (guint64) box->y + box->height > (guint64) image->height * n) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face box %u,%u %ux%u reaches beyond the portrait of %u x %u pixels; expected x, y, "
        "width and height of the face in pixels of the whole portrait",
        box->x, box->y, box->width, box->height, image->width * n, image->height * n);
    return FALSE;
  }
  *face = (AvatarFaceBox){ (double) box->x / n, (double) box->y / n, (double) box->width / n,
    (double) box->height / n };
  return TRUE;
}

/* Sets @box to the position of @face in the scaled @region. */
static gboolean
fit_box (AvatarBox *box, AvatarFaceBox face, AvatarRegion region, guint width, guint height,
    GError **error)
{
  AvatarBox fitted = move_box (face, region, width, height);

  if (!fitted.width || !fitted.height) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face box %u,%u %ux%u is less than a pixel of a video of %u x %u pixels; expected x, y, "
        "width and height of the whole face",
        box->x, box->y, box->width, box->height, width, height);
    return FALSE;
  }
  *box = fitted;
  return TRUE;
}

AvatarImage *
avatar_image_fit (const AvatarImage *image, AvatarModel *model, guint width, guint height,
    AvatarBox *box, GError **error)
{
  AvatarRegion region = { 0, 0, image->width, image->height };
  AvatarFaceBox face;
  gboolean whole;

  if (!resolve_size (image, model, &width, &height, &whole, error)
      || !convert_box (image, box, &face, error))
    return NULL;
  if (!whole)
    region = crop (image, width, height, &face);
  if (face.width > 0 && !fit_box (box, face, region, width, height, error))
    return NULL;
  return scale (image, region, width, height, error);
}

AvatarImage *
avatar_image_fit_face (const AvatarImage *image, AvatarModel *model, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  AvatarRegion region = { 0, 0, image->width, image->height };
  double x, y;
  gboolean whole;

  if (!resolve_size (image, model, &width, &height, &whole, error))
    return NULL;
  if (!whole)
    region = crop (image, width, height, face);
  if (face->width > 0) {
    x = width / ((double) region.right - region.left);
    y = height / ((double) region.bottom - region.top);
    *face = (AvatarFaceBox){ (face->x - region.left) * x, (face->y - region.top) * y,
      face->width * x, face->height * y };
  }
  return scale (image, region, width, height, error);
}

gboolean
avatar_image_is_cropped (const AvatarImage *image, AvatarModel *model, guint width, guint height)
{
  gboolean whole;
  AvatarRegion region;

  if (!resolve_size (image, model, &width, &height, &whole, NULL) || whole)
    return FALSE;
  region = crop (image, width, height, NULL);
  return region.left > 0 || region.top > 0;
}

AvatarImage *
avatar_image_overview (const AvatarImage *image, AvatarModel *model, guint width, guint height,
    guint shorter_side, GError **error)
{
  AvatarRegion region = { 0, 0, image->width, image->height };
  double factor, w = image->width, h = image->height;
  gboolean whole;

  if (!resolve_size (image, model, &width, &height, &whole, error))
    return NULL;
  if (avatar_image_is_cropped (image, model, width, height) && !whole) {
    factor = MIN (MAX (width / w, height / h), shorter_side / MIN (w, h));
    width = MAX (round (w * factor), 1.);
    height = MAX (round (h * factor), 1.);
  }
  return scale (image, region, width, height, error);
}
