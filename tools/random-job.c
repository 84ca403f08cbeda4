/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/random-job.h"

#include "engine/model/manifest.h"
#include "engine/model/random-weights.h"

#include <errno.h>
#include <math.h>

/* Largest value of e4m3. */
#define LIMIT 448.f

/* Draws integers from the same sequence as the 16-bit values. */
static void
fill_int8 (AvatarRandom *random, gsize first, gsize n, gint8 *out)
{
  float values[1024];

  random->centre = 0;
  random->width = 127;
  for (gsize i = 0; i < n; i += G_N_ELEMENTS (values)) {
    gsize m = MIN (G_N_ELEMENTS (values), n - i);

    avatar_random_fill (random, first + i, m, AVATAR_F32, values);
    for (gsize j = 0; j < m; j++)
      out[i + j] = (gint8) nearbyintf (values[j]);
  }
}

void
random_fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const RandomJob *job = data;
  AvatarRandom random = avatar_random_for (t->name, t->tensor, job->seed);

  if (t->tensor.dtype == AVATAR_I8) {
    fill_int8 (&random, first, n, out);
    return;
  }
  if (t->tensor.dtype == AVATAR_F8_E4M3)
    random.width = LIMIT;
  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

float
random_width (const RandomJob *job, const AvatarNamedTensor *t)
{
  return avatar_random_for (t->name, t->tensor, job->seed).width
      / (t->tensor.dtype == AVATAR_I8 ? 127 : LIMIT);
}

GArray *
random_list (GArray *manifest, AvatarDType dtype)
{
  GArray *list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    AvatarNamedTensor t = { e->name, avatar_tensor_of_shape (dtype, NULL, e->rank, e->shape) };

    g_array_append_val (list, t);
  }
  return list;
}

char *
random_path (const RandomJob *job, const char *file, GError **error)
{
  char *path = g_build_filename (job->folder, file, NULL);
  g_autofree char *folder = g_path_get_dirname (path);

  if (g_mkdir_with_parents (folder, 0777) == 0)
    return path;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
      "%s: the folder cannot be made: %s; choose a place that you may write to", folder,
      g_strerror (errno));
  g_free (path);
  return NULL;
}

gboolean
random_write_text (const RandomJob *job, const char *file, const char *text, GError **error)
{
  g_autofree char *path = random_path (job, file, error);

  return path && g_file_set_contents (path, text, -1, error);
}

gboolean
random_write_section (const RandomJob *job, const char *section, const char *file, GError **error)
{
  JsonNode *node = json_object_get_member (job->sections, section);
  g_autofree char *text = json_to_string (node, TRUE);

  return random_write_text (job, file, text, error);
}

void
random_report (const char *path, GArray *list, gint64 start)
{
  double bytes = 0;

  for (guint i = 0; i < list->len; i++)
    bytes += avatar_tensor_bytes (g_array_index (list, AvatarNamedTensor, i).tensor);
  g_print ("%s: %u tensors, %.1f MiB in %.1f s\n", path, list->len, bytes / 1048576,
      (g_get_monotonic_time () - start) * 1e-6);
}

gboolean
random_write_tensors (const RandomJob *job, const char *file, RandomFormat format, const char *key,
    GArray *list, AvatarFillFunc func, gpointer data, GError **error)
{
  g_autofree char *path = random_path (job, file, error);
  gint64 start = g_get_monotonic_time ();

  if (job->empty)
    func = NULL;
  if (!path
      || !(format == RANDOM_TORCH ? avatar_write_torch (path, key, list, func, data, error)
                                  : avatar_write_safetensors (path, list, func, data, error)))
    return FALSE;
  random_report (path, list, start);
  return TRUE;
}
