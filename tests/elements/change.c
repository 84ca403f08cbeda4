/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties and pictures that change while avatardenoise plays: earlier windows do not change,
 * later ones use the new values, the stream continues, and a message is posted. */
#include "lora-file.h"
#include "support.h"

#include <glib/gstdio.h>
#include <string.h>

/* Three windows of 3 + 2 + 2 latent frames. */
#define FIRST 3
#define LATENTS 7
#define CHANGING                                                                        \
  AUDIO (25)                                                                            \
  " ! " DENOISE                                                                         \
  " mode=stream window-latents=3 overlap=1 prompt-cache-location=none ! " SMALL_LATENTS \
  " ! fakesink name=sink"

typedef struct _Plan Plan;
/* Sets something on @denoise. */
typedef void (*SetFunc) (GstElement *denoise, Plan *plan);

/* The values to set, the time to set them, and the messages received. */
struct _Plan
{
  SetFunc set;
  gboolean early; /* before the first window; else after it */
  const gchar *path, *lora;
  const gchar *first_lora; /* set before the start */
  const gchar *wide;       /* portrait that is cropped around the face, set before the start */
  GstPad *pad;
  GBytes *pictures[2]; /* RGB of 128 x 128 */
  guint warnings, n_told;
  GstStructure *told;
  gchar *reads_back; /* the properties reference and lora at the end */
  GstClockTime end;  /* end of the previous buffer */
  guint breaks;      /* DISCONT beyond the first, or times that do not join */
};

static void
push_picture (Plan *plan, guint i)
{
  gst_pad_chain (plan->pad, gst_buffer_new_wrapped_bytes (plan->pictures[i]));
}

/* The events before pictures. */
static void
send_events (GstPad *pad, const gchar *framerate)
{
  g_autofree gchar *text
      = g_strdup_printf ("video/x-raw,format=RGB,width=128,height=128,framerate=(fraction)%s",
          framerate);
  g_autoptr (GstCaps) caps = gst_caps_from_string (text);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_send_event (pad, gst_event_new_stream_start ("pictures"));
  gst_pad_send_event (pad, gst_event_new_caps (caps));
  gst_pad_send_event (pad, gst_event_new_segment (&segment));
}

/* The first picture, when the pad takes it. */
static void
begin_pad (Plan *plan)
{
  send_events (plan->pad, "0/1");
  push_picture (plan, 0);
}

static gboolean
is_moment (GstMessage *message, const Plan *plan)
{
  g_autofree gchar *code = NULL;
  GstProgressType type;

  if (plan->early) /* while the denoiser is made */
    return plan->n_told == 0 && gst_message_has_name (message, "avatar-face");
  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return FALSE;
  gst_message_parse_progress (message, &type, &code, NULL);
  return g_str_equal (code, "denoise") && type == GST_PROGRESS_TYPE_COMPLETE;
}

static gboolean
is_paused (GstMessage *message)
{
  GstState state = GST_STATE_NULL, before = GST_STATE_NULL;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_STATE_CHANGED)
    gst_message_parse_state_changed (message, &before, &state, NULL);
  return before == GST_STATE_READY && state == GST_STATE_PAUSED;
}

/* The test pictures have no face, of which the element warns as well. */
static gboolean
is_warning (GstMessage *message)
{
  g_autoptr (GError) error = NULL;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_WARNING)
    return FALSE;
  gst_message_parse_warning (message, &error, NULL);
  return strstr (error->message, "no face was found") == NULL;
}

static void
follow (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Plan *plan = data;
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");

  if (!message) {
    g_autofree gchar *reference = NULL, *lora = NULL;

    g_object_get (denoise, "reference", &reference, "lora", &lora, NULL);
    plan->reads_back = g_strdup_printf ("%s, %s", reference, lora);
    return;
  }
  /* other elements post from threads of their own */
  if (GST_MESSAGE_SRC (message) != GST_OBJECT (denoise))
    return;
  plan->warnings += is_warning (message);
  if (gst_message_has_name (message, "avatar-settings")) {
    plan->n_told++;
    gst_clear_structure (&plan->told);
    plan->told = gst_structure_copy (gst_message_get_structure (message));
  }
  if (plan->pad && is_paused (message))
    begin_pad (plan);
  if (plan->set && is_moment (message, plan)) {
    SetFunc set = g_steal_pointer (&plan->set);

    set (denoise, plan);
  }
}

static void
check_times (GstElement *sink, GstBuffer *buffer, GstPad *pad, Plan *plan)
{
  gboolean first = !GST_CLOCK_TIME_IS_VALID (plan->end);

  if (!first)
    plan->breaks += GST_BUFFER_PTS (buffer) != plan->end || GST_BUFFER_IS_DISCONT (buffer);
  plan->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
}

static Run *
run_plan (Plan *plan)
{
  GstElement *pipeline = pipeline_new (CHANGING, plan->pictures[0] == NULL);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  Run *run;

  plan->end = GST_CLOCK_TIME_NONE;
  g_object_set (denoise, "lora", plan->first_lora, NULL);
  if (plan->wide)
    g_object_set (denoise, "reference", plan->wide, "face-box", "16,20,80,80", NULL);
  if (plan->pictures[0])
    plan->pad = gst_element_request_pad_simple (denoise, "reference");
  g_signal_connect (sink, "handoff", G_CALLBACK (check_times), plan);
  run = run_play (pipeline, follow, plan);
  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (plan->breaks, 0);
  if (plan->pad) {
    gst_element_release_request_pad (denoise, plan->pad);
    gst_clear_object (&plan->pad);
  }
  gst_object_unref (pipeline);
  return run;
}

static void
plan_clear (Plan *plan)
{
  gst_clear_structure (&plan->told);
  g_clear_pointer (&plan->reads_back, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Plan, plan_clear)

/* Returns the length of the common prefix. */
static gsize
same_bytes (const Run *a, const Run *b)
{
  gsize n = 0;

  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  while (n < a->bytes->len && a->bytes->data[n] == b->bytes->data[n])
    n++;
  return n;
}

/* -------------------------------------------------------------------------- accepted changes */

static void
set_seed (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "seed", G_GINT64_CONSTANT (77), NULL);
}

static void
set_prompt (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "prompt", "An angry man shouts in red light", NULL);
}

static void
set_motion (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "motion-pose", 90.0, "motion-exp", 1.0, NULL);
}

static void
set_guidance (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "guidance-scale", 4.0, "negative-prompt", "blue", NULL);
}

static void
set_steps (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "steps", 3, "flow-shift", 2.0, NULL);
}

static void
set_sigmas (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "sigmas", "1,0.4", NULL);
}

static void
set_border (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "guidance-scale", 4.0, "guidance-border", 0.9, NULL);
}

static void
set_face (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "face-box", "0,0,256,256", NULL);
}

static void
set_reference (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "reference", plan->path, NULL);
}

static void
set_lora (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "lora", plan->lora, NULL);
}

static void
set_picture (GstElement *denoise, Plan *plan)
{
  push_picture (plan, 1);
}

static void
set_other_face (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "face-box", "160,20,80,80", NULL);
  if (plan->path)
    g_object_set (denoise, "reference", plan->path, NULL);
}

/* Another picture, as a file, 128 pixels high. */
static gchar *
write_picture_of (const gchar *folder, guint width)
{
  gchar *path = g_build_filename (folder, "other.png", NULL);
  g_autofree gchar *launch = g_strdup_printf (
      "videotestsrc num-buffers=1 pattern=smpte100 ! "
      "video/x-raw,format=RGB,width=%u,height=128 ! pngenc ! filesink location=%s",
      width, path);
  g_autoptr (Run) run = run_pipeline (launch, FALSE);

  fail_unless (run->eos);
  return path;
}

static gchar *
write_picture (const gchar *folder)
{
  return write_picture_of (folder, 128);
}

static const struct
{
  SetFunc set;
  const gchar *field; /* that is told */
} changes[] = { { set_seed, "seed" }, { set_prompt, "prompt" }, { set_motion, "motion-exp" },
  { set_guidance, "guidance-scale" }, { set_steps, "steps" }, { set_sigmas, "sigmas" },
  { set_border, "guidance-border" }, { set_face, "face-box" }, { set_reference, "reference" },
  { set_lora, "lora" } };

static void
expect_told (const Plan *plan, guint window, GstClockTime timestamp, const gchar *field)
{
  guint found = G_MAXUINT;
  GstClockTime time = GST_CLOCK_TIME_NONE;

  fail_unless_equals_int (plan->n_told, 1);
  fail_unless_equals_int (plan->warnings, 0);
  fail_unless (gst_structure_get_uint (plan->told, "window", &found));
  fail_unless (gst_structure_get_clock_time (plan->told, "timestamp", &time));
  fail_unless_equals_int (found, window);
  fail_unless_equals_uint64 (time, timestamp);
  fail_unless (gst_structure_has_field (plan->told, field), "%s", field);
}

/* From the second window on, and the same each time. */
GST_START_TEST (test_next_window)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_picture (folder);
  g_autofree gchar *lora = write_lora (folder, "a", "double_blocks.0.img_attn_proj", WIDTH);
  g_auto (Plan) none = { 0 };
  g_autoptr (Run) plain = run_plan (&none);

  fail_unless_equals_int (none.n_told, 0);
  fail_unless_equals_int (plain->n_buffers, LATENTS);
  for (guint i = 0; i < G_N_ELEMENTS (changes); i++) {
    g_auto (Plan) plan = { .set = changes[i].set, .path = path, .lora = lora };
    g_auto (Plan) other = plan;
    g_autoptr (Run) run = run_plan (&plan);
    g_autoptr (Run) again = run_plan (&other);
    gsize same = same_bytes (run, plain);

    expect_told (&plan, 1, 9 * 40 * GST_MSECOND, changes[i].field);
    fail_unless (same >= run->bytes->len / LATENTS * FIRST, "%s", changes[i].field);
    fail_unless (same < run->bytes->len / LATENTS * (FIRST + 1), "%s", changes[i].field);
    fail_unless_equals_int (same_bytes (run, again), run->bytes->len);
    fail_unless_equals_uint64 (run->end, plain->end);
  }
  g_unlink (path);
  g_unlink (lora);
  g_rmdir (folder);
}
GST_END_TEST;

/* Another face moves the crop of a wide portrait, as if the portrait were loaded again. */
GST_START_TEST (test_moved_crop)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_picture_of (folder, 256);
  g_auto (Plan) face = { .set = set_other_face, .wide = path };
  g_auto (Plan) loaded = { .set = set_other_face, .wide = path, .path = path };
  g_autoptr (Run) a = run_plan (&face), b = run_plan (&loaded);

  fail_unless_equals_int (face.n_told, 1);
  fail_unless_equals_int (same_bytes (a, b), a->bytes->len);
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

/* A value set before the first window has the same effect as one set before the start. */
GST_START_TEST (test_before_first)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_picture (folder);
  g_autofree gchar *lora = write_lora (folder, "a", "double_blocks.0.img_attn_proj", WIDTH);

  for (guint i = 0; i < G_N_ELEMENTS (changes); i++) {
    g_auto (Plan) plan = { .set = changes[i].set, .path = path, .lora = lora, .early = TRUE };
    g_autoptr (Run) run = run_plan (&plan);
    GstElement *pipeline = pipeline_new (CHANGING, TRUE);
    g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
    g_autoptr (Run) fresh = NULL;

    changes[i].set (denoise, &plan);
    fresh = run_play (pipeline, NULL, NULL);
    g_assert_no_error (fresh->error);
    expect_told (&plan, 0, 0, changes[i].field);
    fail_unless_equals_int (same_bytes (run, fresh), run->bytes->len);
    gst_object_unref (pipeline);
  }
  g_unlink (path);
  g_unlink (lora);
  g_rmdir (folder);
}
GST_END_TEST;

/* The strength of a LoRA, and no LoRA any more. A warning about the file is posted each time that
 * the file is opened. */
GST_START_TEST (test_strength)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_lora_and (folder, "a", "double_blocks.0.img_attn_proj", WIDTH,
      "blocks.0.lora_A.weight");
  g_autofree gchar *weak = g_strconcat (path, ":0.25", NULL);
  const gchar *const values[] = { path, weak, NULL };
  gsize same[3];
  g_auto (Plan) unchanged = { .first_lora = path };
  g_autoptr (Run) plain = run_plan (&unchanged);

  fail_unless_equals_int (unchanged.warnings, 1);
  for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
    g_auto (Plan) plan = { .set = set_lora, .first_lora = path, .lora = values[i] };
    g_autoptr (Run) run = run_plan (&plan);

    same[i] = same_bytes (run, plain);
    fail_unless_equals_int (plan.n_told, i > 0);
    fail_unless_equals_int (plan.warnings, i == 1 ? 2 : 1);
    if (i > 0)
      fail_unless_equals_string (gst_structure_get_string (plan.told, "lora"), values[i]);
  }
  fail_unless_equals_int (same[0], plain->bytes->len);
  for (guint i = 1; i < G_N_ELEMENTS (values); i++) {
    fail_unless (same[i] >= plain->bytes->len / LATENTS * FIRST);
    fail_unless (same[i] < plain->bytes->len / LATENTS * (FIRST + 1));
  }
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

static GBytes *
read_picture (const gchar *path)
{
  g_autofree gchar *launch = g_strdup_printf (
      "filesrc location=%s ! pngdec ! videoconvert ! video/x-raw,format=RGB ! fakesink name=sink",
      path);
  g_autoptr (Run) run = run_pipeline (launch, FALSE);

  fail_unless_equals_int (run->bytes->len, 128 * 128 * 3);
  return g_bytes_new (run->bytes->data, run->bytes->len);
}

/* A second picture on the pad is what another file is. */
GST_START_TEST (test_second_picture)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_picture (folder);
  g_autofree gchar *sample = sample_path ("portrait.png");
  g_autofree gchar *small = g_build_filename (folder, "small.png", NULL);
  g_autofree gchar *launch = g_strdup_printf (
      "filesrc location=%s ! pngdec ! videoconvert ! videoscale ! "
      "video/x-raw,format=RGB,width=128,height=128 ! pngenc ! filesink location=%s",
      sample, small);
  g_autoptr (Run) scaled = run_pipeline (launch, FALSE);
  g_autoptr (GBytes) a = read_picture (small);
  g_autoptr (GBytes) b = read_picture (path);
  g_auto (Plan) pad = { .set = set_picture, .pictures = { a, b } };
  g_auto (Plan) file = { .set = set_reference, .path = path };
  g_auto (Plan) early = { .set = set_picture, .pictures = { a, b }, .early = TRUE };
  g_autoptr (Run) on_pad = run_plan (&pad);
  g_autoptr (Run) at_once = run_plan (&early);
  g_autoptr (Run) as_file = NULL;
  GstElement *pipeline = pipeline_new (CHANGING, FALSE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");

  g_object_set (denoise, "reference", small, NULL);
  as_file = run_play (pipeline, follow, &file);
  expect_told (&pad, 1, 9 * 40 * GST_MSECOND, "reference-pad");
  expect_told (&file, 1, 9 * 40 * GST_MSECOND, "reference");
  expect_told (&early, 0, 0, "reference-pad");
  fail_unless_equals_int (same_bytes (on_pad, as_file), on_pad->bytes->len);
  fail_unless (same_bytes (on_pad, at_once) < on_pad->bytes->len / LATENTS);
  gst_object_unref (pipeline);
  g_unlink (path);
  g_unlink (small);
  g_rmdir (folder);
}
GST_END_TEST;

static GstFlowReturn
push_at (GstPad *pad, GstClockTime pts)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 128 * 128 * 3, NULL);

  gst_buffer_memset (buffer, 0, 100, 128 * 128 * 3);
  GST_BUFFER_PTS (buffer) = pts;
  return gst_pad_chain (pad, buffer);
}

/* The first frame of a video is the portrait, and its source may stop; later frames replace it. */
GST_START_TEST (test_video_on_pad)
{
  g_autoptr (GstElement) denoise
      = gst_object_ref_sink (gst_element_factory_make ("avatardenoise", NULL));
  GstPad *pad = gst_element_request_pad_simple (denoise, "reference");

  fail_unless (gst_element_set_state (denoise, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  send_events (pad, "25/1");
  fail_unless_equals_int (push_at (pad, 0), GST_FLOW_OK);
  fail_unless_equals_int (push_at (pad, 40 * GST_MSECOND), GST_FLOW_EOS);
  fail_unless_equals_int (push_at (pad, 80 * GST_MSECOND), GST_FLOW_EOS);
  fail_unless_equals_int (push_at (pad, 10 * GST_SECOND), GST_FLOW_OK);
  send_events (pad, "25/1");
  fail_unless_equals_int (push_at (pad, 10 * GST_SECOND), GST_FLOW_OK);
  fail_unless_equals_int (push_at (pad, GST_CLOCK_TIME_NONE), GST_FLOW_OK);
  gst_element_set_state (denoise, GST_STATE_NULL);
  gst_element_release_request_pad (denoise, pad);
  gst_object_unref (pad);
}
GST_END_TEST;

/* --------------------------------------------------------------------------- refused changes */

static void
set_missing (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "reference", "/nowhere.png", NULL);
}

static void
set_missing_lora (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "lora", "/nowhere.safetensors:0.5", NULL);
}

static void
set_bad_lora (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "lora", "a,,b", NULL);
}

static void
set_no_steps (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "steps", 0, NULL);
}

static void
set_bad_box (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "face-box", "left", NULL);
}

static void
set_window (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "window-latents", 2, NULL);
}

static void
set_model (GstElement *denoise, Plan *plan)
{
  g_object_set (denoise, "model", "/nowhere", NULL);
}

/* A warning, the video as it was, and the property says what holds. */
GST_START_TEST (test_not_taken)
{
  static const SetFunc sets[] = { set_missing, set_missing_lora, set_bad_lora, set_no_steps,
    set_bad_box, set_window, set_model };
  g_auto (Plan) none = { 0 };
  g_autoptr (Run) plain = run_plan (&none);

  for (guint i = 0; i < G_N_ELEMENTS (sets); i++) {
    g_auto (Plan) plan = { .set = sets[i] };
    g_autoptr (Run) run = run_plan (&plan);

    fail_unless_equals_int (plan.warnings, 1);
    fail_unless_equals_int (plan.n_told, 0);
    fail_unless_equals_int (same_bytes (run, plain), plain->bytes->len);
    fail_unless_equals_string (plan.reads_back, none.reads_back);
  }
}
GST_END_TEST;

/* ------------------------------------------------------------------------------------ threads */

typedef struct
{
  GstElement *denoise;
  const gchar *path;
  gint stop;
  guint kind;
} Setter;

static gpointer
keep_setting (gpointer data)
{
  Setter *s = data;
  g_autofree gchar *sample = sample_path ("portrait.png");

  for (guint i = 0; !g_atomic_int_get (&s->stop); i++) {
    g_autofree gchar *prompt = g_strdup_printf ("a man, number %u", i);
    g_autofree gchar *found = NULL;

    if (s->kind)
      g_object_set (s->denoise, "seed", (gint64) i, "motion-exp", (gdouble) (i % 60), "prompt",
          prompt, NULL);
    else
      g_object_set (s->denoise, "reference", i % 2 ? s->path : sample, "guidance-scale",
          i % 3 ? 1.0 : 3.0, NULL);
    g_object_get (s->denoise, "prompt", &found, NULL);
    g_usleep (1000);
  }
  return NULL;
}

GST_START_TEST (test_stress)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_picture (folder);
  GstElement *pipeline = pipeline_new (
      AUDIO (
          61) " ! " DENOISE
              " mode=stream window-latents=2 overlap=1 prompt-cache-location=none ! " SMALL_LATENTS
              " ! fakesink name=sink",
      TRUE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_auto (Plan) plan = { .end = GST_CLOCK_TIME_NONE };
  Setter setters[2] = { { denoise, path, 0, 0 }, { denoise, path, 0, 1 } };
  GThread *threads[2];
  g_autoptr (Run) run = NULL;

  g_object_set (denoise, "steps", 1, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (check_times), &plan);
  for (guint i = 0; i < 2; i++)
    threads[i] = g_thread_new ("setter", keep_setting, &setters[i]);
  run = run_play (pipeline, follow, &plan);
  for (guint i = 0; i < 2; i++) {
    g_atomic_int_set (&setters[i].stop, 1);
    g_thread_join (threads[i]);
  }
  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (run->n_buffers, (61 + 2) / 4 + 1);
  fail_unless_equals_uint64 (run->end, 61 * 40 * GST_MSECOND);
  fail_unless_equals_int (plan.breaks, 0);
  fail_unless_equals_int (plan.warnings, 0);
  fail_unless (plan.n_told > 0);
  gst_object_unref (pipeline);
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

static Suite *
change_suite (void)
{
  Suite *suite = suite_create ("change");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_next_window);
  tcase_add_test (tc, test_moved_crop);
  tcase_add_test (tc, test_before_first);
  tcase_add_test (tc, test_strength);
  tcase_add_test (tc, test_second_picture);
  tcase_add_test (tc, test_video_on_pad);
  tcase_add_test (tc, test_not_taken);
  tcase_add_test (tc, test_stress);
  return suite;
}

GST_CHECK_MAIN (change);
