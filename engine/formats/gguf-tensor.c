/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* llama.cpp turns neighbours (0, 1), (2, 3), ... of a head's numbers in its rotary embedding, the release,
 * as all of transformers, those of its two halves (0, d / 2), (1, d / 2 + 1), ...; so its converter
 * (convert_hf_to_gguf.py, LlamaModel.permute()) puts the rows of q and k in another order, which is
 * undone row by row, whatever they are stored as. */
#include "engine/formats/gguf-tensor.h"

#include "engine/formats/mapped-file.h"

#include <string.h>

#define AT_ONCE 32 /* blocks that are read together */

static gboolean
expand (const AvatarGgufValues *self, guint64 first, guint64 n, float *out)
{
  const guint values = self->block->values, bytes = self->block->bytes;
  guint8 raw[AT_ONCE * AVATAR_GGUF_MAX_BYTES];
  float block[AVATAR_GGUF_MAX_VALUES];

  while (n > 0) {
    guint64 at = first / values, some = MIN ((first + n - 1) / values - at + 1, AT_ONCE);

    if (!avatar_mapped_read (raw, self->stored + at * bytes, some * bytes))
      return FALSE;
    for (guint64 i = 0; i < some; i++) {
      guint64 skip = first % values, m = MIN (n, values - skip);

      self->block->expand (block, raw + i * bytes);
      memcpy (out, block + skip, m * sizeof (float));
      out += m;
      first += m;
      n -= m;
    }
  }
  return TRUE;
}

/* As they follow each other in the file. */
static gboolean
read_stored (const AvatarGgufValues *self, guint64 first, guint64 n, void *out)
{
  gsize size = avatar_dtype_size (self->dtype);

  return self->block ? expand (self, first, n, out)
                     : avatar_mapped_read (out, self->stored + first * size, n * size);
}

/* Which row of the file is row @r. */
static guint64
stored_row (const AvatarGgufValues *self, guint64 r)
{
  guint64 d = self->rows / self->heads, inside = r % d;

  return r - inside + inside % (d / 2) * 2 + inside / (d / 2);
}

gboolean
avatar_gguf_values_read (const AvatarGgufValues *self, guint64 first, guint64 n, void *out)
{
  gsize size = self->block ? sizeof (float) : avatar_dtype_size (self->dtype);
  guint8 *at = out;

  if (self->heads == 0)
    return read_stored (self, first, n, out);
  while (n > 0) {
    guint64 skip = first % self->cols, m = MIN (n, self->cols - skip);

    if (!read_stored (self, stored_row (self, first / self->cols) * self->cols + skip, m, at))
      return FALSE;
    at += m * size;
    first += m;
    n -= m;
  }
  return TRUE;
}
