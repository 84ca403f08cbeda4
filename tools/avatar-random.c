/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-random: writes a folder of seeded random weights in the layout of the release or of
 * Wan2GP, for tests and measurements without the real weights. */
#include "engine/formats/json.h"
#include "engine/model/layout.h"
#include "engine/model/manifest.h"
#include "engine/model/config-released.h"
#include "engine/formats/tensor-writer.h"
#include "tools/random-config.h"
#include "tools/random-face.h"
#include "tools/random-job.h"
#include "tools/random-text.h"
#include "tools/random-tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define VIDEO "ckpts/hunyuan-video-t2v-720p"

static char *format = NULL, *layout = NULL, *config_path = NULL, *component_list = NULL;
static gint64 seed = 0;
static gboolean empty = FALSE;

static const GOptionEntry entries[] = {
  { "parts", 'p', 0, G_OPTION_ARG_STRING, &component_list,
      "Components, separated by commas (default: transformer,vae,whisper, and text with "
      "--format=safetensors); others are detface; with the released layout transformer-fp8, llava and "
      "clip (both with tokenizers) and tokenizers (alone); with --format=safetensors transformer-fp8; "
      "with wan2gp transformer-int8, llava, clip and tokenizers",
      "LIST" },
  { "layout", 'l', 0, G_OPTION_ARG_STRING, &layout, "released (default) or wan2gp", "L" },
  { "format", 'f', 0, G_OPTION_ARG_STRING, &format,
      "torch (as released; default) or safetensors (one file for each component)", "F" },
  { "config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path,
      "Sizes from a config.json instead of the released ones", "JSON" },
  { "empty", 'e', 0, G_OPTION_ARG_NONE, &empty,
      "Zeros in place of values, as holes in the files, which take almost no space", NULL },
  { "seed", 's', 0, G_OPTION_ARG_INT64, &seed, "Seed of the values (default 0)", "N" },
  G_OPTION_ENTRY_NULL,
};

typedef struct
{
  const RandomJob *job;
  GHashTable *factors; /* name of a factor -> float * */
} Scales;

/* Sets factors that scale 8-bit tensors back to the range of the 16-bit ones, and random values for
 * all other tensors. */
static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const Scales *scales = data;
  const float *factor = g_hash_table_lookup (scales->factors, t->name);

  if (factor)
    *(float *) out = *factor;
  else
    random_fill (t, first, n, out, (gpointer) scales->job);
}

static gboolean
is_quantised (const AvatarManifestEntry *e)
{
  return e->rank == 2 && g_str_has_suffix (e->name, ".weight")
      && (g_str_has_prefix (e->name, "double_blocks.")
          || g_str_has_prefix (e->name, "single_blocks."));
}

/* Changes the large matrices of @list to 8 bits. Returns their factors, named by module as in the
 * released map, or "NAME_scale". @scales owns the names. */
static GArray *
quantise (GArray *list, GArray *manifest, gboolean map, Scales *scales)
{
  GArray *factors = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));

  for (guint i = 0; i < list->len; i++) {
    AvatarNamedTensor *t = &g_array_index (list, AvatarNamedTensor, i);
    AvatarNamedTensor scale = { NULL, avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1) };
    float factor;
    char *name;

    if (!is_quantised (&g_array_index (manifest, AvatarManifestEntry, i)))
      continue;
    t->tensor.dtype = AVATAR_F8_E4M3;
    factor = random_width (scales->job, t);
    scale.name = name = map ? g_strndup (t->name, strlen (t->name) - strlen (".weight"))
                            : g_strconcat (t->name, "_scale", NULL);
    g_hash_table_insert (scales->factors, name, g_memdup2 (&factor, sizeof factor));
    g_array_append_val (factors, scale);
  }
  return factors;
}

static gboolean
write_transformer (const RandomJob *job, AvatarDType dtype, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, AVATAR_COMPONENT_TRANSFORMER);
  g_autoptr (GArray) list = random_list (manifest, AVATAR_BF16);
  g_autoptr (GHashTable) factors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  Scales scales = { job, factors };
  gboolean torch = job->form == RANDOM_RELEASED, fp8 = dtype == AVATAR_F8_E4M3;
  g_autoptr (GArray) scale_list = fp8 ? quantise (list, manifest, torch, &scales) : NULL;
  const char *file = fp8 ? VIDEO "/transformers/mp_rank_00_model_states_fp8.pt"
                         : VIDEO "/transformers/mp_rank_00_model_states.pt";

  if (!torch) {
    if (fp8)
      g_array_append_vals (list, scale_list->data, scale_list->len);
    return random_write_tensors (job, "transformer.safetensors", RANDOM_SAFETENSORS, NULL, list,
        fill, &scales, error);
  }
  return random_write_tensors (job, file, RANDOM_TORCH, "module", list, fill, &scales, error)
      && (!fp8
          || random_write_tensors (job, VIDEO "/transformers/mp_rank_00_model_states_fp8_map.pt",
              RANDOM_TORCH, "module", scale_list, fill, &scales, error));
}

/* Returns the sizes that the option --config selects. */
static RandomSizes
chosen_sizes (void)
{
  return config_path ? RANDOM_SIZES_SMALL : RANDOM_SIZES_RELEASED;
}

/* Writes a component to one file. */
static gboolean
write_component (const RandomJob *job, AvatarComponentKind component, AvatarDType dtype,
    const char *file, RandomFormat kind, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, component);
  g_autoptr (GArray) list = random_list (manifest, dtype);

  return random_write_tensors (job, file, kind, NULL, list, random_fill, (gpointer) job, error);
}

static gboolean
write_vae (const RandomJob *job, GError **error)
{
  switch (job->form) {
    case RANDOM_PLAIN:
      return write_component (job, AVATAR_COMPONENT_VAE, AVATAR_F32, "vae.safetensors",
          RANDOM_SAFETENSORS, error);
    case RANDOM_WAN2GP:
      return write_component (job, AVATAR_COMPONENT_VAE, AVATAR_F32,
                 "ckpts/hunyuan_video_custom_VAE_fp32.safetensors", RANDOM_SAFETENSORS, error)
          && random_write_section (job, "vae", "ckpts/hunyuan_video_custom_VAE_config.json", error);
    default:
      return write_component (job, AVATAR_COMPONENT_VAE, AVATAR_F32, VIDEO "/vae/pytorch_model.pt",
                 RANDOM_TORCH, error)
          && random_write_section (job, "vae", VIDEO "/vae/config.json", error);
  }
}

/* Writes a safetensors file; downloads use Hugging Face's names. */
static gboolean
write_whisper (const RandomJob *job, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (job->config, AVATAR_COMPONENT_WHISPER);
  g_autoptr (GArray) list = NULL;

  for (guint i = 0; i < manifest->len && job->form != RANDOM_PLAIN; i++) {
    AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    char *name = g_strconcat ("model.encoder.", e->name, NULL);

    g_free (e->name);
    e->name = name;
  }
  list = random_list (manifest, AVATAR_F32);
  if (job->form == RANDOM_PLAIN)
    return random_write_tensors (job, "whisper_encoder.safetensors", RANDOM_SAFETENSORS, NULL, list,
        random_fill, (gpointer) job, error);
  return random_write_tensors (job, "ckpts/whisper-tiny/model.safetensors", RANDOM_SAFETENSORS,
             NULL, list, random_fill, (gpointer) job, error)
      && random_write_section (job, "whisper", "ckpts/whisper-tiny/config.json", error);
}

#define SHARDS 4

/* Writes Hugging Face's shards and their index. */
static gboolean
write_shards (const RandomJob *job, const char *folder, GArray *list, GError **error)
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
    if (!random_write_tensors (job, file, RANDOM_SAFETENSORS, NULL, some, random_fill,
            (gpointer) job, error))
      return FALSE;
  }
  g_string_append_printf (index,
      "\n  },\n  \"metadata\": {\"total_size\": %" G_GUINT64_FORMAT "}\n}\n", total);
  return random_write_text (job, index_path, index->str, error);
}

/* @name: file name in @folder */
static gboolean
write_beside (const RandomJob *job, const char *folder, const char *name, const char *text,
    GError **error)
{
  g_autofree char *file = g_strconcat (folder, "/", name, NULL);

  return random_write_text (job, file, text, error);
}

static const char *
llava_folder (const RandomJob *job)
{
  return job->form == RANDOM_WAN2GP ? "ckpts/llava-llama-3-8b" : "ckpts/llava_llama_image";
}

static const char *
clip_folder (const RandomJob *job)
{
  return job->form == RANDOM_WAN2GP ? "ckpts/clip_vit_large_patch14" : "ckpts/text_encoder_2";
}

/* Writes tokenizers that have tokens for the text around a prompt. */
static gboolean
write_llava_tokenizer (const RandomJob *job, GError **error)
{
  LlavaSizes sizes = random_llava_sizes (job->config, chosen_sizes ());
  const RandomTokenizerSizes tokens = { sizes.vocab, sizes.merges, job->seed };
  g_auto (GStrv) texts = random_config_texts (job->config);
  g_auto (RandomTokenizer) tokenizer
      = random_tokenizer_llama (&tokens, (const char *const *) texts);
  const char *folder = llava_folder (job);

  return write_beside (job, folder, "tokenizer.json", tokenizer.json, error)
      && write_beside (job, folder, "tokenizer_config.json", tokenizer.config, error);
}

static gboolean
write_clip_tokenizer (const RandomJob *job, GError **error)
{
  ClipSizes sizes = random_clip_sizes (job->config, chosen_sizes ());
  const RandomTokenizerSizes tokens = { sizes.vocab, sizes.merges, job->seed };
  g_auto (GStrv) texts = random_config_texts (job->config);
  g_autofree char *merges = NULL;
  g_autofree char *vocab = random_tokenizer_clip (&tokens, (const char *const *) texts, &merges);
  const char *folder = clip_folder (job);

  return write_beside (job, folder, "vocab.json", vocab, error)
      && write_beside (job, folder, "merges.txt", merges, error);
}

static gboolean
write_llava (const RandomJob *job, GError **error)
{
  const char *folder = llava_folder (job);
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  LlavaSizes sizes = random_llava_sizes (job->config, chosen_sizes ());
  g_autoptr (GArray) list = random_llava_list (&sizes, names);
  g_autofree char *config = random_llava_config (&sizes);

  if (!(job->form == RANDOM_WAN2GP ? random_write_tensors (job,
            "ckpts/llava-llama-3-8b/llava-llama-3-8b-v1_1_vlm_fp16.safetensors", RANDOM_SAFETENSORS,
            NULL, list, random_fill, (gpointer) job, error)
                                   : write_shards (job, folder, list, error)))
    return FALSE;
  return write_beside (job, folder, "config.json", config, error)
      && write_llava_tokenizer (job, error);
}

static gboolean
write_clip (const RandomJob *job, GError **error)
{
  gboolean wan2gp = job->form == RANDOM_WAN2GP;
  const char *folder = clip_folder (job);
  g_autofree char *file = g_strconcat (folder, "/model.safetensors", NULL);
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  ClipSizes sizes = random_clip_sizes (job->config, chosen_sizes ());
  g_autoptr (GArray) list = random_clip_list (&sizes, names);
  g_autofree char *config = random_clip_config (&sizes);

  return random_write_tensors (job, file, RANDOM_SAFETENSORS, NULL, list, random_fill,
             (gpointer) job, error)
      && write_beside (job, folder, wan2gp ? "text_config.json" : "config.json", config, error)
      && write_clip_tokenizer (job, error);
}

/* Writes the face detector as a TorchScript archive. */
static gboolean
write_detector (const RandomJob *job, GError **error)
{
  gboolean plain = job->form == RANDOM_PLAIN;
  g_autoptr (GStringChunk) names = g_string_chunk_new (16384);
  g_autoptr (GArray) list = random_face_list (chosen_sizes (), names);
  g_autofree char *path
      = random_path (job, plain ? AVATAR_PLAIN_DETECTOR : "ckpts/det_align/detface.pt", error);

  if (!path
      || !avatar_write_torch_script (path, list, job->empty ? NULL : random_fill, (gpointer) job,
          error))
    return FALSE;
  g_print ("%s: %u tensors\n", path, list->len);
  return TRUE;
}

static gboolean
write_one (const RandomJob *job, const char *component, GError **error)
{
  gboolean plain = job->form == RANDOM_PLAIN, wan2gp = job->form == RANDOM_WAN2GP;

  if (strcmp (component, "transformer") == 0)
    return wan2gp ? random_write_wan2gp (job, AVATAR_BF16, error)
                  : write_transformer (job, AVATAR_BF16, error);
  if (strcmp (component, "transformer-int8") == 0 && wan2gp)
    return random_write_wan2gp (job, AVATAR_I8, error);
  if (strcmp (component, "transformer-fp8") == 0 && !wan2gp)
    return write_transformer (job, AVATAR_F8_E4M3, error);
  if (strcmp (component, "vae") == 0)
    return write_vae (job, error);
  if (strcmp (component, "whisper") == 0)
    return write_whisper (job, error);
  if (strcmp (component, "llava") == 0 && !plain)
    return write_llava (job, error);
  if (strcmp (component, "clip") == 0 && !plain)
    return write_clip (job, error);
  if (strcmp (component, "tokenizers") == 0 && !plain)
    return write_llava_tokenizer (job, error) && write_clip_tokenizer (job, error);
  if (strcmp (component, "detface") == 0)
    return write_detector (job, error);
  if (strcmp (component, "text") == 0 && plain)
    return write_component (job, AVATAR_COMPONENT_TEXT, AVATAR_F32, "text_stub.safetensors",
        RANDOM_SAFETENSORS, error);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "unknown component \"%s\" for this layout; expected transformer, vae, whisper, detface, %s",
      component,
      plain        ? "transformer-fp8 or text"
          : wan2gp ? "transformer-int8, llava, clip or tokenizers"
                   : "transformer-fp8, llava, clip or tokenizers");
  return FALSE;
}

/* Returns: (transfer full): the list of components. */
static GStrv
list_components (const RandomJob *job)
{
  const char *components
      = job->form == RANDOM_PLAIN ? "transformer,vae,whisper,text" : "transformer,vae,whisper";

  return g_strsplit (component_list ? component_list : components, ",", -1);
}

static gboolean
has_component (const RandomJob *job, const char *component)
{
  g_auto (GStrv) components = list_components (job);

  return g_strv_contains ((const char *const *) components, component);
}

/* Writes the sizes where avatar_model_open() expects them. */
static gboolean
write_sizes (const RandomJob *job, GError **error)
{
  switch (job->form) {
    case RANDOM_PLAIN:
      return random_write_text (job, "config.json", job->json, error);
    case RANDOM_WAN2GP:
      return !job->sized || random_write_text (job, "ckpts/avatar-config.json", job->json, error);
    default:
      return !job->sized
          || random_write_text (job, VIDEO "/transformers/avatar-config.json", job->json, error);
  }
}

static gboolean
write_all (const RandomJob *job, GError **error)
{
  static const char *const sized[]
      = { "transformer", "transformer-fp8", "transformer-int8", "llava", "clip" };
  gboolean sizes = job->form == RANDOM_PLAIN;
  g_auto (GStrv) components = list_components (job);

  for (guint i = 0; components[i]; i++)
    if (!write_one (job, components[i], error))
      return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (sized); i++)
    sizes |= has_component (job, sized[i]);
  return !sizes || write_sizes (job, error);
}

static gboolean
parse_config (RandomJob *job, const char *name, GError **error)
{
  g_clear_pointer (&job->config, avatar_config_free);
  g_clear_pointer (&job->sections, json_object_unref);
  job->config = avatar_config_parse (job->json, -1, name, error);
  if (job->config)
    job->sections = avatar_json_parse (job->json, strlen (job->json), name, error);
  return job->sections != NULL;
}

/* Adds a "text" section for the encoders, unless they have the released sizes. */
static gboolean
fit_config (RandomJob *job, const char *name, GError **error)
{
  guint crop = job->config->text.crop_start;
  char *fitting;

  if (job->form == RANDOM_PLAIN || !(has_component (job, "llava") || has_component (job, "clip")))
    return TRUE;
  fitting = random_config_with_text (job->json, job->config, chosen_sizes (), error);
  if (!fitting)
    return FALSE;
  g_free (job->json);
  job->json = fitting;
  if (!parse_config (job, name, error))
    return FALSE;
  job->sized |= crop != job->config->text.crop_start;
  return TRUE;
}

static gboolean
read_config (RandomJob *job, GError **error)
{
  const char *name = config_path ? config_path : AVATAR_RELEASED;

  job->sized = config_path != NULL;
  if (!config_path)
    job->json = g_strdup (avatar_config_released_json ());
  else if (!g_file_get_contents (config_path, &job->json, NULL, error))
    return FALSE;
  return parse_config (job, name, error) && fit_config (job, name, error);
}

/* Returns FALSE if the options name no layout. */
static gboolean
choose_form (RandomForm *form)
{
  gboolean wan2gp = g_strcmp0 (layout, "wan2gp") == 0;

  if ((layout && !wan2gp && strcmp (layout, "released") != 0)
      || (format && (wan2gp || (strcmp (format, "torch") && strcmp (format, "safetensors")))))
    return FALSE;
  *form = wan2gp                               ? RANDOM_WAN2GP
      : g_strcmp0 (format, "safetensors") == 0 ? RANDOM_PLAIN
                                               : RANDOM_RELEASED;
  return TRUE;
}

static gboolean
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("FOLDER");
  RandomJob job = { 0 };
  gboolean done;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Writes a model of seeded random weights to FOLDER, by default in the layout of the release\n"
      "(FOLDER/ckpts/...). At the released sizes the transformer takes 24.2 GiB, or 12.6 GiB in\n"
      "8 bits.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc != 2 || !choose_form (&job.form)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "one folder was expected, released or wan2gp as --layout, and of the former torch or "
        "safetensors as --format; see --help");
    return FALSE;
  }
  job.folder = argv[1];
  job.seed = seed;
  job.empty = empty;
  done = read_config (&job, error) && write_all (&job, error);
  g_clear_pointer (&job.config, avatar_config_free);
  g_clear_pointer (&job.sections, json_object_unref);
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
