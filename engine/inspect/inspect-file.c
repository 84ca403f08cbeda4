/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formats are recognised by the first bytes, zip archives by the names of their entries. */
#include "engine/inspect/inspect-file.h"

#include "engine/formats/file-magic.h"
#include "engine/model/component.h"
#include "engine/formats/gguf.h"
#include "engine/formats/torch.h"
#include "engine/formats/zip.h"

#include <glib/gstdio.h>
#include <string.h>

AvatarInspectedComponent *
avatar_inspected_component_new (const char *name, const char *path)
{
  AvatarInspectedComponent *self = g_new0 (AvatarInspectedComponent, 1);

  self->name = g_strdup (name);
  self->path = g_strdup (path);
  return self;
}

void
avatar_inspected_component_free (AvatarInspectedComponent *self)
{
  for (guint i = 0; i < AVATAR_INSPECT_NAMES; i++)
    g_free (self->extra[i]);
  g_free (self->problem);
  g_free (self->note);
  g_free (self->path);
  g_free (self->name);
  g_free (self);
}

void
avatar_inspected_component_fail (AvatarInspectedComponent *self, AvatarInspectState state,
    const char *format, ...)
{
  va_list args;

  if (self->state != AVATAR_INSPECT_FINE)
    return;
  self->state = state == AVATAR_INSPECT_MISSING && self->format ? AVATAR_INSPECT_INCOMPLETE : state;
  va_start (args, format);
  self->problem = g_strdup_vprintf (format, args);
  va_end (args);
}

static const char *
zip_kind (GBytes *bytes)
{
  g_autoptr (AvatarZip) zip = avatar_zip_open_bytes (bytes, "", NULL);
  const char *kind = "zip archive";

  for (guint i = 0; zip && i < avatar_zip_n (zip); i++) {
    const char *rest = strchr (avatar_zip_nth (zip, i), '/');

    if (rest && strcmp (rest, "/constants.pkl") == 0)
      return "TorchScript";
    if (rest && strcmp (rest, "/data.pkl") == 0)
      kind = "PyTorch";
  }
  return kind;
}

static const char *
format_of (const char *path)
{
  g_autoptr (GMappedFile) map = g_mapped_file_new (path, FALSE, NULL);
  g_autoptr (GBytes) bytes = map ? g_mapped_file_get_bytes (map) : NULL;
  gsize size = 0;
  const guint8 *data = bytes ? g_bytes_get_data (bytes, &size) : NULL;
  const char *foreign = bytes ? avatar_file_magic_kind (data, size) : NULL;

  if (foreign || !bytes)
    return foreign;
  if (g_str_has_suffix (path, ".index.json"))
    return "safetensors in shards";
  if (avatar_gguf_is (data, size))
    return "GGUF";
  if (avatar_torch_is (data, size))
    return data[0] == 'P' ? zip_kind (bytes) : "PyTorch, old kind";
  /* header of less than 4 GiB, and its first character */
  if (size > 8 && memcmp (data + 4, "\0\0\0\0{", 5) == 0)
    return "safetensors";
  return "unknown";
}

void
avatar_inspected_component_add_file (AvatarInspectedComponent *self, const char *path)
{
  GStatBuf st;

  self->n_files++;
  if (g_stat (path, &st) == 0)
    self->file_bytes += st.st_size;
}

static gboolean
is_scale (const char *name)
{
  return g_str_has_suffix (name, "_scale") || g_str_has_suffix (name, ".scale_weight")
      || g_str_has_suffix (name, ".weight_scale_inv");
}

void
avatar_inspected_component_count (AvatarInspectedComponent *self, AvatarTensorFile *file)
{
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    AvatarTensorSource t;
    const char *name = avatar_tensor_file_nth (file, i, &t);
    AvatarTally *tallies[] = { &self->tallies[t.dtype], &self->total };

    if (g_str_has_prefix (name, AVATAR_COMPONENT_PADDING))
      continue;
    for (guint k = 0; k < G_N_ELEMENTS (tallies); k++) {
      tallies[k]->n++;
      tallies[k]->values += avatar_tensor_source_n (&t);
      tallies[k]->bytes += avatar_tensor_source_size (&t);
    }
    if (!is_scale (name))
      self->parameters += avatar_tensor_source_n (&t);
  }
}

void
avatar_inspected_component_add_extra (AvatarInspectedComponent *self, const char *name)
{
  if (self->n_extra < AVATAR_INSPECT_NAMES)
    self->extra[self->n_extra] = g_strdup (name);
  self->n_extra++;
}

AvatarTensorFile *
avatar_inspected_component_open_file (AvatarInspectedComponent *self)
{
  g_autoptr (GError) error = NULL;
  AvatarTensorFile *file;

  if (!g_file_test (self->path, G_FILE_TEST_EXISTS)) {
    avatar_inspected_component_fail (self, AVATAR_INSPECT_MISSING, "%s: there is no such file",
        self->path);
    return NULL;
  }
  if (g_file_test (self->path, G_FILE_TEST_IS_REGULAR)) {
    self->format = format_of (self->path);
    avatar_inspected_component_add_file (self, self->path);
  }
  file = avatar_tensor_file_open (self->path, &error);
  if (file) {
    self->n_files += avatar_tensor_file_n_files (file) - 1;
    avatar_inspected_component_count (self, file);
    if (g_str_has_suffix (self->path, ".index.json"))
      self->file_bytes += self->total.bytes; /* without the shards' headers */
    if (self->total.n == 0)
      avatar_inspected_component_fail (self, AVATAR_INSPECT_UNUSABLE,
          "%s: it has no readable tensors; expected weights", self->path);
  } else {
    avatar_inspected_component_fail (self,
        error->code == AVATAR_ERROR_NOT_FOUND ? AVATAR_INSPECT_MISSING : AVATAR_INSPECT_UNUSABLE,
        "%s", error->message);
  }
  return file;
}
