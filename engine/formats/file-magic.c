/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/formats/file-magic.h"

#include <string.h>

static gboolean
starts_with (const guint8 *data, gsize size, const char *text)
{
  return size >= strlen (text)
      && g_ascii_strncasecmp ((const char *) data, text, strlen (text)) == 0;
}

typedef struct
{
  const char *kind, *advice;
} FileMagic;

static const FileMagic *
recognise (const guint8 *data, gsize size)
{
  static const FileMagic empty = { "empty file", "the file is empty; download it again" };
  static const FileMagic pointer = {
    "Git LFS pointer",
    "this is a Git LFS pointer, not the weights; run \"git lfs pull\" or download the file itself"
  };
  static const FileMagic page = { "web page",
    "this is a web page, not the weights; the download address was wrong or needs a login" };
  static const FileMagic tar = { "tar archive",
    "this is a tar archive, as the first versions of PyTorch wrote them, which is not supported; "
    "load it with PyTorch and save it again, or unpack it" };

  if (size == 0)
    return &empty;
  if (starts_with (data, size, "version https://git-lfs"))
    return &pointer;
  if (starts_with (data, size, "<!doctype") || starts_with (data, size, "<html")
      || starts_with (data, size, "<?xml"))
    return &page;
  if (size >= 262 && memcmp (data + 257, "ustar", 5) == 0)
    return &tar;
  return NULL;
}

const char *
avatar_file_magic_advice (const guint8 *data, gsize size)
{
  const FileMagic *magic = recognise (data, size);

  return magic ? magic->advice : NULL;
}

const char *
avatar_file_magic_kind (const guint8 *data, gsize size)
{
  const FileMagic *magic = recognise (data, size);

  return magic ? magic->kind : NULL;
}
