/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test helper: LoRA files of random values, and their deltas of a weight, in double precision. */
#pragma once

#include "engine/model/lora.h"
#include "engine/model/model.h"
#include "engine/model/random-weights.h"
#include "engine/formats/tensor-writer.h"

#include <avatar/avatar.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define RANK 6
#define ALPHA 3.f

typedef struct
{
  AvatarModel *model;
  const AvatarConfig *config;
  gint64 width;
  GArray *list;   /* AvatarNamedTensor */
  GHashTable *as; /* key -> name whose random values it has */
  GStringChunk *names;
  char *folder, *path;
  const char *metadata; /* the file's JSON metadata, or NULL */
} Fixture;

static inline void
setup (Fixture *f, gconstpointer data)
{
  f->model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  f->config = avatar_model_get_config (f->model);
  f->width = f->config->transformer.hidden;
  f->list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  f->as = g_hash_table_new (g_str_hash, g_str_equal);
  f->names = g_string_chunk_new (4096);
  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "lora.safetensors", NULL);
}

static inline void
teardown (Fixture *f, gconstpointer data)
{
  g_unlink (f->path);
  g_rmdir (f->folder);
  g_free (f->path);
  g_free (f->folder);
  g_string_chunk_free (f->names);
  g_hash_table_unref (f->as);
  g_array_unref (f->list);
  avatar_model_unref (f->model);
}

/* A tensor of the file, with the random values that belong to @as. */
static inline void
add (Fixture *f, const char *prefix, const char *suffix, const char *as, AvatarDType dtype,
    gint64 rows, gint64 cols)
{
  g_autofree char *key = g_strconcat (prefix, suffix, NULL);
  AvatarNamedTensor t = { g_string_chunk_insert (f->names, key),
    cols ? avatar_tensor (dtype, NULL, 2, rows, cols) : avatar_tensor (dtype, NULL, 1, rows) };

  g_array_append_val (f->list, t);
  g_hash_table_insert (f->as, (gpointer) t.name, g_string_chunk_insert (f->names, as));
}

/* Both matrices. The values depend on @as alone. */
static inline void
add_pair (Fixture *f, const char *prefix, const char *down, const char *up, const char *as,
    gint64 rows, gint64 cols)
{
  g_autofree char *a = g_strconcat (as, "/a", NULL), *b = g_strconcat (as, "/b", NULL);

  add (f, prefix, down, a, AVATAR_F32, RANK, cols);
  add (f, prefix, up, b, AVATAR_BF16, rows, RANK);
}

static inline void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const char *as = g_hash_table_lookup (data, t->name);
  AvatarRandom random = { .stream = g_str_hash (as), .width = 1 };
  float alpha = ALPHA;

  if (strcmp (as, "alpha") == 0)
    avatar_dtype_from_f32 (out, t->tensor.dtype, &alpha, 1);
  else if (strcmp (as, "small") == 0) /* an eighth */
    memset (out, t->tensor.dtype == AVATAR_F8_E4M3 ? 0x20 : 0x30, n);
  else if (strcmp (as, "large") == 0) /* 16 */
    memset (out, t->tensor.dtype == AVATAR_F8_E4M3 ? 0x58 : 0x4c, n);
  else if (t->tensor.dtype == AVATAR_I8)
    memset (out, 1, n);
  else
    avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

/* Puts f->metadata in front of the table. */
static inline void
put_metadata (Fixture *f)
{
  g_autofree char *text = NULL, *more = g_strdup_printf ("{\"__metadata__\":%s,", f->metadata);
  g_autoptr (GByteArray) out = g_byte_array_new ();
  guint64 length;
  gsize n;

  g_assert_true (g_file_get_contents (f->path, &text, &n, NULL));
  memcpy (&length, text, 8);
  length = GUINT64_TO_LE (GUINT64_FROM_LE (length) - 1 + strlen (more));
  g_byte_array_append (out, (guint8 *) &length, 8);
  g_byte_array_append (out, (guint8 *) more, strlen (more));
  g_byte_array_append (out, (guint8 *) text + 9, n - 9);
  g_assert_true (g_file_set_contents (f->path, (char *) out->data, out->len, NULL));
}

static inline AvatarLora *
open_lora (Fixture *f, double strength, GError **error)
{
  g_assert_true (avatar_write_safetensors (f->path, f->list, fill, f->as, NULL));
  if (f->metadata)
    put_metadata (f);
  return avatar_lora_open (f->path, f->config, strength, error);
}

static inline GPtrArray *
open_good (Fixture *f, double strength)
{
  g_autoptr (GError) error = NULL;
  GPtrArray *loras = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_lora_free);

  g_ptr_array_add (loras, open_lora (f, strength, &error));
  g_assert_no_error (error);
  return loras;
}

static inline float *
values_of (const char *as, const char *which, AvatarDType dtype, gsize n)
{
  g_autofree char *name = g_strconcat (as, which, NULL);
  AvatarRandom random = { .stream = g_str_hash (name), .width = 1 };
  float *out = g_new (float, n);
  g_autofree guint8 *raw = g_malloc (n * 4);

  avatar_random_fill (&random, 0, n, dtype, raw);
  avatar_dtype_to_f32 (out, raw, dtype, n);
  return out;
}

/* Adds factor * B A of @as, rows from @source, to the rows of @tensor from @row. */
static inline void
expect (GPtrArray *loras, const char *tensor, const char *as, double factor, gint64 row,
    gint64 source, gint64 rows, gint64 all_rows, gint64 cols)
{
  g_autofree float *a = values_of (as, "/a", AVATAR_F32, RANK * cols);
  g_autofree float *b = values_of (as, "/b", AVATAR_BF16, all_rows * RANK);
  g_autofree float *found = avatar_lora_sum (loras, NULL, tensor, row, row + rows, cols);
  double error = 0, sum = 0;

  if (!found)
    g_error ("nothing is added to %s", tensor);
  for (gint64 r = 0; r < rows; r++)
    for (gint64 c = 0; c < cols; c++) {
      double want = 0, d;

      for (guint k = 0; k < RANK; k++)
        want += factor * b[(source + r) * RANK + k] * a[k * cols + c];
      d = found[r * cols + c] - want;
      error += d * d;
      sum += want * want;
    }
  if (!(error <= 1e-12 * sum) || sum == 0)
    g_error ("%s: relative error %g", tensor, sqrt (error / sum));
}

static inline void
refuse (Fixture *f, double strength, const char *message)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (open_lora (f, strength, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH);
  if (!strstr (error->message, message) || !strstr (error->message, "lora.safetensors"))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
  g_array_set_size (f->list, 0);
}
