/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits: loading by gdk-pixbuf, alpha, and scaling to a size that the model can make. */
#include <avatar/image.h>

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <math.h>
#include <string.h>

#define MAX_SIDE 16384
#define MAX_ASPECT 16
#define GREY 128

static gboolean
check_size (guint width, guint height, const char *name, GError **error)
{
  if (width > 0 && height > 0 && width <= MAX_SIDE && height <= MAX_SIDE
      && MAX (width, height) / MIN (width, height) <= MAX_ASPECT)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
      "%s is %u x %u pixels; expected sides of 1 to %d, none more than %d times the other", name,
      width, height, MAX_SIDE, MAX_ASPECT);
  return FALSE;
}

AvatarImage *
avatar_image_new (guint width, guint height, guint channels, guint stride, const guint8 *data,
    GError **error)
{
  AvatarImage *self;

  if (channels != 3 && channels != 4) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a picture with %u channels; expected 3 (RGB) or 4 (RGBA)", channels);
    return NULL;
  }
  if (!check_size (width, height, "the picture", error))
    return NULL;
  if (stride < width * channels) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "rows of %u bytes; %u pixels of %u channels need %u", stride, width, channels,
        width * channels);
    return NULL;
  }
  self = g_new0 (AvatarImage, 1);
  self->width = width;
  self->height = height;
  self->channels = channels;
  self->stride = width * channels;
  self->data = g_malloc ((gsize) self->stride * height);
  for (guint y = 0; y < height; y++)
    memcpy (self->data + (gsize) y * self->stride, data + (gsize) y * stride, self->stride);
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

static AvatarImage *
from_pixbuf (GdkPixbuf *pixbuf, GError **error)
{
  return avatar_image_new (gdk_pixbuf_get_width (pixbuf), gdk_pixbuf_get_height (pixbuf),
      gdk_pixbuf_get_n_channels (pixbuf), gdk_pixbuf_get_rowstride (pixbuf),
      gdk_pixbuf_read_pixels (pixbuf), error);
}

AvatarImage *
avatar_image_load (const char *path, GError **error)
{
  g_autoptr (GError) load_error = NULL;
  g_autoptr (GdkPixbuf) pixbuf = NULL;
  g_autoptr (GdkPixbuf) upright = NULL;
  int width, height;

  if (!g_file_test (path, G_FILE_TEST_EXISTS)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND, "%s: there is no such picture", path);
    return NULL;
  }
  /* sizes first: a small file may announce a picture that no memory holds */
  if (gdk_pixbuf_get_file_info (path, &width, &height)
      && !check_size (MAX (width, 0), MAX (height, 0), path, error))
    return NULL;
  pixbuf = gdk_pixbuf_new_from_file (path, &load_error);
  if (!pixbuf) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: not a picture that can be read: %s; use PNG or JPEG", path, load_error->message);
    return NULL;
  }
  upright = gdk_pixbuf_apply_embedded_orientation (pixbuf);
  return from_pixbuf (upright, error);
}

/* RGB, with alpha blended over mid-grey. */
static GdkPixbuf *
to_opaque (const AvatarImage *image)
{
  GdkPixbuf *out = gdk_pixbuf_new (GDK_COLORSPACE_RGB, FALSE, 8, image->width, image->height);

  for (guint y = 0; out && y < image->height; y++) {
    const guint8 *in = image->data + (gsize) y * image->stride;
    guint8 *row = gdk_pixbuf_get_pixels (out) + (gsize) y * gdk_pixbuf_get_rowstride (out);

    for (guint x = 0; x < image->width; x++, in += image->channels)
      for (guint c = 0; c < 3; c++) {
        guint alpha = image->channels == 4 ? in[3] : 255;

        row[3 * x + c] = (in[c] * alpha + GREY * (255 - alpha) + 127) / 255;
      }
  }
  return out;
}

/* How the picture lies behind the result: scaled by @scale, then moved by @left and @top. */
typedef struct
{
  double scale, left, top;
} Placing;

static Placing
place (const AvatarImage *image, guint width, guint height)
{
  double scale = MAX ((double) width / image->width, (double) height / image->height);

  return (
      Placing){ scale, (image->width * scale - width) / 2, (image->height * scale - height) / 2 };
}

static guint
move_edge (double value, double scale, double offset, guint limit)
{
  return (guint) CLAMP (floor (value * scale - offset + .5), 0., (double) limit);
}

static void
move_box (AvatarBox *box, Placing p, guint width, guint height)
{
  guint x0, x1, y0, y1;

  if (!box || !box->width || !box->height)
    return;
  x0 = move_edge (box->x, p.scale, p.left, width);
  x1 = move_edge ((double) box->x + box->width, p.scale, p.left, width);
  y0 = move_edge (box->y, p.scale, p.top, height);
  y1 = move_edge ((double) box->y + box->height, p.scale, p.top, height);
  *box = (AvatarBox){ x0, y0, x1 - x0, y1 - y0 };
}

static AvatarImage *
scale_to (const AvatarImage *image, guint width, guint height, Placing p, GError **error)
{
  g_autoptr (GdkPixbuf) source = to_opaque (image);
  g_autoptr (GdkPixbuf) result = gdk_pixbuf_new (GDK_COLORSPACE_RGB, FALSE, 8, width, height);
  gboolean same = image->width == width && image->height == height;

  if (!source || !result) {
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "no memory is left to scale the picture");
    return NULL;
  }
  if (same)
    gdk_pixbuf_copy_area (source, 0, 0, width, height, result, 0, 0);
  else
    gdk_pixbuf_scale (source, result, 0, 0, width, height, -p.left, -p.top, p.scale, p.scale,
        GDK_INTERP_BILINEAR);
  return from_pixbuf (result, error);
}

AvatarImage *
avatar_image_fit (const AvatarImage *image, AvatarModel *model, guint width, guint height,
    AvatarBox *box, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  AvatarImage *result;
  Placing p;

  if (!check_size (image->width, image->height, "the portrait", error))
    return NULL;
  if (!width && !height) {
    width = info->width;
    height = info->height;
  }
  if (!width || !height || width > MAX_SIDE || height > MAX_SIDE || width % info->size_multiple
      || height % info->size_multiple) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "a video of %u x %u pixels is impossible; both sides must be multiples of %u up to %d",
        width, height, info->size_multiple, MAX_SIDE);
    return NULL;
  }
  if (box && box->width && box->height
      && ((guint64) box->x + box->width > image->width
          || (guint64) box->y + box->height > image->height)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face box %u,%u %ux%u reaches beyond the portrait of %u x %u pixels", box->x, box->y,
        box->width, box->height, image->width, image->height);
    return NULL;
  }
  p = place (image, width, height);
  result = scale_to (image, width, height, p, error);
  if (result) {
    AvatarBox moved = box ? *box : (AvatarBox){ 0 };

    move_box (&moved, p, width, height);
    if (box && box->width && box->height && (!moved.width || !moved.height)) {
      g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "the face box lies outside of what is left of the portrait after cropping it to the "
          "video's shape; choose another size or crop the portrait around the face");
      g_clear_pointer (&result, avatar_image_free);
    } else if (box) {
      *box = moved;
    }
  }
  return result;
}
