/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files as mmgp writes them (safetensors2.py, torch_write_file): tensors in the order of the state
 * dict, and a header as Python's json.dumps() formats it, with the metadata at its end and without
 * padding, so that 16-bit values may begin at odd addresses. */
#include "tools/random-job.h"

#include "engine/model/manifest.h"

#include <string.h>

#define BF16_FILE "ckpts/hunyuan_video_avatar_720_bf16.safetensors"
#define INT8_FILE "ckpts/hunyuan_video_avatar_720_quanto_bf16_int8.safetensors"

/* mmgp does not quantise modules outside of a list of at least five blocks, up to 2 GiB. */
static gboolean
is_quantised (const AvatarManifestEntry *e)
{
  return e->rank == 2 && g_str_has_suffix (e->name, ".weight")
      && (g_str_has_prefix (e->name, "double_blocks.")
          || g_str_has_prefix (e->name, "single_blocks.")
          || g_str_has_prefix (e->name, "audio_adapter_blocks."));
}

/* Returns TRUE for quanto's factors of activations: 1, and scalars, which are read as vectors of
 * one value. */
static gboolean
is_scalar (const AvatarNamedTensor *t)
{
  return g_str_has_suffix (t->name, ".input_scale") || g_str_has_suffix (t->name, ".output_scale");
}

typedef struct
{
  const RandomJob *job;
  GArray *tensors; /* array of AvatarNamedTensor */
  GStringChunk *names;
  GHashTable *sources; /* name in the file -> AvatarNamedTensor to take values or factors from */
  GString *map;        /* JSON of {module: quantisation} */
} Quanto;

static void
add (Quanto *q, const char *prefix, const char *name, AvatarTensor t,
    const AvatarNamedTensor *source)
{
  g_autofree char *full = g_strconcat (prefix, name, NULL);
  AvatarNamedTensor named = { g_string_chunk_insert (q->names, full), t };

  g_array_append_val (q->tensors, named);
  if (source)
    g_hash_table_insert (q->sources, (gpointer) named.name, g_memdup2 (source, sizeof *source));
}

/* Adds the tensors of quanto's linear module. */
static void
add_module (Quanto *q, const AvatarManifestEntry *weight, const AvatarManifestEntry *bias)
{
  g_autofree char *module = g_strndup (weight->name, strlen (weight->name) - strlen (".weight"));
  AvatarNamedTensor source
      = { weight->name, avatar_tensor_of_shape (AVATAR_I8, NULL, weight->rank, weight->shape) };
  AvatarTensor one = avatar_tensor (AVATAR_BF16, NULL, 1, (gint64) 1);

  add (q, module, ".weight._data", source.tensor, &source);
  add (q, module, ".weight._scale",
      avatar_tensor (AVATAR_BF16, NULL, 2, weight->shape[0], (gint64) 1), &source);
  if (bias)
    add (q, "", bias->name, avatar_tensor (AVATAR_BF16, NULL, 1, bias->shape[0]), NULL);
  add (q, module, ".input_scale", one, NULL);
  add (q, module, ".output_scale", one, NULL);
  g_string_append_printf (q->map, "%s\"%s\": {\"weights\": \"qint8\", \"activations\": \"none\"}",
      q->map->len > 1 ? ", " : "", module);
}

static void
add_all (Quanto *q, GArray *manifest, gboolean int8)
{
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i), *next = e + 1;

    if (int8 && is_quantised (e)) {
      gboolean biased = i + 1 < manifest->len && g_str_has_suffix (next->name, ".bias");

      add_module (q, e, biased ? next : NULL);
      i += biased;
    } else {
      add (q, "", e->name, avatar_tensor_of_shape (AVATAR_BF16, NULL, e->rank, e->shape), NULL);
    }
  }
  g_string_append_c (q->map, '}');
}

static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const Quanto *q = data;
  const AvatarNamedTensor *source = g_hash_table_lookup (q->sources, t->name);
  float factor = 1;

  if (!source && !is_scalar (t)) {
    random_fill (t, first, n, out, (gpointer) q->job);
    return;
  }
  if (source && t->tensor.dtype == AVATAR_I8) {
    random_fill (source, first, n, out, (gpointer) q->job);
    return;
  }
  if (source)
    factor = random_width (q->job, source);
  for (gsize i = 0; i < n; i++)
    avatar_dtype_from_f32 ((guint8 *) out + 2 * i, AVATAR_BF16, &factor, 1);
}

/* @offsets: offsets of the tensors' data from the first one */
static GString *
make_table (const Quanto *q, gboolean int8, guint64 *offsets)
{
  GString *table = g_string_new ("{");
  guint64 at = 0;

  for (guint i = 0; i < q->tensors->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (q->tensors, AvatarNamedTensor, i);

    offsets[i] = at;
    g_string_append_printf (table, "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [", i ? ", " : "",
        t->name, t->tensor.dtype == AVATAR_I8 ? "I8" : "BF16");
    for (guint k = 0; k < t->tensor.rank && !is_scalar (t); k++)
      g_string_append_printf (table, "%s%" G_GINT64_FORMAT, k ? ", " : "", t->tensor.shape[k]);
    at += avatar_tensor_bytes (t->tensor);
    g_string_append_printf (table,
        "], \"data_offsets\": [%" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT "]}", offsets[i], at);
  }
  if (int8) {
    g_autofree char *map = g_base64_encode ((const guchar *) q->map->str, q->map->len);

    g_string_append_printf (table,
        ", \"__metadata__\": {\"quantization_format\": \"quanto\", \"quantization_map_base64\": "
        "\"%s\"}",
        map);
  }
  return g_string_append_c (table, '}');
}

static gboolean
write_file (Quanto *q, gboolean int8, const char *file, GError **error)
{
  g_autofree char *path = random_path (q->job, file, error);
  g_autofree guint64 *offsets = g_new0 (guint64, q->tensors->len);
  g_autoptr (GString) table = make_table (q, int8, offsets);
  guint64 length = GUINT64_TO_LE (table->len);
  gint64 start = g_get_monotonic_time ();
  AvatarOutput out = { 0 };
  gboolean done;

  for (guint i = 0; i < q->tensors->len; i++)
    offsets[i] += 8 + table->len;
  if (!path || !avatar_output_open (&out, path, error))
    return FALSE;
  done = avatar_output_put (&out, 0, &length, 8, error)
      && avatar_output_put (&out, 8, table->str, table->len, error)
      && avatar_output_fill (&out, q->tensors, offsets, NULL, q->job->empty ? NULL : fill, q,
          error);
  if (!avatar_output_close (&out, done ? AVATAR_OUTPUT_KEEP : AVATAR_OUTPUT_DISCARD, error))
    return FALSE;
  random_report (path, q->tensors, start);
  return TRUE;
}

gboolean
random_write_wan2gp (const RandomJob *job, AvatarDType dtype, GError **error)
{
  const gboolean int8 = dtype == AVATAR_I8;
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, AVATAR_COMPONENT_TRANSFORMER);
  g_autoptr (GArray) tensors = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  g_autoptr (GHashTable) sources = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
  g_autoptr (GString) map = g_string_new ("{");
  Quanto q = { job, tensors, names, sources, map };

  add_all (&q, manifest, int8);
  return write_file (&q, int8, int8 ? INT8_FILE : BF16_FILE, error);
}
