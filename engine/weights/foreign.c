/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recognising files that are no weights at all. */
#include "engine/weights/foreign.h"

#include <string.h>

static gboolean
starts_with (const guint8 *data, gsize size, const char *text)
{
  return size >= strlen (text)
      && g_ascii_strncasecmp ((const char *) data, text, strlen (text)) == 0;
}

const char *
avatar_foreign_name (const guint8 *data, gsize size)
{
  if (size == 0)
    return "the file is empty; fetch it again";
  if (starts_with (data, size, "version https://git-lfs"))
    return "this is a Git LFS pointer, not the weights; run \"git lfs pull\" or fetch the file "
           "itself";
  if (starts_with (data, size, "<!doctype") || starts_with (data, size, "<html")
      || starts_with (data, size, "<?xml"))
    return "this is a web page, not the weights; the download address was wrong or needs a login";
  if (starts_with (data, size, "GGUF"))
    return "this is a GGUF file, which is not read; use the released file or safetensors";
  if (size >= 4 && memcmp (data, "\x80\x02\x8a\x0a", 4) == 0)
    return "this is a PyTorch file of the old kind, which is not read; load it with a current "
           "PyTorch and save it again";
  return NULL;
}
