/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as the file of a face detector. An accepted one is run on a small
 * picture. */
#include "tests/fuzz/target.h"

#include "engine/image/nms.h"
#include "engine/image/yolo.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static AvatarDevice *device;
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open_bytes (bytes, "fuzz", &error);
  g_autoptr (AvatarYolo) network = NULL;
  g_autoptr (GArray) faces = NULL;
  g_autofree float *rows = NULL;
  float rgb[32 * 32 * 3];
  gint64 n = avatar_yolo_n_rows (32, 32);

  if (!device)
    device = avatar_device_open ("cpu", NULL);
  if (file)
    network = avatar_yolo_new (file, device, &error);
  g_assert (!network == !!error);
  if (!network)
    return 0;
  for (guint i = 0; i < G_N_ELEMENTS (rgb); i++)
    rgb[i] = i % 7 / 6.f;
  rows = g_new (float, n *AVATAR_YOLO_COLUMNS);
  if (avatar_yolo_run (network, rgb, 32, 32, rows, &error))
    faces = avatar_faces_select (rows, n, .5f, .45f);
  return 0;
}
