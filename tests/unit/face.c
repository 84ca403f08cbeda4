/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The face detector against PyTorch, torchvision and OpenCV (tools/goldens/make_face.py). */
#include "tests/golden/golden.h"

#include "engine/image/detector.h"
#include "engine/image/linear.h"
#include "tests/unit/growth.h"
#include "tests/unit/noise.h"

#include <stdio.h>
#include <string.h>

static AvatarDevice *device;

static AvatarYolo *
open_network (const char *folder, const char *name, GError **error)
{
  g_autofree char *path = g_build_filename (CORPUS_DIR, folder, name, NULL);
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open (path, error);

  return file ? avatar_yolo_new (file, device, error) : NULL;
}

/* With its norms, and with them folded in, the network says the same. */
static void
test_network (gconstpointer name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarYolo) network = open_network ("detector", name, &error);
  g_autoptr (AvatarSafetensors) golden = golden_open ("image/face.safetensors");
  AvatarTensor rgb = golden_get (golden, "in.rgb"), rows = golden_get (golden, "out.rows");
  gint64 n = avatar_yolo_n_rows (64, 96);
  g_autofree float *found = g_new (float, n *AVATAR_YOLO_COLUMNS);
  double flops;
  gsize bytes;

  g_assert_no_error (error);
  g_assert_cmpint (rows.shape[0], ==, n);
  g_assert_true (avatar_yolo_run (network, rgb.data, 64, 96, found, &error));
  g_assert_no_error (error);
  golden_compare (golden, "out.rows", found, avatar_tensor_n (rows), 1e-5);
  /* each for itself: large landmarks must not hide a score */
  for (gint64 i = 0; i < avatar_tensor_n (rows); i++) {
    double want = avatar_tensor_f32 (rows)[i];
    gboolean score = i % AVATAR_YOLO_COLUMNS == 4 || i % AVATAR_YOLO_COLUMNS == 15;

    g_assert_cmpfloat (fabs (found[i] - want), <=, 1e-5 * (score ? 1 : MAX (fabs (want), 10)));
  }
  avatar_yolo_plan (network, 64, 96, &bytes, &flops);
  g_assert_cmpfloat (flops, >, 5e5);
  g_assert_cmpuint (bytes, <, 1 << 20);
  g_assert_cmpuint (avatar_yolo_bytes (network), <, 1 << 18);
  g_free (rgb.data);
  g_free (rows.data);
}

static void
check_face (const AvatarFace *face, const float *want, double limit)
{
  double found[15] = { face->x, face->y, face->width, face->height, face->score };

  for (guint i = 0; i < 5; i++) {
    found[5 + 2 * i] = face->points[i][0];
    found[6 + 2 * i] = face->points[i][1];
  }
  for (guint i = 0; i < 15; i++)
    if (!(fabs (found[i] - want[i]) <= limit * MAX (fabs (want[i]), 1)))
      g_error ("value %u of a face is %.9g, expected %.9g", i, found[i], want[i]);
}

/* From a picture to faces, in its own pixels. */
static void
test_detector (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarYolo) network = open_network ("detector", "detface.pt", &error);
  g_autoptr (AvatarSafetensors) golden = golden_open ("image/face.safetensors");
  g_autoptr (AvatarImage) picture = make_noise (100, 140, 101);
  AvatarTensor want = golden_get (golden, "out.faces");
  g_autoptr (GArray) faces = avatar_detector_find (network, picture, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (faces->len, ==, want.shape[0]);
  for (guint i = 0; i < faces->len; i++)
    check_face (&g_array_index (faces, AvatarFace, i), avatar_tensor_f32 (want) + 15 * i, 1e-4);
  g_free (want.data);
}

static void
test_select (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("image/face.safetensors");
  AvatarTensor made = golden_get (golden, "in.made"), want = golden_get (golden, "out.made");
  g_autoptr (GArray) faces = avatar_faces_select (made.data, made.shape[0], .5f, .45f);
  g_autoptr (GArray) none = avatar_faces_select (made.data, made.shape[0], 1.f, .45f);

  g_assert_cmpuint (faces->len, ==, want.shape[0]);
  for (guint i = 0; i < faces->len; i++) {
    float *row = avatar_tensor_f32 (want) + 15 * i;

    row[2] -= row[0]; /* corners there */
    row[3] -= row[1];
    check_face (&g_array_index (faces, AvatarFace, i), row, 1e-6);
  }
  g_assert_cmpuint (none->len, ==, 0);
  g_assert_null (avatar_faces_largest (none));
  g_free (made.data);
  g_free (want.data);
}

/* @n candidates, none of which drops another, and rows of NaN and infinity. */
static void
select_of_many (gsize n, gconstpointer data)
{
  g_autofree float *rows = g_new (float, n *AVATAR_YOLO_COLUMNS);
  g_autoptr (GArray) faces = NULL;

  for (gsize i = 0; i < n * AVATAR_YOLO_COLUMNS; i++)
    rows[i] = i / AVATAR_YOLO_COLUMNS % 3 ? 1 : i % 2 ? NAN : INFINITY;
  for (gsize i = 0; i < n; i++)
    rows[i * AVATAR_YOLO_COLUMNS] += 10 * i;
  faces = avatar_faces_select (rows, n, .5f, .45f);
  g_assert_cmpuint (faces->len, <=, AVATAR_FACES_MAX);
}

static void
test_many_candidates (void)
{
  assert_grows_linearly (select_of_many, 1 << 16, NULL);
}

static void
test_largest (void)
{
  g_autoptr (GArray) faces = g_array_new (FALSE, TRUE, sizeof (AvatarFace));
  static const double sizes[][2] = { { 10, 10 }, { 20, 20 }, { 11, 11 }, { 10, 40 } };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    AvatarFace face = { .width = sizes[i][0], .height = sizes[i][1] };

    g_array_append_val (faces, face);
  }
  /* selects the higher score of two equally large ones */
  g_assert_true (avatar_faces_largest (faces) == &g_array_index (faces, AvatarFace, 1));
}

static void
test_size (void)
{
  static const guint cases[][4]
      = { { 704, 1216, 416, 736 }, { 128, 128, 416, 416 }, { 512, 512, 416, 416 },
          { 1216, 704, 736, 416 }, { 384, 384, 416, 416 }, { 4096, 256, 6656, 416 } };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    guint width, height;

    avatar_detector_get_input_size (cases[i][0], cases[i][1], &width, &height);
    g_assert_cmpuint (width, ==, cases[i][2]);
    g_assert_cmpuint (height, ==, cases[i][3]);
  }
}

static void
check_against_opencv (const char *line)
{
  guint seed, from[2], to[2];
  char expected[65];
  g_autofree char *found = NULL;
  g_autofree guint8 *out = NULL;
  g_autoptr (AvatarImage) image = NULL;

  g_assert_cmpint (sscanf (line, "%u %u %u %u %u %64s", &seed, &from[0], &from[1], &to[0], &to[1],
                       expected),
      ==, 6);
  image = make_noise (from[0], from[1], seed);
  out = g_malloc ((gsize) to[0] * to[1] * 3);
  avatar_resize_linear (out, to[0], to[1], image);
  found = g_compute_checksum_for_data (G_CHECKSUM_SHA256, out, (gsize) to[0] * to[1] * 3);
  g_test_message ("%s", line);
  g_assert_cmpstr (found, ==, expected);
}

static void
test_resize (void)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, "image", "opencv.txt", NULL);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    if (**line && **line != '#') {
      check_against_opencv (*line);
      n++;
    }
  g_assert_cmpuint (n, ==, 71);
}

static void
refuse (const char *folder, const char *name, const char *message)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarYolo) network = open_network (folder, name, &error);

  g_assert_null (network);
  g_assert_nonnull (error);
  if (!strstr (error->message, message) || !strstr (error->message, name))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
}

/* Another network, and no network at all. */
static void
test_refused (void)
{
  refuse ("torch", "script.pt", "0.stem_1.conv.weight\" is missing; expected a YOLOv5-face");
  refuse ("torch", "dtypes.pt", "expected a YOLOv5-face");
  refuse ("torch", "page.pt", "web page");
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/face/resize", test_resize);
  g_test_add_func ("/face/size", test_size);
  g_test_add_data_func ("/face/network", "detface.pt", test_network);
  g_test_add_data_func ("/face/network-fused", "detface_fused.pt", test_network);
  /* the fused file with two more tensors, 23.m.0.conv.weight and .bias, which no module has */
  g_test_add_data_func ("/face/network-two-weights", "detface_two_weights.safetensors",
      test_network);
  g_test_add_func ("/face/select", test_select);
  g_test_add_func ("/face/many-candidates", test_many_candidates);
  g_test_add_func ("/face/largest", test_largest);
  g_test_add_func ("/face/detector", test_detector);
  g_test_add_func ("/face/refused", test_refused);
  result = g_test_run ();
  avatar_device_unref (device);
  return result;
}
