/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The demo's face detector: where the heads truly are, and what PyTorch finds with the same file
 * (tools/demo-model/face_golden.py). */
#include "tests/golden/golden.h"

#include "engine/image/detector.h"
#include "engine/image/resample.h"

#include <stdio.h>
#include <string.h>

#define VALUES 15 /* x y width height, score, five points */

static AvatarYolo *network;

static AvatarImage *
load (const char *name)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, name, NULL);
  g_autoptr (GError) error = NULL;
  AvatarImage *image = avatar_image_load (path, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (image->channels, ==, 3);
  return image;
}

static AvatarImage *
load_portrait (void)
{
  return load ("../../samples/portrait.png");
}

/* Fits a portrait as the demo model does. */
static AvatarImage *
load_fitted (void)
{
  g_autoptr (AvatarImage) image = load_portrait ();
  AvatarRegion all = { 0, 0, image->width, image->height };
  g_autoptr (GError) error = NULL;
  AvatarImage *fitted = avatar_resample (image, all, AVATAR_FILTER_LANCZOS, 128, 128, &error);

  g_assert_no_error (error);
  return fitted;
}

static AvatarImage *
make_picture (gint side)
{
  g_autofree guint8 *data = g_malloc0 ((gsize) side * side * 3);

  return avatar_image_new (side, side, 3, side * 3, data, NULL);
}

static guint8 *
pixel (AvatarImage *image, gint x, gint y)
{
  return image->data + (gsize) y * image->stride + 3 * x;
}

/* A slope of colour with two rings on it, as eyes have them: no face. */
static AvatarImage *
make_rings (gint side)
{
  AvatarImage *image = make_picture (side);
  const gint rings[][2] = { { side / 10, 240 }, { side / 16, 90 }, { side / 32, 20 } };

  for (gint y = 0; y < side; y++)
    for (gint x = 0; x < side; x++) {
      guint8 *p = pixel (image, x, y);
      gint dx = MIN (ABS (x - side * 3 / 8), ABS (x - side * 5 / 8)), dy = y - side / 2;

      p[0] = 60 + x * 120 / side;
      p[1] = 150 - y * 90 / side;
      p[2] = 90 + (x + y) * 50 / side;
      for (guint i = 0; i < G_N_ELEMENTS (rings); i++)
        if (dx * dx + dy * dy < rings[i][0] * rings[i][0])
          memset (p, rings[i][1], 3);
    }
  return image;
}

/* A reference, a quarter as wide, in the lower right corner. */
static AvatarImage *
make_corner (void)
{
  g_autoptr (AvatarImage) reference = load ("demo/heldout/reference_0.png");
  g_autoptr (AvatarImage) rings = make_rings (128);
  AvatarImage *image = make_picture (128);

  for (gint y = 0; y < 128; y++)
    memcpy (pixel (image, 0, y), rings->data, 128 * 3);
  for (gint i = 0; i < 32 * 32 * 3; i++) {
    gint x = i / 3 % 32, y = i / 96, c = i % 3;
    guint sum = 0;

    for (gint k = 0; k < 16; k++)
      sum += pixel (reference, 4 * x + k % 4, 4 * y + k / 4)[c];
    pixel (image, 96 + x, 96 + y)[c] = sum / 16;
  }
  return image;
}

static AvatarImage *
make (const char *name)
{
  if (g_str_equal (name, "portrait"))
    return load_fitted ();
  if (g_str_equal (name, "portrait-512"))
    return load_portrait ();
  if (g_str_equal (name, "golden"))
    return load ("demo/reference.png");
  if (g_str_equal (name, "heldout-0"))
    return load ("demo/heldout/reference_0.png");
  if (g_str_equal (name, "heldout-1"))
    return load ("demo/heldout/reference_1.png");
  if (g_str_equal (name, "heldout-2"))
    return load ("demo/heldout/reference_2.png");
  if (g_str_equal (name, "corner"))
    return make_corner ();
  g_assert_cmpstr (name, ==, "rings");
  return make_rings (160);
}

static GArray *
find (const char *name)
{
  g_autoptr (AvatarImage) image = make (name);
  g_autoptr (GError) error = NULL;
  GArray *faces = avatar_detector_find (network, image, &error);

  g_assert_no_error (error);
  return faces;
}

static void
check_face (const char *name, const AvatarFace *face, const char *line)
{
  g_auto (GStrv) want = g_strsplit (line, " ", -1);
  double found[VALUES] = { face->x, face->y, face->width, face->height, face->score };

  g_assert_cmpuint (g_strv_length (want), ==, VALUES);
  memcpy (found + 5, face->points, sizeof face->points);
  for (guint i = 0; i < VALUES; i++) {
    double value = g_ascii_strtod (want[i], NULL), limit = i == 4 ? 1e-5 : .002;

    if (!(fabs (found[i] - value) <= limit))
      g_error ("%s: value %u of a face is %.6g, PyTorch's %.6g", name, i, found[i], value);
  }
}

/* The same faces as PyTorch, each number of them. */
static void
test_pytorch (void)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, "image", "demo_faces.txt", NULL);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint n_pictures = 0;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines + 1; *line && **line; n_pictures++) {
    g_autoptr (GArray) faces = NULL;
    char name[32];
    guint n;

    g_assert_cmpint (sscanf (*line++, "%31s %u", name, &n), ==, 2);
    faces = find (name);
    g_assert_cmpuint (faces->len, ==, n);
    for (guint i = 0; i < n; i++)
      check_face (name, &g_array_index (faces, AvatarFace, i), *line++);
  }
  g_assert_cmpuint (n_pictures, ==, 8);
}

static double
overlap (const AvatarFace *face, const double *head)
{
  double w = MIN (face->x + face->width, head[2]) - MAX (face->x, head[0]);
  double h = MIN (face->y + face->height, head[3]) - MAX (face->y, head[1]);
  double both = MAX (w, 0) * MAX (h, 0);

  return both / (face->width * face->height + (head[2] - head[0]) * (head[3] - head[1]) - both);
}

/* One face in each, on its head; boxes are x1 y1 x2 y2, those of the faces made as the demo's
 * golden files have them. */
static void
test_heads (void)
{
  static const struct
  {
    const char *name;
    double head[4], least;
  } cases[] = {
    { "portrait", { 30.5, 22.5, 96.5, 107.5 }, .75 },
    { "portrait-512", { 122, 90, 386, 430 }, .75 },
    { "heldout-0", { 34, 27, 94, 100 }, .75 },
    { "heldout-1", { 34, 28, 89, 107 }, .75 },
    { "heldout-2", { 30, 28, 95, 107 }, .75 },
    { "corner", { 104.5, 102.75, 119.5, 121 }, .6 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GArray) faces = find (cases[i].name);
    double found;

    g_assert_cmpuint (faces->len, ==, 1);
    found = overlap (avatar_faces_largest (faces), cases[i].head);
    g_test_message ("%s: intersection over union with the head %.3f", cases[i].name, found);
    g_assert_cmpfloat (found, >=, cases[i].least);
  }
}

static void
test_no_face (void)
{
  g_autoptr (GArray) faces = find ("rings");

  g_assert_cmpuint (faces->len, ==, 0);
}

/* The sample portrait at the right end of a picture three times as wide, a smaller one at the
 * left. */
static AvatarImage *
make_wide (void)
{
  g_autoptr (AvatarImage) portrait = load_portrait ();
  guint side = portrait->width, width = 3 * side;
  g_autofree guint8 *data = g_malloc ((gsize) width * side * 3);

  memset (data, 180, (gsize) width * side * 3);
  for (guint y = 0; y < side; y++) {
    memcpy (data + 3 * ((gsize) y * width + 2 * side),
        portrait->data + (gsize) y * portrait->stride, 3 * side);
    for (guint x = 0; x < side / 2 && y < side / 2; x++)
      memcpy (data + 3 * ((gsize) y * width + x), pixel (portrait, 2 * x, 2 * y), 3);
  }
  return avatar_image_new (width, side, 3, width * 3, data, NULL);
}

/* All of the portrait is searched, not the crop, whose middle has no face; the largest is taken,
 * and the crop holds it. */
static void
test_crop (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_SOURCE_MODEL_DIR, NULL);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarImage) image = make_wide (), fitted = NULL;
  g_autoptr (GError) error = NULL;
  AvatarFaceBox box;
  AvatarFace face = { 0 };
  const double head[4] = { 1024 + 122, 90, 1024 + 386, 430 };

  g_assert_cmpint (avatar_image_find_face (image, model, device, 128, 128, &box, &error), ==,
      AVATAR_FACE_FOUND);
  g_assert_no_error (error);
  face = (AvatarFace){ .x = box.x, .y = box.y, .width = box.width, .height = box.height };
  g_assert_cmpfloat (overlap (&face, head), >=, .75);
  fitted = avatar_image_fit_face (image, model, 128, 128, &box, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (box.x, >=, 0);
  g_assert_cmpfloat (box.x + box.width, <=, 128);
}

int
main (int argc, char **argv)
{
  g_autofree char *path
      = g_build_filename (AVATAR_SOURCE_MODEL_DIR, "ckpts", "det_align", "detface.pt", NULL);
  g_autoptr (AvatarTensorFile) file = NULL;
  g_autoptr (AvatarDevice) device = NULL;
  g_autoptr (GError) error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", &error);
  g_assert_no_error (error);
  file = avatar_tensor_file_open (path, &error);
  g_assert_no_error (error);
  network = avatar_yolo_new (file, device, &error);
  g_assert_no_error (error);
  g_test_add_func ("/demo-face/pytorch", test_pytorch);
  g_test_add_func ("/demo-face/heads", test_heads);
  g_test_add_func ("/demo-face/no-face", test_no_face);
  g_test_add_func ("/demo-face/crop", test_crop);
  result = g_test_run ();
  avatar_yolo_free (network);
  return result;
}
