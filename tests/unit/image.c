/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits: loading, fitting, and the face mask against a pixel-by-pixel one. */
#include "tests/golden/golden.h"

#include <avatar/image.h>

#include "engine/image/face.h"
#include "engine/image/overview.h"
#include "engine/image/resample.h"
#include "engine/image/resize.h"
#include "tests/unit/noise.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

static AvatarModel *model;

static AvatarImage *
make_image (guint width, guint height, guint channels)
{
  g_autofree guint8 *data = g_malloc0 ((gsize) width * height * channels);
  GError *error = NULL;
  AvatarImage *image = avatar_image_new (width, height, channels, width * channels, data, &error);

  g_assert_no_error (error);
  return image;
}

static guint8 *
pixel (AvatarImage *image, guint x, guint y)
{
  return image->data + (gsize) y * image->stride + x * image->channels;
}

static void
test_load (void)
{
  g_autofree char *path = g_build_filename (SAMPLES_DIR, "portrait.png", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = avatar_image_load (path, &error);
  g_autoptr (AvatarImage) fitted = NULL;

  g_assert_no_error (error);
  g_assert_cmpuint (image->width, >, 0);
  fitted = avatar_image_fit (image, model, 0, 0, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (fitted->width, ==, 128);
  g_assert_cmpuint (fitted->height, ==, 128);
  g_assert_cmpuint (fitted->channels, ==, 3);
}

static void
test_load_errors (void)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "avatar-test-broken.png", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_image_load ("/nowhere/x.png", &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_true (g_file_set_contents (path, "\x89PNG\r\n\x1a\nrubbish", -1, NULL));
  g_assert_null (avatar_image_load (path, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, path));
  g_remove (path);
}

/* Only two kinds of files reach their loaders; others, some of which would take any memory, are
 * told what is read. */
static void
test_kinds (void)
{
  static const struct
  {
    const char *name;
    guint width, height;
  } good[] = { { "small.png", 9, 5 }, { "small.jpg", 24, 16 } };
  static const struct
  {
    const char *name, *text;
  } bad[] = { { "/image/small.bmp", "PNG or JPEG" }, { "/image/small.gif", "PNG or JPEG" },
    { "/image/vast.bmp", "PNG or JPEG" }, { "/image", "not a regular file" },
    { "/gguf/one", "PNG or JPEG" } };

  for (guint i = 0; i < G_N_ELEMENTS (good); i++) {
    g_autofree char *path = g_build_filename (CORPUS_DIR, "image", good[i].name, NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarImage) image = avatar_image_load (path, &error);

    g_assert_no_error (error);
    g_assert_cmpuint (image->width, ==, good[i].width);
    g_assert_cmpuint (image->height, ==, good[i].height);
  }
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree char *path = g_strconcat (CORPUS_DIR, bad[i].name, NULL);
    g_autoptr (GError) error = NULL;

    g_assert_null (avatar_image_load (path, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
    g_assert_nonnull (strstr (error->message, bad[i].text));
  }
}

/* Files of tools/goldens/image.py. Where there is room they are red on the left, blue on the
 * right, before the EXIF orientation of one turns them clockwise. */
static const struct
{
  const char *name;
  guint width, height;      /* 0: to be refused */
  guint8 first[4], last[4]; /* top left and bottom right pixel */
  guint channels, tolerance;
} odd_files[] = {
  { .name = "tall.png" },
  { .name = "wide.png" },
  { .name = "vast.png" },
  { "dot.png", 1, 1, { 255, 0, 0 }, { 255, 0, 0 }, 3, 0 },
  { "rgba.png", 24, 16, { 255, 0, 0, 8 }, { 0, 0, 255, 247 }, 4, 8 },
  { "grey_alpha.png", 24, 16, { 200, 200, 200, 100 }, { 200, 200, 200, 100 }, 4, 0 },
  { "grey.png", 24, 16, { 200, 200, 200 }, { 200, 200, 200 }, 3, 0 },
  { "grey16.png", 24, 16, { 200, 200, 200 }, { 200, 200, 200 }, 3, 0 },
  { "bits.png", 24, 16, { 255, 255, 255 }, { 255, 255, 255 }, 3, 0 },
  { "cmyk.jpg", 24, 16, { 255, 0, 0 }, { 0, 0, 255 }, 3, 4 },
  { "grey.jpg", 24, 16, { 200, 200, 200 }, { 200, 200, 200 }, 3, 1 },
  { "turned.jpg", 16, 24, { 255, 0, 0 }, { 0, 0, 255 }, 3, 4 },
  { "profile.png", 24, 16, { 255, 0, 0 }, { 0, 0, 255 }, 3, 0 },
  { "profile.jpg", 24, 16, { 255, 0, 0 }, { 0, 0, 255 }, 3, 4 },
  { "turned.png", 16, 24, { 255, 0, 0 }, { 0, 0, 255 }, 3, 0 },
};

static void
test_odd_files (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (odd_files); i++) {
    g_autofree char *path = g_build_filename (CORPUS_DIR, "image", odd_files[i].name, NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarImage) image = avatar_image_load (path, &error);
    g_autoptr (AvatarImage) fitted = NULL;

    g_test_message ("%s", path);
    if (!odd_files[i].width) {
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
      g_assert_nonnull (strstr (error->message, path));
      continue;
    }
    g_assert_no_error (error);
    g_assert_cmpuint (image->width, ==, odd_files[i].width);
    g_assert_cmpuint (image->height, ==, odd_files[i].height);
    g_assert_cmpuint (image->channels, ==, odd_files[i].channels);
    for (guint c = 0; c < image->channels; c++) {
      const guint8 *last = pixel (image, image->width - 1, image->height - 1);

      g_assert_cmpint (ABS (image->data[c] - odd_files[i].first[c]), <=, odd_files[i].tolerance);
      g_assert_cmpint (ABS (last[c] - odd_files[i].last[c]), <=, odd_files[i].tolerance);
    }
    fitted = avatar_image_fit (image, model, 0, 0, NULL, &error);
    g_assert_no_error (error);
  }
}

static void
test_limits (void)
{
  const guint8 data[16] = { 0 };
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_image_new (0, 4, 3, 16, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  g_assert_null (avatar_image_new (16385, 16385, 3, 65535, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  g_assert_null (avatar_image_new (16384, 4097, 3, 49152, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  g_assert_null (avatar_image_new (100, 1, 3, 300, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  g_assert_null (avatar_image_new (2, 2, 1, 2, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  g_assert_null (avatar_image_new (4, 1, 4, 15, data, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
}

static void
test_fit_sizes (void)
{
  static const guint sizes[][2]
      = { { 1, 1 }, { 127, 129 }, { 333, 77 }, { 31, 400 }, { 128, 128 }, { 1023, 511 } };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (AvatarImage) image = make_image (sizes[i][0], sizes[i][1], 3);
    g_autoptr (AvatarImage) fitted = NULL;
    GError *error = NULL;

    memset (image->data, 200, image->stride * image->height);
    fitted = avatar_image_fit (image, model, 192, 112, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (fitted->width, ==, 192);
    g_assert_cmpuint (fitted->height, ==, 112);
    /* the picture covers everything: no edge is left black */
    for (guint y = 0; y < 112; y++)
      for (guint x = 0; x < 192; x++)
        g_assert_cmpint (ABS (pixel (fitted, x, y)[0] - 200), <=, 2);
  }
}

/* The middle of a wide picture survives the crop, its ends do not. */
static void
test_fit_crop (void)
{
  g_autoptr (AvatarImage) image = make_image (768, 256, 3);
  g_autoptr (AvatarImage) fitted = NULL;
  AvatarBox box = { 320, 64, 128, 128 };

  for (guint y = 0; y < 256; y++)
    for (guint x = 0; x < 768; x++)
      pixel (image, x, y)[x / 256] = 255;
  fitted = avatar_image_fit (image, model, 128, 128, &box, NULL);
  g_assert_nonnull (fitted);
  for (guint x = 3; x < 125; x++) { /* the filter reaches over 3 pixels */
    g_assert_cmpuint (pixel (fitted, x, 64)[0], ==, 0);
    g_assert_cmpuint (pixel (fitted, x, 64)[1], ==, 255);
    g_assert_cmpuint (pixel (fitted, x, 64)[2], ==, 0);
  }
  g_assert_cmpuint (box.x, ==, 32);
  g_assert_cmpuint (box.y, ==, 32);
  g_assert_cmpuint (box.width, ==, 64);
  g_assert_cmpuint (box.height, ==, 64);
}

/* A picture of noise, whose every part is another. */
static AvatarImage *
fit_around (const AvatarImage *image, guint width, guint height, AvatarBox *box)
{
  g_autoptr (GError) error = NULL;
  AvatarImage *fitted = avatar_image_fit (image, model, width, height, box, &error);

  g_assert_no_error (error);
  return fitted;
}

static void
assert_same (const AvatarImage *a, const AvatarImage *b)
{
  g_assert_cmpmem (a->data, (gsize) a->stride * a->height, b->data, (gsize) b->stride * b->height);
}

/* A face around the centre, of any size, and one that is as far from the edges as half of it,
 * leave the crop where it is without a face. */
static void
test_fit_centred (void)
{
  static const guint sizes[][2] = { { 333, 77 }, { 77, 333 }, { 300, 100 }, { 128, 128 } };
  AvatarBox near = { 120, 20, 40, 40 };
  g_autoptr (AvatarImage) image = make_noise (300, 100, 5);
  g_autoptr (AvatarImage) plain = fit_around (image, 128, 128, NULL);
  g_autoptr (AvatarImage) fitted = fit_around (image, 128, 128, &near);

  assert_same (fitted, plain);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    guint w = sizes[i][0], h = sizes[i][1];
    g_autoptr (AvatarImage) other = make_noise (w, h, 7 + i);
    g_autoptr (AvatarImage) centre = fit_around (other, 192, 112, NULL);

    for (guint margin = 0; margin < MIN (w, h) / 2; margin += 5) {
      AvatarBox box = { margin, margin, w - 2 * margin, h - 2 * margin };
      g_autoptr (AvatarImage) around = fit_around (other, 192, 112, &box);

      assert_same (around, centre);
    }
  }
}

/* The crop of a wide and of a tall picture, whose pixels stay as they are: no farther from the
 * centre than it must. A face that is longer than the crop fills it. */
static void
check_follow (gboolean tall, guint start, guint length, guint from)
{
  g_autoptr (AvatarImage) image = tall ? make_noise (128, 384, 3) : make_noise (384, 128, 3);
  AvatarBox box
      = tall ? (AvatarBox){ 44, start, 40, length } : (AvatarBox){ start, 44, length, 40 };
  AvatarFaceBox face = { box.x, box.y, box.width, box.height };
  g_autoptr (AvatarImage) fitted = fit_around (image, 128, 128, &box), other = NULL;
  guint seen = start > from ? start - from : 0;

  for (guint y = 0; y < 128; y++)
    g_assert_cmpmem (pixel (fitted, 0, y), 3 * 128,
        tall ? pixel (image, 0, y + from) : pixel (image, from, y), 3 * 128);
  g_assert_cmpuint (tall ? box.y : box.x, ==, seen);
  g_assert_cmpuint (tall ? box.height : box.width, ==, MIN (start + length - from, 128) - seen);
  other = avatar_image_fit_face (image, model, 128, 128, &face, NULL);
  assert_same (fitted, other);
  g_assert_cmpfloat (tall ? face.y : face.x, ==, (double) start - from);
  g_assert_cmpfloat (tall ? face.height : face.width, ==, length);
  g_assert_cmpfloat (tall ? face.x : face.y, ==, 44);
}

static void
test_fit_follow (void)
{
  static const guint cases[][3] = { { 148, 40, 128 }, { 147, 40, 127 }, { 196, 40, 128 },
    { 197, 40, 129 }, { 0, 40, 0 }, { 344, 40, 256 }, { 40, 60, 10 }, { 200, 120, 196 },
    { 100, 200, 136 }, { 0, 384, 128 }, { 383, 1, 256 } };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    for (guint tall = 0; tall < 2; tall++)
      check_follow (tall, cases[i][0], cases[i][1], cases[i][2]);
}

/* A face that is found may reach beyond the picture, and lies between pixels; without it the
 * crop is around the centre. */
static void
test_fit_found (void)
{
  g_autoptr (AvatarImage) image = make_noise (384, 128, 4),
                          plain = fit_around (image, 128, 128, NULL);
  g_autoptr (AvatarImage) beyond = NULL, none = NULL;
  AvatarFaceBox face = { -9.75, 20.5, 50.25, 60 }, nothing = { 0 };

  beyond = avatar_image_fit_face (image, model, 128, 128, &face, NULL);
  g_assert_cmpmem (pixel (beyond, 0, 5), 3 * 128, pixel (image, 0, 5), 3 * 128);
  g_assert_cmpfloat (face.x, ==, -9.75);
  g_assert_cmpfloat (face.y, ==, 20.5);
  g_assert_cmpfloat (face.width, ==, 50.25);
  none = avatar_image_fit_face (image, model, 128, 128, &nothing, NULL);
  assert_same (none, plain);
  g_assert_cmpfloat (nothing.x, ==, 0);
  g_assert_cmpfloat (nothing.width, ==, 0);
  g_assert_true (avatar_image_is_cropped (image, model, 128, 128));
  g_assert_false (avatar_image_is_cropped (image, model, 384, 128));
}

/* The detector sees what is fitted, or, where that is cropped, all of the portrait at the
 * same scale. */
static void
test_overview (void)
{
  static const guint cases[][6]
      = { { 512, 512, 128, 128, 128, 128 }, { 384, 128, 128, 128, 384, 128 },
          { 200, 800, 128, 128, 128, 512 }, { 3000, 1000, 512, 512, 1248, 416 },
          { 160, 10, 64, 1024, 6656, 416 }, { 1, 1, 128, 128, 128, 128 } };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AvatarImage) image = make_noise (cases[i][0], cases[i][1], i);
    g_autoptr (AvatarImage) seen
        = avatar_image_overview (image, model, cases[i][2], cases[i][3], 416, NULL);

    g_assert_cmpuint (seen->width, ==, cases[i][4]);
    g_assert_cmpuint (seen->height, ==, cases[i][5]);
    if (cases[i][2] == cases[i][4] && cases[i][3] == cases[i][5]) {
      g_autoptr (AvatarImage) fitted = fit_around (image, cases[i][2], cases[i][3], NULL);

      assert_same (fitted, seen);
    }
  }
}

/* A box is in pixels of the file, of which half as many are held of a large one. */
static void
test_fit_shrunk (void)
{
  g_autoptr (AvatarImage) image = make_noise (384, 128, 4);
  AvatarBox box = { 80, 40, 120, 101 }, beyond = { 700, 0, 69, 9 };
  g_autoptr (AvatarImage) fitted = NULL;
  g_autoptr (GError) error = NULL;

  image->shrunk = 2;
  fitted = fit_around (image, 128, 128, &box); /* 40, 60 again */
  g_assert_cmpmem (pixel (fitted, 0, 5), 3 * 128, pixel (image, 10, 5), 3 * 128);
  g_assert_cmpuint (box.x, ==, 30);
  g_assert_cmpuint (box.width, ==, 60);
  g_assert_cmpuint (box.height, ==, 51);
  g_assert_null (avatar_image_fit (image, model, 128, 128, &beyond, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "768 x 256"));
}

static void
test_fit_alpha (void)
{
  g_autoptr (AvatarImage) image = make_image (128, 128, 4);
  g_autoptr (AvatarImage) fitted = NULL;

  for (guint i = 0; i < 128 * 128; i++)
    memcpy (image->data + 4 * i, i < 64 * 128 ? "\xff\x00\x10\x00" : "\xff\x00\x10\xff", 4);
  fitted = avatar_image_fit (image, model, 128, 128, NULL, NULL);
  g_assert_cmpmem (pixel (fitted, 5, 5), 3, "\x80\x80\x80", 3);
  g_assert_cmpmem (pixel (fitted, 5, 120), 3, "\xff\x00\x10", 3);
}

static void
test_fit_errors (void)
{
  g_autoptr (AvatarImage) image = make_image (200, 100, 3);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) vast = make_image (2000, 2000, 3);
  AvatarBox outside = { 150, 0, 51, 10 }, tiny = { 0, 0, 6, 600 };

  g_assert_null (avatar_image_fit (image, model, 100, 128, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_image_fit (image, model, 128, 4112, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_image_fit (image, model, 128, 0, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_image_fit (image, model, 128, 128, &outside, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "200 x 100"));
  g_clear_error (&error);
  g_assert_null (avatar_image_fit (vast, model, 128, 128, &tiny, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "less than a pixel"));
}

static void
check_against_pillow (const char *line)
{
  char filter[16], expected[65];
  guint seed, from[2], to[2];
  AvatarRegion r;
  g_autofree char *found = NULL;
  g_autoptr (AvatarImage) image = NULL;
  g_autoptr (AvatarImage) result = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (sscanf (line, "%15s %u %u %u %f %f %f %f %u %u %64s", filter, &seed, &from[0],
                       &from[1], &r.left, &r.top, &r.right, &r.bottom, &to[0], &to[1], expected),
      ==, 11);
  image = make_noise (from[0], from[1], seed);
  result = avatar_resample (image, r,
      g_str_equal (filter, "lanczos") ? AVATAR_FILTER_LANCZOS : AVATAR_FILTER_BILINEAR, to[0],
      to[1], &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result->stride, ==, 3 * to[0]);
  found = g_compute_checksum_for_data (G_CHECKSUM_SHA256, result->data,
      (gsize) result->stride * result->height);
  g_test_message ("%s", line);
  g_assert_cmpstr (found, ==, expected);
}

static void
test_resample (void)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, "image", "pillow.txt", NULL);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  GError *error = NULL;
  guint n = 0;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    if (**line && **line != '#') {
      check_against_pillow (*line);
      n++;
    }
  g_assert_cmpuint (n, ==, 128);
}

/* Sizes from docs/dev/spec/denoise.md 4.1, ties, and bases that have no cap of their own. */
static void
test_resize_rule (void)
{
  static const guint cases[][5] = { { 500, 500, 704, 704, 704 }, { 900, 1600, 704, 704, 1216 },
    { 900, 1600, 512, 448, 832 }, { 1000, 1090, 704, 704, 768 }, { 832, 1216, 512, 512, 768 },
    { 600, 800, 704, 704, 960 }, { 900, 1600, 384, 384, 640 }, { 1600, 900, 704, 1216, 704 },
    { 704, 736, 704, 704, 768 }, { 704, 800, 704, 704, 768 }, { 864, 704, 704, 896, 704 },
    { 900, 1600, 320, 320, 512 }, { 300, 300, 320, 320, 320 }, { 160, 10, 704, 3712, 256 } };
  g_autoptr (AvatarModel) released = avatar_model_open ("released", NULL);
  const AvatarConfig *config = avatar_model_get_config (released);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    guint width, height;

    avatar_resize_rule (&config->resize, cases[i][0], cases[i][1], cases[i][2], &width, &height);
    g_assert_cmpuint (width, ==, cases[i][3]);
    g_assert_cmpuint (height, ==, cases[i][4]);
  }
}

/* The released model's video takes its shape from the portrait, unless its size is given. */
static void
test_fit_released (void)
{
  g_autoptr (AvatarModel) released = avatar_model_open ("released", NULL);
  g_autoptr (AvatarImage) image = make_image (900, 1600, 4);
  g_autoptr (AvatarImage) whole = NULL;
  g_autoptr (AvatarImage) cropped = NULL;
  AvatarBox box = { 90, 160, 450, 800 };
  GError *error = NULL;

  for (guint y = 0; y < 1600; y++)
    for (guint x = 0; x < 900; x++)
      memcpy (pixel (image, x, y), y < 100 ? "\xff\0\0\xff" : "\0\xff\0\xff", 4);
  whole = avatar_image_fit (image, released, 0, 0, &box, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (whole->width, ==, 704);
  g_assert_cmpuint (whole->height, ==, 1216);
  g_assert_cmpuint (box.x, ==, 70);
  g_assert_cmpuint (box.y, ==, 122);
  g_assert_cmpuint (box.width, ==, 422 - 70);
  g_assert_cmpuint (box.height, ==, 730 - 122);
  g_assert_cmpmem (pixel (whole, 350, 40), 3, "\xff\0\0", 3);
  cropped = avatar_image_fit (image, released, 704, 704, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (cropped->height, ==, 704);
  g_assert_cmpmem (pixel (cropped, 350, 0), 3, "\0\xff\0", 3);
}

/* docs/dev/spec/denoise.md 4.3 word for word, in the order and the types of upstream's Python: the
 * box as two corners, a mask of pixels, and a bilinear reduction of it with half-pixel centres that
 * clamps at the borders. */
static float *
pixel_mask (guint width, guint height, AvatarBox box, double area)
{
  double x1 = box.x, y1 = box.y, x2 = x1 + box.width, y2 = y1 + box.height;
  double cx = floor ((x1 + x2) / 2), cy = floor ((y1 + y2) / 2);
  double hw = floor (area * (x2 - x1) / 2), hh = floor (area * (y2 - y1) / 2);
  float *mask = g_new0 (float, width *height);

  if (!box.width || !box.height) { /* no face: all of it */
    cx = cy = 0;
    hw = width;
    hh = height;
  }
  for (int y = (int) fmax (cy - hh, 0); y < (int) fmin (cy + hh, height); y++)
    for (int x = (int) fmax (cx - hw, 0); x < (int) fmin (cx + hw, width); x++)
      mask[y * width + x] = 1;
  return mask;
}

static double
bilinear (const float *pixels, guint width, guint height, double x, double y)
{
  int x0 = (int) floor (x), y0 = (int) floor (y);
  double sum = 0;

  for (int dy = 0; dy < 2; dy++)
    for (int dx = 0; dx < 2; dx++) {
      double weight = (dx ? x - x0 : 1 - (x - x0)) * (dy ? y - y0 : 1 - (y - y0));

      sum += weight
          * pixels[CLAMP (y0 + dy, 0, (int) height - 1) * width
              + CLAMP (x0 + dx, 0, (int) width - 1)];
    }
  return sum;
}

static void
check_mask (guint width, guint height, AvatarBox box, double area, guint scale)
{
  guint w = width / scale, h = height / scale;
  g_autofree float *pixels = pixel_mask (width, height, box, area);
  g_autofree float *mask = g_new (float, w *h);

  avatar_face_mask (mask, width, height, (AvatarFaceBox){ box.x, box.y, box.width, box.height },
      area, scale);
  for (guint y = 0; y < h; y++)
    for (guint x = 0; x < w; x++) {
      double expected
          = bilinear (pixels, width, height, (x + .5) * scale - .5, (y + .5) * scale - .5);

      if (mask[y * w + x] != expected)
        g_error ("box %u,%u %ux%u on %ux%u, area %g: cell %u,%u is %g, expected %g", box.x, box.y,
            box.width, box.height, width, height, area, x, y, mask[y * w + x], expected);
    }
}

static void
test_face_mask (void)
{
  static const AvatarBox boxes[] = { { 0 }, { 0, 0, 9, 9 }, { 100, 70, 28, 26 }, { 61, 33, 1, 5 },
    { 3, 90, 120, 5 }, { 0, 0, 128, 96 }, { 127, 95, 1, 1 }, { 0, 40, 1, 1 }, { 5, 5, 0, 9 },
    /* beyond the picture: avatar_image_fit() refuses them, AvatarDenoiseSettings does not */
    { 0, 0, 1000000, 1000000 }, { 100, 80, 500, 10 }, { 900, 0, 9, 9 },
    { 1, 1, G_MAXUINT, G_MAXUINT } };
  static const double areas[] = { 3, 1.3, 1, .5, 100 };
  static const guint scales[] = { 8, 8, 8, 2, 4, 16 };

  for (guint i = 0; i < G_N_ELEMENTS (boxes); i++)
    for (guint a = 0; a < G_N_ELEMENTS (areas); a++)
      check_mask (128, 96, boxes[i], areas[a], 8);
  for (guint i = 0; i < 3000; i++) {
    guint scale = scales[g_test_rand_int_range (0, G_N_ELEMENTS (scales))];
    guint width = 16 * g_test_rand_int_range (1, 20), height = 16 * g_test_rand_int_range (1, 20);
    AvatarBox box = { g_test_rand_int_range (0, width), g_test_rand_int_range (0, height), 0, 0 };

    box.width = g_test_rand_int_range (1, width - box.x + 1);
    box.height = g_test_rand_int_range (1, height - box.y + 1);
    if (i % 3 == 0) { /* a small one */
      box.width = MIN (box.width, 12);
      box.height = MIN (box.height, 12);
    }
    check_mask (width, height, box, i % 2 ? 3 : g_test_rand_double_range (.1, 5), scale);
  }
}

/* A box around the head of the golden portrait gives the golden mask. */
static void
test_face_mask_golden (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("demo/tensors.safetensors");
  float mask[16 * 16];

  avatar_face_mask (mask, 128, 128, (AvatarFaceBox){ 28, 27, 65, 74 }, 1.3, 8);
  golden_compare (golden, "face_mask", mask, 16 * 16, 0);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  g_test_add_func ("/image/load", test_load);
  g_test_add_func ("/image/load-errors", test_load_errors);
  g_test_add_func ("/image/kinds", test_kinds);
  g_test_add_func ("/image/odd-files", test_odd_files);
  g_test_add_func ("/image/limits", test_limits);
  g_test_add_func ("/image/fit-sizes", test_fit_sizes);
  g_test_add_func ("/image/fit-crop", test_fit_crop);
  g_test_add_func ("/image/fit-centred", test_fit_centred);
  g_test_add_func ("/image/fit-follow", test_fit_follow);
  g_test_add_func ("/image/fit-found", test_fit_found);
  g_test_add_func ("/image/fit-shrunk", test_fit_shrunk);
  g_test_add_func ("/image/overview", test_overview);
  g_test_add_func ("/image/fit-alpha", test_fit_alpha);
  g_test_add_func ("/image/fit-errors", test_fit_errors);
  g_test_add_func ("/image/resample", test_resample);
  g_test_add_func ("/image/resize-rule", test_resize_rule);
  g_test_add_func ("/image/fit-released", test_fit_released);
  g_test_add_func ("/image/face-mask", test_face_mask);
  g_test_add_func ("/image/face-mask-golden", test_face_mask_golden);
  result = g_test_run ();
  avatar_model_unref (model);
  return result;
}
