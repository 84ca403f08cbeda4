/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights on a device with little memory: the same latents under every budget, from every tier
 * and under memory pressure, and no leak after failures. The device is simulated
 * (engine/backends/fake): memory is NaN until a copy into it has been waited for. */
#include "engine/denoise/denoiser.h"
#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"
#include "engine/formats/tensor-source.h"
#include "engine/weights/weights.h"
#include "tests/named-weights.h"

#include <math.h>
#include <string.h>

#define SIZE 64
#define CHUNK 3
#define FRAMES (4 * CHUNK - 3)
#define MIB ((guint64) 1 << 20)

typedef struct
{
  AvatarModel *model;
  AvatarDenoiseSettings settings;
  gsize n; /* floats of all latents */
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  avatar_denoise_settings_init (&f->settings, f->model);
  f->settings.width = f->settings.height = SIZE;
  f->settings.window_latents = CHUNK;
  f->settings.overlap = 1;
  f->settings.steps = 3;
  f->settings.mode = AVATAR_DENOISE_MODE_STREAM;
  f->n = CHUNK * 16 * (SIZE / 8) * (SIZE / 8);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  avatar_fake_take_memory (0);
  avatar_fake_fail_memory (0);
  avatar_fake_fail_host (0);
  avatar_fake_fail_upload (0);
  g_assert_cmpuint (avatar_fake_count_memory (), ==, 0); /* no leak */
  avatar_model_unref (f->model);
}

static AvatarDenoiser *
start (Fixture *f, AvatarDevice *device, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  AvatarImage *image;
  AvatarDenoiser *self = avatar_denoiser_new (f->model, device, &f->settings, error);
  gboolean done;

  if (!self)
    return NULL;
  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * 7 % 251;
  image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, error);
  done = avatar_denoiser_set_reference (self, image, error);
  avatar_image_free (image);
  for (guint frame = 0; frame < FRAMES && done; frame++) {
    for (gsize i = 0; i < n; i++)
      features[i] = (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
    done = avatar_denoiser_push (self, features, error);
  }
  if (done && avatar_denoiser_drain (self, error))
    return self;
  avatar_denoiser_free (self);
  return NULL;
}

/* All latents of a run, or NULL with @error. */
static float *
run (Fixture *f, AvatarDevice *device, GError **error)
{
  g_autoptr (AvatarDenoiser) self = start (f, device, error);
  g_autofree float *out = g_new0 (float, f->n);

  for (guint i = 0; self && i < CHUNK; i++)
    if (avatar_denoiser_pull (self, out + i * (f->n / CHUNK), error) != AVATAR_PULL_OK)
      return NULL;
  return self ? g_steal_pointer (&out) : NULL;
}

static float *
run_on (Fixture *f, const char *name, guint64 budget, guint64 *peak)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open (name, &error);
  AvatarMemory memory;
  float *out;

  g_assert_no_error (error);
  avatar_device_set_budget (device, budget);
  out = run (f, device, &error);
  g_assert_no_error (error);
  avatar_device_get_memory (device, &memory);
  if (budget)
    g_assert_cmpuint (memory.peak, <=, budget);
  if (peak)
    *peak = memory.peak;
  if (strcmp (name, "cpu") != 0)
    g_assert_cmpuint (memory.now, ==, AVATAR_FAKE_OVERHEAD);
  return out;
}

/* Returns the smallest budget that is not refused (MiB). Callers run with it, as the search
 * computes nothing. */
static guint64
smallest_budget (Fixture *f, guint64 most)
{
  guint64 least = 1;

  while (least < most) {
    guint64 middle = (least + most) / 2;
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
    g_autoptr (AvatarDenoiser) self = NULL;

    avatar_device_set_budget (device, middle * MIB);
    self = avatar_denoiser_new (f->model, device, &f->settings, &error);
    if (self) {
      most = middle;
    } else {
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
      g_test_message ("%" G_GUINT64_FORMAT " MiB: %s", middle, error->message);
      least = middle + 1;
    }
  }
  return most;
}

static void
test_budgets (Fixture *f, gconstpointer data)
{
  guint64 peak, least;
  g_autofree float *cpu = run_on (f, "cpu", 0, NULL);
  g_autofree float *all = run_on (f, "sim:512", 0, &peak);

  g_assert_cmpmem (all, f->n * sizeof (float), cpu, f->n * sizeof (float));
  least = smallest_budget (f, (peak + MIB - 1) / MIB);
  g_test_message ("from %" G_GUINT64_FORMAT " MiB to %.1f MiB", least, peak / 1048576.);
  g_assert_cmpuint (least * MIB, <, peak); /* or nothing was streamed */
  for (guint64 budget = least; budget <= peak / MIB; budget += 3) {
    g_autofree float *some = run_on (f, "sim:512", budget * MIB, NULL);

    g_assert_cmpmem (some, f->n * sizeof (float), cpu, f->n * sizeof (float));
  }
}

/* The error names the smallest budget that is accepted. */
static void
test_smallest (Fixture *f, gconstpointer data)
{
  guint64 peak, least;

  g_free (run_on (f, "sim:512", 0, &peak));
  least = smallest_budget (f, peak / MIB + 1);
  for (guint64 budget = 1; budget < least; budget += 5) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
    g_autofree char *text = g_strdup_printf ("at least %" G_GUINT64_FORMAT " MiB;", least);

    avatar_device_set_budget (device, budget * MIB);
    g_assert_null (avatar_denoiser_new (f->model, device, &f->settings, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
    g_assert_nonnull (strstr (error->message, text));
  }
}

/* The device itself is too small: no budget helps. */
static void
test_small_device (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:14", &error);

  g_assert_null (avatar_denoiser_new (f->model, device, &f->settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  g_assert_nonnull (strstr (error->message, "close other programs"));
}

static void
test_precision (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);

  f->settings.precision = AVATAR_PRECISION_FP8;
  g_assert_null (avatar_denoiser_new (f->model, device, &f->settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
}

static void
test_guidance_and_cache (Fixture *f, gconstpointer data)
{
  guint64 peak;

  f->settings.guidance_scale = 4;
  f->settings.steps = 20; /* two of guidance's phases, cached steps in both */
  for (AvatarStepCacheMode cache = AVATAR_STEP_CACHE_NONE; cache <= AVATAR_STEP_CACHE_FORECAST;
       cache++) {
    g_autofree float *cpu = NULL;
    g_autofree float *sim = NULL;
    g_autofree float *small = NULL;

    f->settings.step_cache = cache;
    cpu = run_on (f, "cpu", 0, NULL);
    sim = run_on (f, "sim:512", 0, &peak);
    /* no room for shared tokens nor for the cache: the host keeps them */
    small = run_on (f, "sim:512", smallest_budget (f, peak / MIB + 1) * MIB, NULL);
    g_assert_cmpmem (sim, f->n * sizeof (float), cpu, f->n * sizeof (float));
    g_assert_cmpmem (small, f->n * sizeof (float), cpu, f->n * sizeof (float));
  }
}

static void
test_tiers (Fixture *f, gconstpointer data)
{
  const guint64 pinned[] = { 0, 2 * MIB, G_MAXUINT64 };
  g_autofree float *cpu = run_on (f, "cpu", 0, NULL);
  guint64 peak, least;

  g_free (run_on (f, "sim:512", 0, &peak));
  least = smallest_budget (f, peak / MIB + 1);
  for (guint i = 0; i < G_N_ELEMENTS (pinned); i++) {
    g_autofree float *out = NULL;

    f->settings.pinned_bytes = pinned[i];
    out = run_on (f, "sim:512", least * MIB, NULL);
    g_assert_cmpmem (out, f->n * sizeof (float), cpu, f->n * sizeof (float));
  }
  /* the n-th allocation of pinned memory fails */
  for (guint n = 1; n < 4; n++) {
    g_autofree float *out = NULL;

    avatar_fake_fail_host (n);
    out = run_on (f, "sim:512", least * MIB, NULL);
    g_assert_cmpmem (out, f->n * sizeof (float), cpu, f->n * sizeof (float));
  }
}

static double
relative_error (const float *a, const float *b, gsize n)
{
  double error = 0, size = 0;

  for (gsize i = 0; i < n; i++) {
    error += (a[i] - b[i]) * (double) (a[i] - b[i]);
    size += b[i] * (double) b[i];
  }
  return error / size;
}

static void
test_quantised (Fixture *f, gconstpointer data)
{
  const AvatarWeightFormat formats[] = { AVATAR_WEIGHT_FORMAT_FP8, AVATAR_WEIGHT_FORMAT_INT8 };
  const double limits[] = { 0.05, 0.01 }; /* relative L2 error */
  g_autofree float *cpu = run_on (f, "cpu", 0, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    guint64 peak, least;
    g_autofree float *all = NULL;
    g_autofree float *some = NULL;
    double error;

    f->settings.weight_format = formats[i];
    all = run_on (f, "sim:512", 0, &peak);
    least = smallest_budget (f, peak / MIB + 1);
    some = run_on (f, "sim:512", least * MIB, NULL);
    g_assert_cmpmem (all, f->n * sizeof (float), some, f->n * sizeof (float));
    error = relative_error (all, cpu, f->n);
    g_test_message ("format %u: relative L2 error %.2g", formats[i], sqrt (error));
    g_assert_cmpfloat (error, >, 0);
    g_assert_cmpfloat (error, <, limits[i] * limits[i]);
  }
}

typedef struct
{
  guint step;
  guint64 bytes;
  AvatarDevice *device;
  guint64 budget;
} Event;

/* At a step, another process takes memory, or the budget is changed. */
static void
at_step (const AvatarProgress *progress, gpointer data)
{
  Event *e = data;

  if (progress->step != e->step)
    return;
  avatar_fake_take_memory (e->bytes);
  if (e->device)
    avatar_device_set_budget (e->device, e->budget);
}

static void
test_pressure (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree float *cpu = run_on (f, "cpu", 0, NULL);
  g_autofree float *out = g_new0 (float, f->n);
  guint64 peak;
  AvatarMemory memory;
  Event event = { .step = 1 };

  g_free (run_on (f, "sim:512", 0, &peak));
  {
    g_autofree char *name = g_strdup_printf ("sim:%" G_GUINT64_FORMAT, peak / MIB + 16);
    g_autoptr (AvatarDevice) device = avatar_device_open (name, &error);
    g_autoptr (AvatarDenoiser) self = start (f, device, &error);

    g_assert_no_error (error);
    event.bytes = 24 * MIB; /* more than is free: units must go */
    avatar_denoiser_set_progress_func (self, at_step, &event);
    for (guint i = 0; i < CHUNK; i++)
      g_assert_cmpint (avatar_denoiser_pull (self, out + i * (f->n / CHUNK), &error), ==,
          AVATAR_PULL_OK);
    g_assert_cmpmem (out, f->n * sizeof (float), cpu, f->n * sizeof (float));
    avatar_device_get_memory (device, &memory);
    g_assert_cmpuint (memory.now, <, memory.peak);
  }
}

static void
test_lowered_budget (Fixture *f, gconstpointer data)
{
  g_autofree float *latent = g_new0 (float, f->n);
  g_autofree float *cpu = run_on (f, "cpu", 0, NULL);
  guint64 peak, least;

  g_free (run_on (f, "sim:512", 0, &peak));
  least = smallest_budget (f, peak / MIB + 1);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
    g_autoptr (AvatarDenoiser) self = start (f, device, &error);
    Event event = { .step = 1, .device = device, .budget = i ? least * MIB / 2 : peak - 4 * MIB };
    AvatarPull pull;

    g_assert_no_error (error);
    avatar_denoiser_set_progress_func (self, at_step, &event);
    pull = avatar_denoiser_pull (self, latent, &error);
    if (i == 0) {
      g_assert_no_error (error);
      g_assert_cmpmem (latent, f->n / CHUNK * sizeof (float), cpu, f->n / CHUNK * sizeof (float));
    } else {
      g_assert_cmpint (pull, ==, AVATAR_PULL_ERROR);
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
      g_assert_nonnull (strstr (error->message, "missing"));
    }
  }
}

static void
test_failures (Fixture *f, gconstpointer data)
{
  for (guint n = 1; n < 60; n += 4)
    for (guint kind = 0; kind < 2; kind++) {
      g_autoptr (GError) error = NULL;
      g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
      g_autofree float *out = NULL;
      AvatarMemory memory;

      if (kind == 0)
        avatar_fake_fail_memory (n);
      else
        avatar_fake_fail_upload (n);
      out = run (f, device, &error);
      g_assert_true ((out == NULL) == (error != NULL));
      avatar_device_get_memory (device, &memory);
      g_assert_cmpuint (memory.now, ==, AVATAR_FAKE_OVERHEAD);
      avatar_fake_fail_memory (0);
      avatar_fake_fail_upload (0);
    }
}

#define UNITS 12

/* Units @first .. UNITS - 1, two at once, as the streams of double blocks are. */
static void
pass (AvatarWeights *weights, AvatarOps *ops, guint first)
{
  for (guint i = first & ~1u; i < UNITS; i += 2) {
    for (guint j = MAX (i, first); j < i + 2; j++)
      avatar_weights_acquire (weights, ops, j);
    for (guint j = MAX (i, first); j < i + 2; j++)
      avatar_weights_release (weights, ops, j);
  }
  g_assert_no_error (ops->error);
}

#define UNIT_SIDE 512

/* Equal groups of weights on a device with memory for the arena and four slots. */
typedef struct
{
  guint way[UNITS];
  NamedWeights names;
  GBytes *bytes;
  GHashTable *table;
  AvatarDevice *device;
  AvatarOps *ops;
  AvatarWeights *weights;
} Units;

static void
units_init (Units *u)
{
  static float values[UNIT_SIDE * UNIT_SIDE];
  const AvatarWeightSchedule route = { .groups = u->way, .n = UNITS, .max_in_use = 2 };
  const gint64 shape[] = { UNIT_SIDE, UNIT_SIDE };

  u->bytes = g_bytes_new_static (values, sizeof values);
  u->table = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  named_weights_init (&u->names, UNITS);
  for (guint i = 0; i < UNITS; i++) {
    AvatarTensorSource t = avatar_tensor_source_in_bytes (u->bytes, 0, AVATAR_F32, 2, shape);
    g_autofree char *name = g_strdup_printf ("u%u", i);

    u->way[i] = i;
    named_weights_add (&u->names, name, i, AVATAR_WEIGHT_CLASS_ACTIVATION);
    g_hash_table_insert (u->table, g_steal_pointer (&name), g_memdup2 (&t, sizeof t));
  }
  u->device = avatar_device_open ("sim:512", NULL);
  avatar_device_set_budget (u->device, AVATAR_FAKE_OVERHEAD + 10 * MIB);
  u->ops = avatar_ops_new (u->device, avatar_arena_new (u->device, 1, "test", NULL), NULL);
  u->weights = avatar_weights_new_from_table (u->table, u->device, AVATAR_COMPONENT_TRANSFORMER,
      u->names.list, NULL, AVATAR_WEIGHTS_LOAD, NULL);
  g_assert_true (avatar_weights_set_schedule (u->weights, u->ops, &route, NULL));
}

static void
units_clear (Units *u)
{
  avatar_ops_finish (u->ops);
  avatar_weights_free (u->weights);
  avatar_ops_free (u->ops);
  avatar_device_unref (u->device);
  named_weights_clear (&u->names);
  g_hash_table_unref (u->table);
  g_bytes_unref (u->bytes);
}

/* With four slots every group is copied before it is needed, also where the second branch of
 * guidance begins in the middle. */
static void
test_in_time (Fixture *f, gconstpointer data)
{
  Units u = { 0 };
  AvatarWeightStreamerStats stats;

  units_init (&u);
  for (guint i = 0; i < 3; i++) {
    pass (u.weights, u.ops, 0);
    pass (u.weights, u.ops, 3);
  }
  avatar_weights_get_stats (u.weights, &stats);
  g_assert_cmpuint (stats.slots, ==, 4);
  g_assert_cmpuint (stats.resident, ==, 0);
  g_assert_cmpuint (stats.prefetch_misses, ==, 0);
  units_clear (&u);
}

/* After an error a group is released while it is still uploaded. ThreadSanitizer reports it if the
 * release changes what the upload uses. */
static void
test_released_early (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 20; i++) {
    Units u = { 0 };

    units_init (&u);
    g_usleep (i * 100); /* some uploads have begun then, some have not */
    avatar_device_set_budget (u.device, AVATAR_FAKE_OVERHEAD + 2 * MIB);
    avatar_weights_acquire (u.weights, u.ops, 0);
    avatar_weights_release (u.weights, u.ops, 0);
    g_assert_error (u.ops->error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
    units_clear (&u);
  }
}

/* Plans in bytes of the ledger, including the context. */
static AvatarDenoiserPlan
plan_on_sim (Fixture *f, guint64 budget)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
  guint64 overhead
      = avatar_device_get_backend (device)->overhead (avatar_device_get_handle (device));
  AvatarDenoiserPlan plan;

  avatar_denoiser_plan (f->model, device, &f->settings, FRAMES, budget - overhead, &plan, &error);
  g_assert_no_error (error);
  plan.min_bytes += overhead;
  plan.peak_bytes += overhead;
  return plan;
}

/* The planned minimum is accepted, one byte less is refused, and at every budget between it and
 * all-resident the ledger's peak is the planned one: so all decisions were the same. */
static void
check_plan (Fixture *f)
{
  guint64 least = plan_on_sim (f, 16 * MIB).min_bytes;
  guint64 all = plan_on_sim (f, 512 * MIB).peak_bytes;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", &error);
  g_autoptr (AvatarDenoiser) refused = NULL;
  g_autofree char *named = g_strdup_printf (" %" G_GUINT64_FORMAT " MiB;", (least + MIB - 1) / MIB);

  g_assert_false (plan_on_sim (f, least - 1).fits);
  avatar_device_set_budget (device, least - 1);
  refused = avatar_denoiser_new (f->model, device, &f->settings, &error);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  g_assert_null (refused);
  g_assert_nonnull (strstr (error->message, named));
  g_clear_pointer (&device, avatar_device_unref);
  for (guint64 budget = least; budget <= all + 2 * MIB; budget += 5 * MIB) {
    AvatarDenoiserPlan plan = plan_on_sim (f, budget);
    guint64 peak;

    g_free (run_on (f, "sim:512", budget, &peak));
    g_assert_true (plan.fits);
    g_assert_cmpuint (plan.min_bytes, ==, least);
    g_assert_cmpuint (plan.peak_bytes, ==, peak);
    g_assert_cmpuint (plan.peak_bytes, <=, budget);
  }
}

static void
test_plan (Fixture *f, gconstpointer data)
{
  for (AvatarWeightFormat format = AVATAR_WEIGHT_FORMAT_STORED; format <= AVATAR_WEIGHT_FORMAT_INT8;
       format++) {
    f->settings.weight_format = format;
    check_plan (f);
  }
  f->settings.guidance_scale = 4;
  f->settings.steps = 12;
  for (AvatarStepCacheMode cache = AVATAR_STEP_CACHE_NONE; cache <= AVATAR_STEP_CACHE_FORECAST;
       cache++) {
    f->settings.step_cache = cache;
    check_plan (f);
  }
}

#define ADD(name) g_test_add ("/residency/" #name, Fixture, NULL, setup, test_##name, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (budgets);
  ADD (smallest);
  ADD (small_device);
  ADD (precision);
  ADD (guidance_and_cache);
  ADD (tiers);
  ADD (quantised);
  ADD (pressure);
  ADD (lowered_budget);
  ADD (failures);
  ADD (in_time);
  ADD (released_early);
  ADD (plan);
  return g_test_run ();
}
