/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Schedule, guidance, lengths and windows against values recorded from upstream's pipeline. */
#include "engine/denoise/sampler.h"

#include <json-glib/json-glib.h>

static JsonObject *
open_golden (JsonParser *parser)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, "upstream", "sampler.json", NULL);
  g_autoptr (GError) error = NULL;

  json_parser_load_from_file (parser, path, &error);
  g_assert_no_error (error);
  return json_node_get_object (json_parser_get_root (parser));
}

static void
test_schedule (void)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonArray *all = json_object_get_array_member (open_golden (parser), "schedule");

  g_assert_cmpuint (json_array_get_length (all), >=, 12);
  for (guint k = 0; k < json_array_get_length (all); k++) {
    JsonObject *o = json_array_get_object_element (all, k);
    guint steps = json_object_get_int_member (o, "steps");
    double shift = json_object_get_double_member (o, "shift");
    JsonArray *sigmas = json_object_get_array_member (o, "sigmas");

    g_assert_cmpuint (json_array_get_length (sigmas), ==, steps + 1);
    for (guint i = 0; i <= steps; i++)
      g_assert_cmpfloat_with_epsilon (avatar_sigma (i, steps, shift),
          json_array_get_double_element (sigmas, i), 1e-6);
  }
}

static void
test_noise (void)
{
  const guint n = 1 << 16;
  g_autofree float *a = g_new (float, n);
  g_autofree float *b = g_new (float, n);
  double mean = 0, var = 0, cross = 0;

  avatar_noise_fill (a, n, 7, 3);
  avatar_noise_fill (b, n, 7, 4);
  for (guint i = 0; i < n; i++) {
    mean += a[i] / n;
    var += (double) a[i] * a[i] / n;
    cross += (double) a[i] * b[i] / n;
  }
  g_assert_cmpfloat_with_epsilon (mean, 0, 0.02);
  g_assert_cmpfloat_with_epsilon (var, 1, 0.03);
  g_assert_cmpfloat_with_epsilon (cross, 0, 0.02);
  avatar_noise_fill (b, 1001, 7, 3);
  g_assert_cmpmem (a, 1001 * 4, b, 1001 * 4);
}

/* Every latent frame of every step is covered, by at most two windows, and the last window's
 * length is what docs/dev/spec/denoise.md 4.5 says. */
static void
test_lengths (void)
{
  static const guint expected[][4] = { { 1, 33, 33, 1 }, { 129, 33, 33, 1 }, { 130, 34, 65, 2 },
    { 250, 64, 65, 2 }, { 251, 65, 97, 3 }, { 378, 96, 97, 3 }, { 379, 97, 129, 4 } };

  for (guint k = 0; k < G_N_ELEMENTS (expected); k++) {
    AvatarClip clip = avatar_clip_plan (expected[k][0], 33);

    g_assert_cmpuint (clip.kept, ==, expected[k][1]);
    g_assert_cmpuint (clip.latents, ==, expected[k][2]);
    g_assert_cmpuint (clip.windows, ==, expected[k][3]);
    for (guint i = 0; i < 50; i++) {
      g_autofree guint *count = g_new0 (guint, clip.latents);
      guint shift = avatar_clip_shift (&clip, i);

      for (guint w = 0; w < clip.windows; w++)
        for (guint j = 0; j < 33; j++) {
          count[avatar_clip_latent (&clip, shift, w, j)]++;
          if (j > 0)
            g_assert_cmpuint (avatar_clip_audio (&clip, shift, w, 4 * j) % (4 * clip.latents), ==,
                4 * avatar_clip_latent (&clip, shift, w, j));
        }
      for (guint f = 0; f < clip.latents; f++)
        g_assert_true (count[f] == 1 || count[f] == 2);
    }
  }
}

static void
test_guidance (void)
{
  g_assert_cmpfloat_with_epsilon (avatar_guidance (0, 50, 7.5).scale, 7.5, 1e-9);
  g_assert_cmpfloat_with_epsilon (avatar_guidance (9, 50, 7.5).scale, 6.51, 1e-9);
  g_assert_cmpfloat_with_epsilon (avatar_guidance (10, 50, 7.5).scale, 5.9, 1e-9);
  g_assert_cmpfloat_with_epsilon (avatar_guidance (49, 50, 7.5).scale, 3.56, 1e-9);
  g_assert_true (avatar_guidance (9, 50, 7.5).negative);
  g_assert_false (avatar_guidance (10, 50, 7.5).negative);
  g_assert_cmpfloat (avatar_guidance (9, 50, 7.5).face_scale, ==, 0.6);
  g_assert_cmpfloat (avatar_guidance (10, 50, 7.5).face_scale, ==, 1);
}

/* The border at 0.955 gives upstream's phases at 50 steps, and as many levels at other numbers. */
static void
test_border (void)
{
  guint first = 0;

  for (guint i = 0; i < 50; i++) {
    AvatarGuidance by_step = avatar_guidance (i, 50, 7.5);
    AvatarGuidance by_sigma = avatar_guidance_by_sigma (i, 50, 7.5, avatar_sigma (i, 50, 5), 0.955);

    g_assert_cmpfloat (by_step.scale, ==, by_sigma.scale);
    g_assert_cmpfloat (by_step.face_scale, ==, by_sigma.face_scale);
    g_assert_true (by_step.negative == by_sigma.negative);
  }
  for (guint i = 0; i < 8; i++)
    first += avatar_guidance_by_sigma (i, 8, 7.5, avatar_sigma (i, 8, 5), 0.955).negative;
  g_assert_cmpuint (first, ==, 2);
  g_assert_false (avatar_guidance_by_sigma (0, 8, 7.5, 1, 1).negative);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/sampler/schedule", test_schedule);
  g_test_add_func ("/sampler/noise", test_noise);
  g_test_add_func ("/sampler/lengths", test_lengths);
  g_test_add_func ("/sampler/guidance", test_guidance);
  g_test_add_func ("/sampler/border", test_border);
  return g_test_run ();
}
