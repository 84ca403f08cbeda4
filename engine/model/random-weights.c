/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each number of a counter-based generator (SplitMix64) yields four values of 16 bits. */
#include "engine/model/random-weights.h"

#include <math.h>

#define BLOCK 256

static guint64
mix (guint64 z)
{
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

AvatarRandom
avatar_random_for (const char *name, AvatarTensor t, guint64 seed)
{
  gboolean matrix = t.rank >= 2,
           norm
      = !matrix && (g_str_has_suffix (name, ".weight") || g_str_has_suffix (name, ".running_var"));
  double fan_in = matrix ? (double) avatar_tensor_n (t) / t.shape[0] : 1;

  return (AvatarRandom){
    .stream = mix (g_str_hash (name) + seed * 0x9e3779b97f4a7c15u),
    .centre = norm ? 1 : 0,
    .width = matrix ? sqrt (3 / fan_in) * 0.7 : 0.05,
  };
}

/* Fills @out with the 16 random bits of values @first .. @first + @n. */
static void
draw (guint64 stream, gsize first, gsize n, gint16 *out)
{
  for (gsize i = 0; i < n; i += 4) {
    guint64 bits = mix (stream + (first + i) * 0x9e3779b97f4a7c15u);

    for (guint j = 0; j < 4; j++)
      out[i + j] = (gint16) (bits >> (16 * j));
  }
}

/* Rounding to 8 bits is slow, but there are only 65536 inputs. */
static void
fill_by_table (const AvatarRandom *self, gsize first, gsize n, AvatarDType dtype, guint8 *out)
{
  g_autofree guint8 *table = g_malloc (65536);
  gint16 drawn[BLOCK];

  for (gint32 i = -32768; i < 32768; i++) {
    float v = self->centre + i * (self->width / 32768);

    avatar_dtype_from_f32 (table + (guint16) i, dtype, &v, 1);
  }
  for (gsize i = 0; i < n; i += BLOCK) {
    gsize m = MIN (BLOCK, n - i);

    draw (self->stream, first + i, m, drawn);
    for (gsize j = 0; j < m; j++)
      out[i + j] = table[(guint16) drawn[j]];
  }
}

void
avatar_random_fill (const AvatarRandom *self, gsize first, gsize n, AvatarDType dtype, void *out)
{
  gsize size = avatar_dtype_size (dtype);
  gint16 drawn[BLOCK];
  float values[BLOCK];

  g_return_if_fail (first % 4 == 0);
  if (size == 1 && n >= 65536) {
    fill_by_table (self, first, n, dtype, out);
    return;
  }
  for (gsize i = 0; i < n; i += BLOCK) {
    gsize m = MIN (BLOCK, n - i);

    draw (self->stream, first + i, m, drawn);
    for (gsize j = 0; j < m; j++)
      values[j] = self->centre + drawn[j] * (self->width / 32768);
    avatar_dtype_from_f32 ((guint8 *) out + i * size, dtype, values, m);
  }
}
