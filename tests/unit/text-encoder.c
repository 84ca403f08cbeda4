/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts through both text encoders of a released tree at small sizes: the same under every budget
 * and under other names, kept on disk and found again, refused, cancelled; and the denoiser on top. */
#include "engine/denoise/denoiser.h"
#include "engine/memory/device.h"
#include "engine/ops/sim/sim.h"
#include "engine/weights/model.h"
#include "engine/weights/random.h"
#include "engine/weights/writer.h"
#include "tools/random-text.h"

#include <avatar/avatar.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include <utime.h>

#define TEXT GOLDEN_DIR "/text/"
#define LLAVA "ckpts/llava_llama_image"
#define CLIP "ckpts/text_encoder_2"
#define SIDE 64
#define MIB ((guint64) 1 << 20)
/* That of the test's tokenizer, less 63: see random_llava_config(). */
#define LLAVA_VOCAB (1730 + 63)
#define CLIP_VOCAB 1500

/* @folder: of the released tree; @cache: where nothing is yet */
typedef struct
{
  char *folder, *cache;
  AvatarModel *model;
  AvatarImage *image;
} Fixture;

static char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->folder, name, NULL);
}

static void
put (Fixture *f, const char *name, const char *text)
{
  g_autofree char *path = path_of (f, name), *folder = g_path_get_dirname (path);

  g_mkdir_with_parents (folder, 0777);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static void
copy (Fixture *f, const char *from, const char *name)
{
  g_autofree char *text = NULL;

  g_assert_true (g_file_get_contents (from, &text, NULL, NULL));
  put (f, name, text);
}

/* What newer versions of the library call a tensor of the released file, or the same name. */
static const char *
new_name (GStringChunk *names, const char *name)
{
  g_autofree char *changed = NULL;

  if (g_str_has_prefix (name, "language_model.model."))
    changed = g_strconcat ("model.language_model.", name + strlen ("language_model.model."), NULL);
  else if (g_str_has_prefix (name, "language_model."))
    changed = g_strdup (name + strlen ("language_model."));
  else if (!g_str_has_prefix (name, "text_model."))
    changed = g_strconcat ("model.", name, NULL);
  return changed ? g_string_chunk_insert (names, changed) : name;
}

/* @data: (nullable): name in the file -> the one whose values it has */
static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const char *name = data ? g_hash_table_lookup (data, t->name) : t->name;
  AvatarRandom random = avatar_random_for (name, t->tensor, 0);

  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

/* @drop: (nullable): a tensor that is left out */
static void
write_weights (Fixture *f, const char *name, GArray *list, const char *drop, gboolean renamed)
{
  g_autofree char *path = path_of (f, name), *folder = g_path_get_dirname (path);
  g_autoptr (GArray) some = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GHashTable) old = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < list->len; i++) {
    AvatarNamedTensor t = g_array_index (list, AvatarNamedTensor, i);
    const char *before = t.name;

    if (g_strcmp0 (t.name, drop) == 0)
      continue;
    if (renamed)
      t.name = new_name (names, t.name);
    g_hash_table_insert (old, (char *) t.name, (char *) before);
    g_array_append_val (some, t);
  }
  g_mkdir_with_parents (folder, 0777);
  avatar_write_safetensors (path, some, fill, old, &error);
  g_assert_no_error (error);
}

static void
write_encoders (Fixture *f, const char *drop, gboolean renamed)
{
  AvatarConfig config = { .transformer = { .text_dim = 64, .pooled_dim = 32 } };
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  LlavaSizes llava = random_llava_sizes (&config, TRUE);
  ClipSizes clip = random_clip_sizes (&config, TRUE);
  g_autoptr (GArray) llava_list = NULL, clip_list = NULL;
  g_autofree char *llava_config = NULL, *clip_config = NULL;

  llava.vocab = LLAVA_VOCAB;
  clip.vocab = CLIP_VOCAB;
  llava_list = random_llava_list (&llava, names);
  clip_list = random_clip_list (&clip, names);
  llava_config = random_llava_config (&llava);
  clip_config = random_clip_config (&clip);
  write_weights (f, LLAVA "/model.safetensors", llava_list, drop, renamed);
  write_weights (f, CLIP "/model.safetensors", clip_list, drop, renamed);
  put (f, LLAVA "/config.json", llava_config);
  put (f, CLIP "/config.json", clip_config);
}

/* The demo's sizes, with the release's way of text. */
static char *
make_config (void)
{
  static const char other[]
      = "\"text\": {\"kind\": \"llava+clip\", \"max_length\": 120, \"crop_start\": 6, "
        "\"image_tokens\": 16, \"template\": "
        "\"<|start_header_id|>a video:<|eot_id|>{}<|eot_id|>\"}, \"unused\": {";
  g_autofree char *text = NULL;
  char *at;

  g_assert_true (g_file_get_contents (AVATAR_MODEL_DIR "/config.json", &text, NULL, NULL));
  at = strstr (text, "\"text\": {");
  g_assert_nonnull (at);
  *at = '\0';
  return g_strconcat (text, other, at + strlen ("\"text\": {"), NULL);
}

/* The parts that no test changes, made once. */
static char *shared;

static void
make_shared (void)
{
  g_autofree char *config = make_config (), *path = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  shared = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  path = g_build_filename (shared, "small.json", NULL);
  g_assert_true (g_file_set_contents (path, config, -1, NULL));
  {
    const char *argv[]
        = { AVATAR_RANDOM, "--config", path, "--parts", "transformer,vae,whisper", shared, NULL };

    g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
        &status, &error);
    g_assert_no_error (error);
    g_assert_true (g_spawn_check_wait_status (status, NULL));
  }
}

static void
link_shared (Fixture *f, const char *name)
{
  g_autofree char *from = g_build_filename (shared, name, NULL), *to = path_of (f, name);

  g_assert_cmpint (symlink (from, to), ==, 0);
}

static void
setup (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *pixels = g_malloc (SIDE * SIDE * 3);
  g_autoptr (GError) error = NULL;

  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->cache = path_of (f, "cache/text");
  write_encoders (f, NULL, FALSE);
  link_shared (f, "small.json");
  link_shared (f, "ckpts/hunyuan-video-t2v-720p");
  link_shared (f, "ckpts/whisper-tiny");
  copy (f, TEXT "llama/tokenizer.json", LLAVA "/tokenizer.json");
  copy (f, TEXT "llama/tokenizer_config.json", LLAVA "/tokenizer_config.json");
  copy (f, TEXT "clip/vocab.json", CLIP "/vocab.json");
  copy (f, TEXT "clip/merges.txt", CLIP "/merges.txt");
  f->model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < SIDE * SIDE * 3; i++)
    pixels[i] = i * 7 % 251;
  f->image = avatar_image_new (SIDE, SIDE, 3, 3 * SIDE, pixels, NULL);
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

static void
teardown (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (avatar_sim_count_memory (), ==, 0);
  avatar_image_free (f->image);
  avatar_model_unref (f->model);
  remove_tree (f->folder);
  g_free (f->folder);
  g_free (f->cache);
}

/* ------------------------------------------------------------------------------------ one encoding */

typedef struct
{
  guint told, parts;  /* of the progress */
  guint cancel_after; /* parts; 0: never */
  AvatarOps *ops;
} Progress;

static void
on_progress (guint done, guint parts, gpointer data)
{
  Progress *p = data;

  g_assert_cmpuint (done, ==, p->told);
  p->told++;
  p->parts = parts;
  if (p->cancel_after && done == p->cancel_after)
    avatar_ops_cancel (p->ops);
}

typedef struct
{
  const char *prompts[2], *device, *cache;
  guint64 budget, limit;
  gboolean exact;
  guint cancel_after;
} Job;

/* States and pooled vectors of both prompts, one after the other; %NULL with @error. */
static GByteArray *
encode_model (Fixture *f, AvatarModel *model, const Job *job, guint *parts, GError **error)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  g_autoptr (AvatarDevice) device = avatar_device_open (job->device ? job->device : "cpu", NULL);
  const AvatarTextEncoderSettings settings = { { job->prompts[0], job->prompts[1] }, 2, job->exact,
    FALSE, { job->cache, job->limit ? job->limit : AVATAR_TEXT_CACHE_BYTES } };
  g_autoptr (AvatarTextEncoder) self = avatar_text_encoder_new (model, device, &settings, error);
  g_autoptr (GByteArray) all = g_byte_array_new ();
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTextEncoderNeeds needs;
  AvatarArena *arena;
  AvatarMemory memory;
  Progress progress = { .cancel_after = job->cancel_after };

  if (!self)
    return NULL;
  avatar_device_set_budget (device, job->budget);
  avatar_text_encoder_plan (self, G_MAXUINT64, &needs);
  arena = avatar_arena_new (device, needs.arena, "the test", error);
  if (!arena)
    return NULL;
  progress.ops = ops = avatar_ops_new (device, arena, error);
  if (!avatar_text_encoder_run (self, ops, f->image, on_progress, &progress, error))
    return NULL;
  *parts = progress.told;
  if (progress.told > 0) {
    g_assert_cmpuint (progress.told, ==, progress.parts + 1);
    g_assert_cmpuint (avatar_arena_peak (ops->arena), <=, needs.arena);
    if (!job->cache) /* which may have one of them */
      g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, needs.arena);
  }
  avatar_device_get_memory (device, &memory);
  if (job->budget)
    g_assert_cmpuint (memory.peak, <=, job->budget);
  g_assert_cmpuint (avatar_arena_mark (ops->arena), ==, 0);
  for (guint i = 0; i < 2; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get (self, i);

    g_byte_array_append (all, (guint8 *) e->states, e->n * c->llava.hidden * sizeof (float));
    g_byte_array_append (all, (guint8 *) e->pooled, c->clip.tower.hidden * sizeof (float));
  }
  return g_steal_pointer (&all);
}

static GByteArray *
encode (Fixture *f, const Job *job, guint *parts)
{
  g_autoptr (GError) error = NULL;
  GByteArray *all = encode_model (f, f->model, job, parts, &error);

  g_assert_no_error (error);
  return all;
}

static gboolean
is_same (const GByteArray *a, const GByteArray *b)
{
  return a->len == b->len && memcmp (a->data, b->data, a->len) == 0;
}

static const Job two = { .prompts = { "A woman talks.", "bad hands" } };

/* The same on a device with little memory, with more, and on the CPU. */
static void
test_budgets (Fixture *f, gconstpointer data)
{
  guint parts, refused = 0;
  g_autoptr (GByteArray) cpu = encode (f, &two, &parts);
  Job job = two;

  g_assert_cmpuint (parts, >, 10);
  job.device = "sim:512";
  for (guint64 mib = 9; mib <= 24; mib++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GByteArray) sim = NULL;

    job.budget = mib * MIB;
    sim = encode_model (f, f->model, &job, &parts, &error);
    if (sim) {
      g_assert_true (is_same (cpu, sim));
      continue;
    }
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
    refused++;
  }
  g_test_message ("%u of 16 budgets were refused", refused);
  g_assert_cmpuint (refused, >, 0);
  g_assert_cmpuint (refused, <, 12);
}

/* What is needed does not depend on how much is left, and is what is taken. */
static void
test_plan (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", NULL);
  const AvatarTextEncoderSettings settings = { { "hello", "no" }, 2, FALSE, FALSE, { NULL, 0 } };
  g_autoptr (AvatarTextEncoder) self = avatar_text_encoder_new (f->model, device, &settings, NULL);
  AvatarTextEncoderNeeds least, all;
  Job job = two;
  guint parts;

  avatar_text_encoder_plan (self, 0, &least);
  avatar_text_encoder_plan (self, G_MAXUINT64, &all);
  g_assert_cmpuint (least.least, ==, all.least);
  g_assert_cmpuint (least.arena, ==, all.arena);
  g_assert_cmpuint (least.weights, ==, least.least);
  g_assert_cmpuint (all.weights, >, least.weights);
  job.device = "sim:512";
  job.budget = AVATAR_SIM_OVERHEAD + avatar_device_rounded (device, all.arena) + all.least;
  g_byte_array_unref (encode (f, &job, &parts));
  job.budget -= MIB;
  {
    g_autoptr (GError) error = NULL;

    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
}

static void
test_new_names (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) released = NULL, renamed = NULL;
  g_autoptr (AvatarModel) model = NULL;
  guint parts;

  released = encode (f, &two, &parts);
  write_encoders (f, NULL, TRUE);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  renamed = encode_model (f, model, &two, &parts, &error);
  g_assert_no_error (error);
  g_assert_true (is_same (released, renamed));
}

/* ----------------------------------------------------------------------------------------- the cache */

static GPtrArray *
list_cache (Fixture *f)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (f->cache, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    g_ptr_array_add (paths, g_build_filename (f->cache, name, NULL));
  return paths;
}

static guint
count_cache (Fixture *f)
{
  g_autoptr (GPtrArray) paths = list_cache (f);

  for (guint i = 0; i < paths->len; i++)
    g_assert_true (g_str_has_suffix (g_ptr_array_index (paths, i), ".safetensors"));
  return paths->len;
}

static void
test_cache (Fixture *f, gconstpointer data)
{
  guint parts;
  g_autoptr (GByteArray) without = encode (f, &two, &parts);
  g_autoptr (GByteArray) first = NULL, second = NULL, changed = NULL;
  Job job = two;

  g_assert_cmpuint (count_cache (f), ==, 0);
  job.cache = f->cache;
  first = encode (f, &job, &parts);
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 2);
  g_assert_true (is_same (first, without));
  second = encode (f, &job, &parts);
  g_assert_cmpuint (parts, ==, 0); /* nothing was computed */
  g_assert_true (is_same (second, without));
  /* another prompt, and the old one found again */
  job.prompts[0] = "A man talks.";
  changed = encode (f, &job, &parts);
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 3);
  g_assert_false (is_same (changed, without));
  job.prompts[0] = two.prompts[0];
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, ==, 0);
  /* another option, another device, another portrait */
  job.exact = TRUE;
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 5);
  job.exact = FALSE;
  job.device = "sim:512";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 7);
  job.device = NULL;
  for (guint i = 0; i < 40; i++) /* the resampling averages single pixels away */
    f->image->data[i] ^= 0x80;
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 9);
}

/* Whatever an entry has become, what comes out is right, and the entry is whole again. */
static void
test_broken_entries (Fixture *f, gconstpointer data)
{
  guint parts;
  Job job = two;
  g_autoptr (GByteArray) right = NULL;

  job.cache = f->cache;
  right = encode (f, &job, &parts);
  for (guint way = 0; way < 6; way++) {
    g_autoptr (GPtrArray) paths = list_cache (f);
    g_autoptr (GByteArray) again = NULL, kept = NULL;

    for (guint i = 0; i < paths->len; i++) {
      g_autofree char *bytes = NULL;
      gsize n;

      g_assert_true (g_file_get_contents (g_ptr_array_index (paths, i), &bytes, &n, NULL));
      if (way == 0)
        n = 0;
      else if (way == 1)
        n = n / 2;
      else if (way == 2)
        n = 7;
      else if (way == 3)
        bytes[n - SIDE] ^= 1; /* of the sum, or a value */
      else if (way == 4)
        bytes[n / 2] ^= 1; /* a value */
      else
        memset (bytes, 0xff, 8); /* the length of the table */
      g_assert_true (g_file_set_contents (g_ptr_array_index (paths, i), bytes, n, NULL));
    }
    again = encode (f, &job, &parts);
    g_assert_cmpuint (parts, >, 0);
    g_assert_true (is_same (again, right));
    kept = encode (f, &job, &parts);
    g_assert_cmpuint (parts, ==, 0);
    g_assert_true (is_same (kept, right));
  }
}

/* Those used last stay, in the bytes that there may be. */
static void
test_limit (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) first = NULL;
  Job job = { .prompts = { "one", "two" }, .cache = f->cache };
  struct utimbuf old = { 1000000, 1000000 };
  guint parts;
  guint64 all = 0, most = 0;
  GStatBuf st;

  g_byte_array_unref (encode (f, &job, &parts));
  first = list_cache (f);
  g_assert_cmpuint (first->len, ==, 2);
  for (guint i = 0; i < 2; i++) {
    g_assert_cmpint (g_stat (g_ptr_array_index (first, i), &st), ==, 0);
    all += st.st_size;
    most = MAX (most, (guint64) st.st_size);
  }
  /* room for three; the two there are have not been used for long, but "two" is now */
  job.limit = all + most + most / 4;
  for (guint i = 0; i < 2; i++)
    g_assert_cmpint (g_utime (g_ptr_array_index (first, i), &old), ==, 0);
  job.prompts[0] = "three";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
  job.prompts[0] = "four";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
  job.prompts[0] = "three";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, ==, 0);
  job.prompts[0] = "one"; /* that is the one which had to go */
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, >, 0);
  job.limit = 100; /* nothing fits, nothing is kept, and nothing else goes */
  job.prompts[0] = "five";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
}

/* A folder that cannot be made: the run goes on. */
static void
test_no_folder (Fixture *f, gconstpointer data)
{
  g_autofree char *file = path_of (f, "small.json");
  Job job = two;
  guint parts;

  job.cache = file;
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*folder for encoded prompts*");
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*folder for encoded prompts*");
  g_byte_array_unref (encode (f, &job, &parts));
  g_test_assert_expected_messages ();
}

/* -------------------------------------------------------------------------------------- what goes wrong */

static void
refuse (Fixture *f, gint code, const char *text)
{
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (f->folder, &error);

  g_assert_null (model);
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, text))
    g_error ("expected \"%s\" in \"%s\"", text, error->message);
}

static void
test_missing (Fixture *f, gconstpointer data)
{
  static const char *const names[]
      = { "language_model.model.layers.1.mlp.up_proj.weight", "multi_modal_projector.linear_2.bias",
          "vision_tower.vision_model.encoder.layers.1.self_attn.v_proj.bias",
          "language_model.model.embed_tokens.weight" };
  g_autoptr (GError) error = NULL;
  g_autofree char *tokenizer = path_of (f, LLAVA "/tokenizer.json");
  g_autofree char *clip = path_of (f, CLIP "/model.safetensors");
  guint parts;
  AvatarModel *model;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    write_encoders (f, names[i], FALSE);
    refuse (f, AVATAR_ERROR_NOT_FOUND, names[i]);
  }
  write_encoders (f, "text_model.final_layer_norm.bias", FALSE);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "\"final_layer_norm.bias\"");
  /* those that are not used may be missing */
  write_encoders (f, "language_model.model.layers.3.mlp.up_proj.weight", FALSE);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  g_byte_array_unref (encode_model (f, model, &two, &parts, &error));
  g_assert_no_error (error);
  g_remove (tokenizer);
  g_assert_null (encode_model (f, model, &two, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "tokenizer.json"));
  g_clear_error (&error);
  avatar_model_unref (model);
  g_remove (clip);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error); /* for whoever has text_states */
  g_assert_null (encode_model (f, model, &two, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "text_encoder_2"));
  avatar_model_unref (model);
}

static void
test_configs (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *file, *config, *text;
  } cases[] = {
    { LLAVA, "{\"vision_feature_layer\": -1}", "vision_feature_layer" },
    { LLAVA, "{\"projector_hidden_act\": \"silu\"}", "projector_hidden_act" },
    { LLAVA, "{\"text_config\": {\"rope_scaling\": {\"type\": \"linear\"}}}", "rope_scaling" },
    { LLAVA, "{\"text_config\": {\"hidden_size\": 1e99}}", "hidden_size" },
    { LLAVA, "{\"text_config\": {\"hidden_size\": 4096.5}}", "whole number" },
    { LLAVA, "{\"text_config\": {\"num_attention_heads\": 3}}", "does not divide" },
    { LLAVA, "{\"text_config\": {\"num_key_value_heads\": 5}}", "do not divide" },
    { LLAVA, "{\"text_config\": 3}", "expected an object" },
    { LLAVA, "{\"vision_config\": {\"image_size\": 55}}", "image_size" },
    { LLAVA, "{\"vision_config\": {\"hidden_act\": \"gelu\"}}", "hidden_act" },
    { LLAVA, "{}", "do not belong together" }, /* the released sizes */
    { CLIP, "{\"hidden_size\": \"many\"}", "hidden_size" },
    { CLIP,
        "{\"text_config\": {\"hidden_size\": 32, \"num_attention_heads\": 4, \"max_position_embeddings\": 70}}",
        "70 positions" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *name = g_strconcat (cases[i].file, "/config.json", NULL);

    write_encoders (f, NULL, FALSE);
    put (f, name, cases[i].config);
    refuse (f, AVATAR_ERROR_MISMATCH, cases[i].text);
  }
  write_encoders (f, NULL, FALSE);
  put (f, CLIP "/config.json", "[]");
  refuse (f, AVATAR_ERROR_FORMAT, "config.json");
}

static void
test_prompts (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *long_text = g_strnfill (3000, 'x');
  Job job = { .prompts = { "abc\xff", "" } };
  guint parts;

  g_assert_null (encode_model (f, f->model, &job, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  job.prompts[0] = long_text;
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*too long*not seen*");
  g_byte_array_unref (encode (f, &job, &parts));
  g_test_assert_expected_messages ();
}

/* The file is cut short behind our back. */
static void
test_cut (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, LLAVA "/model.safetensors");
  const char *devices[] = { "cpu", "sim:512" };
  guint parts;

  g_assert_cmpint (truncate (path, 40000), ==, 0);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    Job job = two;

    job.device = devices[i];
    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_READ);
    g_assert_nonnull (strstr (error->message, "cut short"));
  }
}

static void
test_cancel (Fixture *f, gconstpointer data)
{
  const char *devices[] = { "cpu", "sim:512" };
  guint parts;

  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    Job job = two;

    job.device = devices[i];
    job.cache = f->cache;
    job.cancel_after = 7;
    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
    g_assert_cmpuint (count_cache (f), ==, 0); /* half of it is nothing */
  }
}

/* ---------------------------------------------------------------------------------------- the denoiser */

typedef struct
{
  guint text, denoise;
} Phases;

static void
on_phase (const AvatarProgress *progress, gpointer data)
{
  Phases *phases = data;

  g_assert_cmpuint (progress->step, <=, progress->steps);
  if (progress->phase == AVATAR_PROGRESS_TEXT)
    phases->text++;
  else
    phases->denoise++;
}

#define CHUNK 2

/* All latents of one short window. @twice: the portrait is set again when some are there. */
static float *
denoise (Fixture *f, const char *device_name, guint64 budget, const char *prompt, gboolean twice,
    Phases *phases, GError **error)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, NULL);
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  gsize n_features = info->feature_steps * info->feature_states * info->feature_channels;
  gsize n = info->latent_channels * (SIDE / 8) * (SIDE / 8), predicted, peak;
  g_autofree float *features = g_new0 (float, n_features), *out = g_new0 (float, CHUNK *n);
  g_autoptr (AvatarDenoiser) self = NULL;
  AvatarDenoiseSettings settings;
  AvatarMemory memory;

  avatar_device_set_budget (device, budget);
  avatar_denoise_settings_init (&settings, f->model);
  settings.width = settings.height = SIDE;
  settings.chunk = CHUNK;
  settings.overlap = 1;
  settings.steps = 2;
  settings.guidance_scale = 4;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.prompt = prompt;
  settings.negative_prompt = "bad";
  settings.text_cache = twice ? f->cache : "none";
  self = avatar_denoiser_new (f->model, device, &settings, error);
  if (!self)
    return NULL;
  avatar_denoiser_set_progress_func (self, on_phase, phases);
  for (guint round = 0; round < (twice ? 2 : 1); round++) {
    if (!avatar_denoiser_set_reference (self, f->image, error))
      return NULL;
    avatar_denoiser_reset (self);
    for (guint i = 0; i < 4 * CHUNK - 3; i++)
      g_assert_true (avatar_denoiser_push (self, features, NULL));
    g_assert_true (avatar_denoiser_drain (self, NULL));
    for (guint i = 0; i < CHUNK; i++)
      if (avatar_denoiser_pull (self, out + i * n, error) != AVATAR_PULL_OK)
        return NULL;
  }
  avatar_denoiser_get_arena (self, &predicted, &peak);
  g_assert_cmpuint (peak, ==, predicted);
  avatar_device_get_memory (device, &memory);
  if (budget)
    g_assert_cmpuint (memory.peak, <=, budget);
  return g_steal_pointer (&out);
}

static void
test_denoise (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  Phases phases = { 0 }, again = { 0 }, other = { 0 };
  gsize bytes = CHUNK * 16 * (SIDE / 8) * (SIDE / 8) * sizeof (float);
  g_autofree float *cpu = denoise (f, "cpu", 0, "a cat", FALSE, &phases, &error), *dog = NULL;
  g_autofree float *twice = denoise (f, "cpu", 0, "a cat", TRUE, &again, &error);
  guint fits = 0;

  g_assert_no_error (error);
  g_assert_cmpuint (phases.text, >, 10);
  g_assert_cmpuint (phases.denoise, >, 0);
  g_assert_cmpuint (again.text, ==, phases.text); /* the second time from the cache */
  g_assert_cmpmem (cpu, bytes, twice, bytes);
  dog = denoise (f, "cpu", 0, "a dog", FALSE, &other, &error);
  g_assert_no_error (error);
  g_assert_cmpint (memcmp (cpu, dog, bytes), !=, 0);
  for (guint64 mib = 20; mib <= 80; mib += 4) {
    g_autoptr (GError) too_small = NULL;
    g_autofree float *sim
        = denoise (f, "sim:512", mib * MIB, "a cat", mib % 8 == 0, &other, &too_small);

    if (!sim) {
      g_assert_error (too_small, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
      g_assert_nonnull (strstr (too_small->message, "at least"));
      continue;
    }
    g_assert_cmpmem (cpu, bytes, sim, bytes);
    fits++;
  }
  g_assert_cmpuint (fits, >, 4);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*test) (Fixture *f, gconstpointer data);
  } tests[] = { { "budgets", test_budgets }, { "plan", test_plan }, { "new-names", test_new_names },
    { "cache", test_cache }, { "broken-entries", test_broken_entries }, { "limit", test_limit },
    { "no-folder", test_no_folder }, { "missing", test_missing }, { "configs", test_configs },
    { "prompts", test_prompts }, { "cut", test_cut }, { "cancel", test_cancel },
    { "denoise", test_denoise } };
  int status;

  g_test_init (&argc, &argv, NULL);
  make_shared ();
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/text-encoder/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].test, teardown);
  }
  status = g_test_run ();
  remove_tree (shared);
  g_free (shared);
  return status;
}
