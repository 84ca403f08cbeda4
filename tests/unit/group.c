/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several devices as one: names, budgets, the same results as on one device, and failures. The
 * devices are simulated (engine/backends/fake). */
#include "engine/backends/fake/fake.h"
#include "tests/unit/change-fixture.h"

#include <avatar/decode.h>

#define ONE "sim:512"
#define TWO "sim:512:0+sim:512:1"
#define FOUR "sim:512:0+1+2+3"
/* Memory of weights that an idle denoiser keeps, at most. */
#define FIXED_MIB 8

static void
test_names (void)
{
  static const char *const names[][2] = {
    { "sim:512:0+sim:512:1", "sim:512:0+sim:512:1" },
    { "sim:512:0+1", "sim:512:0+sim:512:1" },
    { "sim:512+sim:600:4+5", "sim:512+sim:600:4+sim:600:5" },
    { "sim:512:all", "sim:512:0+sim:512:1+sim:512:2" },
    { "plan:cuda:4096+8192", "plan:cuda:4096+plan:cuda:8192" },
    { "plan:cuda:4096+4096", "plan:cuda:4096+plan:cuda:4096" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (AvatarDevice) device = open_device (names[i][0]);

    g_assert_cmpstr (avatar_device_get_name (device), ==, names[i][1]);
    g_assert_cmpuint (avatar_device_get_n_members (device), >, 1);
    g_assert_false (avatar_device_get_member (device, 0) == avatar_device_get_member (device, 1));
  }
}

/* A group and its members are opened once, whoever asks and in whatever order. */
static void
test_sharing (void)
{
  g_autoptr (AvatarDevice) one = open_device ("sim:512:1");
  g_autoptr (AvatarDevice) group = open_device ("sim:512:0+sim:512:1");
  g_autoptr (AvatarDevice) same = open_device ("sim:512:0+1");
  g_autoptr (AvatarDevice) other = open_device ("sim:512:1+0");

  g_assert_true (group == same);
  g_assert_false (group == other);
  g_assert_true (avatar_device_get_member (group, 1) == one);
  g_assert_true (avatar_device_get_member (other, 0) == one);
  g_assert_cmpuint (avatar_device_get_n_members (one), ==, 1);
  g_assert_true (avatar_device_get_member (one, 0) == one);
}

static void
test_wrong_names (void)
{
  static const char *const names[][2] = {
    { "sim:512:0+sim:512:0", "twice" },
    { "cpu+cpu", "expected GPUs" },
    { "sim:512+cpu", "expected GPUs" },
    { "sim:512+plan:cuda:512", "expected GPUs" },
    { "sim:512+", "member \"\"" },
    { "+", "member \"\"" },
    { "sim:512+auto", "member \"auto\"" },
    { "sim:512+sim:512:all", "member \"sim:512:all\"" },
    { "sim:512+GPU", "\"GPU\" is unknown" },
    { "plan:cuda:512:all", "cuda:all" },
    { "cpu:all", "\"cpu:0\" is unknown" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (avatar_device_open (names[i][0], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
    if (!strstr (error->message, names[i][1]))
      g_error ("expected \"%s\" in \"%s\"", names[i][1], error->message);
  }
}

static void
test_budgets (void)
{
  g_autoptr (AvatarDevice) group = open_device ("sim:1000:0+sim:500:1");
  g_autoptr (GError) error = NULL;
  guint64 bytes[2];
  AvatarMemory memory;

  g_assert_true (avatar_device_parse_budgets (group, "300", bytes, NULL));
  g_assert_cmpuint (bytes[0], ==, 300 * MIB);
  g_assert_cmpuint (bytes[1], ==, 300 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, "300,200", bytes, NULL));
  g_assert_cmpuint (bytes[1], ==, 200 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, "auto,50%", bytes, NULL));
  g_assert_cmpuint (bytes[0], ==, 980 * MIB);
  g_assert_cmpuint (bytes[1], ==, 250 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, NULL, bytes, NULL));
  g_assert_cmpuint (bytes[1], ==, 490 * MIB);
  avatar_device_set_budget (group, 100 * MIB);
  avatar_device_get_memory (avatar_device_get_member (group, 1), &memory);
  g_assert_cmpuint (memory.budget, ==, 100 * MIB);
  avatar_device_get_memory (group, &memory);
  g_assert_cmpuint (memory.now, ==, 2 * AVATAR_FAKE_OVERHEAD);
  g_assert_false (avatar_device_parse_budgets (group, "1,2,3", bytes, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "expected one number, or 2"));
  g_assert_false (avatar_device_parse_budgets (group, "300,", bytes, NULL));
  g_assert_false (avatar_device_parse_budgets (group, "300,fast", bytes, NULL));
}

static _Thread_local AvatarDenoiseStats stats; /* statistics of the last run */

/* Returns all latents of a run on @device with a portrait of @seed, or NULL with @error. */
static float *
latents_of (Fixture *f, AvatarDevice *device, guint seed, GError **error)
{
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (f->model, device, &f->settings, error);
  AvatarImage *image = portrait (seed);
  g_autofree float *out = g_new0 (float, LATENTS * f->n);
  gboolean ok = self && avatar_denoiser_set_reference (self, image, error);

  avatar_image_free (image);
  if (ok)
    push_all (f, self);
  for (guint i = 0; ok && i < LATENTS; i++)
    ok = avatar_denoiser_pull (self, out + i * f->n, error) == AVATAR_PULL_OK;
  if (ok)
    avatar_denoiser_get_stats (self, &stats);
  return ok ? g_steal_pointer (&out) : NULL;
}

static float *
run_on (Fixture *f, const char *name, guint64 budget)
{
  g_autoptr (AvatarDevice) device = open_device (name);
  g_autoptr (GError) error = NULL;
  float *out;

  avatar_device_set_budget (device, budget);
  out = latents_of (f, device, 7, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < avatar_device_get_n_members (device); i++) {
    AvatarDevice *member = avatar_device_get_member (device, i);
    AvatarMemory memory;

    avatar_device_get_memory (member, &memory);
    g_assert_cmpuint (memory.now, ==, AVATAR_FAKE_OVERHEAD);
    if (i < 2 && avatar_device_get_n_members (device) > 1 && f->settings.guidance_scale > 1)
      g_assert_cmpuint (memory.peak, >, 2 * AVATAR_FAKE_OVERHEAD); /* both compute */
    if (budget)
      g_assert_cmpuint (memory.peak, <=, budget);
  }
  return out;
}

static void
expect_same (Fixture *f, const char *group, guint64 budget)
{
  g_autofree float *one = run_on (f, ONE, 0);
  g_autofree float *all = run_on (f, group, budget);

  g_assert_cmpmem (all, LATENTS * f->n * sizeof (float), one, LATENTS * f->n * sizeof (float));
}

/* The latents of a group are those of one device, to the bit. */
static void
test_guided (Fixture *f, gconstpointer data)
{
  f->settings.guidance_scale = 3;
  expect_same (f, TWO, 0);
  expect_same (f, FOUR, 0);
  f->settings.guidance_scale = 1;
  expect_same (f, TWO, 0);
}

static void
test_clip (Fixture *f, gconstpointer data)
{
  f->settings.guidance_scale = 3;
  f->settings.mode = AVATAR_DENOISE_MODE_CLIP;
  expect_same (f, TWO, 0);
}

/* From step 10 on the branches have the same prompt, and steps may be cached. Both members cache
 * the same ones. */
static void
test_phases (Fixture *f, gconstpointer data)
{
  static const AvatarStepCacheMode caches[]
      = { AVATAR_STEP_CACHE_UPSTREAM, AVATAR_STEP_CACHE_EASY, AVATAR_STEP_CACHE_FORECAST };

  f->settings.guidance_scale = 3;
  f->settings.steps = 14;
  f->settings.step_cache_threshold = 0.3;
  for (guint i = 0; i < G_N_ELEMENTS (caches); i++) {
    f->settings.step_cache = caches[i];
    expect_same (f, TWO, 0);
    g_assert_cmpuint (stats.forwards, <, 2 * f->settings.steps);
  }
  f->settings.mode = AVATAR_DENOISE_MODE_CLIP;
  expect_same (f, TWO, 0);
}

/* Windows with idle steps do work that those with the usual number do not: sparse attention, and in
 * the branch without audio the positive prompt. The arenas of both members have room for it. */
static void
test_idle (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = open_device ("sim:4000:0+1");
  g_autoptr (AvatarImage) image = portrait (7);
  g_autofree float *out = g_new (float, LATENTS * f->n);
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (GError) error = NULL;

  f->settings.guidance_scale = 3;
  f->settings.prompt = "a man with a long beard, who talks about the weather of the next few days";
  f->settings.steps = 1;
  f->settings.idle_steps = 12;
  f->settings.attention = AVATAR_ATTENTION_SPARSE;
  f->settings.attention_dense_layers = 0;
  self = start (f, device, &f->settings, image);
  avatar_denoiser_use_steps (self, f->settings.idle_steps, &error);
  g_assert_no_error (error);
  pull (f, self, LATENTS, out);
  check_memory (self);
  check_memory (self->peer);
}

/* Returns the smallest budget of each member with which @device denoises (MiB). */
static guint64
least_for_all (Fixture *f, const char *name)
{
  guint64 least = 1, most = 512;

  while (least < most) {
    guint64 middle = (least + most) / 2;
    g_autoptr (AvatarDevice) device = open_device (name);
    g_autoptr (AvatarDenoiser) self = NULL;

    avatar_device_set_budget (device, middle * MIB);
    self = avatar_denoiser_new (f->model, device, &f->settings, NULL);
    if (self)
      most = middle;
    else
      least = middle + 1;
  }
  return least;
}

/* Weights are streamed on both members, and neither exceeds its budget. */
static void
test_small_budget (Fixture *f, gconstpointer data)
{
  f->settings.guidance_scale = 3;
  expect_same (f, TWO, least_for_all (f, TWO) * MIB);
}

/* A budget that is too small for one member is refused with its name and the smallest budget. */
static void
test_too_small (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = open_device (TWO);
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (GError) error = NULL;
  AvatarDevice *second = avatar_device_get_member (device, 1);
  const char *least;
  guint64 mib;

  f->settings.guidance_scale = 3;
  avatar_device_set_budget (second, 12 * MIB);
  g_assert_null (avatar_denoiser_new (f->model, device, &f->settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  g_assert_nonnull (strstr (error->message, "the memory budget of sim:512:1 is 12 MiB"));
  least = strstr (error->message, "at least ");
  mib = g_ascii_strtoull (least + strlen ("at least "), NULL, 10);
  avatar_device_set_budget (second, mib * MIB);
  self = avatar_denoiser_new (f->model, device, &f->settings, NULL);
  g_assert_nonnull (self);
}

/* Returns the decoded frames of @latents on @device, or NULL with @error. */
static guint8 *
decode (Fixture *f, AvatarDevice *device, const float *latents, GError **error)
{
  AvatarDecodeSettings settings;
  g_autoptr (AvatarDecoder) self = NULL;
  gsize frame = SIZE * SIZE * 3;
  g_autofree guint8 *out = g_malloc0 (FRAMES * frame);
  gboolean ok;

  avatar_decode_settings_init (&settings, f->model);
  self = avatar_decoder_new (f->model, device, SIZE, SIZE, &settings, error);
  ok = self != NULL;
  for (guint i = 0; ok && i < LATENTS; i++)
    ok = avatar_decoder_push (self, latents + i * f->n, error);
  ok = ok && avatar_decoder_drain (self, error);
  for (guint i = 0; ok && i < FRAMES; i++)
    ok = avatar_decoder_pull (self, out + i * frame, SIZE * 3, error) == AVATAR_PULL_OK;
  return ok ? g_steal_pointer (&out) : NULL;
}

/* Returns the smallest budget with which @device decodes (MiB). */
static guint64
least_to_decode (Fixture *f, const float *latents)
{
  for (guint64 mib = 10;; mib++) {
    g_autoptr (AvatarDevice) device = open_device (ONE);
    g_autofree guint8 *out = NULL;

    avatar_device_set_budget (device, mib * MIB);
    out = decode (f, device, latents, NULL);
    if (out)
      return mib;
  }
}

/* The decoder uses the memory of the first member that an idle denoiser of the group holds. */
static void
test_decoder (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree float *latents = NULL;
  g_autofree guint8 *expected = NULL;
  g_autofree guint8 *out = NULL;
  g_autoptr (AvatarDevice) one = open_device (ONE);
  g_autoptr (AvatarDevice) device = open_device (TWO);
  g_autoptr (AvatarDenoiser) denoiser = NULL;
  AvatarImage *image = portrait (7);
  guint64 least;

  f->settings.guidance_scale = 3;
  latents = latents_of (f, one, 7, NULL);
  expected = decode (f, one, latents, &error);
  g_assert_no_error (error);
  least = MAX (least_to_decode (f, latents), least_for_all (f, TWO)) + FIXED_MIB;
  avatar_device_set_budget (device, least * MIB);
  denoiser = avatar_denoiser_new (f->model, device, &f->settings, &error);
  g_assert_no_error (error);
  avatar_denoiser_set_reference (denoiser, image, &error);
  g_assert_no_error (error);
  push_all (f, denoiser);
  avatar_denoiser_pull (denoiser, latents, &error);
  g_assert_no_error (error);
  out = decode (f, device, latents, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (out, FRAMES * SIZE * SIZE * 3, expected, FRAMES * SIZE * SIZE * 3);
  avatar_image_free (image);
}

/* Returns the latents after a change from @f's settings to @to. */
static float *
change_on (Fixture *f, const char *name, const AvatarDenoiseSettings *to)
{
  g_autoptr (AvatarDevice) device = open_device (name);
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (f->model, device, &f->settings, NULL);
  float *out = g_new0 (float, LATENTS * f->n);
  AvatarImage *images[] = { portrait (7), portrait (11) };
  g_autoptr (GError) error = NULL;

  avatar_denoiser_set_reference (self, images[0], &error);
  g_assert_no_error (error);
  push_all (f, self);
  for (guint i = 0; i < LATENTS; i++) {
    if (i == CHUNK) {
      avatar_denoiser_change (self, to, images[1], &error);
      g_assert_no_error (error);
    }
    avatar_denoiser_pull (self, out + i * f->n, &error);
    g_assert_no_error (error);
  }
  avatar_image_free (images[0]);
  avatar_image_free (images[1]);
  return out;
}

/* Changes between two windows: portrait, prompt and steps, and guidance on and off. */
static void
test_change (Fixture *f, gconstpointer data)
{
  const double scales[][2] = { { 3, 4 }, { 1, 3 }, { 3, 1 } };

  for (guint i = 0; i < G_N_ELEMENTS (scales); i++) {
    AvatarDenoiseSettings to = f->settings;
    g_autofree float *one = NULL;
    g_autofree float *two = NULL;

    f->settings.guidance_scale = scales[i][0];
    to.guidance_scale = scales[i][1];
    to.prompt = "a woman who laughs";
    to.steps = 3;
    one = change_on (f, ONE, &to);
    two = change_on (f, TWO, &to);
    g_assert_cmpmem (two, LATENTS * f->n * sizeof (float), one, LATENTS * f->n * sizeof (float));
  }
}

/* A failure of any copy to any member is one error, and the next run succeeds. */
static void
test_failures (Fixture *f, gconstpointer data)
{
  g_autofree float *expected = NULL;

  f->settings.guidance_scale = 3;
  expected = run_on (f, ONE, 0);
  for (guint n = 1; n < 400; n += 97) {
    g_autoptr (AvatarDevice) device = open_device (TWO);
    g_autoptr (GError) error = NULL;
    g_autofree float *out = NULL;
    g_autofree float *again = NULL;

    avatar_fake_fail_upload (n);
    out = latents_of (f, device, 7, &error);
    if (out)
      g_assert_no_error (error);
    else
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
    avatar_fake_fail_upload (0);
    again = run_on (f, TWO, 0);
    g_assert_cmpmem (again, LATENTS * f->n * sizeof (float), expected,
        LATENTS * f->n * sizeof (float));
  }
}

/* A run in a thread of its own. */
typedef struct
{
  Fixture *f;
  const char *name;
  float *out;
} Parallel;

static gpointer
run_parallel (gpointer data)
{
  Parallel *p = data;
  g_autoptr (AvatarDevice) device = open_device (p->name);
  g_autoptr (GError) error = NULL;

  p->out = latents_of (p->f, device, 7, &error);
  g_assert_no_error (error);
  return NULL;
}

/* Groups of the same devices in different orders do not wait for each other's turns forever, even
 * if all of them begin at once. */
static void
test_orders (Fixture *f, gconstpointer data)
{
  Parallel runs[] = { { f, "sim:512:0+1", NULL }, { f, "sim:512:1+0", NULL },
    { f, "sim:512:0+1", NULL }, { f, "sim:512:1+0", NULL } };
  g_autoptr (AvatarDevice) group = open_device (TWO);
  AvatarTurns *turns[] = { avatar_device_get_turns (avatar_device_get_member (group, 0)),
    avatar_device_get_turns (avatar_device_get_member (group, 1)) };
  const guint n = G_N_ELEMENTS (runs);
  g_autofree float *expected = NULL;
  const gint never = FALSE;
  GThread *threads[4];

  f->settings.guidance_scale = 3;
  expected = run_on (f, ONE, 0);
  for (guint i = 0; i < n; i++)
    g_assert_true (avatar_turns_begin (turns[i / 2], AVATAR_NO_DEADLINE, &never));
  for (guint i = 0; i < n; i++)
    threads[i] = g_thread_new ("test", run_parallel, &runs[i]);
  while (avatar_turns_get_n_waiting (turns[0]) + avatar_turns_get_n_waiting (turns[1]) < n)
    g_usleep (1000);
  for (guint i = 0; i < n; i++)
    avatar_turns_end (turns[i / 2]);
  for (guint i = 0; i < n; i++) {
    g_thread_join (threads[i]);
    g_assert_cmpmem (runs[i].out, LATENTS * f->n * sizeof (float), expected,
        LATENTS * f->n * sizeof (float));
    g_free (runs[i].out);
  }
}

static void
cancel (gpointer data)
{
  avatar_denoiser_cancel (data);
}

/* A cancellation in any operation of any member ends the window, and reset() starts anew. */
static void
test_cancel (Fixture *f, gconstpointer data)
{
  guint operations, first = avatar_fake_count_operations ();

  f->settings.guidance_scale = 3;
  g_free (run_on (f, TWO, 0));
  operations = (avatar_fake_count_operations () - first) / WINDOWS;
  for (guint n = 1; n < operations; n += operations / 4) {
    g_autoptr (AvatarDevice) device = open_device (TWO);
    g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (f->model, device, &f->settings, NULL);
    g_autofree float *latent = g_new (float, f->n);
    g_autoptr (GError) error = NULL;
    AvatarImage *image = portrait (7);

    avatar_denoiser_set_reference (self, image, NULL);
    avatar_image_free (image);
    push_all (f, self);
    avatar_fake_call_at (n, cancel, self);
    g_assert_cmpint (avatar_denoiser_pull (self, latent, &error), ==, AVATAR_PULL_ERROR);
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
    avatar_denoiser_reset (self);
    push_all (f, self);
    g_clear_error (&error);
    g_assert_cmpint (avatar_denoiser_pull (self, latent, &error), ==, AVATAR_PULL_OK);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/group/names", test_names);
  g_test_add_func ("/group/sharing", test_sharing);
  g_test_add_func ("/group/wrong-names", test_wrong_names);
  g_test_add_func ("/group/budgets", test_budgets);
#define ADD(name, func) g_test_add (name, Fixture, NULL, setup, func, teardown)
  ADD ("/group/guided", test_guided);
  ADD ("/group/clip", test_clip);
  ADD ("/group/phases", test_phases);
  ADD ("/group/idle", test_idle);
  ADD ("/group/small-budget", test_small_budget);
  ADD ("/group/decoder", test_decoder);
  ADD ("/group/too-small", test_too_small);
  ADD ("/group/change", test_change);
  ADD ("/group/failures", test_failures);
  ADD ("/group/orders", test_orders);
  ADD ("/group/cancel", test_cancel);
  return g_test_run ();
}
