/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test helper: writes LoRA files for the demo model. */
#pragma once

#include "engine/formats/tensor-writer.h"

#include <glib.h>

#define WIDTH ((gint64) 160) /* width of the demo model */
#define RANK ((gint64) 2)

static inline void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    ((gfloat *) out)[i] = (gfloat) ((first + i) * 37 % 101) / 500.f - 0.1f;
}

/* Writes a LoRA for the module @name [@rows, WIDTH], with commas in the names of its folder and
 * file. @more: (nullable): an unknown key */
static inline gchar *
write_lora_and (const gchar *folder, const gchar *file, const gchar *name, gint64 rows,
    const gchar *more)
{
  g_autofree gchar *a = g_strconcat (name, ".lora_A.weight", NULL);
  g_autofree gchar *b = g_strconcat (name, ".lora_B.weight", NULL);
  gchar *path = g_build_filename (folder, file, NULL);
  AvatarNamedTensor three[3] = { { a, avatar_tensor (AVATAR_F32, NULL, 2, RANK, WIDTH) },
    { b, avatar_tensor (AVATAR_F32, NULL, 2, rows, RANK) },
    { more, avatar_tensor (AVATAR_F32, NULL, 1, RANK) } };
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;

  g_array_append_vals (list, three, more ? 3 : 2);
  avatar_write_safetensors (path, list, fill, NULL, &error);
  g_assert_no_error (error);
  return path;
}

static inline gchar *
write_lora (const gchar *folder, const gchar *file, const gchar *name, gint64 rows)
{
  return write_lora_and (folder, file, name, rows, NULL);
}
