/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-random: a folder of weights as released, filled with seeded random values, for tests and
 * measurements where the real weights are not. */
#include "engine/text/tokens.h"
#include "engine/weights/json.h"
#include "engine/weights/layout.h"
#include "engine/weights/manifest.h"
#include "engine/weights/random.h"
#include "engine/weights/released.h"
#include "engine/weights/writer.h"
#include "tools/random-config.h"
#include "tools/random-face.h"
#include "tools/random-text.h"
#include "tools/random-tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT 448.f /* of e4m3 */
#define VIDEO "ckpts/hunyuan-video-t2v-720p"

static char *format = NULL, *config_path = NULL, *part_list = NULL;
static gint64 seed = 0;

static const GOptionEntry entries[] = {
  { "parts", 'p', 0, G_OPTION_ARG_STRING, &part_list,
      "transformer, transformer-fp8, vae, whisper, detface; with torch llava, clip; with safetensors "
      "text; default: transformer,vae,whisper, and with safetensors text",
      "LIST" },
  { "format", 'f', 0, G_OPTION_ARG_STRING, &format,
      "torch (as released; default) or safetensors (one file a part)", "F" },
  { "config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path,
      "Sizes from a config.json instead of the released ones", "JSON" },
  { "seed", 's', 0, G_OPTION_ARG_INT64, &seed, "Seed of the values (default 0)", "N" },
  { NULL },
};

typedef struct
{
  const char *folder;
  gboolean torch;
  AvatarConfig *config;
  char *json;
  JsonObject *sections;
  GStrv parts;
  gboolean own_sizes; /* not the released ones, which need no saying */
} Job;

static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  AvatarRandom random = avatar_random_for (t->name, t->tensor, seed);

  if (t->tensor.dtype == AVATAR_F8_E4M3)
    random.width = LIMIT; /* the rest is in the scale */
  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

/* The scales of 8-bit tensors: what brings their values back to the width they were drawn from. */
static void
fill_scale (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  GHashTable *widths = data;

  *(float *) out = *(float *) g_hash_table_lookup (widths, t->name) / LIMIT;
}

static void
fill_both (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  if (g_hash_table_contains (data, t->name))
    fill_scale (t, first, n, out, data);
  else
    fill (t, first, n, out, NULL);
}

static gboolean
is_quantised (const AvatarManifestEntry *e)
{
  return e->rank == 2 && g_str_has_suffix (e->name, ".weight")
      && (g_str_has_prefix (e->name, "double_blocks.")
          || g_str_has_prefix (e->name, "single_blocks."));
}

/* What a part consists of; its names belong to @manifest. */
static GArray *
list_tensors (GArray *manifest, AvatarDType dtype, gboolean fp8)
{
  GArray *list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    AvatarNamedTensor t = { e->name,
      avatar_tensor_of_shape (fp8 && is_quantised (e) ? AVATAR_F8_E4M3 : dtype, NULL, e->rank,
          e->shape) };

    g_array_append_val (list, t);
  }
  return list;
}

/* Scales of the 8-bit tensors of @list, called after their modules as in the released map, or
 * "NAME_scale". The names belong to @widths. */
static GArray *
list_scales (GArray *list, gboolean map, GHashTable *widths)
{
  GArray *scales = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));

  for (guint i = 0; i < list->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (list, AvatarNamedTensor, i);
    AvatarNamedTensor scale = { NULL, avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1) };
    AvatarRandom random = avatar_random_for (t->name, t->tensor, seed);
    char *name = map ? g_strndup (t->name, strlen (t->name) - strlen (".weight"))
                     : g_strconcat (t->name, "_scale", NULL);

    if (t->tensor.dtype != AVATAR_F8_E4M3) {
      g_free (name);
      continue;
    }
    scale.name = name;
    g_hash_table_insert (widths, name, g_memdup2 (&random.width, sizeof (float)));
    g_array_append_val (scales, scale);
  }
  return scales;
}

static char *
make_path (const Job *job, const char *file, GError **error)
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

static gboolean
write_text (const Job *job, const char *file, const char *text, GError **error)
{
  g_autofree char *path = make_path (job, file, error);

  return path && g_file_set_contents (path, text, -1, error);
}

/* A section of the configuration as a file of its own. */
static gboolean
write_section (const Job *job, const char *section, const char *file, GError **error)
{
  JsonNode *node = json_object_get_member (job->sections, section);
  g_autofree char *text = json_to_string (node, TRUE);

  return write_text (job, file, text, error);
}

static gboolean
write_tensors (const Job *job, const char *file, const char *key, GArray *list, AvatarFillFunc func,
    gpointer data, GError **error)
{
  g_autofree char *path = make_path (job, file, error);
  gint64 start = g_get_monotonic_time ();
  double bytes = 0;

  for (guint i = 0; i < list->len; i++)
    bytes += avatar_tensor_bytes (g_array_index (list, AvatarNamedTensor, i).tensor);
  if (!path
      || !(job->torch ? avatar_write_torch (path, key, list, func, data, error)
                      : avatar_write_safetensors (path, list, func, data, error)))
    return FALSE;
  g_print ("%s: %u tensors, %.1f MiB in %.1f s\n", path, list->len, bytes / 1048576,
      (g_get_monotonic_time () - start) * 1e-6);
  return TRUE;
}

static gboolean
write_transformer (const Job *job, gboolean fp8, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, "transformer");
  g_autoptr (GArray) list = list_tensors (manifest, AVATAR_BF16, fp8);
  g_autoptr (GHashTable) widths = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (GArray) scales = list_scales (list, job->torch, widths);
  const char *file = fp8 ? VIDEO "/transformers/mp_rank_00_model_states_fp8.pt"
                         : VIDEO "/transformers/mp_rank_00_model_states.pt";

  if (!job->torch) {
    g_array_append_vals (list, scales->data, scales->len);
    return write_tensors (job, "transformer.safetensors", NULL, list, fill_both, widths, error);
  }
  return write_tensors (job, file, "module", list, fill, NULL, error)
      && (!fp8
          || write_tensors (job, VIDEO "/transformers/mp_rank_00_model_states_fp8_map.pt", "module",
              scales, fill_scale, widths, error));
}

static gboolean
write_part (const Job *job, const char *part, AvatarDType dtype, const char *released,
    const char *plain, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, part);
  g_autoptr (GArray) list = list_tensors (manifest, dtype, FALSE);

  if (job->torch)
    return write_tensors (job, released, NULL, list, fill, NULL, error);
  return write_tensors (job, plain, NULL, list, fill, NULL, error);
}

/* A safetensors file in the release, too, under the names of Hugging Face. */
static gboolean
write_whisper (const Job *job, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, "whisper");
  g_autoptr (GArray) list = NULL;
  Job plain = *job;

  plain.torch = FALSE;
  for (guint i = 0; i < manifest->len && job->torch; i++) {
    AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    char *name = g_strconcat ("model.encoder.", e->name, NULL);

    g_free (e->name);
    e->name = name;
  }
  list = list_tensors (manifest, AVATAR_F32, FALSE);
  if (!job->torch)
    return write_tensors (&plain, "whisper_encoder.safetensors", NULL, list, fill, NULL, error);
  return write_tensors (&plain, "ckpts/whisper-tiny/model.safetensors", NULL, list, fill, NULL,
             error)
      && write_section (job, "whisper", "ckpts/whisper-tiny/config.json", error);
}

#define SHARDS 4

/* Shards as Hugging Face makes them, and the index that says what is where. */
static gboolean
write_shards (const Job *job, const char *folder, GArray *list, GError **error)
{
  g_autoptr (GString) index = g_string_new ("{\n  \"weight_map\": {");
  g_autofree char *index_path = g_strconcat (folder, "/model.safetensors.index.json", NULL);
  guint64 total = 0, done = 0;
  guint next = 0;

  for (guint i = 0; i < list->len; i++)
    total += avatar_tensor_bytes (g_array_index (list, AvatarNamedTensor, i).tensor);
  for (guint shard = 1; shard <= SHARDS; shard++) {
    g_autoptr (GArray) some = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
    g_autofree char *name = g_strdup_printf ("model-%05u-of-%05u.safetensors", shard, SHARDS);
    g_autofree char *file = g_strconcat (folder, "/", name, NULL);

    for (; next < list->len && (shard == SHARDS || done < total / SHARDS * shard); next++) {
      AvatarNamedTensor *t = &g_array_index (list, AvatarNamedTensor, next);

      g_array_append_val (some, *t);
      done += avatar_tensor_bytes (t->tensor);
      g_string_append_printf (index, "%s\n    \"%s\": \"%s\"", next ? "," : "", t->name, name);
    }
    if (!write_tensors (job, file, NULL, some, fill, NULL, error))
      return FALSE;
  }
  g_string_append_printf (index,
      "\n  },\n  \"metadata\": {\"total_size\": %" G_GUINT64_FORMAT "}\n}\n", total);
  return write_text (job, index_path, index->str, error);
}

/* The text encoders, and tokenizers that know what is put around a prompt. */
static gboolean
write_llava (const Job *job, GError **error)
{
  static const char folder[] = "ckpts/llava_llama_image";
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  LlavaSizes sizes = random_llava_sizes (job->config, config_path != NULL);
  g_autoptr (GArray) list = random_llava_list (&sizes, names);
  g_autofree char *config = random_llava_config (&sizes);
  g_auto (GStrv) texts = random_config_texts (job->config);
  g_auto (RandomTokenizer) tokenizer
      = random_tokenizer_llama (sizes.vocab, (const char *const *) texts);
  Job plain = *job;

  plain.torch = FALSE;
  return write_shards (&plain, folder, list, error)
      && write_text (job, "ckpts/llava_llama_image/config.json", config, error)
      && write_text (job, "ckpts/llava_llama_image/tokenizer.json", tokenizer.json, error)
      && write_text (job, "ckpts/llava_llama_image/tokenizer_config.json", tokenizer.config, error);
}

static gboolean
write_clip (const Job *job, GError **error)
{
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  ClipSizes sizes = random_clip_sizes (job->config, config_path != NULL);
  g_autoptr (GArray) list = random_clip_list (&sizes, names);
  g_autofree char *config = random_clip_config (&sizes), *merges = NULL;
  g_auto (GStrv) texts = random_config_texts (job->config);
  g_autofree char *vocab
      = random_tokenizer_clip (sizes.vocab, (const char *const *) texts, &merges);
  Job plain = *job;

  plain.torch = FALSE;
  return write_tensors (&plain, "ckpts/text_encoder_2/model.safetensors", NULL, list, fill, NULL,
             error)
      && write_text (job, "ckpts/text_encoder_2/config.json", config, error)
      && write_text (job, "ckpts/text_encoder_2/vocab.json", vocab, error)
      && write_text (job, "ckpts/text_encoder_2/merges.txt", merges, error);
}

/* The face detector, a module's archive. */
static gboolean
write_detector (const Job *job, GError **error)
{
  g_autoptr (GStringChunk) names = g_string_chunk_new (16384);
  g_autoptr (GArray) list = random_face_list (config_path != NULL, names);
  g_autofree char *path
      = make_path (job, job->torch ? "ckpts/det_align/detface.pt" : AVATAR_PLAIN_DETECTOR, error);

  if (!path || !avatar_write_torch_script (path, list, fill, NULL, error))
    return FALSE;
  g_print ("%s: %u tensors\n", path, list->len);
  return TRUE;
}

static gboolean
write_one (const Job *job, const char *part, GError **error)
{
  if (strcmp (part, "transformer") == 0)
    return write_transformer (job, FALSE, error);
  if (strcmp (part, "transformer-fp8") == 0)
    return write_transformer (job, TRUE, error);
  if (strcmp (part, "vae") == 0)
    return write_part (job, "vae", AVATAR_F32, VIDEO "/vae/pytorch_model.pt", "vae.safetensors",
               error)
        && (!job->torch || write_section (job, "vae", VIDEO "/vae/config.json", error));
  if (strcmp (part, "whisper") == 0)
    return write_whisper (job, error);
  if (job->torch && (strcmp (part, "llava") == 0 || strcmp (part, "clip") == 0))
    return part[0] == 'c' ? write_clip (job, error) : write_llava (job, error);
  if (strcmp (part, "detface") == 0)
    return write_detector (job, error);
  if (strcmp (part, "text") == 0 && !job->torch)
    return write_part (job, "text", AVATAR_F32, NULL, "text_stub.safetensors", error);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "there is no part \"%s\"; expected transformer, transformer-fp8, vae, whisper or detface, "
      "or llava or clip, or, with --format safetensors, text",
      part);
  return FALSE;
}

static gboolean
has_part (const Job *job, const char *part)
{
  return g_strv_contains ((const char *const *) job->parts, part);
}

static gboolean
write_all (const Job *job, GError **error)
{
  gboolean sized = has_part (job, "transformer") || has_part (job, "transformer-fp8")
      || has_part (job, "llava") || has_part (job, "clip");

  for (guint i = 0; job->parts[i]; i++)
    if (!write_one (job, job->parts[i], error))
      return FALSE;
  if (!job->torch)
    return write_text (job, "config.json", job->json, error);
  return !sized || !job->own_sizes
      || write_text (job, VIDEO "/transformers/avatar-config.json", job->json, error);
}

static gboolean
parse_config (Job *job, const char *name, GError **error)
{
  g_clear_pointer (&job->config, avatar_config_free);
  g_clear_pointer (&job->sections, json_object_unref);
  job->config = avatar_config_parse (job->json, -1, name, error);
  if (job->config)
    job->sections = avatar_json_parse (job->json, strlen (job->json), name, error);
  return job->sections != NULL;
}

/* With text encoders the configuration tells of their tokenizers, unless they are as released. */
static gboolean
fit_config (Job *job, const char *name, GError **error)
{
  guint crop = job->config->text.crop_start;
  char *fitting;

  if (!job->torch || !(has_part (job, "llava") || has_part (job, "clip")))
    return TRUE;
  fitting = random_config_with_text (job->json, job->config, config_path != NULL, error);
  if (!fitting)
    return FALSE;
  g_free (job->json);
  job->json = fitting;
  if (!parse_config (job, name, error))
    return FALSE;
  job->own_sizes |= crop != job->config->text.crop_start;
  return TRUE;
}

static gboolean
read_config (Job *job, GError **error)
{
  const char *name = config_path ? config_path : AVATAR_RELEASED;

  job->own_sizes = config_path != NULL;
  if (!config_path)
    job->json = g_strdup (avatar_config_released_json ());
  else if (!g_file_get_contents (config_path, &job->json, NULL, error))
    return FALSE;
  return parse_config (job, name, error) && fit_config (job, name, error);
}

static gboolean
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("FOLDER");
  Job job = { 0 };
  gboolean done;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Writes a folder of weights as released, of seeded random values: FOLDER/ckpts/... "
      "At the released sizes the transformer takes 24.2 GiB, or 12.6 GiB in fp8.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc != 2 || (format && strcmp (format, "torch") && strcmp (format, "safetensors"))) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "one folder, and torch or safetensors as --format, were expected; see --help");
    return FALSE;
  }
  job.folder = argv[1];
  job.torch = !format || strcmp (format, "torch") == 0;
  job.parts = g_strsplit (part_list ? part_list
          : job.torch               ? "transformer,vae,whisper"
                                    : "transformer,vae,whisper,text",
      ",", -1);
  done = read_config (&job, error) && write_all (&job, error);
  g_clear_pointer (&job.config, avatar_config_free);
  g_clear_pointer (&job.sections, json_object_unref);
  g_strfreev (job.parts);
  g_free (job.json);
  return done;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;

  if (run (argc, argv, &error))
    return EXIT_SUCCESS;
  g_printerr ("avatar-random: %s\n", error->message);
  return EXIT_FAILURE;
}
