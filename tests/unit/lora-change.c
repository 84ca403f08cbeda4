/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRAs that change between two windows: later windows are bit-identical to those of a denoiser
 * made with the new LoRAs, for weights in memory, merged, and with factors apart; memory holds one
 * set of weights; a change that fails has no effect. */
#include "change-fixture.h"

#include "engine/formats/tensor-writer.h"
#include "engine/model/model.h"

#define RANK ((gint64) 2)

typedef struct
{
  Fixture f; /* a small random model */
  AvatarTextStates text[2];
  char *folder, *paths[2];
} Loras;

static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    ((float *) out)[i] = (float) ((first + i) * GPOINTER_TO_UINT (data) % 101) / 250.f - 0.2f;
}

static void
add_tensor (GArray *list, const char *name, const char *suffix, gint64 rows, gint64 cols)
{
  g_autofree char *module = g_strndup (name, strlen (name) - strlen (".weight"));
  AvatarNamedTensor t
      = { g_strconcat (module, suffix, NULL), avatar_tensor (AVATAR_F32, NULL, 2, rows, cols) };

  g_array_append_val (list, t);
}

static void
clear_name (gpointer tensor)
{
  g_free ((char *) ((AvatarNamedTensor *) tensor)->name);
}

/* Writes a LoRA for all matrices of the transformer whose names have @part. */
static char *
write_lora (Loras *l, const char *file, const char *part, guint seed)
{
  GHashTable *tensors = avatar_model_get_component (l->f.model, AVATAR_COMPONENT_TRANSFORMER, NULL);
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (tensors), (GCompareFunc) strcmp);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;
  char *path = g_build_filename (l->folder, file, NULL);

  g_array_set_clear_func (list, clear_name);
  for (GList *at = names; at; at = at->next) {
    const AvatarTensorSource *t = g_hash_table_lookup (tensors, at->data);

    if (t->rank != 2 || !g_str_has_suffix (at->data, ".weight") || !strstr (at->data, part))
      continue;
    add_tensor (list, at->data, ".lora_A.weight", RANK, t->shape[1]);
    add_tensor (list, at->data, ".lora_B.weight", t->shape[0], RANK);
  }
  g_assert_cmpuint (list->len, >, 4);
  avatar_write_safetensors (path, list, fill, GUINT_TO_POINTER (seed), &error);
  g_assert_no_error (error);
  return path;
}

/* Sets text states, with which no prompt is encoded. */
static void
set_text (Loras *l)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (l->f.model)->transformer;
  const gint64 n = 5;
  float *values = g_new (float, n * c->text_dim + c->pooled_dim);

  for (gint64 i = 0; i < n * c->text_dim + c->pooled_dim; i++)
    values[i] = (float) (i * 29 % 89) / 44.f - 1.f;
  for (guint i = 0; i < 2; i++)
    l->text[i] = (AvatarTextStates){ .states = values,
      .pooled = values + n * c->text_dim,
      .n = n,
      .used = n };
  l->f.settings.text_states = l->text;
}

static void
setup_loras (Loras *l, gconstpointer data)
{
  make_model (&l->f, "transformer,vae,whisper");
  l->f.settings.steps = 1;
  set_text (l);
  l->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  l->paths[0] = write_lora (l, "all.safetensors", "", 37);
  l->paths[1] = write_lora (l, "blocks.safetensors", "_blocks.", 53);
}

static void
teardown_all (Loras *l, gconstpointer data)
{
  remove_model (&l->f, data);
  remove_tree (l->folder);
  g_free (l->folder);
  g_free ((float *) l->text[0].states);
  for (guint i = 0; i < 2; i++)
    g_free (l->paths[i]);
}

/* Lists of LoRAs: none, one, the same one weaker, another one, two. */
#define N_LISTS 5
static void
use_list (Loras *l, guint i, AvatarLoraSetting loras[2], AvatarDenoiseSettings *s)
{
  static const double strengths[N_LISTS][2]
      = { { 0, 0 }, { 1, 0 }, { 0.3, 0 }, { 0, 1 }, { 1, 0.5 } };

  s->n_loras = 0;
  for (guint k = 0; k < 2; k++)
    if (strengths[i][k] != 0)
      loras[s->n_loras++] = (AvatarLoraSetting){ .path = l->paths[k], .strength = strengths[i][k] };
  s->loras = s->n_loras ? loras : NULL;
}

/* Compares changes from each list to the next, or to the one before. */
static void
change_lists (Loras *l, const char *name, guint64 budget, guint when)
{
  AvatarLoraSetting from[2], to_loras[2];

  for (guint i = 0; i < N_LISTS; i++) {
    AvatarDenoiseSettings to = l->f.settings;

    use_list (l, i, from, &l->f.settings);
    use_list (l, (i + (when ? 1 : N_LISTS - 1)) % N_LISTS, to_loras, &to);
    expect_as_new (&l->f, name, budget, &to, NULL, when);
  }
}

static void
test_lists (Loras *l, gconstpointer data)
{
  change_lists (l, "cpu", 0, 0);
  change_lists (l, "cpu", 0, 2);
  l->f.settings.guidance_scale = 4;
  l->f.settings.step_cache = AVATAR_STEP_CACHE_UPSTREAM;
  change_lists (l, "sim:512", 0, 1);
}

/* Quantised at load, within the smallest budget, with page-locked memory and without. */
static void
test_least (Loras *l, gconstpointer data)
{
  guint64 least;

  l->f.settings.weight_format = AVATAR_WEIGHT_FORMAT_INT8;
  least = least_budget (&l->f, &l->f.settings) * MIB;
  change_lists (l, "sim:512", least, 1);
  l->f.settings.pinned_bytes = 0;
  change_lists (l, "sim:512", least, 1);
}

/* A file with 8-bit matrices, on a device that keeps the factors apart. */
static void
test_factors (Loras *l, gconstpointer data)
{
  const char *source = avatar_model_get_path (l->f.model);
  g_autofree char *packed = g_build_filename (l->folder, "packed", NULL);
  const char *argv[] = { AVATAR_PACK, "--quiet", "--weight-format", "int8", source, packed, NULL };
  g_autoptr (AvatarModel) full = l->f.model;
  AvatarDenoiseSettings settings = l->f.settings;
  AvatarLoraSetting loras[2];
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status,
      &error);
  g_assert_no_error (error);
  g_assert_true (g_spawn_check_wait_status (status, NULL));
  init (&l->f, packed);
  l->f.settings.steps = settings.steps;
  l->f.settings.text_states = l->text;
  use_list (l, 4, loras, &settings);
  change_lists (l, "sim:512", least_budget (&l->f, &settings) * MIB, 1);
  avatar_model_unref (l->f.model);
  l->f.model = g_steal_pointer (&full);
}

/* The latents differ, so that the comparisons above mean something. */
static void
test_effect (Loras *l, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autofree float *latents = g_new (float, N_LISTS *CHUNK * l->f.n);

  for (guint i = 0; i < N_LISTS; i++) {
    AvatarDenoiseSettings s = l->f.settings;
    AvatarLoraSetting loras[2];
    g_autoptr (AvatarDenoiser) self = NULL;

    use_list (l, i, loras, &s);
    self = start (&l->f, device, &s, image);
    pull (&l->f, self, CHUNK, latents + i * CHUNK * l->f.n);
    for (guint k = 0; k < i; k++)
      g_assert_cmpint (memcmp (latents + i * CHUNK * l->f.n, latents + k * CHUNK * l->f.n,
                           CHUNK * l->f.n * sizeof (float)),
          !=, 0);
  }
}

static guint64
peak_of_run (Loras *l, const AvatarDenoiseSettings *s)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autoptr (AvatarDenoiser) self = start (&l->f, device, s, image);
  g_autofree float *latents = g_new (float, LATENTS * l->f.n);
  AvatarMemory memory;

  pull (&l->f, self, LATENTS, latents);
  avatar_device_get_memory (device, &memory);
  return memory.peak;
}

/* The host's memory holds one set of weights at a time. */
static void
test_one_set (Loras *l, gconstpointer data)
{
  AvatarLoraSetting loras[2];
  AvatarDenoiseSettings s = l->f.settings;

  use_list (l, 4, loras, &s);
  change_lists (l, "cpu", peak_of_run (l, &s), 1);
}

/* Files that cannot be used, and a change of something else with them. */
static void
test_bad_files (Loras *l, gconstpointer data)
{
  g_autofree char *text = g_build_filename (l->folder, "text.safetensors", NULL);
  AvatarLoraSetting loras[2], other[2];
  AvatarDenoiseSettings to;
  g_autoptr (GError) error = NULL;

  g_file_set_contents (text, "not a tensor file", -1, &error);
  g_assert_no_error (error);
  use_list (l, 1, loras, &l->f.settings);
  to = l->f.settings;
  to.seed++;
  use_list (l, 4, other, &to);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (AvatarDevice) device = device_new (i ? "cpu" : "sim:512", 0);

    other[1].path = "/nowhere/lora.safetensors";
    g_assert_true (is_refused (&l->f, device, &to, NULL, AVATAR_ERROR_NOT_FOUND, other[1].path, 0));
    other[1].path = text;
    g_assert_true (
        is_refused (&l->f, device, &to, NULL, AVATAR_ERROR_FORMAT, "text.safetensors", 0));
  }
}

/* Lets each allocation of a change fail. */
static void
test_failing (Loras *l, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("sim:512", 0);
  AvatarLoraSetting loras[2], other[2];
  AvatarDenoiseSettings to = l->f.settings;
  guint refused = 0;

  use_list (l, 1, loras, &l->f.settings);
  use_list (l, 4, other, &to);
  to.guidance_scale = 4;
  for (guint n = 1; n <= 6; n++)
    refused += is_refused (&l->f, device, &to, NULL, AVATAR_ERROR_MEMORY, "", n);
  g_assert_cmpuint (refused, >, 0);
}

/* Weights that another stage shares stay, so that a set with LoRAs is one more. */
static void
test_shared (Loras *l, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autoptr (AvatarDenoiser) other = start (&l->f, device, &l->f.settings, image);
  AvatarDenoiseSettings to = l->f.settings;
  AvatarLoraSetting loras[2];
  AvatarMemory memory;

  avatar_device_get_memory (device, &memory);
  avatar_device_set_budget (device,
      memory.now + avatar_weights_fixed_bytes (other->memory.weights) - 1);
  use_list (l, 1, loras, &to);
  g_assert_true (is_refused (&l->f, device, &to, NULL, AVATAR_ERROR_MEMORY, "weights", 0));
  avatar_device_set_budget (device, 0);
  g_assert_false (is_refused (&l->f, device, &to, NULL, AVATAR_ERROR_MEMORY, "", 0));
}

/* If neither the new weights nor those before fit, windows fail until memory is free. */
static void
test_lost (Loras *l, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarDevice) unlimited = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  AvatarLoraSetting loras[2], other[2];
  AvatarDenoiseSettings to = l->f.settings;
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (AvatarDenoiser) plain = NULL;
  g_autofree float *a = g_new (float, LATENTS * l->f.n);
  g_autofree float *b = g_new (float, LATENTS * l->f.n);

  use_list (l, 1, loras, &l->f.settings);
  use_list (l, 3, other, &to);
  self = start (&l->f, device, &l->f.settings, image);
  plain = start (&l->f, unlimited, &l->f.settings, image);
  pull (&l->f, self, CHUNK, a);
  avatar_device_set_budget (device, 64 << 10);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (avatar_denoiser_change (self, &to, NULL, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
    g_clear_error (&error);
    g_assert_cmpint (avatar_denoiser_pull (self, b, &error), ==, AVATAR_PULL_ERROR);
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
  avatar_device_set_budget (device, 0);
  pull (&l->f, self, LATENTS - CHUNK, a + CHUNK * l->f.n);
  pull (&l->f, plain, LATENTS, b);
  g_assert_cmpmem (a, LATENTS * l->f.n * sizeof (float), b, LATENTS * l->f.n * sizeof (float));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, test) \
  g_test_add ("/lora-change/" path, Loras, NULL, setup_loras, test, teardown_all)
  ADD ("effect", test_effect);
  ADD ("lists", test_lists);
  ADD ("least", test_least);
  ADD ("factors", test_factors);
  ADD ("one-set", test_one_set);
  ADD ("bad-files", test_bad_files);
  ADD ("failing", test_failing);
  ADD ("shared", test_shared);
  ADD ("lost", test_lost);
  return g_test_run ();
}
