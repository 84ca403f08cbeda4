/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views of memory: shapes and slices. */
#include "engine/base/tensor.h"

#include <stdarg.h>
#include <string.h>

/* clang-format off */
G_DEFINE_QUARK (avatar-error, avatar_error)
/* clang-format on */

AvatarTensor
avatar_tensor_of_shape (AvatarDType dtype, void *data, guint rank, const gint64 *shape)
{
  AvatarTensor t = { .dtype = dtype, .rank = rank, .data = data };
  gint64 stride = 1;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  for (guint i = rank; i-- > 0;) {
    t.shape[i] = shape[i];
    t.stride[i] = stride;
    stride *= shape[i];
  }
  return t;
}

AvatarTensor
avatar_tensor (AvatarDType dtype, void *data, guint rank, ...)
{
  gint64 shape[AVATAR_MAX_RANK];
  va_list args;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    shape[i] = va_arg (args, gint64);
  va_end (args);
  return avatar_tensor_of_shape (dtype, data, rank, shape);
}

gint64
avatar_tensor_n (AvatarTensor t)
{
  gint64 n = t.rank ? 1 : 0;

  for (guint i = 0; i < t.rank; i++)
    n *= t.shape[i];
  return n;
}

gsize
avatar_tensor_bytes (AvatarTensor t)
{
  return avatar_tensor_n (t) * avatar_dtype_size (t.dtype);
}

gboolean
avatar_tensor_is_contiguous (AvatarTensor t)
{
  gint64 stride = 1;

  for (guint i = t.rank; i-- > 0;) {
    if (t.shape[i] != 1 && t.stride[i] != stride)
      return FALSE;
    stride *= t.shape[i];
  }
  return TRUE;
}

AvatarTensor
avatar_tensor_slice (AvatarTensor t, guint dim, gint64 start, gint64 n)
{
  g_assert (dim < t.rank && start >= 0 && n >= 0 && start + n <= t.shape[dim]);
  t.shape[dim] = n;
  if (t.scale && dim == 0 && !t.one_scale)
    t.scale += start;
  if (t.data)
    t.data = (guint8 *) t.data + start * t.stride[dim] * (gint64) avatar_dtype_size (t.dtype);
  return t;
}

AvatarTensor
avatar_tensor_split_last (AvatarTensor t, gint64 b)
{
  guint last = t.rank - 1;

  g_assert (t.rank >= 1 && t.rank < AVATAR_MAX_RANK && b > 0 && t.shape[last] % b == 0);
  t.shape[last + 1] = b;
  t.stride[last + 1] = t.stride[last];
  t.shape[last] /= b;
  t.stride[last] *= b;
  t.rank++;
  return t;
}

AvatarTensor
avatar_tensor_reshape (AvatarTensor t, guint rank, ...)
{
  gint64 shape[AVATAR_MAX_RANK], n = 1;
  va_list args;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    n *= shape[i] = va_arg (args, gint64);
  va_end (args);
  g_assert (n == avatar_tensor_n (t) && avatar_tensor_is_contiguous (t));
  return avatar_tensor_of_shape (t.dtype, t.data, rank, shape);
}

char *
avatar_tensor_describe (AvatarTensor t)
{
  GString *s = g_string_new ("[");

  for (guint i = 0; i < t.rank; i++)
    g_string_append_printf (s, "%s%" G_GINT64_FORMAT, i ? ", " : "", t.shape[i]);
  g_string_append_printf (s, "] %s", avatar_dtype_name (t.dtype));
  return g_string_free (s, FALSE);
}
