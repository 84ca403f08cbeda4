/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRAs whose strength depends on the step: each step equals that of a denoiser which has the LoRA
 * merged at the strength of the step, in the host's memory and with factors on a device. */
#include "change-fixture.h"

#include "engine/denoise/sampler.h"
#include "engine/formats/tensor-writer.h"
#include "engine/model/model.h"

#include <math.h>

#define RANK ((gint64) 3)
#define STEPS 3

typedef struct
{
  Fixture f; /* a small random model */
  AvatarTextStates text[2];
  char *folder, *path;
} Loras;

static const double sigmas[STEPS] = { 1, 0.8, 0.3 };

/* AvatarFillFunc */
static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    ((float *) out)[i] = (float) ((first + i) * 37 % 101) / 250.f - 0.2f;
}

static void
add_tensor (GArray *list, const char *module, const char *suffix, guint rank, gint64 rows,
    gint64 cols)
{
  AvatarNamedTensor t = { g_strconcat (module, suffix, NULL),
    avatar_tensor_of_shape (AVATAR_F32, NULL, rank, (const gint64[]){ rows, cols }) };

  g_array_append_val (list, t);
}

static void
clear_name (gpointer tensor)
{
  g_free ((char *) ((AvatarNamedTensor *) tensor)->name);
}

/* Adds what a LoRA has for the weight @name: two factors, or a whole matrix or vector. */
static void
add_weight (GArray *list, const char *name, const AvatarTensorSource *t)
{
  g_autofree char *module = g_strndup (name, strrchr (name, '.') - name);

  if (g_str_has_suffix (name, ".bias")) {
    add_tensor (list, module, ".diff_b", 1, t->shape[0], 1);
  } else if (t->rank == 1 || strstr (name, "blocks.0.linear2")) {
    add_tensor (list, module, ".diff", t->rank, t->shape[0], t->shape[1]);
  } else {
    add_tensor (list, module, ".lora_A.weight", 2, RANK, t->shape[1]);
    add_tensor (list, module, ".lora_B.weight", 2, t->shape[0], RANK);
  }
}

/* Writes a LoRA for all weights of the transformer that begin with one of @prefixes. */
static void
write_lora (Loras *l, const char *const *prefixes)
{
  GHashTable *tensors = avatar_model_get_component (l->f.model, AVATAR_COMPONENT_TRANSFORMER, NULL);
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (tensors), (GCompareFunc) strcmp);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;

  g_array_set_clear_func (list, clear_name);
  for (GList *at = names; at; at = at->next)
    for (guint i = 0; prefixes[i]; i++)
      if (g_str_has_prefix (at->data, prefixes[i]))
        add_weight (list, at->data, g_hash_table_lookup (tensors, at->data));
  g_assert_cmpuint (list->len, >, 0);
  avatar_write_safetensors (l->path, list, fill, NULL, &error);
  g_assert_no_error (error);
}

static void
setup_loras (Loras *l, gconstpointer data)
{
  static const char *const stepped[] = { "double_blocks.", "single_blocks.", "txt_in.", "time_in.",
    "final_layer.adaLN_modulation", NULL };
  const AvatarTransformerConfig *c;
  const gint64 n = 5;
  float *values;

  make_model (&l->f, "transformer,vae,whisper");
  c = &avatar_model_get_config (l->f.model)->transformer;
  values = g_new (float, n * c->text_dim + c->pooled_dim);
  for (gint64 i = 0; i < n * c->text_dim + c->pooled_dim; i++)
    values[i] = (float) (i * 29 % 89) / 44.f - 1.f;
  for (guint i = 0; i < 2; i++)
    l->text[i] = (AvatarTextStates){ .states = values,
      .pooled = values + n * c->text_dim,
      .n = n,
      .used = n };
  l->f.settings.text_states = l->text;
  l->f.settings.guidance_scale = 1;
  l->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  l->path = g_build_filename (l->folder, "lora.safetensors", NULL);
  write_lora (l, stepped);
}

static void
teardown_all (Loras *l, gconstpointer data)
{
  remove_model (&l->f, data);
  remove_tree (l->folder);
  g_free (l->folder);
  g_free (l->path);
  g_free ((float *) l->text[0].states);
}

/* Moves latents between the order of the noise, [channels, CHUNK, plane], and that of pulled latent
 * frames, [CHUNK, channels, plane]. */
static void
transpose (Loras *l, float *to, const float *from, guint outer, guint inner)
{
  gsize plane = l->f.n / avatar_model_get_info (l->f.model)->latent_channels;

  for (guint i = 0; i < outer; i++)
    for (guint j = 0; j < inner; j++)
      memcpy (to + (j * outer + i) * plane, from + (i * inner + j) * plane, plane * sizeof (float));
}

/* Returns the latents of the first window from @z, in its order. @budget: memory budget of the
 * device; 0: none */
static float *
denoise (Loras *l, const char *name, guint64 budget, const AvatarDenoiseSettings *settings,
    const float *z)
{
  g_autoptr (AvatarDevice) device = device_new (name, budget);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autofree float *latents = g_new (float, CHUNK * l->f.n);
  float *out = g_new (float, CHUNK * l->f.n);
  AvatarDenoiseSettings s = *settings;
  g_autoptr (AvatarDenoiser) self = NULL;

  s.noise = z;
  s.noise_latents = CHUNK;
  self = start (&l->f, device, &s, image);
  pull (&l->f, self, CHUNK, latents);
  transpose (l, out, latents, CHUNK, avatar_model_get_info (l->f.model)->latent_channels);
  return out;
}

static float *
noise_new (Loras *l)
{
  g_autofree float *frames = g_new (float, CHUNK * l->f.n);
  float *z = g_new (float, CHUNK * l->f.n);

  avatar_noise_fill (frames, CHUNK * l->f.n, 5, 0);
  transpose (l, z, frames, CHUNK, avatar_model_get_info (l->f.model)->latent_channels);
  return z;
}

/* Computes the steps one by one: a denoiser with a single step from noise level s gives z - s v.
 * @strengths: strength of the LoRA in each step */
static float *
step_by_step (Loras *l, const char *name, const double *strengths)
{
  float *z = noise_new (l);

  for (guint i = 0; i < STEPS; i++) {
    double next = i + 1 < STEPS ? sigmas[i + 1] : 0;
    AvatarDenoiseSettings s = l->f.settings;
    const AvatarLoraSetting lora = { .path = l->path, .strength = strengths[i] };
    g_autofree float *out = NULL;

    s.sigmas = &sigmas[i];
    s.steps = s.n_sigmas = 1;
    s.loras = &lora;
    s.n_loras = strengths[i] != 0;
    out = denoise (l, name, 0, &s, z);
    for (gsize j = 0; j < CHUNK * l->f.n; j++)
      z[j] -= (sigmas[i] - next) / sigmas[i] * (z[j] - out[j]);
  }
  return z;
}

/* Returns the largest difference relative to the largest value of @b. */
static double
difference (const float *a, const float *b, gsize n)
{
  double error = 0, size = 0;

  for (gsize i = 0; i < n; i++) {
    error = fmax (error, fabs (a[i] - (double) b[i]));
    size = fmax (size, fabs (b[i]));
  }
  return error / size;
}

static void
use (AvatarDenoiseSettings *s, const AvatarLoraSetting *lora)
{
  s->sigmas = sigmas;
  s->steps = s->n_sigmas = STEPS;
  s->loras = lora;
  s->n_loras = 1;
}

/* Compares @schedule with steps at @strengths, on the host, and on a device with its least budget
 * and without one. */
static void
expect (Loras *l, const AvatarLoraSchedule *schedule, double strength, const double *strengths)
{
  static const char *const devices[] = { "cpu", "sim:512" };
  const AvatarLoraSetting lora = { .path = l->path, .strength = strength, .schedule = schedule };
  AvatarDenoiseSettings s = l->f.settings;
  g_autofree float *z = noise_new (l);

  use (&s, &lora);
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++) {
    g_autofree float *expected = step_by_step (l, devices[i], strengths);
    g_autofree float *found = denoise (l, devices[i], 0, &s, z);
    g_autofree float *small = NULL;

    g_assert_cmpfloat (difference (found, expected, CHUNK * l->f.n), <, 2e-4);
    if (i == 0)
      continue; /* the host has no budget */
    small = denoise (l, devices[i], least_budget (&l->f, &s) * MIB, &s, z);
    g_assert_cmpmem (small, CHUNK * l->f.n * sizeof (float), found,
        CHUNK * l->f.n * sizeof (float));
  }
}

static void
test_strengths (Loras *l, gconstpointer data)
{
  static const double list[STEPS] = { 0, 1, 0.5 }, expected[STEPS] = { 0, 0.5, 0.25 };
  const AvatarLoraSchedule schedule = { .strengths = list, .n_strengths = STEPS };

  expect (l, &schedule, 0.5, expected);
}

static void
test_range (Loras *l, gconstpointer data)
{
  static const double expected[STEPS] = { 0, 1, 0 };

  expect (l, &(AvatarLoraSchedule){ .sigma_from = 0.9, .sigma_to = 0.5 }, 1, expected);
}

/* 8-bit weights are expanded before the LoRA is added; if they were quantised with it, they would
 * be rounded after that. */
static void
test_quantised (Loras *l, gconstpointer data)
{
  static const double list[STEPS] = { 0, 1, 1 }, none[STEPS] = { 0, 0, 0 };
  const AvatarLoraSchedule schedule = { .strengths = list, .n_strengths = STEPS };
  const AvatarLoraSetting lora = { .path = l->path, .strength = 1, .schedule = &schedule };
  g_autofree float *z = noise_new (l), *found = NULL, *expected = NULL, *plain = NULL;
  AvatarDenoiseSettings s;

  l->f.settings.weight_format = AVATAR_WEIGHT_FORMAT_INT8;
  s = l->f.settings;
  use (&s, &lora);
  found = denoise (l, "sim:512", 0, &s, z);
  expected = step_by_step (l, "sim:512", list);
  plain = step_by_step (l, "sim:512", none);
  g_assert_cmpfloat (difference (found, expected, CHUNK * l->f.n), <,
      0.1 * difference (plain, expected, CHUNK * l->f.n));
}

/* The LoRA matters to each step, so that the comparisons above mean something. */
static void
test_effect (Loras *l, gconstpointer data)
{
  static const double strengths[][STEPS] = { { 0, 0, 0 }, { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };
  g_autofree float *plain = step_by_step (l, "cpu", strengths[0]);

  for (guint i = 1; i <= STEPS; i++) {
    g_autofree float *other = step_by_step (l, "cpu", strengths[i]);

    g_assert_cmpfloat (difference (other, plain, CHUNK * l->f.n), >, 1e-2);
  }
}

/* A list for another number of steps is stretched; several LoRAs have their own schedules. */
static void
test_multipliers (Loras *l, gconstpointer data)
{
  static const double two[] = { 0.25, 1 };
  const AvatarLoraSchedule list = { .strengths = two, .n_strengths = 2 },
                           range = { .sigma_from = 0.5, .sigma_to = 0.25 };
  const AvatarLoraSetting settings[] = { { .path = l->path, .strength = 1, .schedule = &list },
    { .path = l->path, .strength = 1 }, { .path = l->path, .strength = 1, .schedule = &range } };
  g_auto (AvatarLoraList) loras = { 0 };
  double m[2];

  g_assert_true (
      avatar_lora_list_open (&loras, settings, 3, avatar_model_get_config (l->f.model), NULL));
  g_assert_cmpuint (loras.scheduled->len, ==, 2);
  for (guint i = 0; i < 5; i++) {
    g_assert_cmpuint (avatar_lora_list_get_multipliers (&loras, i, 5, 0.25 * i, m), ==, 2);
    g_assert_cmpfloat (m[0], ==, i < 3 ? 0.25 : 1);
    g_assert_cmpfloat (m[1], ==, i == 1 || i == 2 ? 1 : 0);
  }
  g_assert_true (avatar_lora_list_equals (&loras, settings, 3));
}

/* A change from one schedule to another, with guidance and a cache, for windows after the first. */
static void
test_change (Loras *l, gconstpointer data)
{
  static const double lists[2][STEPS] = { { 0, 1, 1 }, { 1, 0, 0.5 } };
  const AvatarLoraSchedule schedules[2] = { { .strengths = lists[0], .n_strengths = STEPS },
    { .strengths = lists[1], .n_strengths = STEPS } };
  const AvatarLoraSetting loras[2]
      = { { .path = l->path, .strength = 1, .schedule = &schedules[0] },
          { .path = l->path, .strength = 1, .schedule = &schedules[1] } };
  AvatarDenoiseSettings to;

  l->f.settings.guidance_scale = 4;
  l->f.settings.idle_steps = 1;
  l->f.settings.step_cache = AVATAR_STEP_CACHE_UPSTREAM;
  to = l->f.settings;
  use (&l->f.settings, &loras[0]);
  use (&to, &loras[1]);
  expect_as_new (&l->f, "cpu", 0, &to, NULL, 1);
  expect_as_new (&l->f, "sim:512", 0, &to, NULL, 1);
}

/* Both members of a group follow the schedule, as one device does. */
static void
test_group (Loras *l, gconstpointer data)
{
  static const double list[STEPS] = { 0, 1, 0.5 };
  const AvatarLoraSchedule schedule = { .strengths = list, .n_strengths = STEPS };
  const AvatarLoraSetting lora = { .path = l->path, .strength = 1, .schedule = &schedule };
  g_autofree float *z = noise_new (l), *one = NULL, *two = NULL;
  AvatarDenoiseSettings s;

  l->f.settings.guidance_scale = 4;
  l->f.settings.step_cache = AVATAR_STEP_CACHE_FORECAST;
  s = l->f.settings;
  use (&s, &lora);
  one = denoise (l, "sim:512", 0, &s, z);
  two = denoise (l, "sim:512:0+1", 0, &s, z);
  g_assert_cmpmem (two, CHUNK * l->f.n * sizeof (float), one, CHUNK * l->f.n * sizeof (float));
}

static void
expect_refused (Loras *l, const char *name, AvatarPrecision precision,
    const AvatarLoraSchedule *schedule, const char *text)
{
  const AvatarLoraSetting lora = { .path = l->path, .strength = 1, .schedule = schedule };
  g_autoptr (AvatarDevice) device = device_new (name, 0);
  AvatarDenoiseSettings s = l->f.settings;
  g_autoptr (GError) error = NULL;

  use (&s, &lora);
  s.precision = precision;
  g_assert_null (avatar_denoiser_new (l->f.model, device, &s, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, text));
}

static void
test_refused (Loras *l, gconstpointer data)
{
  static const char *const constant[] = { "before_proj.", NULL },
                           *const fixed[] = { "final_layer.linear", NULL };
  const AvatarLoraSchedule range = { .sigma_from = 0.5 };
  const double bad = NAN;

  expect_refused (l, "cpu", AVATAR_PRECISION_AUTO, &(AvatarLoraSchedule){ .sigma_from = 1.5 },
      "1.5");
  expect_refused (l, "cpu", AVATAR_PRECISION_AUTO,
      &(AvatarLoraSchedule){ .sigma_from = 0.5, .sigma_to = 0.6 }, "0.6");
  expect_refused (l, "cpu", AVATAR_PRECISION_AUTO,
      &(AvatarLoraSchedule){ .strengths = &bad, .n_strengths = 1 }, "no number");
  write_lora (l, constant);
  expect_refused (l, "cpu", AVATAR_PRECISION_AUTO, &range, "computed once for a window");
  write_lora (l, fixed);
  expect_refused (l, "sim:512", AVATAR_PRECISION_AUTO, &range, "stores once");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, test) g_test_add (name, Loras, NULL, setup_loras, test, teardown_all)
  ADD ("/lora-schedule/strengths", test_strengths);
  ADD ("/lora-schedule/range", test_range);
  ADD ("/lora-schedule/quantised", test_quantised);
  ADD ("/lora-schedule/effect", test_effect);
  ADD ("/lora-schedule/multipliers", test_multipliers);
  ADD ("/lora-schedule/change", test_change);
  ADD ("/lora-schedule/group", test_group);
  ADD ("/lora-schedule/refused", test_refused);
#undef ADD
  return g_test_run ();
}
