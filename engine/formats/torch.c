/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three formats are read:
 *
 * - an archive of torch.save() (docs/dev/spec/denoise.md 1.2,
 *   docs/dev/spec/vae-text-face-formats.md 5.2), in which ROOT/data.pkl describes the tensors
 *   and the entries ROOT/data/KEY are their storages;
 * - an archive of torch.jit.save(), which has constants.pkl as well
 *   (docs/dev/spec/vae-text-face-formats.md 5.3);
 * - a file from before version 1.6, which is not an archive.
 *
 * A tensor that cannot be used is listed with the reason. It is an error only if it is needed,
 * since checkpoints contain many other tensors. */
#include "engine/formats/torch.h"

#include "engine/formats/torch-legacy.h"
#include "engine/formats/torch-script.h"
#include "engine/formats/torch-tensor.h"
#include "engine/formats/zip.h"

#include <string.h>

#define MAX_NAME 1024

typedef struct
{
  char *name;
  AvatarTensorSource source;
} Entry;

struct _AvatarTorch
{
  char *name, *root;
  GBytes *bytes;
  AvatarZip *zip;            /* archive, or NULL */
  AvatarTorchLegacy *legacy; /* file from before version 1.6, or NULL */
  AvatarTorchReader reader;
  const char *storages; /* folder of the storages of the current pickle */
  const guint8 *header;
  gsize header_length;
  GArray *entries;      /* array of Entry */
  GHashTable *unusable; /* name (owned) -> reason (static) */
};

typedef const AvatarPickleNode Node;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

static gboolean
fail (AvatarTorch *self, GError **error, const char *text)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", self->name, text);
  return FALSE;
}

static char *
join (AvatarTorch *self, const char *rest)
{
  return g_strconcat (self->root, rest, NULL);
}

/* AvatarStorageFunc for archives. */
static const guint8 *
find_storage (const char *key, gsize *size, gpointer data)
{
  AvatarTorch *self = data;
  g_autofree char *entry = g_strdup_printf ("%s/%s/%s", self->root, self->storages, key);

  return avatar_zip_get (self->zip, entry, size, NULL);
}

/* Values that become tensors. */
typedef enum
{
  TENSORS,
  TENSORS_AND_NUMBERS,
} Accepted;

/* Adds @value as tensor @name, or the reason why it cannot be used. Returns FALSE if it is an
 * object of another kind. */
static gboolean
add_tensor (AvatarTorch *self, const char *name, gsize length, Node *value, Accepted accepted)
{
  Entry entry = { 0 };
  const char *reason = NULL;

  if (!(accepted == TENSORS_AND_NUMBERS
          && avatar_torch_reader_get_number (&self->reader, value, &entry.source))
      && !avatar_torch_reader_get (&self->reader, value, &entry.source, &reason))
    return FALSE;
  entry.name = g_strndup (name, length);
  entry.source.name = entry.name;
  entry.source.file = self->name;
  if (reason)
    g_hash_table_insert (self->unusable, entry.name, (gpointer) reason);
  else
    g_array_append_val (self->entries, entry);
  return TRUE;
}

static gboolean
is_dict (AvatarPickle *p, Node *node)
{
  return node->type == AVATAR_PICKLE_DICT
      || (node->type == AVATAR_PICKLE_OBJECT
          && avatar_pickle_is (avatar_pickle_get (p, node->first), AVATAR_PICKLE_GLOBAL,
              "collections.OrderedDict"));
}

/* Returns the value of @key if it is a dict, or NULL. */
static Node *
find_dict (AvatarPickle *p, Node *dict, const char *key)
{
  for (guint i = 0; i + 1 < avatar_pickle_n_items (dict); i += 2)
    if (avatar_pickle_is (avatar_pickle_item (p, dict, i), AVATAR_PICKLE_STRING, key)
        && is_dict (p, avatar_pickle_item (p, dict, i + 1)))
      return avatar_pickle_item (p, dict, i + 1);
  return NULL;
}

static gboolean
read_dict (AvatarTorch *self, AvatarPickle *p, GError **error)
{
  static const char *const keys[] = { "module", "state_dict", "ema" };
  Node *dict = avatar_pickle_get (p, avatar_pickle_root (p));

  self->reader.pickle = p;
  if (!is_dict (p, dict)
      && add_tensor (self, AVATAR_TENSOR_UNNAMED, strlen (AVATAR_TENSOR_UNNAMED), dict, TENSORS))
    return TRUE;
  if (!is_dict (p, dict))
    return fail (self, error,
        "expected a tensor or a dict of tensors, found another object (perhaps a whole model); save "
        "its state_dict()");
  for (guint i = 0; i < G_N_ELEMENTS (keys); i++) {
    Node *inner = find_dict (p, dict, keys[i]);

    if (inner) {
      dict = inner;
      break;
    }
  }
  for (guint i = 0; i + 1 < avatar_pickle_n_items (dict); i += 2) {
    Node *key = avatar_pickle_item (p, dict, i);

    if (key->type == AVATAR_PICKLE_STRING && key->length <= MAX_NAME
        && g_utf8_validate_len (key->text, key->length, NULL))
      add_tensor (self, key->text, key->length, avatar_pickle_item (p, dict, i + 1),
          TENSORS_AND_NUMBERS);
  }
  return TRUE;
}

/* AvatarScriptFunc */
static void
add_attribute (const char *name, Node *value, gpointer data)
{
  add_tensor (data, name, strlen (name), value, TENSORS);
}

/* Parses the pickle ROOT@rest of the archive. @bytes: (out): [size] its bytes */
static AvatarPickle *
open_pickle (AvatarTorch *self, const char *rest, const guint8 **bytes, gsize *size, GError **error)
{
  g_autofree char *entry = join (self, rest);

  *bytes = avatar_zip_get (self->zip, entry, size, error);
  return *bytes ? avatar_pickle_parse (*bytes, *size, self->name, error) : NULL;
}

/* Reads the attributes of a module, and the constants of its code, which get the names CONSTANTS.0,
 * CONSTANTS.1, ... */
static gboolean
read_script (AvatarTorch *self, AvatarPickle *module, GError **error)
{
  const guint8 *bytes;
  gsize size;
  g_autoptr (AvatarPickle) constants = open_pickle (self, "/constants.pkl", &bytes, &size, error);

  if (!constants)
    return FALSE;
  self->reader.pickle = module;
  if (!avatar_torch_script_walk (module, avatar_pickle_get (module, avatar_pickle_root (module)),
          "", add_attribute, self, self->name, error))
    return FALSE;
  self->reader.pickle = constants;
  self->storages = "constants";
  return avatar_torch_script_walk (constants,
      avatar_pickle_get (constants, avatar_pickle_root (constants)), "CONSTANTS", add_attribute,
      self, self->name, error);
}

/* Finds the folder of the archive that contains the pickle. */
static gboolean
find_root (AvatarTorch *self, GError **error)
{
  for (guint i = 0; i < avatar_zip_n (self->zip) && !self->root; i++) {
    const char *name = avatar_zip_nth (self->zip, i), *slash = strchr (name, '/');

    if (slash && strcmp (slash, "/data.pkl") == 0)
      self->root = g_strndup (name, slash - name);
  }
  return self->root
      || fail (self, error,
          "this is a zip archive that PyTorch did not write; expected data.pkl in a folder");
}

static gboolean
check_order (AvatarTorch *self, GError **error)
{
  g_autofree char *entry = join (self, "/byteorder");
  const guint8 *order;
  gsize size;

  if (!avatar_zip_has (self->zip, entry))
    return TRUE; /* missing in files from before PyTorch 2.1 */
  order = avatar_zip_get (self->zip, entry, &size, error);
  if (!order)
    return FALSE;
  return (size == 6 && memcmp (order, "little", 6) == 0)
      || fail (self, error,
          "its numbers are not little-endian; save it again on a little-endian machine");
}

static gboolean
parse_archive (AvatarTorch *self, GBytes *bytes, GError **error)
{
  g_autofree char *constants = NULL;
  g_autoptr (AvatarPickle) pickle = NULL;

  self->zip = avatar_zip_open_bytes (bytes, self->name, error);
  if (!self->zip || !find_root (self, error) || !check_order (self, error))
    return FALSE;
  self->storages = "data";
  self->reader.find = find_storage;
  self->reader.data = self;
  constants = join (self, "/constants.pkl");
  pickle = open_pickle (self, "/data.pkl", &self->header, &self->header_length, error);
  if (!pickle)
    return FALSE;
  return avatar_zip_has (self->zip, constants) ? read_script (self, pickle, error)
                                               : read_dict (self, pickle, error);
}

static gboolean
parse (AvatarTorch *self, GBytes *bytes, GError **error)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  avatar_torch_reader_init (&self->reader, bytes);
  if (!avatar_torch_legacy_is (data, size))
    return parse_archive (self, bytes, error);
  self->legacy = avatar_torch_legacy_open (data, size, self->name, error);
  if (!self->legacy)
    return FALSE;
  self->header = data;
  self->header_length = avatar_torch_legacy_header_size (self->legacy);
  self->reader.find = avatar_torch_legacy_find;
  self->reader.data = self->legacy;
  return read_dict (self, avatar_torch_legacy_get_pickle (self->legacy), error);
}

gboolean
avatar_torch_is (const guint8 *data, gsize size)
{
  return (size >= 4 && memcmp (data, "PK\003\004", 4) == 0) || avatar_torch_legacy_is (data, size);
}

AvatarTorch *
avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  AvatarTorch *self = g_new0 (AvatarTorch, 1);

  self->name = g_strdup (name);
  self->bytes = g_bytes_ref (bytes);
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_array_set_clear_func (self->entries, entry_clear);
  self->unusable = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  if (!parse (self, bytes, error))
    g_clear_pointer (&self, avatar_torch_free);
  return self;
}

void
avatar_torch_free (AvatarTorch *self)
{
  if (!self)
    return;
  avatar_torch_reader_clear (&self->reader);
  g_hash_table_unref (self->unusable);
  g_array_unref (self->entries);
  avatar_zip_free (self->zip);
  avatar_torch_legacy_free (self->legacy);
  g_bytes_unref (self->bytes);
  g_free (self->root);
  g_free (self->name);
  g_free (self);
}

guint
avatar_torch_n (AvatarTorch *self)
{
  return self->entries->len;
}

const char *
avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensorSource *out)
{
  g_return_val_if_fail (i < self->entries->len, NULL);
  if (out)
    *out = g_array_index (self->entries, Entry, i).source;
  return g_array_index (self->entries, Entry, i).name;
}

GHashTable *
avatar_torch_get_unusable (AvatarTorch *self)
{
  return self->unusable;
}

const guint8 *
avatar_torch_get_header (AvatarTorch *self, gsize *length)
{
  *length = self->header_length;
  return self->header;
}
