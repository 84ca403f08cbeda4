/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File signatures. Files named .jpg often have another format: phones write HEIC, web sites WebP
 * and AVIF, and a saved page is HTML. */
#include "engine/image/file-kind.h"

#include <string.h>

/* Commands of Debian packages. %s is the file name, quoted for a shell. */
#define FFMPEG "ffmpeg -i %s -frames:v 1 portrait.png (package ffmpeg)"
#define CONVERT "convert %s'[0]' portrait.png (package imagemagick)"
#define ICON "convert ico:%s'[0]' portrait.png (package imagemagick)"
#define HEIF "heif-convert %s portrait.png (package libheif-examples)"
#define DJXL "djxl %s portrait.png (package libjxl-tools)"
#define RSVG "rsvg-convert -h 1024 -o portrait.png %s (package librsvg2-bin)"
#define PDF "pdftoppm -png -singlefile %s portrait (package poppler-utils)"
#define VIDEO "a video", "take one picture of it: " FFMPEG
#define SOUND "an audio file", "the portrait is a picture"
#define AS_TEXT                                            \
  "a picture that was damaged by a transfer in text mode", \
      "copy or download it again, in binary mode"

/* Two byte sequences, at @at and @at2. */
typedef struct
{
  guint at, n;
  const char *bytes;
  guint at2, n2;
  const char *bytes2;
  const char *name, *remedy;
} Signature;

#define BYTES(at, bytes) at, sizeof bytes - 1, bytes
#define NONE 0, 0, ""
#define AT(at, bytes) BYTES (at, bytes), NONE
#define TWO(at, bytes, at2, bytes2) BYTES (at, bytes), BYTES (at2, bytes2)

/* The first matching entry is used. */
static const Signature signatures[] = {
  { TWO (0, "RIFF", 8, "WEBP"), "a WebP picture", FFMPEG },
  { TWO (0, "RIFF", 8, "WAVE"), SOUND },
  { TWO (0, "RIFF", 8, "AVI "), VIDEO },
  { AT (4, "ftypavif"), "an AVIF picture", HEIF },
  { AT (4, "ftypavis"), "an AVIF picture", HEIF },
  { AT (4, "ftyphe"), "a HEIC picture", HEIF },
  { AT (4, "ftypmif1"), "a HEIF picture", HEIF },
  { AT (4, "ftypmsf1"), "a HEIF picture", HEIF },
  { AT (4, "ftypcrx "), "a camera's raw picture", "save it as JPEG in the camera's program" },
  { AT (4, "ftypM4A"), SOUND },
  { AT (4, "ftyp"), VIDEO },
  { AT (4, "moov"), VIDEO },
  { AT (0, "\x1a\x45\xdf\xa3"), VIDEO },
  { AT (0, "\0\0\0\x0cJXL \r\n\x87\n"), "a JPEG XL picture", DJXL },
  { AT (0, "\xff\x0a"), "a JPEG XL picture", DJXL },
  { AT (0, "\0\0\0\x0cjP  \r\n\x87\n"), "a JPEG 2000 picture", FFMPEG },
  { AT (0, "\xff\x4f\xff\x51"), "a JPEG 2000 picture", FFMPEG },
  { AT (0, "GIF8"), "a GIF picture", FFMPEG },
  { TWO (0, "BM", 15, "\0\0\0"), "a BMP picture", FFMPEG },
  { TWO (0, "II*\0", 8, "CR"), "a camera's raw picture",
      "save it as JPEG in the camera's program" },
  { AT (0, "II*\0"), "a TIFF picture", CONVERT },
  { AT (0, "MM\0*"), "a TIFF picture", CONVERT },
  { AT (0, "II+\0"), "a TIFF picture", CONVERT },
  { AT (0, "MM\0+"), "a TIFF picture", CONVERT },
  { AT (0, "8BPS"), "a Photoshop file", CONVERT },
  { AT (0, "gimp xcf"), "a GIMP file", "export it as PNG in GIMP" },
  { AT (0, "\0\0\1\0"), "an icon (ICO)", ICON },
  { AT (0, "%PDF-"), "a PDF document", PDF },
  { AT (0, "%!PS"), "a PostScript document", "save it as PNG in the program that wrote it" },
  { AT (0, "\x76\x2f\x31\x01"), "an OpenEXR picture", FFMPEG },
  { AT (0, "qoif"), "a QOI picture", FFMPEG },
  { TWO (0, "P4", 2, "\n"), "a PBM picture", FFMPEG },
  { TWO (0, "P5", 2, "\n"), "a PGM picture", FFMPEG },
  { TWO (0, "P6", 2, "\n"), "a PPM picture", FFMPEG },
  { AT (0, "\x89PNG"), AS_TEXT },
  { AT (0, "\xef\xbf\xbd"), AS_TEXT },
  { AT (0, "OggS"), "an audio or video file", "take one picture of it: " FFMPEG },
  { AT (0, "ID3"), SOUND },
  { AT (0, "fLaC"), SOUND },
  { AT (0, "PK\3\4"), "a ZIP archive or an office document", "extract the picture" },
  { AT (0, "\x1f\x8b"), "a compressed file (gzip)", "decompress it with gunzip" },
  { AT (0, "version https://git-lfs"), "a pointer of Git LFS",
      "get the picture with git lfs pull" },
};

static gboolean
has_bytes (const guint8 *begin, gsize size, guint at, const char *bytes, guint n)
{
  return size >= at + n && memcmp (begin + at, bytes, n) == 0;
}

AvatarFileKind
avatar_file_kind_detect (const guint8 *begin, gsize n)
{
  if (has_bytes (begin, n, 0, "\x89PNG\r\n\x1a\n", 8))
    return AVATAR_KIND_PNG;
  return has_bytes (begin, n, 0, "\xff\xd8\xff", 3) ? AVATAR_KIND_JPEG : AVATAR_KIND_OTHER;
}

/* Returns TRUE if the text contains one of @words in any case. Markup has no fixed signature,
 * because comments and declarations may precede the first element. */
static gboolean
has_word (const guint8 *begin, gsize n, const char *const *words)
{
  g_autofree char *text = g_ascii_strdown ((const char *) begin, n);

  for (guint i = 0; words[i]; i++)
    if (g_strstr_len (text, n, words[i]))
      return TRUE;
  return FALSE;
}

static gboolean
is_text (const guint8 *begin, gsize n)
{
  for (gsize i = 0; i < n; i++)
    if (begin[i] < ' ' && !g_ascii_isspace (begin[i]))
      return FALSE;
  return TRUE;
}

static void
name_text (const guint8 *begin, gsize n, const char **name, const char **remedy)
{
  static const char *const html[]
      = { "<!doctype html", "<html", "<head", "<body", "<script", NULL };
  static const char *const svg[] = { "<svg", NULL };

  *name = "a text file";
  *remedy = "the portrait is a picture";
  if (has_word (begin, n, html)) {
    *name = "a web page (HTML)";
    *remedy = "save the picture itself, not the page that shows it";
  } else if (has_word (begin, n, svg)) {
    *name = "an SVG drawing";
    *remedy = RSVG;
  }
}

/* Returns TRUE for AVIF with the general brand of HEIF, whose codec is in the compatible brands. */
static gboolean
is_avif (const guint8 *begin, gsize n)
{
  if (!has_bytes (begin, n, 4, "ftypmif1", 8))
    return FALSE;
  for (guint at = 16; at + 4 <= MIN (n, 64) && at < begin[3]; at += 4)
    if (has_bytes (begin, n, at, "avif", 4))
      return TRUE;
  return FALSE;
}

char *
avatar_file_kind_describe (const guint8 *begin, gsize n, const char *path)
{
  g_autofree char *quoted = g_shell_quote (path);
  const char *name = "of an unknown kind", *remedy = "convert it to PNG or JPEG";
  g_autoptr (GString) text = g_string_new (NULL);
  gboolean known = FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (signatures) && !known; i++) {
    const Signature *s = &signatures[i];

    known = has_bytes (begin, n, s->at, s->bytes, s->n)
        && has_bytes (begin, n, s->at2, s->bytes2, s->n2);
    if (known) {
      name = is_avif (begin, n) ? "an AVIF picture" : s->name;
      remedy = s->remedy;
    }
  }
  if (n == 0)
    name = "empty";
  else if (!known && is_text (begin, n))
    name_text (begin, n, &name, &remedy);
  g_string_printf (text, "it is %s; expected PNG or JPEG: %s", name, remedy);
  g_string_replace (text, "%s", quoted, 1);
  return g_string_free (g_steal_pointer (&text), FALSE);
}
