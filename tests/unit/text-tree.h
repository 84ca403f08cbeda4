/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A released tree at small sizes, with both text encoders and their tokenizers, and functions that
 * encode with it. */
#pragma once

#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"
#include "engine/text/encoder.h"
#include "engine/model/model.h"
#include "engine/model/random-weights.h"
#include "engine/formats/tensor-writer.h"
#include "tools/random-text.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

G_BEGIN_DECLS

#define TEXT GOLDEN_DIR "/text/"
#define LLAVA "ckpts/llava_llama_image"
#define CLIP "ckpts/text_encoder_2"
#define SIDE 64
#define MIB ((guint64) 1 << 20)
/* That of the test's tokenizer, less 63: see random_llava_config(). */
#define LLAVA_VOCAB (1730 + 63)
#define CLIP_VOCAB 1500

/* @folder: the released tree; @cache: an empty folder */
typedef struct
{
  char *folder, *cache;
  AvatarModel *model;
  AvatarImage *image;
} Fixture;

static inline char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->folder, name, NULL);
}

static inline void
put (Fixture *f, const char *name, const char *text)
{
  g_autofree char *path = path_of (f, name), *folder = g_path_get_dirname (path);

  g_mkdir_with_parents (folder, 0777);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static inline void
copy (Fixture *f, const char *from, const char *name)
{
  g_autofree char *text = NULL;

  g_assert_true (g_file_get_contents (from, &text, NULL, NULL));
  put (f, name, text);
}

/* Name of a released tensor in newer versions of the library, which may be the same. */
static inline const char *
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
static inline void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const char *name = data ? g_hash_table_lookup (data, t->name) : t->name;
  AvatarRandom random = avatar_random_for (name, t->tensor, 0);

  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

/* @drop: (nullable): a tensor that is left out */
static inline void
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

static inline void
write_encoders (Fixture *f, const char *drop, gboolean renamed)
{
  AvatarConfig config = { .transformer = { .text_dim = 64, .pooled_dim = 32 } };
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  LlavaSizes llava = random_llava_sizes (&config, RANDOM_SIZES_SMALL);
  ClipSizes clip = random_clip_sizes (&config, RANDOM_SIZES_SMALL);
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
static inline char *
make_config (void)
{
  static const char other[]
      = "\"text\": {\"kind\": \"llava+clip\", \"max_length\": 120, \"crop_start\": 6, "
        "\"image_tokens\": 16, \"template\": "
        "\"<|start_header_id|>a video:<|eot_id|>{}<|eot_id|>\"}, \"unused\": {";
  g_autofree char *text = NULL;
  char *at;

  g_assert_true (g_file_get_contents (AVATAR_SMALL_CONFIG, &text, NULL, NULL));
  at = strstr (text, "\"text\": {");
  g_assert_nonnull (at);
  *at = '\0';
  return g_strconcat (text, other, at + strlen ("\"text\": {"), NULL);
}

/* The parts that no test changes, made once. */
static char *shared;

static inline void
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

static inline void
link_shared (Fixture *f, const char *name)
{
  g_autofree char *from = g_build_filename (shared, name, NULL), *to = path_of (f, name);

  g_assert_cmpint (symlink (from, to), ==, 0);
}

static inline void
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

static inline void
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

static inline void
teardown (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (avatar_fake_count_memory (), ==, 0);
  avatar_image_free (f->image);
  avatar_model_unref (f->model);
  remove_tree (f->folder);
  g_free (f->folder);
  g_free (f->cache);
}

/* ------------------------------------------------------------------------------------- encoding */

typedef struct
{
  guint told, parts;  /* progress */
  guint cancel_after; /* parts; 0: never */
  AvatarOps *ops;
} Progress;

static inline void
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
static inline GByteArray *
encode_model (Fixture *f, AvatarModel *model, const Job *job, guint *parts, GError **error)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  g_autoptr (AvatarDevice) device = avatar_device_open (job->device ? job->device : "cpu", NULL);
  const AvatarTextEncoderSettings settings = { { job->prompts[0], job->prompts[1] }, 2, job->exact,
    FALSE, { job->cache, job->limit ? job->limit : AVATAR_PROMPT_CACHE_BYTES } };
  g_autoptr (AvatarTextEncoder) self = avatar_text_encoder_new (model, device, &settings, error);
  g_autoptr (GByteArray) all = g_byte_array_new ();
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTextEncoderRequirements required;
  AvatarArena *arena;
  AvatarMemory memory;
  Progress progress = { .cancel_after = job->cancel_after };

  if (!self)
    return NULL;
  avatar_device_set_budget (device, job->budget);
  avatar_text_encoder_plan (self, G_MAXUINT64, &required);
  arena = avatar_arena_new (device, required.arena_bytes, "the test", error);
  if (!arena)
    return NULL;
  progress.ops = ops = avatar_ops_new (device, arena, error);
  if (!avatar_text_encoder_run (self, ops, f->image, on_progress, &progress, error))
    return NULL;
  *parts = progress.told;
  if (progress.told > 0) {
    g_assert_cmpuint (progress.told, ==, progress.parts + 1);
    g_assert_cmpuint (avatar_arena_peak (ops->arena), <=, required.arena_bytes);
    if (!job->cache) /* the cache may have one of them */
      g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, required.arena_bytes);
  }
  avatar_device_get_memory (device, &memory);
  if (job->budget)
    g_assert_cmpuint (memory.peak, <=, job->budget);
  g_assert_cmpuint (avatar_arena_mark (ops->arena), ==, 0);
  for (guint i = 0; i < 2; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get_encoding (self, i);

    g_byte_array_append (all, (guint8 *) e->states, e->n * c->llava.hidden * sizeof (float));
    g_byte_array_append (all, (guint8 *) e->pooled, c->clip.tower.hidden * sizeof (float));
  }
  return g_steal_pointer (&all);
}

static inline GByteArray *
encode (Fixture *f, const Job *job, guint *parts)
{
  g_autoptr (GError) error = NULL;
  GByteArray *all = encode_model (f, f->model, job, parts, &error);

  g_assert_no_error (error);
  return all;
}

static inline gboolean
is_same (const GByteArray *a, const GByteArray *b)
{
  return a->len == b->len && memcmp (a->data, b->data, a->len) == 0;
}

static const Job two = { .prompts = { "A woman talks.", "bad hands" } };

static inline GPtrArray *
list_cache (Fixture *f)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (f->cache, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    g_ptr_array_add (paths, g_build_filename (f->cache, name, NULL));
  return paths;
}

static inline guint
count_cache (Fixture *f)
{
  g_autoptr (GPtrArray) paths = list_cache (f);

  for (guint i = 0; i < paths->len; i++)
    g_assert_true (g_str_has_suffix (g_ptr_array_index (paths, i), ".safetensors"));
  return paths->len;
}

typedef struct
{
  const char *name;
  void (*test) (Fixture *f, gconstpointer data);
} Case;

static inline int
run_cases (int argc, char **argv, const char *room, const Case *cases, guint n)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  make_shared ();
  for (guint i = 0; i < n; i++) {
    g_autofree char *path = g_strdup_printf ("/%s/%s", room, cases[i].name);

    g_test_add (path, Fixture, NULL, setup, cases[i].test, teardown);
  }
  status = g_test_run ();
  remove_tree (shared);
  g_free (shared);
  return status;
}

G_END_DECLS
