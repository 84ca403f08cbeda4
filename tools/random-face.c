/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and shapes of the face detector's tensors, in the layer order of yolov5l-face's yaml. */
#include "tools/random-face.h"

#include "engine/formats/tensor-writer.h"

#include <stdarg.h>

typedef struct
{
  GArray *tensors;
  GStringChunk *names;
  gint64 divisor;
  guint deep;
} List;

static void
want (List *l, const char *module, const char *rest, guint rank, const gint64 *shape)
{
  g_autofree char *name = g_strconcat ("model.", module, rest, NULL);
  AvatarNamedTensor t = { g_string_chunk_insert (l->names, name),
    avatar_tensor_of_shape (AVATAR_F32, NULL, rank, shape) };

  g_array_append_val (l->tensors, t);
}

static void
conv (List *l, gint64 in, gint64 out, gint64 kernel, const char *format, ...) G_GNUC_PRINTF (5, 6);

/* Adds a convolution and its norm. */
static void
conv (List *l, gint64 in, gint64 out, gint64 kernel, const char *format, ...)
{
  static const char *const norm[]
      = { ".bn.weight", ".bn.bias", ".bn.running_mean", ".bn.running_var" };
  g_autofree char *module = NULL;
  va_list args;

  va_start (args, format);
  module = g_strdup_vprintf (format, args);
  va_end (args);
  want (l, module, ".conv.weight", 4, (gint64[]){ out, in, kernel, kernel });
  for (guint i = 0; i < G_N_ELEMENTS (norm); i++)
    want (l, module, norm[i], 1, &out);
}

static void
c3 (List *l, guint index, gint64 in, gint64 out, guint depth)
{
  gint64 half = out / 2;

  conv (l, in, half, 1, "%u.cv1", index);
  conv (l, in, half, 1, "%u.cv2", index);
  conv (l, out, out, 1, "%u.cv3", index);
  for (guint j = 0; j < MIN (depth, l->deep); j++) {
    conv (l, half, half, 1, "%u.m.%u.cv1", index, j);
    conv (l, half, half, 3, "%u.m.%u.cv2", index, j);
  }
}

GArray *
random_face_list (RandomSizes sizes, GStringChunk *names)
{
  List l = { g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor)), names,
    sizes == RANDOM_SIZES_SMALL ? 8 : 1, sizes == RANDOM_SIZES_SMALL ? 1 : 9 };
  gint64 n = 64 / l.divisor, grids[] = { 4 * n, 8 * n, 16 * n }, outputs = 48;

  conv (&l, 3, n, 3, "0.stem_1");
  conv (&l, n, n / 2, 1, "0.stem_2a");
  conv (&l, n / 2, n, 3, "0.stem_2b");
  conv (&l, 2 * n, n, 1, "0.stem_3");
  c3 (&l, 1, n, 2 * n, 3);
  conv (&l, 2 * n, 4 * n, 3, "2");
  c3 (&l, 3, 4 * n, 4 * n, 9);
  conv (&l, 4 * n, 8 * n, 3, "4");
  c3 (&l, 5, 8 * n, 8 * n, 9);
  conv (&l, 8 * n, 16 * n, 3, "6");
  conv (&l, 16 * n, 8 * n, 1, "7.cv1");
  conv (&l, 32 * n, 16 * n, 1, "7.cv2");
  c3 (&l, 8, 16 * n, 16 * n, 3);
  conv (&l, 16 * n, 8 * n, 1, "9");
  c3 (&l, 12, 16 * n, 8 * n, 3);
  conv (&l, 8 * n, 4 * n, 1, "13");
  c3 (&l, 16, 8 * n, 4 * n, 3);
  conv (&l, 4 * n, 4 * n, 3, "17");
  c3 (&l, 19, 8 * n, 8 * n, 3);
  conv (&l, 8 * n, 8 * n, 3, "20");
  c3 (&l, 22, 16 * n, 16 * n, 3);
  for (guint i = 0; i < G_N_ELEMENTS (grids); i++) {
    g_autofree char *module = g_strdup_printf ("23.m.%u", i);

    want (&l, module, ".weight", 4, (gint64[]){ outputs, grids[i], 1, 1 });
    want (&l, module, ".bias", 1, &outputs);
  }
  return l.tensors;
}
