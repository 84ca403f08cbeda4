/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Presets: the values that they set, those that they leave, and files that are refused. */
#include "engine/denoise/preset.h"

#include <avatar/avatar.h>
#include <glib/gstdio.h>
#include <string.h>

static AvatarPreset *
parse (const char *text, GError **error)
{
  return avatar_preset_parse (text, strlen (text), "/srv/fast/preset.json", error);
}

static void
test_all (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarPreset) preset
      = parse ("{\"description\": \"fast\", \"steps\": 4, \"sigmas\": [1, 0.992, 0.9818, 0.9124],"
               " \"guidance-scale\": 2.5, \"guidance-border\": 0.955, \"step-cache\": \"adaptive\","
               " \"cache-threshold\": 0.1, \"loras\": [{\"path\": \"a.safetensors\"},"
               " {\"path\": \"/b.pt\", \"strength\": -0.5}]}",
          &error);
  AvatarDenoiseSettings s = { .steps = 50, .flow_shift = 5 };

  g_assert_no_error (error);
  avatar_preset_apply (preset, &s);
  g_assert_cmpuint (s.steps, ==, 4);
  g_assert_cmpuint (s.n_sigmas, ==, 4);
  g_assert_cmpfloat (s.sigmas[1], ==, 0.992);
  g_assert_cmpfloat (s.sigmas[3], ==, 0.9124);
  g_assert_cmpfloat (s.flow_shift, ==, 5);
  g_assert_cmpfloat (s.guidance_scale, ==, 2.5);
  g_assert_cmpfloat (s.guidance_border, ==, 0.955);
  g_assert_cmpint (s.step_cache, ==, AVATAR_STEP_CACHE_ADAPTIVE);
  g_assert_cmpfloat (s.step_cache_threshold, ==, 0.1);
  g_assert_cmpuint (s.n_loras, ==, 2);
  g_assert_cmpstr (s.loras[0].path, ==, "/srv/fast/a.safetensors");
  g_assert_cmpfloat (s.loras[0].strength, ==, 1);
  g_assert_cmpstr (s.loras[1].path, ==, "/b.pt");
  g_assert_cmpfloat (s.loras[1].strength, ==, -0.5);
}

/* Strengths by step, and by noise level. */
static void
test_schedules (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarPreset) preset
      = parse ("{\"loras\": [{\"path\": \"a\", \"strength\": [0, 0.5, 1]},"
               " {\"path\": \"b\", \"sigmas\": [0.98, 0], \"strength\": 0.8}]}",
          &error);
  AvatarDenoiseSettings s = { 0 };

  g_assert_no_error (error);
  avatar_preset_apply (preset, &s);
  g_assert_cmpfloat (s.loras[0].strength, ==, 1);
  g_assert_cmpuint (s.loras[0].schedule->n_strengths, ==, 3);
  g_assert_cmpfloat (s.loras[0].schedule->strengths[1], ==, 0.5);
  g_assert_cmpfloat (s.loras[1].strength, ==, 0.8);
  g_assert_cmpuint (s.loras[1].schedule->n_strengths, ==, 0);
  g_assert_cmpfloat (s.loras[1].schedule->sigma_from, ==, 0.98);
  g_assert_cmpfloat (s.loras[1].schedule->sigma_to, ==, 0);
}

/* An empty preset changes nothing, and one value changes that one. */
static void
test_some (void)
{
  const AvatarDenoiseSettings before = { .steps = 50, .flow_shift = 5, .guidance_scale = 7.5 };
  AvatarDenoiseSettings s = before;
  g_autoptr (AvatarPreset) none = parse ("{}", NULL);
  g_autoptr (AvatarPreset) shift = parse ("{\"flow-shift\": 17}", NULL);

  avatar_preset_apply (none, &s);
  g_assert_cmpmem (&s, sizeof s, &before, sizeof before);
  avatar_preset_apply (shift, &s);
  g_assert_cmpfloat (s.flow_shift, ==, 17);
  s.flow_shift = 5;
  g_assert_cmpmem (&s, sizeof s, &before, sizeof before);
}

/* All caches by name, and the full steps of a forecast. */
static void
test_caches (void)
{
  static const char *const names[] = { "none", "upstream", "adaptive", "easy", "forecast" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *text
        = g_strdup_printf ("{\"step-cache\": \"%s\", \"cache-steps\": %u}", names[i], 10 * i);
    g_autoptr (AvatarPreset) preset = parse (text, &error);
    AvatarDenoiseSettings s = { .step_cache_steps = 3 };

    g_assert_no_error (error);
    avatar_preset_apply (preset, &s);
    g_assert_cmpint (s.step_cache, ==, AVATAR_STEP_CACHE_NONE + i);
    g_assert_cmpuint (s.step_cache_steps, ==, 10 * i);
  }
}

static void
test_refused (void)
{
  static const char *const wrong[][2] = { { "[]", "" }, { "{\"steps\": 4", "" },
    { "{\"guidance\": 1}", "unknown key \"guidance\"" }, { "{\"steps\": 0}", "\"steps\"" },
    { "{\"steps\": 2.5}", "whole number" }, { "{\"steps\": \"4\"}", "\"steps\"" },
    { "{\"steps\": true}", "\"steps\"" }, { "{\"steps\": null}", "\"steps\"" },
    { "{\"flow-shift\": 0}", "\"flow-shift\"" }, { "{\"flow-shift\": 101}", "\"flow-shift\"" },
    { "{\"guidance-scale\": -1}", "\"guidance-scale\"" },
    { "{\"guidance-border\": 2}", "\"guidance-border\"" }, { "{\"sigmas\": []}", "\"sigmas\"" },
    { "{\"sigmas\": [1, null]}", "entry 2 of \"sigmas\"" },
    { "{\"sigmas\": [1, 0.5], \"steps\": 3}", "they must agree" },
    { "{\"sigmas\": [1], \"flow-shift\": 3}", "exclude each other" },
    { "{\"step-cache\": \"fast\"}", "\"step-cache\"" }, { "{\"step-cache\": 1}", "\"step-cache\"" },
    { "{\"cache-steps\": 1.5}", "\"cache-steps\" is not a whole number" },
    { "{\"cache-steps\": -1}", "\"cache-steps\"" }, { "{\"description\": 1}", "\"description\"" },
    { "{\"loras\": {}}", "\"loras\"" }, { "{\"loras\": [\"a\"]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"\"}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"scale\": 1}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"strength\": \"1\"}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"strength\": []}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"strength\": [1, null]}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"sigmas\": [0, 1]}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"sigmas\": 1}]}", "entry 1 of \"loras\"" },
    { "{\"loras\": [{\"path\": \"a\", \"sigmas\": [1, 0], \"strength\": [1]}]}",
        "entry 1 of \"loras\"" } };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (parse (wrong[i][0], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
    g_assert_nonnull (strstr (error->message, "/srv/fast/preset.json"));
    g_assert_nonnull (strstr (error->message, wrong[i][1]));
  }
}

static void
test_load (void)
{
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "preset.json", NULL);
  g_autofree char *lora = g_build_filename (folder, "x.pt", NULL);
  g_autoptr (GError) error = NULL;
  AvatarDenoiseSettings s = { 0 };
  AvatarPreset *preset;

  g_assert_null (avatar_preset_load (path, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_true (g_file_set_contents (path, "{\"loras\": [{\"path\": \"x.pt\"}]}", -1, NULL));
  preset = avatar_preset_load (path, &error);
  g_assert_no_error (error);
  avatar_preset_unref (avatar_preset_ref (preset));
  avatar_preset_apply (preset, &s);
  g_assert_cmpstr (s.loras[0].path, ==, lora);
  avatar_preset_unref (preset);
  g_unlink (path);
  g_rmdir (folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/preset/all", test_all);
  g_test_add_func ("/preset/schedules", test_schedules);
  g_test_add_func ("/preset/some", test_some);
  g_test_add_func ("/preset/caches", test_caches);
  g_test_add_func ("/preset/refused", test_refused);
  g_test_add_func ("/preset/load", test_load);
  return g_test_run ();
}
