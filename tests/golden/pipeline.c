/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The whole chain, from sound, portrait and prompt to frames, against upstream's own program on
 * the same small random weights (tools/goldens/make_pipeline.py), at every parity point of
 * docs/dev/spec/denoise.md 8 that has a counterpart. Runs with other input must not pass. */
#include "tests/golden/golden.h"
#include "tests/golden/pipeline-run.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT "A young woman with a red scarf speaks softly, then laughs."
/* Frames of tiles that end before the sound, of 140. */
#define WHOLE 97
#define FRAME (48 * 64 * 3)
#define FRAMES_LIMIT 5e-3

#define GIVEN .prompt = PROMPT, .box = { 17.5, 20.25, 11, 13.5 }, .noise = 1, .posterior = 1

static const PipelineSetup three = { 129, 3, 1, GIVEN };
static const PipelineSetup fifty = { 40, 50, 1, GIVEN };
static const PipelineSetup two = { 140, 2, 2, GIVEN };

/* Maximum relative L2 error by the prefix of a point; the first match counts. 0: equal values.
 * After the first velocity upstream's rounding dominates: a float32 value close to the middle of
 * two bfloat16 values is rounded the other way, and guidance multiplies that by 7.5. The error
 * accumulates over the steps, so that it is larger after 50 steps than after three. */
static const struct
{
  const char *name;
  double limit;
} limits[] = {
  { "*.ids", 0 },
  { "*.mask", 0 },
  { "*.pooled", 1e-4 },
  { "*.llava.states/*", 5e-4 },
  { "*.sigmas", 0 },
  { "*.timesteps", 0 },
  { "*.face_mask", 0 },
  { "*.fitted/*", 0 },
  { "*.square/*", 0 },
  { "*.audio_prompts/*", 1e-4 },
  { "*.audio_proj/*", 1e-4 },
  { "*.ref_latents/*", 1e-4 },
  { "*.vec", 1e-4 },
  { "*.txt_in/*", 5e-4 },
  { "*.double_*", 1e-4 },
  { "*.cache_out/*", 2e-4 },
  { "*.x.0*", 0 },
  { "three.w*.0/*", 1e-3 },
  { "fifty.x.49/*", 5e-3 },
  { "fifty.latents/*", 5e-3 },
  { "three.frames/*", FRAMES_LIMIT },
  /* upstream decodes all latents of the window; group norms include those after the sound */
  { "*.frames/*", 8e-2 },
  { "*", 2e-3 },
};

typedef struct
{
  char *folder;
  AvatarSafetensors *golden;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->folder = pipeline_make_folder ();
  f->golden = golden_open ("upstream/pipeline.safetensors");
}

static void
teardown (Fixture *f, gconstpointer data)
{
  avatar_safetensors_free (f->golden);
  pipeline_remove (f->folder);
}

static double
limit_of (const char *name)
{
  guint i = 0;

  while (!g_pattern_match_simple (limits[i].name, name))
    i++;
  return limits[i].limit;
}

/* Returns the golden tensor @name, and every N-th value of @found if it only has those. Rows of
 * padding at the end, which upstream computes, have no counterpart. @most: number of values to
 * compare */
static double
difference (Fixture *f, const char *name, const Point *found, gsize most)
{
  const char *slash = strchr (name, '/');
  guint every = slash ? atoi (slash + 1) : 1;
  AvatarTensor want = golden_get (f->golden, name);
  gsize n = (found->n + every - 1) / every;
  g_autofree float *values = g_new (float, n);
  double error;

  if (strstr (name, "cache_out"))
    g_assert_cmpuint (n, <=, avatar_tensor_n (want));
  else
    g_assert_cmpuint (n, ==, avatar_tensor_n (want));
  for (gsize i = 0; i < n; i++)
    values[i] = found->values[i * every];
  error = golden_error (values, want.data, MIN (n, most / every));
  g_free (want.data);
  return error;
}

/* Compares all points of @prefix and returns the names of those out of tolerance. @tell: print
 * them. */
static GPtrArray *
compare (Fixture *f, const char *prefix, const PipelineSetup *setup, gboolean tell)
{
  GPtrArray *far = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) points = pipeline_run (f->folder, setup);
  guint n = 0;

  for (guint i = 0; i < avatar_safetensors_n (f->golden); i++) {
    const char *name = avatar_safetensors_nth (f->golden, i, NULL);
    g_autofree char *plain = NULL;
    const Point *found;
    double error;

    if (!g_str_has_prefix (name, prefix))
      continue;
    plain = g_strndup (name + strlen (prefix), strcspn (name, "/") - strlen (prefix));
    found = g_hash_table_lookup (points, plain);
    if (!found)
      g_error ("%s: nothing was found to compare with it", name);
    error = difference (f, name, found, G_MAXSIZE);
    if (!(error <= limit_of (name)))
      g_ptr_array_add (far, g_strdup (name));
    if (strcmp (name, "two.frames/101") == 0) {
      double whole = difference (f, name, found, WHOLE * FRAME);

      g_print ("# of its first %d frames: %.3g (limit %g)\n", WHOLE, whole, FRAMES_LIMIT);
      g_assert_true (whole <= FRAMES_LIMIT);
    }
    if (tell)
      g_print ("# %s: relative L2 error %.3g (limit %g)\n", name, error, limit_of (name));
    n++;
  }
  g_assert_cmpuint (n, >, 5);
  return far;
}

static void
check (Fixture *f, const char *prefix, const PipelineSetup *setup)
{
  g_autoptr (GPtrArray) far = compare (f, prefix, setup, TRUE);

  for (guint i = 0; i < far->len; i++)
    g_test_message ("%s is too far away", (char *) g_ptr_array_index (far, i));
  g_assert_cmpuint (far->len, ==, 0);
}

static void
test_three (Fixture *f, gconstpointer data)
{
  check (f, "three.", &three);
}

/* Both phases of guidance, and the step cache. */
static void
test_fifty (Fixture *f, gconstpointer data)
{
  check (f, "fifty.", &fifty);
}

static void
test_two_windows (Fixture *f, gconstpointer data)
{
  check (f, "two.", &two);
}

/* @names, up to %NULL, must be among what is too far away, and @others must not. */
static void
control (Fixture *f, const PipelineSetup *changed, const char *const *names,
    const char *const *others)
{
  g_autoptr (GPtrArray) far = compare (f, "three.", changed, FALSE);

  for (guint i = 0; names[i]; i++)
    if (!g_ptr_array_find_with_equal_func (far, names[i], g_str_equal, NULL))
      g_error ("%s is as close as it should be, though something else was given", names[i]);
  for (guint i = 0; others[i]; i++)
    if (g_ptr_array_find_with_equal_func (far, others[i], g_str_equal, NULL))
      g_error ("%s is too far away, though nothing it depends on was changed", others[i]);
}

static void
test_other_prompt (Fixture *f, gconstpointer data)
{
  PipelineSetup changed = three;

  changed.prompt = "A young woman with a red scarf speaks softly, then sings.";
  control (f, &changed,
      (const char *const[]){ "three.positive.llava.ids", "three.positive.llava.states/3",
          "three.with.0/23", "three.latents/11", NULL },
      (const char *const[]){ "three.negative.llava.states/3", "three.without.0/23", "three.x.0/11",
          NULL });
}

static void
test_other_noise (Fixture *f, gconstpointer data)
{
  PipelineSetup changed = three;

  changed.noise = 2;
  control (f, &changed,
      (const char *const[]){ "three.x.0/11", "three.with.0/23", "three.without.0/23",
          "three.latents/11", "three.frames/101", NULL },
      (const char *const[]){ "three.positive.llava.states/3", "three.ref_latents/11", NULL });
}

static void
test_other_posterior (Fixture *f, gconstpointer data)
{
  PipelineSetup changed = three;

  changed.posterior = 2;
  control (f, &changed,
      (const char *const[]){ "three.ref_latents/11", "three.with.0/23", "three.latents/11", NULL },
      (const char *const[]){ "three.x.0/11", "three.vec", NULL });
}

static void
test_other_face (Fixture *f, gconstpointer data)
{
  PipelineSetup changed = three;

  changed.box.x = 2;
  control (f, &changed,
      (const char *const[]){ "three.face_mask", "three.double_1/23", "three.latents/11", NULL },
      (const char *const[]){ "three.double_0/23", "three.ref_latents/11", NULL });
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/pipeline/three-steps", Fixture, NULL, setup, test_three, teardown);
  g_test_add ("/pipeline/fifty-steps", Fixture, NULL, setup, test_fifty, teardown);
  g_test_add ("/pipeline/two-windows", Fixture, NULL, setup, test_two_windows, teardown);
  g_test_add ("/pipeline/other-prompt", Fixture, NULL, setup, test_other_prompt, teardown);
  g_test_add ("/pipeline/other-noise", Fixture, NULL, setup, test_other_noise, teardown);
  g_test_add ("/pipeline/other-posterior", Fixture, NULL, setup, test_other_posterior, teardown);
  g_test_add ("/pipeline/other-face", Fixture, NULL, setup, test_other_face, teardown);
  return g_test_run ();
}
