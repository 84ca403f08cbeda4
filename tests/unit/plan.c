/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans of the released model on simulated cards. tests/unit/residency.c compares plans with
 * runs. */
#include "engine/device/device.h"
#include "engine/model/config.h"

#include <avatar/plan.h>

#include <math.h>
#include <string.h>

#define MIB ((guint64) 1 << 20)

static gboolean
make (guint width, guint height, guint64 budget_mib, AvatarPrecision precision,
    AvatarWeightFormat format, AvatarPlan *plan, GError **error)
{
  g_autoptr (AvatarModel) model = avatar_model_open ("released", error);
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;

  g_assert_nonnull (model);
  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  avatar_plan_options_init (&options);
  denoise.width = width;
  denoise.height = height;
  denoise.precision = precision;
  denoise.weight_format = format;
  options.budget_bytes = budget_mib * MIB;
  return avatar_plan_make (model, "plan:cuda:1048576", &denoise, &decode, 129, &options, plan,
      error);
}

static AvatarPlan
plan_of (guint width, guint height, guint64 budget_mib)
{
  g_autoptr (GError) error = NULL;
  AvatarPlan plan;

  make (width, height, budget_mib, AVATAR_PRECISION_AUTO, AVATAR_WEIGHT_FORMAT_STORED, &plan,
      &error);
  g_assert_no_error (error);
  return plan;
}

static void
test_device (void)
{
  static const char *const bad[] = { "plan:", "plan:cuda", "plan:cuda:", "plan:cuda:0",
    "plan:cuda:-1", "plan:cuda:12x", "plan:cuda:99999999999999999999", "plan:cpu:100" };
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("plan:cuda:24576", &error);
  g_autoptr (AvatarDevice) other = avatar_device_open ("plan:cuda:24576", NULL);
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  AvatarDenoiseSettings settings;
  AvatarMemory memory;

  g_assert_no_error (error);
  g_assert_true (device != other); /* each counts for itself */
  avatar_device_get_memory (device, &memory);
  g_assert_cmpuint (memory.now + avatar_device_get_available_bytes (device), ==, 24576 * MIB);
  avatar_denoise_settings_init (&settings, model);
  g_assert_null (avatar_denoiser_new (model, device, &settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
  g_assert_nonnull (strstr (error->message, "for plans only"));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_clear_error (&error);
    g_assert_null (avatar_device_open (bad[i], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
  }
}

/* The documented minimum cards: the whole clip, with enough slots to hide the copies. */
static void
test_small_cards (void)
{
  static const struct
  {
    guint width, height, budget;
  } rows[] = { { 704, 768, 4096 }, { 512, 512, 3072 }, { 704, 1216, 6144 } };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    AvatarPlan plan = plan_of (rows[i].width, rows[i].height, rows[i].budget);

    g_assert_true (plan.fits);
    g_assert_cmpuint (plan.gpu.slots, ==, 4);
    g_assert_cmpuint (plan.peak_bytes, <=, rows[i].budget * MIB);
    g_assert_true (plan.gpu.shares_prefix);
  }
}

/* The FLOPs of one forward that were derived by hand (docs/dev/spec/denoise.md 5.2), in 1e12. */
static void
test_flops (void)
{
  static const struct
  {
    guint width, height;
    double tflop;
  } rows[] = { { 384, 384, 587 }, { 512, 512, 1426 }, { 704, 768, 4886 }, { 704, 1216, 11241 } };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    AvatarPlan plan = plan_of (rows[i].width, rows[i].height, 0);

    g_assert_cmpfloat_with_epsilon (plan.gpu.forward_flops * 1e-12 / rows[i].tflop, 1, 0.002);
  }
}

static void
test_budgets (void)
{
  AvatarPlan all = plan_of (512, 512, 0), before = plan_of (512, 512, 1);
  guint64 least = (before.gpu.min_bytes + MIB - 1) / MIB;

  g_assert_true (all.fits && !before.fits);
  g_assert_cmpuint (all.gpu.resident, ==, all.gpu.groups);
  g_assert_cmpuint (all.gpu.streamed_bytes, ==, 0);
  g_assert_cmpuint (before.peak_bytes, ==, before.gpu.min_bytes);
  g_assert_false (plan_of (512, 512, least - 1).fits);
  for (guint64 budget = least; budget < 24000; budget += 1777) {
    AvatarPlan plan = plan_of (512, 512, budget);

    g_assert_true (plan.fits);
    g_assert_cmpuint (plan.peak_bytes, <=, budget * MIB);
    g_assert_cmpuint (plan.gpu.resident, >=, before.gpu.resident);
    g_assert_cmpuint (plan.gpu.streamed_bytes, <=, before.gpu.streamed_bytes);
    g_assert_cmpfloat (plan.gpu.forward_seconds, <=, before.gpu.forward_seconds);
    g_assert_cmpfloat (plan.gpu.forward_flops, ==, all.gpu.forward_flops);
    before = plan;
  }
}

static void
test_8bit (void)
{
  g_autoptr (GError) error = NULL;
  AvatarPlan whole = plan_of (512, 512, 0), stored, computed;

  make (512, 512, 0, AVATAR_PRECISION_AUTO, AVATAR_WEIGHT_FORMAT_INT8, &stored, &error);
  g_assert_no_error (error);
  make (512, 512, 0, AVATAR_PRECISION_FP8, AVATAR_WEIGHT_FORMAT_STORED, &computed, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (stored.gpu.resident_bytes, <, whole.gpu.resident_bytes * 0.52);
  g_assert_cmpuint (computed.gpu.resident_bytes, <, whole.gpu.resident_bytes * 0.52);
  /* nothing is expanded for a forward that computes in 8 bits */
  g_assert_cmpuint (computed.gpu.expand_bytes, ==, 0);
  g_assert_cmpuint (stored.gpu.expand_bytes, >, 0);
  g_assert_cmpfloat (computed.gpu.forward_seconds, <, whole.gpu.forward_seconds);
  g_assert_cmpfloat (stored.gpu.forward_seconds, ==, whole.gpu.forward_seconds);
}

static void
test_bad (void)
{
  static const guint sizes[][2] = { { 0, 64 }, { 700, 704 }, { 8192, 704 }, { G_MAXUINT, 64 } };
  g_autoptr (AvatarModel) model = avatar_model_open ("released", NULL);
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;
  AvatarPlan plan;
  GError *error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_assert_false (make (sizes[i][0], sizes[i][1], 0, AVATAR_PRECISION_AUTO,
        AVATAR_WEIGHT_FORMAT_STORED, &plan, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
    g_clear_error (&error);
  }
  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  for (guint i = 0; i < 6; i++) {
    static const double rates[] = { 0, -1, NAN, INFINITY };

    avatar_plan_options_init (&options);
    if (i < 4)
      options.bus_gbps = rates[i];
    g_assert_false (avatar_plan_make (model, "plan:cuda:8192", &denoise, &decode,
        i < 4        ? 129
            : i == 4 ? 0
                     : G_MAXUINT,
        &options, &plan, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
    g_clear_error (&error);
  }
  /* the largest there is: sums stay right */
  plan = plan_of (4096, 4096, 4096);
  g_assert_false (plan.fits);
  g_assert_cmpuint (plan.gpu.min_bytes, >, 32 * 1024 * MIB);
  g_assert_cmpuint (plan.gpu.min_bytes, <, 256 * 1024 * MIB);
}

/* Sizes that the CUDA back-end does not support: the plan refuses them, as a run does. */
static void
test_limits (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open ("released", NULL);
  AvatarConfig *config = (AvatarConfig *) avatar_model_get_config (model); /* this model's own */
  guint *const sizes[] = { &config->transformer.head_dim, &config->transformer.adapter_dim,
    &config->transformer.audio_tokens, &config->transformer.hidden, &config->vae.channels[0] };
  static const guint too_much[] = { 264, 1032, 9, 3080, 100 };
  static const char *const names[]
      = { "heads of 264", "adapters of 1032", "audio tokens", "rows in 8 bits", "100 channels" };
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlan plan;

  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  denoise.precision = AVATAR_PRECISION_FP8;
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (GError) error = NULL;
    guint before = *sizes[i];

    *sizes[i] = too_much[i];
    g_assert_false (
        avatar_plan_make (model, "plan:cuda:81920", &denoise, &decode, 5, NULL, &plan, &error));
    *sizes[i] = before;
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
    g_assert_nonnull (strstr (error->message, names[i]));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/plan/device", test_device);
  g_test_add_func ("/plan/small-cards", test_small_cards);
  g_test_add_func ("/plan/flops", test_flops);
  g_test_add_func ("/plan/budgets", test_budgets);
  g_test_add_func ("/plan/8bit", test_8bit);
  g_test_add_func ("/plan/bad", test_bad);
  g_test_add_func ("/plan/limits", test_limits);
  return g_test_run ();
}
