/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JPEG reader on libjpeg. gdk-pixbuf's loader ignores its warnings and fills missing data with
 * grey. Pixels are identical to gdk-pixbuf's. */
#include "engine/image/exif.h"
#include "engine/image/load.h"
#include "engine/image/picture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>

#include <jerror.h>

/* A scan of a few bytes processes the whole picture; encoders write about a dozen. */
#define MAX_SCANS 100

typedef struct
{
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf failed;
  char text[JMSG_LENGTH_MAX];
} Decoder;

static void
fail (j_common_ptr info)
{
  Decoder *self = info->client_data;

  info->err->format_message (info, self->text);
  longjmp (self->failed, 1);
}

/* Bytes between two segments do not belong to the picture in the headers. After the compressed
 * data, zeros are padding that some cameras write; other bytes mean damaged data. */
static gboolean
is_padding (const struct jpeg_decompress_struct *info)
{
  gsize n = info->err->msg_parm.i[0];

  if (info->input_scan_number == 0)
    return TRUE;
  for (gsize i = 1; i <= n; i++)
    if (info->src->next_input_byte[-(gssize) i] != 0)
      return FALSE;
  return TRUE;
}

/* Fails for warnings about damaged data and ignores harmless ones. */
static void
warn (j_common_ptr info, int level)
{
  if (level >= 0)
    return;
  switch (info->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
      return;
    case JWRN_EXTRANEOUS_DATA:
      if (is_padding ((j_decompress_ptr) info))
        return;
      break;
    default:
      break;
  }
  fail (info);
}

/* Ignores a message. */
static void
ignore_message (j_common_ptr info)
{
}

static void
count_scans (j_common_ptr info)
{
  Decoder *self = info->client_data;

  if (self->info.input_scan_number <= MAX_SCANS)
    return;
  g_snprintf (self->text, sizeof self->text, "it has more than %d scans", MAX_SCANS);
  longjmp (self->failed, 1);
}

static void
open_decoder (Decoder *self, const guint8 *data, gsize n)
{
  self->info.err = jpeg_std_error (&self->errors);
  self->errors.error_exit = fail;
  self->errors.emit_message = warn;
  self->errors.output_message = ignore_message;
  self->info.client_data = self;
  jpeg_create_decompress (&self->info);
  self->progress.progress_monitor = count_scans;
  self->info.progress = &self->progress;
  jpeg_mem_src (&self->info, data, n);
  jpeg_save_markers (&self->info, JPEG_APP0 + 1, 0xffff); /* EXIF */
  jpeg_save_markers (&self->info, JPEG_APP0 + 2, 0xffff); /* ICC */
  jpeg_read_header (&self->info, TRUE);
}

static guint
get_orientation (const struct jpeg_decompress_struct *info)
{
  for (jpeg_saved_marker_ptr m = info->marker_list; m; m = m->next)
    if (m->marker == JPEG_APP0 + 1 && m->data_length >= 6 && memcmp (m->data, "Exif\0\0", 6) == 0)
      return avatar_exif_orientation (m->data + 6, m->data_length - 6);
  return 1;
}

static GBytes *
get_profile (struct jpeg_decompress_struct *info)
{
  JOCTET *data;
  unsigned n;

  if (!jpeg_read_icc_profile (info, &data, &n))
    return NULL;
  return g_bytes_new_with_free_func (data, n, free, data);
}

/* Lets the decoder halve a picture above the limit of pixels, which needs no more memory. This is
 * not possible if all coefficients must be held. Returns FALSE if the picture is too large or
 * memory is exhausted. */
static gboolean
prepare (Decoder *self, AvatarPicture *picture, const char *path, GError **error)
{
  struct jpeg_decompress_struct *info = &self->info;
  gboolean large = (guint64) info->image_width * info->image_height > AVATAR_MAX_PIXELS;

  picture->shrunk = large && !jpeg_has_multiple_scans (info) ? 2 : 1;
  if (!avatar_image_check_size (info->image_width, info->image_height, picture->shrunk, path,
          error))
    return FALSE;
  picture->orientation = get_orientation (info);
  picture->profile = get_profile (info);
  info->scale_num = 1;
  info->scale_denom = picture->shrunk;
  if (info->out_color_space != JCS_CMYK)
    info->out_color_space = JCS_RGB;
  jpeg_calc_output_dimensions (info);
  picture->pixbuf
      = gdk_pixbuf_new (GDK_COLORSPACE_RGB, FALSE, 8, info->output_width, info->output_height);
  if (!picture->pixbuf)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s: not enough memory for a picture of %u x %u pixels; use a smaller one", path,
        info->output_width, info->output_height);
  return picture->pixbuf != NULL;
}

/* Converts CMYK, which Adobe's programs store inverted, without a colour profile. */
static void
convert_cmyk (guint8 *restrict rgb, const guint8 *restrict cmyk, guint width, gboolean inverted)
{
  for (guint x = 0; x < width; x++, rgb += 3, cmyk += 4)
    for (guint c = 0; c < 3; c++)
      rgb[c] = inverted ? cmyk[3] * cmyk[c] / 255 : (255 - cmyk[3]) * (255 - cmyk[c]) / 255;
}

static void
read_rows (struct jpeg_decompress_struct *info, GdkPixbuf *pixbuf)
{
  guint8 *pixels = gdk_pixbuf_get_pixels (pixbuf);
  const guint stride = gdk_pixbuf_get_rowstride (pixbuf);
  JSAMPARRAY inks = NULL;

  jpeg_start_decompress (info);
  if (info->out_color_space == JCS_CMYK)
    inks = info->mem->alloc_sarray ((j_common_ptr) info, JPOOL_IMAGE, 4 * info->output_width, 1);
  while (info->output_scanline < info->output_height) {
    guint8 *row = pixels + (gsize) info->output_scanline * stride;

    jpeg_read_scanlines (info, inks ? inks : &row, 1);
    if (inks)
      convert_cmyk (row, inks[0], info->output_width, info->saw_Adobe_marker);
  }
  jpeg_finish_decompress (info);
}

static gboolean
decode (Decoder *self, AvatarPicture *picture, const char *path, GBytes *file, GError **error)
{
  gsize n;
  const guint8 *data = g_bytes_get_data (file, &n);

  if (setjmp (self->failed)) {
    g_autofree char *reason
        = g_strdup_printf ("the JPEG is damaged or truncated (%s); copy or download it again, or "
                           "convert it to PNG in a program that can open it",
            self->text);

    return avatar_picture_refuse (path, reason, error);
  }
  open_decoder (self, data, n);
  if (!prepare (self, picture, path, error))
    return FALSE;
  read_rows (&self->info, picture->pixbuf);
  return TRUE;
}

static GBytes *
read_file (const char *path, int fd, GError **error)
{
  g_autoptr (GByteArray) bytes = g_byte_array_new ();
  guint8 block[65536];
  gssize n;

  while ((n = read (fd, block, sizeof block)) > 0)
    g_byte_array_append (bytes, block, n);
  if (n == 0)
    return g_byte_array_free_to_bytes (g_steal_pointer (&bytes));
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ, "%s: %s", path, g_strerror (errno));
  return NULL;
}

gboolean
avatar_jpeg_read (AvatarPicture *picture, const char *path, int fd, GError **error)
{
  g_autoptr (GBytes) file = read_file (path, fd, error);
  g_autofree Decoder *self = g_new0 (Decoder, 1);
  gboolean done;

  if (!file)
    return FALSE;
  done = decode (self, picture, path, file, error);
  jpeg_destroy_decompress (&self->info);
  return done;
}
