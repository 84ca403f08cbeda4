/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text encoders against transformers' own, small and with random weights: the picture, the
 * tower, the merge of both, rows of padding, truncation, the masks, CLIP's pooled row. */
#include "tests/golden/golden.h"

#include "engine/image/vision.h"
#include "engine/text/clip.h"
#include "engine/text/llava.h"
#include "engine/model/config-text-encoder.h"

#include <json-glib/json-glib.h>
#include <string.h>

#define LIMIT 1e-5

typedef struct
{
  AvatarDevice *device;
  AvatarSafetensors *golden;
  AvatarConfig config;
  GHashTable *tables[2];
  AvatarLlavaWeights *llava;
  AvatarClipWeights *clip;
  AvatarWeights *weights[2];
  AvatarOps *ops;
  AvatarImage *square;
} Fixture;

/* Entry @name of the sizes in the file's metadata, as text; free with g_free(). */
static char *
section (AvatarSafetensors *golden, const char *name)
{
  gsize length;
  const guint8 *header = avatar_safetensors_get_header (golden, &length);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (JsonParser) inner = json_parser_new ();
  JsonObject *meta;

  g_assert_true (json_parser_load_from_data (parser, (const char *) header, length, NULL));
  meta = json_object_get_object_member (json_node_get_object (json_parser_get_root (parser)),
      "__metadata__");
  g_assert_true (
      json_parser_load_from_data (inner, json_object_get_string_member (meta, "config"), -1, NULL));
  return json_to_string (json_object_get_member (json_node_get_object (
                                                     json_parser_get_root (inner)),
                             name),
      FALSE);
}

/* Weights under @prefix, in the file and on the device. */
static void
open_weights (Fixture *f, guint i, const char *prefix)
{
  const AvatarWeightList *list = i ? f->clip->list : f->llava->list;
  AvatarTensorSource t;

  f->weights[i] = golden_weights (f->golden, prefix, f->device,
      i ? AVATAR_COMPONENT_CLIP : AVATAR_COMPONENT_LLAVA, list);
  f->tables[i] = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (guint j = 0; j < avatar_safetensors_n (f->golden); j++) {
    const char *name = avatar_safetensors_nth (f->golden, j, &t);

    if (g_str_has_prefix (name, prefix))
      g_hash_table_insert (f->tables[i], g_strdup (name + strlen (prefix)),
          g_memdup2 (&t, sizeof t));
  }
}

static void
read_square (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  AvatarTensor t = golden_get (f->golden, "in.image");
  gsize n = avatar_tensor_n (t);
  g_autofree guint8 *bytes = g_malloc (n);
  g_autoptr (AvatarImage) image = NULL;

  for (gsize i = 0; i < n; i++)
    bytes[i] = avatar_tensor_f32 (t)[i];
  image = avatar_image_new (t.shape[1], t.shape[0], 3, 3 * t.shape[1], bytes, &error);
  g_assert_no_error (error);
  f->square = avatar_vision_prepare (&f->config.llava, image, &error);
  g_assert_no_error (error);
  g_free (t.data);
}

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *llava = NULL, *clip = NULL, *length = NULL, *crop = NULL, *image = NULL;

  f->device = avatar_device_open ("cpu", NULL);
  f->golden = golden_open ("upstream/text.safetensors");
  llava = section (f->golden, "llava");
  clip = section (f->golden, "clip");
  length = section (f->golden, "length");
  crop = section (f->golden, "crop");
  image = section (f->golden, "image_tokens");
  g_assert_true (avatar_config_read_llava (&f->config.llava, llava, "golden", &error));
  g_assert_true (avatar_config_read_clip (&f->config.clip, clip, "golden", &error));
  f->config.text.max_length = atoi (length);
  f->config.text.crop_start = atoi (crop);
  f->config.text.image_tokens = atoi (image);
  f->config.text.clip_length = f->config.clip.positions;
  f->llava = avatar_llava_weights_new (&f->config.llava);
  f->clip = avatar_clip_weights_new (&f->config.clip);
  open_weights (f, 0, "llava.");
  open_weights (f, 1, "clip.");
  f->ops = avatar_ops_new (f->device, avatar_arena_new (f->device, 16 << 20, "test", &error), NULL);
  g_assert_no_error (error);
  read_square (f);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  avatar_image_free (f->square);
  avatar_ops_free (f->ops);
  for (guint i = 0; i < 2; i++) {
    avatar_weights_free (f->weights[i]);
    g_hash_table_unref (f->tables[i]);
  }
  avatar_llava_weights_free (f->llava);
  avatar_clip_weights_free (f->clip);
  avatar_safetensors_free (f->golden);
  avatar_device_unref (f->device);
}

static gint32 *
read_ids (Fixture *f, const char *name, guint *n)
{
  AvatarTensor t = golden_get (f->golden, name);
  gint32 *ids = g_new (gint32, avatar_tensor_n (t));

  *n = avatar_tensor_n (t);
  for (guint i = 0; i < *n; i++)
    ids[i] = avatar_tensor_f32 (t)[i];
  g_free (t.data);
  return ids;
}

/* A prompt with the ids of both names. */
static void
make_prompt (Fixture *f, AvatarEncoding *prompt, const char *llava_name, const char *clip_name)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *a = g_strconcat ("in.ids_", llava_name, NULL);
  g_autofree char *b = g_strconcat ("in.clip_", clip_name, NULL);
  AvatarLlavaTokens llava
      = { .length = f->config.text.max_length, .crop = f->config.text.crop_start };
  AvatarClipTokens clip = { 0 };

  llava.ids = read_ids (f, a, &llava.n);
  clip.ids = read_ids (f, b, &clip.n);
  while (clip.ids[clip.eos] != (gint32) f->config.clip.vocab - 1)
    clip.eos++;
  g_assert_true (avatar_encoding_init (prompt, &f->config, &llava, &clip, &error));
  g_assert_no_error (error);
  prompt->states = g_new0 (float, prompt->n * f->config.llava.hidden);
  prompt->pooled = g_new0 (float, f->config.clip.tower.hidden);
}

static void
check_ops (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  avatar_ops_check (f->ops, &error);
  g_assert_no_error (error);
}

static void
test_tower (Fixture *f, gconstpointer data)
{
  const AvatarLlavaConfig *c = &f->config.llava;
  const AvatarVision vision = { f->ops, c, &f->llava->vision };
  gint64 patches = avatar_vision_patches (c), d = c->vision.hidden;
  AvatarTensor x = avatar_ops_alloc (f->ops, 2, patches + 1, d);
  AvatarTensor features = avatar_ops_alloc (f->ops, 2, patches, (gint64) c->hidden);

  avatar_vision_embed (&vision, x, f->square);
  for (guint i = 0; i + 1 < c->vision.layers; i++)
    avatar_vision_layer (&vision, i, x);
  avatar_vision_project (&vision, features, x);
  check_ops (f);
  golden_compare (f->golden, "out.tower", x.data, avatar_tensor_n (x), LIMIT);
  golden_compare (f->golden, "out.features", features.data, avatar_tensor_n (features), LIMIT);
}

static void
run_llava (Fixture *f, AvatarEncoding *const *prompts, guint n, gboolean exact)
{
  g_autoptr (GError) error = NULL;
  const AvatarLlava llava = { &f->config, f->weights[0], f->llava, f->tables[0],
    exact ? AVATAR_ROPE_EXACT : AVATAR_ROPE_HALF, NULL, NULL };

  g_assert_true (avatar_llava_run (&llava, f->ops, f->square, prompts, n, &error));
  g_assert_no_error (error);
  check_ops (f);
  for (guint i = 0; i < n; i++)
    avatar_encoding_expand (prompts[i], prompts[i]->states, f->config.llava.hidden);
}

static void
compare_states (Fixture *f, const AvatarEncoding *prompt, const char *name)
{
  g_autofree char *states = g_strconcat ("out.states_", name, NULL);
  AvatarTensor golden = golden_get (f->golden, states);

  g_assert_cmpint (avatar_tensor_n (golden), ==, prompt->n * f->config.llava.hidden);
  g_free (golden.data);
  golden_compare (f->golden, states, prompt->states, prompt->n * f->config.llava.hidden, LIMIT);
}

/* Places of the mask are upstream's, its sum is what is used. */
static void
compare_mask (Fixture *f, const AvatarEncoding *prompt, const char *name)
{
  g_autofree char *key = g_strconcat ("out.mask_", name, NULL);
  AvatarTensor golden = golden_get (f->golden, key);
  guint sum = 0;

  g_assert_cmpint (avatar_tensor_n (golden), ==, prompt->n);
  for (guint i = 0; i < prompt->n; i++) {
    g_assert_cmpint (prompt->mask[i], ==, avatar_tensor_f32 (golden)[i]);
    sum += prompt->mask[i];
  }
  g_assert_cmpuint (sum, ==, prompt->used);
  g_free (golden.data);
}

/* Prompts of several lengths, alone and in pairs: to the bit the same. */
static void
test_states (Fixture *f, gconstpointer data)
{
  static const char *const names[] = { "short", "one_pad", "full" };
  gsize bytes = f->config.llava.hidden * sizeof (float);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    AvatarEncoding alone, first, second;
    AvatarEncoding *const one[] = { &alone }, *const two[] = { &first, &second };

    make_prompt (f, &alone, names[i], "a");
    make_prompt (f, &first, names[i], "a");
    make_prompt (f, &second, names[(i + 1) % 3], "b");
    run_llava (f, one, 1, FALSE);
    run_llava (f, two, 2, FALSE);
    compare_states (f, &alone, names[i]);
    compare_mask (f, &alone, names[i]);
    compare_states (f, &second, names[(i + 1) % 3]);
    g_assert_cmpmem (alone.states, alone.n * bytes, first.states, first.n * bytes);
    avatar_encoding_clear (&alone);
    avatar_encoding_clear (&first);
    avatar_encoding_clear (&second);
  }
}

/* The other frequencies make another result, and that is the library's, too. */
static void
test_exact (Fixture *f, gconstpointer data)
{
  AvatarEncoding prompt, rounded;
  AvatarEncoding *const one[] = { &prompt }, *const other[] = { &rounded };

  make_prompt (f, &prompt, "short", "a");
  make_prompt (f, &rounded, "short", "a");
  run_llava (f, one, 1, TRUE);
  run_llava (f, other, 1, FALSE);
  compare_states (f, &prompt, "short_exact");
  g_assert_cmpfloat (golden_error (rounded.states, prompt.states,
                         prompt.n * f->config.llava.hidden),
      >, 3 * LIMIT);
  avatar_encoding_clear (&prompt);
  avatar_encoding_clear (&rounded);
}

static void
test_pooled (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  const AvatarClip clip = { &f->config, f->weights[1], f->clip, f->tables[1], NULL, NULL };
  AvatarEncoding a, b;
  AvatarEncoding *const both[] = { &a, &b };

  make_prompt (f, &a, "short", "a");
  make_prompt (f, &b, "full", "b");
  g_assert_true (avatar_clip_run (&clip, f->ops, both, 2, &error));
  g_assert_no_error (error);
  check_ops (f);
  golden_compare (f->golden, "out.pooled_a", a.pooled, f->config.clip.tower.hidden, LIMIT);
  golden_compare (f->golden, "out.pooled_b", b.pooled, f->config.clip.tower.hidden, LIMIT);
  avatar_encoding_clear (&a);
  avatar_encoding_clear (&b);
}

/* Ids that the weights have no rows for, and a tokenizer with another image's token. */
static void
test_strange_ids (Fixture *f, gconstpointer data)
{
  static const struct
  {
    gint32 llava[7], clip[3];
    const char *text;
  } cases[] = {
    { { 1, 2, 3, 4, 5, 60, 57 }, { 1, 2, 49 }, "the id 60" },
    { { 1, 2, 3, 4, 5, -1, 57 }, { 1, 2, 49 }, "the id -1" },
    { { 1, 2, 3, 4, 5, 6, 57 }, { 1, 50, 49 }, "the id 50" },
    { { 1, 2, 3, 4, 5, 6, 7 }, { 1, 2, 49 }, "image_token_index" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    AvatarLlavaTokens llava = { g_memdup2 (cases[i].llava, sizeof cases[i].llava), 7, 20, 5, 0 };
    AvatarClipTokens clip = { g_memdup2 (cases[i].clip, sizeof cases[i].clip), 3, 2, 0 };
    AvatarEncoding prompt;

    g_assert_false (avatar_encoding_init (&prompt, &f->config, &llava, &clip, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH);
    g_assert_nonnull (strstr (error->message, cases[i].text));
    avatar_encoding_clear (&prompt);
  }
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*test) (Fixture *f, gconstpointer data);
  } tests[] = { { "tower", test_tower }, { "states", test_states }, { "exact", test_exact },
    { "pooled", test_pooled }, { "strange-ids", test_strange_ids } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/golden-text/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].test, teardown);
  }
  return g_test_run ();
}
