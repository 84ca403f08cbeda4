/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Picture files: orientation, damaged files, colour profiles, and other formats. */
#include <avatar/error.h>
#include <avatar/image.h>

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <zlib.h>

#include <jpeglib.h>
#include <lcms2.h>

static char *folder;

/* ---------------------------------------------------------------------------------------- files */

static GByteArray *
read_corpus (const char *name)
{
  g_autofree char *path = g_build_filename (CORPUS_DIR, "image", name, NULL);
  gchar *text;
  gsize n;

  g_assert_true (g_file_get_contents (path, &text, &n, NULL));
  return g_byte_array_new_take ((guint8 *) text, n);
}

static AvatarImage *
load (const char *name, const void *data, gsize n, GError **error)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  AvatarImage *image;

  g_assert_true (g_file_set_contents (path, data, n, NULL));
  image = avatar_image_load (path, error);
  g_remove (path);
  return image;
}

static AvatarImage *
load_good (const char *name, GByteArray *file)
{
  g_autoptr (GError) error = NULL;
  AvatarImage *image = load (name, file->data, file->len, &error);

  g_assert_no_error (error);
  return image;
}

/* The message. */
static char *
refuse (const char *name, const void *data, gsize n)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = load (name, data, n, &error);

  g_assert_null (image);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, name));
  return g_strdup (error->message);
}

static void
refuse_damaged (GByteArray *file)
{
  g_autofree char *said = refuse ("x.jpg", file->data, file->len);

  g_assert_nonnull (strstr (said, "damaged or truncated"));
}

static void
assert_same (const AvatarImage *a, const AvatarImage *b)
{
  g_assert_cmpuint (a->width, ==, b->width);
  g_assert_cmpuint (a->height, ==, b->height);
  g_assert_cmpmem (a->data, (gsize) a->height * a->stride, b->data, (gsize) b->height * b->stride);
}

static void
insert (GByteArray *file, guint at, const void *bytes, guint n)
{
  guint before = file->len;

  g_byte_array_set_size (file, before + n);
  memmove (file->data + at + n, file->data + at, before - at);
  memcpy (file->data + at, bytes, n);
}

static void
append_number (GByteArray *out, guint32 value, guint n, gboolean big_endian)
{
  for (guint i = 0; i < n; i++) {
    guint8 byte = value >> 8 * (big_endian ? n - 1 - i : i);

    g_byte_array_append (out, &byte, 1);
  }
}

/* ---------------------------------------------------------------------------------- orientation */

/* EXIF data with another tag before the orientation. */
static GByteArray *
make_exif (guint orientation, gboolean big_endian)
{
  GByteArray *out = g_byte_array_new ();

  g_byte_array_append (out, (const guint8 *) (big_endian ? "MM" : "II"), 2);
  append_number (out, 42, 2, big_endian);
  append_number (out, 8, 4, big_endian);
  append_number (out, 2, 2, big_endian);
  for (guint i = 0; i < 2; i++) {
    append_number (out, i ? 0x0112 : 0x0103, 2, big_endian);
    append_number (out, 3, 2, big_endian);
    append_number (out, 1, 4, big_endian);
    append_number (out, i ? orientation : 6, 2, big_endian);
    append_number (out, 0, 2, big_endian);
  }
  append_number (out, 0, 4, big_endian);
  return out;
}

static void
insert_chunk (GByteArray *png, guint at, const char *type, const guint8 *data, guint n)
{
  g_autoptr (GByteArray) chunk = g_byte_array_new ();

  append_number (chunk, n, 4, TRUE);
  g_byte_array_append (chunk, (const guint8 *) type, 4);
  g_byte_array_append (chunk, data, n);
  append_number (chunk, crc32 (0, chunk->data + 4, n + 4), 4, TRUE);
  insert (png, at, chunk->data, chunk->len);
}

static void
insert_app1 (GByteArray *jpeg, const guint8 *data, guint n)
{
  g_autoptr (GByteArray) segment = g_byte_array_new ();

  append_number (segment, 0xffe1, 2, TRUE);
  append_number (segment, 2 + 6 + n, 2, TRUE);
  g_byte_array_append (segment, (const guint8 *) "Exif\0\0", 6);
  g_byte_array_append (segment, data, n);
  insert (jpeg, 2, segment->data, segment->len);
}

typedef enum
{
  JPEG,
  PNG_BEFORE_PIXELS,
  PNG_AFTER_PIXELS,
  PNG_WITH_NAME, /* that EXIF data have in a JPEG */
  N_PLACES
} Place;

/* A picture whose pixels all differ, with @exif. */
static AvatarImage *
load_with_exif (Place place, GByteArray *exif)
{
  g_autoptr (GByteArray) file = read_corpus (place == JPEG ? "noise.jpg" : "rgba.png");

  if (place == PNG_WITH_NAME)
    insert (exif, 0, "Exif\0\0", 6);
  if (exif->len > 0 && place == JPEG)
    insert_app1 (file, exif->data, exif->len);
  else if (exif->len > 0)
    insert_chunk (file, place == PNG_AFTER_PIXELS ? file->len - 12 : 33, "eXIf", exif->data,
        exif->len);
  return load_good (place == JPEG ? "x.jpg" : "x.png", file);
}

/* Place, by EXIF, of the pixel @x, @y of a picture of @w x @h pixels. */
static void
turn (guint orientation, guint w, guint h, guint x, guint y, guint *to_x, guint *to_y)
{
  const guint places[8][2] = { { x, y }, { w - 1 - x, y }, { w - 1 - x, h - 1 - y },
    { x, h - 1 - y }, { y, x }, { h - 1 - y, x }, { h - 1 - y, w - 1 - x }, { y, w - 1 - x } };

  *to_x = places[orientation - 1][0];
  *to_y = places[orientation - 1][1];
}

static void
check_turned (const AvatarImage *flat, const AvatarImage *upright, guint orientation)
{
  gboolean lies = orientation > 4;
  guint n = flat->channels;

  g_assert_cmpuint (upright->width, ==, lies ? flat->height : flat->width);
  g_assert_cmpuint (upright->height, ==, lies ? flat->width : flat->height);
  for (guint y = 0; y < flat->height; y++)
    for (guint x = 0; x < flat->width; x++) {
      guint to_x, to_y;

      turn (orientation, flat->width, flat->height, x, y, &to_x, &to_y);
      g_assert_cmpmem (upright->data + (gsize) to_y * upright->stride + n * to_x, n,
          flat->data + (gsize) y * flat->stride + n * x, n);
    }
}

static void
test_orientation (void)
{
  for (Place place = 0; place < N_PLACES; place++) {
    g_autoptr (GByteArray) none = g_byte_array_new ();
    g_autoptr (AvatarImage) flat = load_with_exif (place == JPEG ? JPEG : PNG_BEFORE_PIXELS, none);

    for (guint i = 0; i < 16; i++) {
      g_autoptr (GByteArray) exif = make_exif (1 + i / 2, i % 2);
      g_autoptr (AvatarImage) upright = load_with_exif (place, exif);

      g_test_message ("orientation %u, place %u", 1 + i / 2, place);
      check_turned (flat, upright, 1 + i / 2);
    }
  }
}

/* Broken EXIF data change nothing: each beginning, each byte that is another. */
static void
test_broken_exif (void)
{
  static const guint unlike[] = { 0, 9, 0xffff };

  for (Place place = 0; place < PNG_AFTER_PIXELS; place++) {
    g_autoptr (GByteArray) none = g_byte_array_new ();
    g_autoptr (AvatarImage) flat = load_with_exif (place, none);

    for (guint n = 1; n < 32; n++) { /* the last byte of the orientation is not there */
      g_autoptr (GByteArray) exif = make_exif (6, TRUE);
      g_autoptr (AvatarImage) image = NULL;

      g_byte_array_set_size (exif, n);
      image = load_with_exif (place, exif);
      assert_same (image, flat);
    }
    for (guint i = 0; i < G_N_ELEMENTS (unlike); i++) {
      g_autoptr (GByteArray) exif = make_exif (unlike[i], i % 2);
      g_autoptr (AvatarImage) image = load_with_exif (place, exif);

      assert_same (image, flat);
    }
    for (guint i = 0; i < 8; i++) { /* byte order, 42, where the directory is */
      g_autoptr (GByteArray) exif = make_exif (6, TRUE);
      g_autoptr (AvatarImage) image = NULL;

      exif->data[i] ^= 0x80;
      image = load_with_exif (place, exif);
      assert_same (image, flat);
    }
  }
}

/* --------------------------------------------------------------------------------------- damage */

/* A thumbnail has an end of its own. */
static void
test_thumbnail (void)
{
  g_autoptr (GByteArray) thumbnail = read_corpus ("small.jpg"), file = read_corpus ("noise.jpg");
  g_autoptr (AvatarImage) alone = load_good ("x.jpg", file);
  g_autoptr (AvatarImage) image = NULL;

  insert_app1 (file, thumbnail->data, thumbnail->len);
  image = load_good ("x.jpg", file);
  assert_same (image, alone);
  g_byte_array_set_size (file, file->len - 2);
  refuse_damaged (file);
}

/* Bytes after the end, and zeros before it, are none of the picture. */
static void
test_padding (void)
{
  static const char *const names[] = { "noise.jpg", "progressive.jpg", "restarts.jpg" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GByteArray) file = read_corpus (names[i]);
    g_autoptr (AvatarImage) alone = load_good ("x.jpg", file);
    g_autoptr (AvatarImage) image = NULL;
    guint end = file->len - 2;

    g_byte_array_append (file, (const guint8 *) "and more", 8);
    insert (file, end, "\0\0\0\0\0\0\0\0\xff\xff", 10);
    image = load_good ("x.jpg", file);
    assert_same (image, alone);
    insert (file, end, "more than what is read ahead", 27);
    refuse_damaged (file);
  }
}

static guint
find_scan (GByteArray *jpeg)
{
  for (guint i = jpeg->len - 1; i > 1; i--) /* the last one */
    if (jpeg->data[i - 1] == 0xff && jpeg->data[i] == 0xda)
      return i + 1;
  g_assert_not_reached ();
}

/* Missing parts of the compressed data: libjpeg says so with a warning only, and makes grey of
 * them. */
static void
test_damage (void)
{
  static const char *const names[] = { "noise.jpg", "progressive.jpg", "restarts.jpg" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GByteArray) cut = read_corpus (names[i]), file = read_corpus (names[i]);
    guint scan = find_scan (file), end = file->len - 2;

    g_byte_array_remove_range (file, scan + (end - scan) / 2, (end - scan) / 4);
    refuse_damaged (file);
    g_byte_array_set_size (cut, scan + (end - scan) * 3 / 5);
    refuse_damaged (cut);
  }
}

/* Every chunk of a PNG has a checksum; chunks without pixels may be damaged. */
static void
test_png_damage (void)
{
  static const char *const names[] = { "rgba.png", "grey16.png", "palette.png" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GByteArray) file = read_corpus (names[i]);
    guint at = 33;

    while (memcmp (file->data + at, "IDAT", 4) != 0)
      at++;
    for (guint j = at; j < file->len - 12; j++) {
      g_autofree guint8 *copy = g_memdup2 (file->data, file->len);
      g_autofree char *said = NULL;

      copy[j] ^= 4;
      said = refuse ("x.png", copy, file->len);
    }
  }
}

/* @script: scan_info of jpeg_compress_struct */
static GByteArray *
make_jpeg (guint width, guint height, const jpeg_scan_info *script, guint n_scans)
{
  struct jpeg_compress_struct info = { 0 };
  struct jpeg_error_mgr errors;
  unsigned long size = 0;
  unsigned char *bytes = NULL;
  g_autofree guint8 *row = g_malloc0 (width);
  GByteArray *out;

  info.err = jpeg_std_error (&errors);
  jpeg_create_compress (&info);
  jpeg_mem_dest (&info, &bytes, &size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = 1;
  info.in_color_space = JCS_GRAYSCALE;
  jpeg_set_defaults (&info);
  info.scan_info = script;
  info.num_scans = n_scans;
  jpeg_start_compress (&info, TRUE);
  for (guint y = 0; y < height; y++) {
    memset (row, y < height / 2 ? 50 : 200, width);
    jpeg_write_scanlines (&info, &row, 1);
  }
  jpeg_finish_compress (&info);
  jpeg_destroy_compress (&info);
  out = g_byte_array_new ();
  g_byte_array_append (out, bytes, size);
  free (bytes);
  return out;
}

/* A picture in very many scans, each of which processes all of it. */
static void
test_scans (void)
{
  jpeg_scan_info script[1 + 2 * 63] = { { 1, { 0 }, 0, 0, 0, 0 } };
  g_autoptr (GByteArray) some = NULL, many = NULL;
  g_autoptr (AvatarImage) image = NULL;

  for (guint i = 1; i < G_N_ELEMENTS (script); i++) {
    guint k = (i - 1) % 63 + 1;

    script[i] = i <= 63 ? (jpeg_scan_info){ 1, { 0 }, k, k, 0, 1 }
                        : (jpeg_scan_info){ 1, { 0 }, k, k, 1, 0 };
  }
  some = make_jpeg (16, 16, script, 64);
  many = make_jpeg (16, 16, script, G_N_ELEMENTS (script));
  image = load_good ("x.jpg", some);
  refuse_damaged (many);
}

/* Above the limit of pixels a JPEG comes at half its size. */
static void
test_large (void)
{
  static const jpeg_scan_info progressive[]
      = { { 1, { 0 }, 0, 0, 0, 0 }, { 1, { 0 }, 1, 63, 0, 0 } };
  g_autoptr (GByteArray) file = make_jpeg (16383, 4099, NULL, 0);
  g_autoptr (GByteArray) held = make_jpeg (16383, 4099, progressive, 2);
  g_autoptr (AvatarImage) image = load_good ("x.jpg", file), none = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpuint (image->width, ==, 8192);
  g_assert_cmpuint (image->height, ==, 2050);
  g_assert_cmpuint (image->shrunk, ==, 2);
  g_assert_cmpuint (image->data[image->stride * 1000], ==, 50);
  g_assert_cmpuint (image->data[image->stride * 1100], ==, 200);
  none = load ("x.jpg", held->data, held->len, &error);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_assert_nonnull (strstr (error->message, "67 million"));
}

/* ------------------------------------------------------------------------------ colour profiles */

/* Primaries of Display P3 or of sRGB, both with sRGB's curve. */
static GByteArray *
make_profile (gboolean p3)
{
  static const double curve[] = { 2.4, 1 / 1.055, .055 / 1.055, 1 / 12.92, .04045 };
  cmsCIExyYTRIPLE primaries = { { .64, .33, 1 }, { .3, .6, 1 }, { .15, .06, 1 } };
  cmsCIExyY white = { .3127, .3290, 1 };
  cmsToneCurve *tone = cmsBuildParametricToneCurve (NULL, 4, curve);
  GByteArray *out = g_byte_array_new ();
  cmsHPROFILE profile;
  cmsUInt32Number n;

  if (p3)
    primaries = (cmsCIExyYTRIPLE){ { .68, .32, 1 }, { .265, .69, 1 }, { .15, .06, 1 } };
  profile = cmsCreateRGBProfile (&white, &primaries, (cmsToneCurve *[]){ tone, tone, tone });
  g_assert_true (cmsSaveProfileToMem (profile, NULL, &n));
  g_byte_array_set_size (out, n);
  g_assert_true (cmsSaveProfileToMem (profile, out->data, &n));
  cmsCloseProfile (profile);
  cmsFreeToneCurve (tone);
  return out;
}

/* A PNG with @profile. */
static AvatarImage *
load_with_profile (const char *name, GByteArray *profile)
{
  g_autoptr (GByteArray) file = read_corpus (name), chunk = g_byte_array_new ();
  uLongf n = compressBound (profile->len);

  g_byte_array_append (chunk, (const guint8 *) "x\0", 3); /* and the method, 0 */
  g_byte_array_set_size (chunk, 3 + n);
  g_assert_cmpint (compress (chunk->data + 3, &n, profile->data, profile->len), ==, Z_OK);
  insert_chunk (file, 33, "iCCP", chunk->data, 3 + n);
  return load_good ("x.png", file);
}

static AvatarImage *
load_jpeg_with_profile (GByteArray *profile)
{
  g_autoptr (GByteArray) file = read_corpus ("small.jpg"), segment = g_byte_array_new ();

  append_number (segment, 0xffe2, 2, TRUE);
  append_number (segment, 2 + 14 + profile->len, 2, TRUE);
  g_byte_array_append (segment, (const guint8 *) "ICC_PROFILE\0\1\1", 14);
  g_byte_array_append (segment, profile->data, profile->len);
  insert (file, 2, segment->data, segment->len);
  return load_good ("x.jpg", file);
}

static double
to_linear (guint8 value)
{
  return value <= 10 ? value / 255. / 12.92 : pow ((value / 255. + .055) / 1.055, 2.4);
}

static double
from_linear (double v)
{
  v = CLAMP (v, 0, 1);
  return 255 * (v <= .0031308 ? 12.92 * v : 1.055 * pow (v, 1 / 2.4) - .055);
}

/* Compares with the matrix from the primaries of Display P3 to those of sRGB of the same white. */
static void
check_converted (const AvatarImage *flat, const AvatarImage *image)
{
  static const double matrix[3][3]
      = { { 1.22494, -.22494, 0 }, { -.04206, 1.04206, 0 }, { -.01964, -.07864, 1.09827 } };

  g_assert_cmpuint (image->channels, ==, flat->channels);
  for (guint y = 0; y < flat->height; y++)
    for (guint x = 0; x < flat->width; x++) {
      const guint8 *in = flat->data + (gsize) y * flat->stride + x * flat->channels;
      const guint8 *out = image->data + (gsize) y * image->stride + x * image->channels;

      for (guint c = 0; c < 3; c++) {
        double sum = 0;

        for (guint k = 0; k < 3; k++)
          sum += matrix[c][k] * to_linear (in[k]);
        g_assert_cmpfloat (fabs (from_linear (sum) - out[c]), <=, 3);
      }
      if (flat->channels == 4)
        g_assert_cmpuint (in[3], ==, out[3]);
    }
}

static void
test_profiles (void)
{
  g_autoptr (GByteArray) p3 = make_profile (TRUE), srgb = make_profile (FALSE);
  g_autoptr (GByteArray) jpeg = read_corpus ("small.jpg"), png = read_corpus ("rgba.png");
  g_autoptr (AvatarImage) flat = load_good ("x.png", png), flat_jpeg = load_good ("x.jpg", jpeg);
  g_autoptr (AvatarImage) wide = load_with_profile ("rgba.png", p3);
  g_autoptr (AvatarImage) wide_jpeg = load_jpeg_with_profile (p3);
  g_autoptr (AvatarImage) same = load_with_profile ("rgba.png", srgb);
  g_autoptr (AvatarImage) same_jpeg = load_jpeg_with_profile (srgb), broken = NULL;

  check_converted (flat, wide);
  check_converted (flat_jpeg, wide_jpeg);
  assert_same (same, flat);
  assert_same (same_jpeg, flat_jpeg);
  memset (p3->data + 128, 0xff, 64);
  broken = load_jpeg_with_profile (p3);
  assert_same (broken, flat_jpeg);
}

/* ---------------------------------------------------------------------------------- other kinds */

#define BYTES(text) text, sizeof text - 1

static void
test_kinds (void)
{
  static const struct
  {
    const char *bytes;
    guint n;
    const char *kind, *way;
  } cases[] = {
    { BYTES ("RIFF\x10\0\0\0WEBPVP8 "), "a WebP picture", "ffmpeg -i " },
    { BYTES ("\0\0\0\x18"
             "ftypheic\0\0\0\0mif1heic"),
        "a HEIC picture", "heif-convert " },
    { BYTES ("\0\0\0\x18"
             "ftyphevc\0\0\0\0mif1heic"),
        "a HEIC picture", "heif-convert " },
    { BYTES ("\0\0\0\x1c"
             "ftypavif\0\0\0\0avifmif1miaf"),
        "an AVIF picture", "heif-convert " },
    { BYTES ("\0\0\0\x1c"
             "ftypmif1\0\0\0\0mif1avifmiaf"),
        "an AVIF picture", "heif-convert " },
    { BYTES ("\0\0\0\x18"
             "ftypmif1\0\0\0\0mif1heic"),
        "a HEIF picture", "heif-convert " },
    { BYTES ("\0\0\0\x18"
             "ftypisom\0\0\0\0isomavc1"),
        "a video", "-frames:v 1" },
    { BYTES ("\0\0\0\x14"
             "ftypqt  \0\0\0\0qt  "),
        "a video", "-frames:v 1" },
    { BYTES ("\x1a\x45\xdf\xa3\x9f\x42\x86\x81"), "a video", "-frames:v 1" },
    { BYTES ("RIFF\x10\0\0\0AVI LIST"), "a video", "-frames:v 1" },
    { BYTES ("RIFF\x10\0\0\0WAVEfmt "), "an audio file", "the portrait is a picture" },
    { BYTES ("GIF89a\1\0\1\0"), "a GIF picture", "ffmpeg -i " },
    { BYTES ("BM\x10\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"), "a BMP picture", "ffmpeg -i " },
    { BYTES ("II*\0\x08\0\0\0\0\0"), "a TIFF picture", "convert " },
    { BYTES ("MM\0*\0\0\0\x08\0\0"), "a TIFF picture", "convert " },
    { BYTES ("II*\0\x10\0\0\0CR\2\0"), "a camera's raw picture", "camera's program" },
    { BYTES ("<?xml version='1.0'?>\n<!-- x -->\n<svg width='3'/>"), "an SVG drawing",
        "rsvg-convert " },
    { BYTES ("<svg xmlns='http://www.w3.org/2000/svg'>"), "an SVG drawing", "rsvg-convert " },
    { BYTES ("%PDF-1.7\n%\xe2\xe3"), "a PDF document", "pdftoppm " },
    { BYTES ("\0\0\0\x0cJXL \r\n\x87\n"), "a JPEG XL picture", "djxl " },
    { BYTES ("\xff\x0a\xfa\x7f"), "a JPEG XL picture", "djxl " },
    { BYTES ("\0\0\0\x0cjP  \r\n\x87\n"), "a JPEG 2000 picture", "ffmpeg -i " },
    { BYTES ("\xff\x4f\xff\x51\0\x2f"), "a JPEG 2000 picture", "ffmpeg -i " },
    { BYTES ("\0\0\1\0\1\0\x10\x10"), "an icon (ICO)", "convert ico:" },
    { BYTES ("8BPS\0\1\0\0"), "a Photoshop file", "convert " },
    { BYTES ("\xef\xbb\xbf\n<!DOCTYPE HTML>\n<html><body><svg></svg>"), "a web page",
        "not the page" },
    { BYTES ("<!-- saved from url=(0014)about:internet -->\n<HTML>"), "a web page",
        "not the page" },
    { BYTES ("\x89PNG\n\x1a\n\0\0\0\rIHDR"), "in text mode", "binary mode" },
    { BYTES ("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"), "in text mode", "binary mode" },
    { BYTES ("version https://git-lfs.github.com/spec/v1\n"), "Git LFS", "git lfs pull" },
    { BYTES ("P6\n3 4\n255\n"), "a PPM picture", "ffmpeg -i " },
    { BYTES ("good morning\n"), "a text", "the portrait is a picture" },
    { BYTES (""), "empty", "convert it" },
    { BYTES ("\1\2\3\4\5"), "of an unknown kind", "convert it" },
    { BYTES ("\0\0\0\x18"
             "ftyp"),
        "a video", "-frames:v 1" },
    { BYTES ("BM"), "a text", "the portrait is a picture" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *said = refuse ("it's a face.jpg", cases[i].bytes, cases[i].n);

    g_test_message ("%s", said);
    g_assert_nonnull (strstr (said, cases[i].kind));
    g_assert_nonnull (strstr (said, cases[i].way));
    g_assert_nonnull (strstr (said, "expected PNG or JPEG"));
    if (strstr (said, "(package")) /* the command can be pasted */
      g_assert_nonnull (strstr (said, "it'\\''s a face.jpg'"));
  }
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_test_add_func ("/pictures/orientation", test_orientation);
  g_test_add_func ("/pictures/broken-exif", test_broken_exif);
  g_test_add_func ("/pictures/thumbnail", test_thumbnail);
  g_test_add_func ("/pictures/padding", test_padding);
  g_test_add_func ("/pictures/damage", test_damage);
  g_test_add_func ("/pictures/png-damage", test_png_damage);
  g_test_add_func ("/pictures/scans", test_scans);
  g_test_add_func ("/pictures/large", test_large);
  g_test_add_func ("/pictures/profiles", test_profiles);
  g_test_add_func ("/pictures/kinds", test_kinds);
  status = g_test_run ();
  g_rmdir (folder);
  g_free (folder);
  return status;
}
