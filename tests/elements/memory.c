/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of a GPU, here a pretended one: the same video under every budget, budgets that change
 * while playing, and what happens when there is too little. */
#include <math.h>
#include <stdio.h>

#include "support.h"

#define MIB ((guint64) 1 << 20)
#define OVERHEAD (8 * MIB) /* context of the simulated device */
#define DEVICE "device=sim:4096"
#define TWO_WINDOWS "avatardenoise name=denoise mode=stream window-latents=2 overlap=1 "
#define LATENTS(settings) \
  AUDIO (9) " device=cpu ! " TWO_WINDOWS " " settings " ! " SMALL_LATENTS " ! fakesink name=sink"

static guint64
uint64_of (const GstStructure *s, const gchar *name)
{
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (s, name, &value), "no %s", name);
  return value;
}

static guint
uint_of (const GstStructure *s, const gchar *name)
{
  guint value = 0;

  fail_unless (gst_structure_get_uint (s, name, &value), "no %s", name);
  return value;
}

static guint64
stat_of (GstElement *element, const gchar *name)
{
  GstStructure *stats = NULL;
  guint64 value;

  g_object_get (element, "stats", &stats, NULL);
  fail_unless (stats != NULL);
  value = uint64_of (stats, name);
  gst_structure_free (stats);
  return value;
}

static void
expect_same (Run *a, Run *b)
{
  g_assert_no_error (a->error);
  g_assert_no_error (b->error);
  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0);
}

static void
expect_no_space (Run *run, const gchar *text)
{
  fail_unless (run->error != NULL);
  fail_unless (g_error_matches (run->error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT),
      "%s", run->error->message);
  fail_unless (strstr (run->error->message, text), "%s", run->error->message);
  fail_unless_equals_int (run->n_errors, 1);
}

/* The smallest budget that would do, in MiB: the refusal says so. */
static guint64
smallest (const gchar *launch)
{
  g_autoptr (Run) run = run_pipeline (launch, TRUE);
  guint64 mib = 0;

  expect_no_space (run, "needs at least ");
  fail_unless (
      sscanf (strstr (run->error->message, "at least "), "at least %" G_GUINT64_FORMAT, &mib) == 1);
  return mib;
}

/* Fields about weight groups have the same values under their deprecated names. */
static void
expect_deprecated_fields (const GstStructure *s)
{
  static const gchar *const names[][2]
      = { { "resident-groups", "resident-units" }, { "streamed-groups", "streamed-units" },
          { "evicted-groups", "given-up-units" }, { "restored-groups", "taken-back-units" } };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    fail_unless_equals_int (uint_of (s, names[i][0]), uint_of (s, names[i][1]));
}

/* All three elements: the audio encoder computes on the CPU, and says so. */
GST_START_TEST (test_chain)
{
  static const gchar *const on[] = { "cpu", "sim:4096", "sim:4096" };
  g_autoptr (Run) gpu = run_pipeline (AUDIO (5) " " DEVICE " ! " TWO_WINDOWS " steps=1 " DEVICE
                                                " ! avatarvaedecode " DEVICE " ! " SMALL_VIDEO
                                                " ! fakesink name=sink",
      TRUE);
  g_autoptr (Run) cpu = run_pipeline (AUDIO (5) " device=cpu ! " TWO_WINDOWS " steps=1 device=cpu"
                                                " ! avatarvaedecode device=cpu"
                                                " ! " SMALL_VIDEO " ! fakesink name=sink",
      TRUE);

  expect_same (gpu, cpu);
  fail_unless_equals_int (gpu->n_buffers, 5);
  fail_unless_equals_int (gpu->windows->len, 3);
  for (guint i = 0; i < 3; i++) {
    const GstStructure *s = gpu->windows->pdata[i];

    fail_unless_equals_string (gst_structure_get_string (s, "computed-on"), on[i]);
    fail_unless (uint64_of (s, "memory-now") >= OVERHEAD);
    fail_unless (uint64_of (s, "memory-peak") <= uint64_of (s, "budget"));
    fail_unless (uint64_of (s, "budget") < 4096 * MIB); /* auto leaves a reserve */
    fail_unless_equals_int (gst_structure_has_field (s, "resident-groups"), i == 1);
    if (i == 1)
      fail_unless (uint_of (s, "resident-groups") > 0 && uint64_of (s, "uploaded-bytes") > 0);
  }
}
GST_END_TEST;

/* The chain with less memory than denoiser and decoder need together: they use it alternately,
 * and the video is the same. */
GST_START_TEST (test_turns)
{
  static const gchar chain[] = AUDIO (13) " device=cpu ! " TWO_WINDOWS " steps=1 " DEVICE
                                          " vram-budget=%u ! avatarvaedecode tile-frames=16 " DEVICE
                                          " ! " SMALL_VIDEO " ! fakesink name=sink";
  g_autoptr (Run) cpu = run_pipeline (AUDIO (13) " device=cpu ! " TWO_WINDOWS " steps=1 device=cpu"
                                                 " ! avatarvaedecode tile-frames=16 device=cpu"
                                                 " ! " SMALL_VIDEO " ! fakesink name=sink",
      TRUE);
  guint64 denoise = 0, decode = 0, now = 0;
  guint mib = 10;

  for (; mib < 200; mib++) {
    g_autofree gchar *launch = g_strdup_printf (chain, mib);
    g_autoptr (Run) run = run_pipeline (launch, TRUE);

    if (run->error) {
      fail_unless (g_error_matches (run->error, GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_NO_SPACE_LEFT),
          "%s", run->error->message);
      continue;
    }
    expect_same (run, cpu);
    for (guint i = 0; i < run->windows->len; i++) {
      const GstStructure *s = run->windows->pdata[i];

      if (g_str_equal (gst_structure_get_string (s, "stage"), "audio"))
        continue;
      fail_unless (uint64_of (s, "memory-peak") <= uint64_of (s, "budget"));
      now = uint64_of (s, "memory-now");
      if (g_str_equal (gst_structure_get_string (s, "stage"), "denoise"))
        denoise = MAX (denoise, now);
      else if (g_str_equal (gst_structure_get_string (s, "stage"), "decode"))
        decode = MAX (decode, now);
    }
    break;
  }
  fail_unless (mib < 200);
  /* the memory did not suffice for both */
  fail_unless (denoise > 0 && decode > 0);
  fail_unless (denoise - OVERHEAD + decode > mib * MIB,
      "%u MiB: %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT, mib, denoise, decode);
}
GST_END_TEST;

/* A request made at the end of a step. */
typedef struct
{
  guint step;
  gchar *budget;
} Wish;

typedef struct
{
  Wish wishes[2];
  guint n_wishes, next, steps;
  guint64 now_at_end;
} Wishes;

static void
fulfil (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Wishes *w = data;
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autofree gchar *code = NULL;
  GstProgressType type;

  if (!message) {
    w->now_at_end = stat_of (denoise, "memory-now");
    return;
  }
  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return;
  gst_message_parse_progress (message, &type, &code, NULL);
  if (!g_str_equal (code, "denoise") || type == GST_PROGRESS_TYPE_START)
    return;
  w->steps++;
  if (w->next < w->n_wishes && w->steps == w->wishes[w->next].step)
    g_object_set (denoise, "vram-budget", w->wishes[w->next++].budget, NULL);
}

#define RUN LATENTS ("steps=4 " DEVICE)
#define RUN_WITH_1_MIB LATENTS ("steps=4 vram-budget=1 " DEVICE)
#define RUN_ON_CPU LATENTS ("steps=4 device=cpu")

/* Lowered to the least while playing and raised again: fewer weights stay, then more, and the
 * video is the same. */
GST_START_TEST (test_lowered_and_raised)
{
  GstElement *pipeline = pipeline_new (RUN, TRUE);
  g_autofree gchar *least = g_strdup_printf ("%" G_GUINT64_FORMAT, smallest (RUN_WITH_1_MIB));
  Wishes wishes = { .wishes = { { 1, least }, { 2, "auto" } }, .n_wishes = 2 };
  g_autoptr (Run) cpu = run_pipeline (RUN_ON_CPU, TRUE);
  g_autoptr (Run) run = run_play (pipeline, fulfil, &wishes);
  const GstStructure *last;

  expect_same (run, cpu);
  fail_unless_equals_int (wishes.next, 2);
  last = run->windows->pdata[run->windows->len - 1];
  fail_unless (uint_of (last, "evicted-groups") > 0);
  fail_unless (uint_of (last, "restored-groups") > 0);
  expect_deprecated_fields (last);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* All of it with the least, and a percentage. */
GST_START_TEST (test_small)
{
  g_autofree gchar *launch = g_strdup_printf (LATENTS ("steps=4 " DEVICE " vram-budget=%u"),
      (guint) smallest (RUN_WITH_1_MIB));
  g_autoptr (Run) cpu = run_pipeline (RUN_ON_CPU, TRUE);
  g_autoptr (Run) least = run_pipeline (launch, TRUE);
  g_autoptr (Run) half = run_pipeline (LATENTS ("steps=4 " DEVICE " vram-budget=50%"), TRUE);
  const GstStructure *s;

  expect_same (least, cpu);
  s = least->windows->pdata[1];
  fail_unless (uint64_of (s, "memory-peak") <= uint64_of (s, "budget"));
  fail_unless (uint_of (s, "streamed-groups") > 0);
  expect_deprecated_fields (s);
  expect_same (half, cpu);
  s = half->windows->pdata[1];
  fail_unless_equals_uint64 (uint64_of (s, "budget"), 2048 * MIB);
  fail_unless_equals_int (uint_of (s, "streamed-groups"), 0);
}
GST_END_TEST;

/* Below the least: one error, nothing is kept, and with more the same pipeline plays again. */
GST_START_TEST (test_too_low)
{
  GstElement *pipeline = pipeline_new (RUN, TRUE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autoptr (Run) cpu = run_pipeline (RUN_ON_CPU, TRUE);
  Wishes low = { .wishes = { { 2, "10" } }, .n_wishes = 1 }, none = { 0 };
  g_autoptr (Run) failed = run_play (pipeline, fulfil, &low);
  g_autoptr (Run) again = NULL;

  expect_no_space (failed, "missing");
  fail_unless (strstr (failed->error->message, "raise it to at least "));
  fail_unless_equals_uint64 (low.now_at_end, OVERHEAD);
  g_object_set (denoise, "vram-budget", "1000", NULL);
  again = run_play (pipeline, fulfil, &none);
  expect_same (again, cpu);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* On the CPU nothing can be given up: a budget below what is held ends the run before the next
 * window. */
GST_START_TEST (test_too_low_on_cpu)
{
  GstElement *pipeline = pipeline_new (RUN_ON_CPU, TRUE);
  Wishes low = { .wishes = { { 1, "2" } }, .n_wishes = 1 };
  g_autoptr (Run) failed = run_play (pipeline, fulfil, &low);

  expect_no_space (failed, "missing");
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* The lowest explicit one of all that are on the device holds. */
GST_START_TEST (test_shared)
{
  GstElement *audio = gst_element_factory_make ("avataraudioenc", NULL);
  GstElement *decode = gst_element_factory_make ("avatarvaedecode", NULL);
  GstElement *pipeline = gst_pipeline_new (NULL);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autoptr (GstMessage) warning = NULL;
  g_autofree gchar *budget = NULL;

  gst_bin_add_many (GST_BIN (pipeline), audio, decode, NULL);
  g_object_set (audio, "device", "sim:4096", "vram-budget", "300", NULL);
  g_object_set (decode, "device", "sim:4096", "vram-budget", "200", NULL);
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  fail_unless_equals_uint64 (stat_of (audio, "budget"), 200 * MIB);
  fail_unless_equals_uint64 (stat_of (decode, "budget"), 200 * MIB);
  g_object_set (decode, "vram-budget", "auto", NULL);
  fail_unless_equals_uint64 (stat_of (decode, "budget"), 300 * MIB);
  g_object_set (decode, "vram-budget", "5%", NULL);
  fail_unless_equals_uint64 (stat_of (decode, "budget"), 4096 * MIB / 20);

  g_object_set (decode, "vram-budget", "lots", NULL); /* not taken */
  warning = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING);
  fail_unless (warning != NULL);
  g_object_get (decode, "vram-budget", &budget, NULL);
  fail_unless_equals_string (budget, "5%");
  gst_element_set_state (decode, GST_STATE_NULL); /* it has no say any more */
  fail_unless_equals_uint64 (stat_of (audio, "budget"), 300 * MIB);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static void
expect_settings_error (const gchar *launch, const gchar *text)
{
  g_autoptr (Run) run = run_pipeline (launch, TRUE);

  fail_unless (g_error_matches (run->error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS));
  fail_unless (strstr (run->error->message, text), "%s", run->error->message);
  fail_unless_equals_int (run->n_errors, 1);
}

GST_START_TEST (test_nonsense)
{
  expect_settings_error (LATENTS (DEVICE " vram-budget=lots"), "lots");
  expect_settings_error (LATENTS (DEVICE " vram-budget=120%"), "120%");
  expect_settings_error (LATENTS (DEVICE " pinned-memory=4GiB"), "4GiB");
  expect_settings_error (LATENTS ("device=cpu precision=fp8"), "fp8");
}
GST_END_TEST;

/* The relative difference of the latents in the mean square. */
static gdouble
difference (Run *a, Run *b)
{
  const gfloat *x = (const gfloat *) a->bytes->data, *y = (const gfloat *) b->bytes->data;
  gdouble error = 0, size = 0;

  g_assert_no_error (a->error);
  fail_unless_equals_int (a->bytes->len, b->bytes->len);
  for (guint i = 0; i < a->bytes->len / sizeof (gfloat); i++) {
    error += (x[i] - y[i]) * (gdouble) (x[i] - y[i]);
    size += x[i] * (gdouble) x[i];
  }
  return sqrt (error / size);
}

/* That properties reach the engine: what changes nothing, and what changes a little. */
GST_START_TEST (test_properties)
{
  g_autoptr (Run) plain = run_pipeline (LATENTS ("steps=8 " DEVICE), TRUE);
  g_autoptr (Run) pinned = run_pipeline (LATENTS ("steps=8 pinned-memory=0 " DEVICE), TRUE);
  g_autoptr (Run) never
      = run_pipeline (LATENTS ("steps=8 step-cache=adaptive cache-threshold=0 " DEVICE), TRUE);
  g_autoptr (Run) cached
      = run_pipeline (LATENTS ("steps=8 step-cache=adaptive cache-threshold=0.5 " DEVICE), TRUE);
  g_autoptr (Run) all
      = run_pipeline (LATENTS ("steps=8 step-cache=forecast cache-steps=8 " DEVICE), TRUE);
  g_autoptr (Run) forecast
      = run_pipeline (LATENTS ("steps=8 step-cache=forecast cache-steps=5 " DEVICE), TRUE);
  g_autoptr (Run) int8 = run_pipeline (LATENTS ("steps=8 weight-format=int8 " DEVICE), TRUE);
  g_autoptr (Run) fp8 = run_pipeline (LATENTS ("steps=8 weight-format=fp8 " DEVICE), TRUE);

  expect_same (pinned, plain);
  expect_same (never, plain);
  expect_same (all, plain);
  fail_unless (difference (cached, plain) > 0);
  fail_unless (difference (forecast, plain) > 0);
  fail_unless (difference (int8, plain) > 0 && difference (int8, plain) < 0.02);
  fail_unless (difference (fp8, plain) > 0 && difference (fp8, plain) < 0.1);
}
GST_END_TEST;

static Suite *
memory_suite (void)
{
  Suite *suite = suite_create ("memory");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_chain);
  tcase_add_test (tc, test_turns);
  tcase_add_test (tc, test_lowered_and_raised);
  tcase_add_test (tc, test_small);
  tcase_add_test (tc, test_too_low);
  tcase_add_test (tc, test_too_low_on_cpu);
  tcase_add_test (tc, test_shared);
  tcase_add_test (tc, test_nonsense);
  tcase_add_test (tc, test_properties);
  return suite;
}

GST_CHECK_MAIN (memory);
