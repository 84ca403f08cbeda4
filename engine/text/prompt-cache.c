/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each entry is a safetensors file with a checksum. It is written to a temporary file in the same
 * folder and renamed, so that a crash or a full disk leaves no damaged entry. The entries that were
 * not used for the longest time are removed first. */
#define G_LOG_DOMAIN "avatar"
#include "engine/text/prompt-cache.h"

#include "engine/formats/tensor-file.h"
#include "engine/formats/tensor-writer.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#define SUFFIX ".safetensors"
#define SUM_SIZE 32 /* bytes of SHA-256 */
/* Age in seconds from which a temporary file belongs to a process that has crashed. */
#define MAX_WRITE_AGE (60 * 60)

char *
avatar_prompt_cache_get_default_folder (void)
{
  return g_build_filename (g_get_user_cache_dir (), "gst-avatar", "text", NULL);
}

static char *
path_of (const AvatarPromptCache *self, const char *key)
{
  g_autofree char *name = g_strconcat (key, SUFFIX, NULL);

  return g_build_filename (self->folder, name, NULL);
}

static void
compute_sum (guint8 out[SUM_SIZE], const float *states, gsize n_states, const float *pooled,
    gsize n_pooled)
{
  g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize length = SUM_SIZE;

  g_checksum_update (checksum, (const guchar *) states, n_states * sizeof (float));
  g_checksum_update (checksum, (const guchar *) pooled, n_pooled * sizeof (float));
  g_checksum_get_digest (checksum, out, &length);
}

/* Returns FALSE if the tensor is missing, does not have @n values of @dtype, or cannot be read. */
static gboolean
read_tensor (AvatarTensorFile *file, const char *name, AvatarDType dtype, void *out, gsize n)
{
  AvatarTensorSource t;

  return avatar_tensor_file_find (file, name, &t) && t.dtype == dtype && t.rank == 1
      && (gsize) t.shape[0] == n && avatar_tensor_source_read_stored (&t, 0, n, out, NULL);
}

gboolean
avatar_prompt_cache_load (const AvatarPromptCache *self, const char *key, float *states,
    gsize n_states, float *pooled, gsize n_pooled)
{
  g_autofree char *path = path_of (self, key);
  g_autoptr (AvatarTensorFile) file = NULL;
  g_autoptr (GError) error = NULL;
  guint8 expected[SUM_SIZE], found[SUM_SIZE];

  if (!g_file_test (path, G_FILE_TEST_EXISTS))
    return FALSE;
  file = avatar_tensor_file_open (path, &error);
  if (file && read_tensor (file, "sum", AVATAR_U8, expected, SUM_SIZE)
      && read_tensor (file, "states", AVATAR_F32, states, n_states)
      && read_tensor (file, "pooled", AVATAR_F32, pooled, n_pooled)) {
    compute_sum (found, states, n_states, pooled, n_pooled);
    if (memcmp (expected, found, SUM_SIZE) == 0) {
      g_utime (path, NULL); /* marks it as used */
      return TRUE;
    }
  }
  g_info ("%s: this encoded prompt is damaged and will be computed again%s%s", path,
      error ? ": " : "", error ? error->message : "");
  return FALSE;
}

/* -------------------------------------------------------------------------------------- writing */

static void
copy_values (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  gsize size = avatar_dtype_size (t->tensor.dtype);

  memcpy (out, (const guint8 *) t->tensor.data + first * size, n * size);
}

typedef struct
{
  char *path;
  gint64 used; /* microseconds */
  guint64 bytes;
} Entry;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->path);
}

static gint
by_age (gconstpointer a, gconstpointer b)
{
  const Entry *x = a, *y = b;

  return x->used < y->used ? -1 : x->used > y->used;
}

/* Lists all entries. Removes temporary files of processes that have crashed. */
static GArray *
list_entries (const char *folder)
{
  GArray *entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  gint64 now = g_get_real_time () / G_USEC_PER_SEC;
  const char *name;

  g_array_set_clear_func (entries, entry_clear);
  while (dir && (name = g_dir_read_name (dir))) {
    Entry entry = { .path = g_build_filename (folder, name, NULL) };
    gboolean is_entry = g_str_has_suffix (name, SUFFIX);
    GStatBuf st;

    if (g_stat (entry.path, &st) != 0 || !S_ISREG (st.st_mode))
      is_entry = FALSE;
    else if (g_str_has_suffix (name, SUFFIX ".part") && st.st_mtime < now - MAX_WRITE_AGE)
      g_unlink (entry.path);
    if (!is_entry) {
      g_free (entry.path);
      continue;
    }
    entry.used = st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
    entry.bytes = st.st_size;
    g_array_append_val (entries, entry);
  }
  return entries;
}

/* Removes the oldest entries except @keep until the others are within the limit. */
static void
shrink (const AvatarPromptCache *self, const char *keep)
{
  g_autoptr (GArray) entries = list_entries (self->folder);
  guint64 bytes = 0;

  g_array_sort (entries, by_age);
  for (guint i = 0; i < entries->len; i++)
    bytes += g_array_index (entries, Entry, i).bytes;
  for (guint i = 0; i < entries->len && bytes > self->limit; i++) {
    const Entry *entry = &g_array_index (entries, Entry, i);

    if (strcmp (entry->path, keep) != 0 && g_unlink (entry->path) == 0)
      bytes -= entry->bytes;
  }
}

static void
add (GArray *tensors, const char *name, AvatarDType dtype, const void *data, gsize n)
{
  AvatarNamedTensor t = { name, avatar_tensor (dtype, (void *) data, 1, (gint64) n) };

  g_array_append_val (tensors, t);
}

void
avatar_prompt_cache_store (const AvatarPromptCache *self, const char *key, const float *states,
    gsize n_states, const float *pooled, gsize n_pooled)
{
  g_autofree char *path = path_of (self, key);
  /* named by the process, because another one may write the same entry */
  g_autofree char *temporary
      = g_strdup_printf ("%s/%s-%ld" SUFFIX ".part", self->folder, key, (long) getpid ());
  g_autoptr (GArray) tensors = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;
  guint8 digest[SUM_SIZE];

  if ((n_states + n_pooled) * sizeof (float) > self->limit)
    return;
  compute_sum (digest, states, n_states, pooled, n_pooled);
  add (tensors, "states", AVATAR_F32, states, n_states);
  add (tensors, "pooled", AVATAR_F32, pooled, n_pooled);
  add (tensors, "sum", AVATAR_U8, digest, SUM_SIZE);
  if (g_mkdir_with_parents (self->folder, 0700) != 0) {
    g_warning ("%s: cannot create the folder for encoded prompts: %s; prompts are encoded again in "
               "every run",
        self->folder, g_strerror (errno));
    return;
  }
  if (!avatar_write_safetensors (temporary, tensors, copy_values, NULL, &error)) {
    g_warning ("%s; the prompt is encoded again in the next run", error->message);
  } else if (g_rename (temporary, path) != 0) {
    g_warning ("%s: cannot rename the file: %s; the prompt is encoded again in the next run", path,
        g_strerror (errno));
    g_unlink (temporary);
  } else {
    shrink (self, path);
  }
}
