/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a zip archive and as a file that torch has saved. Every entry and every
 * tensor of what is accepted is read from end to end, so that a view outside the file shows. */
#include "tests/fuzz/target.h"

#include "engine/formats/torch.h"
#include "engine/formats/zip.h"

static volatile guint8 sum;

static void
touch (const guint8 *data, gsize size)
{
  for (gsize i = 0; i < size; i++)
    sum += data[i];
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL, torch_error = NULL;
  g_autoptr (AvatarZip) zip = avatar_zip_open_bytes (bytes, "fuzz", &error);
  g_autoptr (AvatarTorch) torch = avatar_torch_open_bytes (bytes, "fuzz", &torch_error);

  g_assert (!zip == !!error);
  g_assert (!torch == !!torch_error);
  for (guint i = 0; zip && i < avatar_zip_n (zip); i++) {
    gsize length;
    const guint8 *entry = avatar_zip_get (zip, avatar_zip_nth (zip, i), &length, NULL);

    if (entry)
      touch (entry, length);
  }
  for (guint i = 0; torch && i < avatar_torch_n (torch); i++) {
    g_autofree guint8 *values = NULL;
    AvatarTensorSource tensor;

    g_assert (avatar_torch_nth (torch, i, &tensor));
    values = g_malloc (MAX (avatar_tensor_source_size (&tensor), 1));
    g_assert (avatar_tensor_source_read_stored (&tensor, 0, avatar_tensor_source_n (&tensor),
        values, NULL));
    touch (values, avatar_tensor_source_size (&tensor));
  }
  return 0;
}
