/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scales a picture to the input size of the network, and the faces back to the picture
 * (docs/dev/spec/vae-text-face-formats.md 4). */
#include "engine/image/detector.h"

#include "engine/image/linear.h"
#include "engine/image/overview.h"
#include "engine/device/device.h"
#include "engine/model/model.h"

#define SHORTER_SIDE 416
#define CONFIDENCE .5f
#define OVERLAP .45f

static guint
scale_side (guint side, double scale)
{
  return (guint) (side * scale + 31) / 32 * 32;
}

void
avatar_detector_get_input_size (guint width, guint height, guint *input_width, guint *input_height)
{
  double scale = (double) SHORTER_SIDE / MIN (width, height);

  *input_width = scale_side (width, scale);
  *input_height = scale_side (height, scale);
}

static void
scale_face (AvatarFace *face, double x, double y)
{
  face->x *= x;
  face->width *= x;
  face->y *= y;
  face->height *= y;
  for (guint i = 0; i < G_N_ELEMENTS (face->points); i++) {
    face->points[i][0] *= x;
    face->points[i][1] *= y;
  }
}

GArray *
avatar_detector_find (AvatarYolo *network, const AvatarImage *image, GError **error)
{
  guint w, h;
  g_autofree guint8 *bytes = NULL;
  g_autofree float *rgb = NULL, *rows = NULL;
  GArray *faces;
  gint64 n;

  g_return_val_if_fail (image->channels == 3, NULL);
  avatar_detector_get_input_size (image->width, image->height, &w, &h);
  bytes = g_malloc ((gsize) w * h * 3);
  avatar_resize_linear (bytes, w, h, image);
  rgb = g_new (float, (gsize) w *h * 3);
  for (gsize i = 0; i < (gsize) w * h * 3; i++)
    rgb[i] = bytes[i] / 255.f;
  n = avatar_yolo_n_rows (h, w);
  rows = g_new (float, n *AVATAR_YOLO_COLUMNS);
  if (!avatar_yolo_run (network, rgb, h, w, rows, error))
    return NULL;
  faces = avatar_faces_select (rows, n, CONFIDENCE, OVERLAP);
  for (guint i = 0; i < faces->len; i++)
    scale_face (&g_array_index (faces, AvatarFace, i), (double) image->width / w,
        (double) image->height / h);
  return faces;
}

/* Returns the faces in @overview, or NULL with @error. */
static GArray *
find_faces (const AvatarImage *overview, const char *path, AvatarDevice *device, GError **error)
{
  g_autoptr (AvatarDevice) host = avatar_device_or_host (device, error);
  g_autoptr (AvatarTensorFile) file = host ? avatar_tensor_file_open (path, error) : NULL;
  g_autoptr (AvatarYolo) network = file ? avatar_yolo_new (file, host, error) : NULL;

  return network ? avatar_detector_find (network, overview, error) : NULL;
}

AvatarFaceSearch
avatar_image_find_face (const AvatarImage *image, AvatarModel *model, AvatarDevice *device,
    guint width, guint height, AvatarFaceBox *box, GError **error)
{
  const char *path = avatar_model_get_detector (model);
  g_autoptr (AvatarImage) overview = NULL;
  g_autoptr (GArray) faces = NULL;
  const AvatarFace *face;
  double x, y;

  *box = (AvatarFaceBox){ 0 };
  if (!path)
    return AVATAR_FACE_NO_DETECTOR;
  overview = avatar_image_overview (image, model, width, height, SHORTER_SIDE, error);
  faces = overview ? find_faces (overview, path, device, error) : NULL;
  if (!faces)
    return AVATAR_FACE_ERROR;
  face = avatar_faces_largest (faces);
  if (!face)
    return AVATAR_FACE_NONE;
  x = (double) image->width / overview->width;
  y = (double) image->height / overview->height;
  *box = (AvatarFaceBox){ face->x * x, face->y * y, face->width * x, face->height * y };
  return AVATAR_FACE_FOUND;
}
