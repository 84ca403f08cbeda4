/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/pack-folder.h"

#include "engine/model/layout.h"
#include "engine/formats/mapped-file.h"
#include "engine/formats/tensor-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static gboolean
fail (const char *path, const char *what, GError **error)
{
  int code = errno;

  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
      "%s: %s: %s; choose a writable place with enough free space", path, what, g_strerror (code));
  return FALSE;
}

/* Level of a folder. */
typedef enum
{
  TOP_FOLDER,
  SUBFOLDER,
} Level;

/* Returns TRUE if avatar-pack writes a file or a folder with this name. */
static gboolean
is_own_name (const char *name, gboolean is_folder, Level level)
{
  if (is_folder)
    return level == TOP_FOLDER
        && (strcmp (name, "llava_llama_image") == 0 || strcmp (name, "text_encoder_2") == 0);
  if (level == SUBFOLDER)
    return g_str_has_suffix (name, ".json") || g_str_has_suffix (name, ".txt")
        || strcmp (name, "model.safetensors") == 0;
  return strcmp (name, AVATAR_LAYOUT_CONFIG) == 0 || strcmp (name, "transformer.safetensors") == 0
      || strcmp (name, "vae.safetensors") == 0 || strcmp (name, "whisper_encoder.safetensors") == 0
      || strcmp (name, "text_stub.safetensors") == 0 || strcmp (name, AVATAR_PLAIN_DETECTOR) == 0;
}

/* Returns: (transfer full): the first file in @path that avatar-pack does not write, or NULL; the
 * folder itself if it has no configuration of a packed model. */
static char *
find_other_file (const char *path, Level level)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *child = g_build_filename (path, name, NULL);
    gboolean is_folder
        = g_file_test (child, G_FILE_TEST_IS_DIR) && !g_file_test (child, G_FILE_TEST_IS_SYMLINK);
    char *other;

    if (!is_own_name (name, is_folder, level))
      return g_steal_pointer (&child);
    other = is_folder ? find_other_file (child, SUBFOLDER) : NULL;
    if (other)
      return other;
  }
  return dir ? NULL : g_strdup (path);
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir
      = g_file_test (path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  g_remove (path);
}

static gboolean
check_target (const char *path, PackReplace replace, GError **error)
{
  g_autofree char *config = g_build_filename (path, AVATAR_LAYOUT_CONFIG, NULL);
  g_autofree char *other = NULL;

  if (!g_file_test (path, G_FILE_TEST_EXISTS) && !g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    return TRUE;
  if (replace == PACK_REPLACE_NEVER) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "%s: this exists already; choose another name, or replace a packed folder with --force",
        path);
    return FALSE;
  }
  other = g_file_test (config, G_FILE_TEST_EXISTS) ? find_other_file (path, TOP_FOLDER)
                                                   : g_strdup (path);
  if (!other)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s: avatar-pack did not write this, so not even --force replaces it; move it away", other);
  return FALSE;
}

gboolean
pack_folder_open (PackFolder *self, const char *path, PackReplace replace, GError **error)
{
  self->path = g_canonicalize_filename (path, NULL);
  if (!check_target (self->path, replace, error)) {
    g_clear_pointer (&self->path, g_free);
    return FALSE;
  }
  self->work = g_strconcat (self->path, ".XXXXXX", NULL);
  if (g_mkdtemp_full (self->work, 0777))
    return TRUE;
  fail (path, "the folder cannot be made", error);
  g_clear_pointer (&self->work, g_free);
  g_clear_pointer (&self->path, g_free);
  return FALSE;
}

char *
pack_folder_path (PackFolder *self, const char *file, GError **error)
{
  char *path = g_build_filename (self->work, file, NULL);
  g_autofree char *folder = g_path_get_dirname (path);

  if (g_mkdir_with_parents (folder, 0777) == 0)
    return path;
  fail (folder, "the folder cannot be made", error);
  g_free (path);
  return NULL;
}

static gboolean
put_file (const char *path, gconstpointer data, gsize n, GError **error)
{
  AvatarOutput out = { .sync = TRUE };
  gboolean done;

  if (!avatar_output_open (&out, path, error))
    return FALSE;
  done = avatar_output_put (&out, 0, data, n, error);
  return avatar_output_close (&out, done ? AVATAR_OUTPUT_KEEP : AVATAR_OUTPUT_DISCARD, error);
}

gboolean
pack_folder_write (PackFolder *self, const char *file, const char *text, GError **error)
{
  g_autofree char *path = pack_folder_path (self, file, error);

  return path && put_file (path, text, strlen (text), error);
}

gboolean
pack_folder_copy (PackFolder *self, const char *from, const char *to, GError **error)
{
  g_autofree char *path = pack_folder_path (self, to, error);
  g_autoptr (GBytes) bytes = path ? avatar_mapped_open (from, error) : NULL;
  g_autofree guint8 *copy = NULL;
  gsize n;
  gconstpointer data = bytes ? g_bytes_get_data (bytes, &n) : NULL;

  if (!bytes)
    return FALSE;
  copy = g_malloc (n);
  if (avatar_mapped_read (copy, data, n))
    return put_file (path, copy, n, error);
  avatar_mapped_set_error (error, from, "its contents");
  return FALSE;
}

/* Flushes file names to the disk, for which the folder must be synchronised. */
static gboolean
sync_folder (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean done = fd >= 0 && (fsync (fd) == 0 || errno == EINVAL);

  if (!done)
    fail (path, "it cannot be written", error);
  if (fd >= 0)
    close (fd);
  return done;
}

/* Moves the old folder out of the way, and back on failure. */
static gboolean
put_in_place (PackFolder *self, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (self->path);
  g_autofree char *old = g_strconcat (self->work, ".old", NULL);
  gboolean replaces = g_rename (self->path, old) == 0;

  if (!replaces && errno != ENOENT)
    return fail (self->path, "it cannot be replaced", error);
  if (g_rename (self->work, self->path) != 0) {
    fail (self->path, "it cannot be renamed", error);
    if (replaces)
      g_rename (old, self->path);
    return FALSE;
  }
  if (replaces)
    remove_tree (old);
  return sync_folder (parent, error);
}

void
pack_folder_discard (PackFolder *self)
{
  if (self->work)
    remove_tree (self->work);
  g_clear_pointer (&self->work, g_free);
  g_clear_pointer (&self->path, g_free);
}

gboolean
pack_folder_close (PackFolder *self, GError **error)
{
  gboolean done = sync_folder (self->work, error) && put_in_place (self, error);

  if (done)
    g_clear_pointer (&self->work, g_free);
  pack_folder_discard (self);
  return done;
}
