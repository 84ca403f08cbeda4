/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatardenoise: how many latents, their times, the portrait's two doors, sizes, statistics. */
#include "engine/denoise/sampler.h"
#include "engine/formats/tensor-writer.h"
#include "support.h"

#include <glib/gstdio.h>
#include <unistd.h>

#define LATENTS " ! " SMALL_LATENTS " ! fakesink name=sink"

static void
expect_latents (const gchar *launch, guint frames)
{
  g_autoptr (Run) run = run_pipeline (launch, TRUE);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (run->n_buffers, (frames + 3 + 3) / 4);
  fail_unless_equals_uint64 (run->first_pts, 0);
  fail_unless_equals_uint64 (run->end, frames * 40 * GST_MSECOND);
}

GST_START_TEST (test_counts)
{
  expect_latents (AUDIO (1) " ! " DENOISE LATENTS, 1);
  expect_latents (AUDIO (2) " ! " DENOISE LATENTS, 2);
  expect_latents (AUDIO (5) " ! " DENOISE LATENTS, 5);
  expect_latents (AUDIO (9) " ! " DENOISE LATENTS, 9);
  expect_latents (AUDIO (11) " ! " DENOISE " mode=stream window-latents=3 overlap=1" LATENTS, 11);
  expect_latents (AUDIO (11) " ! " DENOISE " mode=clip" LATENTS, 11);
}
GST_END_TEST;

GST_START_TEST (test_seed)
{
  g_autoptr (Run) a = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (Run) b = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (Run) c = run_pipeline (AUDIO (5) " ! " DENOISE " seed=2" LATENTS, TRUE);

  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0);
  fail_if (memcmp (a->bytes->data, c->bytes->data, a->bytes->len) == 0);
}
GST_END_TEST;

/* The latents with @settings. */
static Run *
run_with_sigmas (const gchar *settings)
{
  g_autofree gchar *launch
      = g_strconcat (AUDIO (5) " ! avatardenoise name=denoise ", settings, LATENTS, NULL);

  return run_pipeline (launch, TRUE);
}

/* The levels of four steps with shift 3, and errors before the first latent. */
GST_START_TEST (test_sigmas)
{
  static const gchar *const wrong[][2] = { { "sigmas=1,0.5,0.5", "sigma 3 of 3" },
    { "sigmas=1,0.5,0", "sigma 3 of 3" }, { "sigmas=1,half", "entry 2" },
    { "sigmas=1,0.5 steps=3", "2 values" }, { "sigmas=1,0.5 flow-shift=3", "exclude each other" } };
  g_autoptr (Run) shift = run_with_sigmas ("steps=4 flow-shift=3");
  g_autoptr (Run) list = run_with_sigmas ("sigmas=\"1, 0.9, 0.75, 0.5\"");
  g_autoptr (Run) other = run_with_sigmas ("sigmas=1,0.95,0.75,0.5 steps=4");

  g_assert_no_error (list->error);
  g_assert_no_error (other->error);
  fail_unless (shift->bytes->len > 0 && shift->bytes->len == list->bytes->len);
  for (guint i = 0; i < list->bytes->len / sizeof (gfloat); i++)
    g_assert_cmpfloat_with_epsilon (((gfloat *) list->bytes->data)[i],
        ((gfloat *) shift->bytes->data)[i], 1e-3);
  fail_if (memcmp (list->bytes->data, other->bytes->data, list->bytes->len) == 0);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (Run) run = run_with_sigmas (wrong[i][0]);

    fail_unless (g_error_matches (run->error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS));
    fail_unless (strstr (run->error->message, wrong[i][1]), "%s", run->error->message);
    fail_unless_equals_int (run->n_errors, 1);
    fail_unless_equals_int (run->n_buffers, 0);
  }
}
GST_END_TEST;

/* Sparse attention with all steps or all layers dense is dense attention. */
GST_START_TEST (test_attention)
{
  g_autoptr (Run) dense = run_with_sigmas ("steps=2");
  g_autoptr (Run) steps = run_with_sigmas ("steps=2 attention=sparse attention-dense-steps=1");
  g_autoptr (Run) layers = run_with_sigmas (
      "steps=2 attention=sparse attention-dense-steps=0 attention-dense-layers=1000");
  g_autoptr (Run) sparse
      = run_with_sigmas ("steps=2 attention=sparse attention-tau=0.5 attention-dense-steps=0 "
                         "attention-dense-layers=0");
  gsize n = dense->bytes->len;

  g_assert_no_error (sparse->error);
  fail_unless (
      n > 0 && steps->bytes->len == n && layers->bytes->len == n && sparse->bytes->len == n);
  fail_unless (memcmp (steps->bytes->data, dense->bytes->data, n) == 0);
  fail_unless (memcmp (layers->bytes->data, dense->bytes->data, n) == 0);
  fail_if (memcmp (sparse->bytes->data, dense->bytes->data, n) == 0);
}
GST_END_TEST;

/* A preset replaces the model's defaults, and properties replace its values. */
GST_START_TEST (test_preset)
{
  static const gchar *const same[][2] = { { "", "sigmas=1,0.8,0.3 guidance-scale=3" },
    { "flow-shift=2 steps=3", "flow-shift=2 steps=3 guidance-scale=3" },
    { "sigmas=1,0.4", "sigmas=1,0.4 guidance-scale=3" },
    { "guidance-scale=1", "sigmas=1,0.8,0.3" } };
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "preset.json", NULL);
  g_autofree gchar *setting = g_strdup_printf ("preset-file=%s ", path);
  g_autoptr (Run) wrong = NULL;

  fail_unless (
      g_file_set_contents (path, "{\"sigmas\": [1, 0.8, 0.3], \"guidance-scale\": 3}", -1, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (same); i++) {
    g_autofree gchar *settings = g_strconcat (setting, same[i][0], NULL);
    g_autoptr (Run) a = run_with_sigmas (settings);
    g_autoptr (Run) b = run_with_sigmas (same[i][1]);

    g_assert_no_error (a->error);
    g_assert_no_error (b->error);
    fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
    fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0, "%s", same[i][0]);
  }
  fail_unless (g_file_set_contents (path, "{\"shift\": 3}", -1, NULL));
  wrong = run_with_sigmas (setting);
  fail_unless (wrong->error && strstr (wrong->error->message, "unknown key \"shift\""));
  fail_unless_equals_int (wrong->n_errors, 1);
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

/* The element passes the property on: windows after the first one differ. */
GST_START_TEST (test_continuation)
{
  static const gchar *const stream
      = AUDIO (11) " ! " DENOISE " mode=stream window-latents=3 overlap=1";
  g_autofree gchar *held = g_strconcat (stream, " continuation=held" LATENTS, NULL);
  g_autofree gchar *corrected = g_strconcat (stream, " continuation=corrected" LATENTS, NULL);
  g_autofree gchar *unset = g_strconcat (stream, LATENTS, NULL);
  g_autoptr (Run) a = run_pipeline (held, TRUE);
  g_autoptr (Run) b = run_pipeline (corrected, TRUE);
  g_autoptr (Run) c = run_pipeline (unset, TRUE);
  gsize latent = a->bytes->len / 4; /* 11 frames are 4 latents, 3 of them in the first window */

  fail_unless (a->bytes->len == b->bytes->len && a->bytes->len == c->bytes->len);
  fail_unless (memcmp (a->bytes->data, c->bytes->data, a->bytes->len) == 0);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, 3 * latent) == 0);
  fail_if (memcmp (a->bytes->data + 3 * latent, b->bytes->data + 3 * latent, latent) == 0);
}
GST_END_TEST;

#define NOISE_FRAMES 33

static void
fill_noise (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  memcpy (out, (const gfloat *) data + first, n * sizeof (gfloat));
}

/* The noise of seed 1, as a file. */
static gchar *
write_noise (const gchar *folder)
{
  gchar *path = g_build_filename (folder, "noise.safetensors", NULL);
  g_autofree gfloat *all = g_new (gfloat, 16 * NOISE_FRAMES * 64);
  gfloat one[16 * 64];
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor t = { "noise",
    avatar_tensor (AVATAR_F32, NULL, 5, (gint64) 1, (gint64) 16, (gint64) NOISE_FRAMES, (gint64) 8,
        (gint64) 8) };

  for (guint f = 0; f < NOISE_FRAMES; f++) {
    avatar_noise_fill (one, G_N_ELEMENTS (one), 1, f);
    for (guint c = 0; c < 16; c++)
      memcpy (all + (c * NOISE_FRAMES + f) * 64, one + c * 64, 64 * sizeof (gfloat));
  }
  g_array_append_val (list, t);
  fail_unless (avatar_write_safetensors (path, list, fill_noise, all, NULL));
  return path;
}

static gboolean
is_same (const Run *a, const Run *b)
{
  g_assert_no_error (a->error);
  g_assert_no_error (b->error);
  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  return memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0;
}

GST_START_TEST (test_noise)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = write_noise (folder);
  g_autofree gchar *given
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " noise-location=%s" LATENTS, path);
  g_autofree gchar *posterior
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " seed=1 posterior-noise=%s" LATENTS, path);
  g_autoptr (Run) seed = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (Run) file = run_pipeline (given, TRUE);
  g_autoptr (Run) mode
      = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1 posterior-noise=mode" LATENTS, TRUE);
  g_autoptr (Run) sample
      = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1 posterior-noise=seeded" LATENTS, TRUE);
  g_autoptr (Run) other = run_pipeline (posterior, TRUE);
  g_autoptr (Run) bad
      = run_pipeline (AUDIO (5) " ! " DENOISE " noise-location=/nowhere" LATENTS, TRUE);
  g_autoptr (Run) worse
      = run_pipeline (AUDIO (5) " ! " DENOISE " posterior-noise=sampled" LATENTS, TRUE);

  fail_unless (is_same (seed, file));
  fail_unless (is_same (seed, mode));
  fail_if (is_same (seed, sample));
  fail_if (is_same (seed, other));
  fail_if (is_same (sample, other));
  fail_unless_equals_int (bad->n_errors, 1);
  fail_unless (strstr (bad->error->message, "/nowhere") != NULL, "%s", bad->error->message);
  fail_unless_equals_int (worse->n_errors, 1);
  fail_unless (strstr (worse->error->message, "sampled") != NULL, "%s", worse->error->message);
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

#define N_FEATURES 9

/* Offsets and time stamps of the buffers of a source of features. */
typedef struct
{
  gboolean times, in_bytes, ends; /* PTS; OFFSET counts bytes; OFFSET_END too */
  guint jump_at;                  /* this one comes later by ten; 0: none */
  guint discont_at;               /* 0: none */
} Numbering;

static void
push_features (GstElement *source, const Run *features, const Numbering *how)
{
  gsize size = features->bytes->len / N_FEATURES;
  guint64 unit = how->in_bytes ? size : 1, at = 0;
  GstFlowReturn ret;

  for (guint i = 0; i < N_FEATURES; i++, at++) {
    GstBuffer *buffer = gst_buffer_new_memdup (features->bytes->data + i * size, size);

    at += how->jump_at && i == how->jump_at ? 10 : 0;
    if (how->times)
      GST_BUFFER_PTS (buffer) = at * 40 * GST_MSECOND;
    GST_BUFFER_OFFSET (buffer) = at * unit;
    if (how->ends)
      GST_BUFFER_OFFSET_END (buffer) = (at + 1) * unit;
    if (i > 0 && i == how->discont_at)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    g_signal_emit_by_name (source, "push-buffer", buffer, &ret);
    fail_unless_equals_int (ret, GST_FLOW_OK);
    gst_buffer_unref (buffer);
  }
  g_signal_emit_by_name (source, "end-of-stream", &ret);
}

static Run *
run_numbered (const Run *features, const Numbering *how)
{
  GstElement *pipeline
      = pipeline_new ("appsrc name=source format=time ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (GstElement) source = gst_bin_get_by_name (GST_BIN (pipeline), "source");
  Run *run;

  g_object_set (source, "caps", features->caps, NULL);
  push_features (source, features, how);
  run = run_play (pipeline, NULL, NULL);
  g_assert_no_error (run->error);
  gst_object_unref (pipeline);
  return run;
}

/* A stream is split only where features are missing; offsets in bytes are ignored. */
GST_START_TEST (test_offsets)
{
  static const Numbering whole[] = { { .times = TRUE }, { .times = TRUE, .ends = TRUE },
    { .times = TRUE, .in_bytes = TRUE }, { .times = TRUE, .in_bytes = TRUE, .ends = TRUE },
    { .in_bytes = TRUE }, { .in_bytes = TRUE, .ends = TRUE }, { .ends = TRUE } };
  static const Numbering cut[] = { { .ends = TRUE, .jump_at = 5 }, { .times = TRUE, .jump_at = 5 },
    { .times = TRUE, .in_bytes = TRUE, .jump_at = 5 },
    { .times = TRUE, .ends = TRUE, .discont_at = 5 }, { .discont_at = 5 } };
  g_autoptr (Run) features = run_pipeline (AUDIO (9) " ! fakesink name=sink", FALSE);
  g_autoptr (Run) direct = run_pipeline (AUDIO (9) " ! " DENOISE " seed=1" LATENTS, TRUE);

  for (guint i = 0; i < G_N_ELEMENTS (whole); i++) {
    g_autoptr (Run) run = run_numbered (features, &whole[i]);

    GST_INFO ("numbering %u", i);
    fail_unless (is_same (run, direct));
    fail_unless_equals_uint64 (run->end, 9 * 40 * GST_MSECOND);
  }
  for (guint i = 0; i < G_N_ELEMENTS (cut); i++) {
    g_autoptr (Run) run = run_numbered (features, &cut[i]);
    guint missing = cut[i].times && cut[i].jump_at ? 10 : 0;

    GST_INFO ("cut %u", i);
    fail_unless_equals_int (run->n_buffers, 2 + 2); /* five features and four */
    fail_unless_equals_uint64 (run->end, (9 + missing) * 40 * GST_MSECOND);
  }
}
GST_END_TEST;

/* A plain file of features: a segment in bytes, and no times. */
GST_START_TEST (test_bytes)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "features", NULL);
  g_autoptr (Run) features = run_pipeline (AUDIO (9) " ! fakesink name=sink", FALSE);
  g_autoptr (Run) direct = run_pipeline (AUDIO (9) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autofree gchar *caps = gst_caps_to_string (features->caps);
  g_autofree gchar *quoted = g_strescape (caps, NULL);
  g_autofree gchar *launch
      = g_strdup_printf ("filesrc location=%s blocksize=%u ! capsfilter caps=\"%s\" ! " DENOISE
                         " seed=1" LATENTS,
          path, features->bytes->len / N_FEATURES, quoted);
  g_autoptr (Run) run = NULL;

  fail_unless (g_file_set_contents (path, (const gchar *) features->bytes->data,
      features->bytes->len, NULL));
  run = run_pipeline (launch, TRUE);
  fail_unless (is_same (run, direct));
  fail_unless_equals_uint64 (run->first_pts, 0);
  fail_unless_equals_uint64 (run->end, 9 * 40 * GST_MSECOND);
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

#define CHAIN(audio, denoise, decode)                                                        \
  AUDIO (5)                                                                                  \
  audio " ! " DENOISE denoise " ! avatarvaedecode" decode " ! " SMALL_VIDEO ",format=RGB ! " \
        "fakesink name=sink"

/* Each of the three rounds something, and none so much that the picture is another. */
GST_START_TEST (test_parity)
{
  static const gchar *const launches[] = { CHAIN (" upstream-rounding=true", "", ""),
    CHAIN ("", " upstream-rounding=true", ""), CHAIN ("", "", " upstream-rounding=true") };
  g_autoptr (Run) plain = run_pipeline (CHAIN ("", "", ""), TRUE);
  g_autoptr (Run) features = run_pipeline (AUDIO (5) " ! fakesink name=sink", FALSE);
  g_autoptr (Run) rounded
      = run_pipeline (AUDIO (5) " upstream-rounding=true ! fakesink name=sink", FALSE);

  fail_if (is_same (features, rounded));
  for (guint i = 0; i < G_N_ELEMENTS (launches); i++) {
    g_autoptr (Run) run = run_pipeline (launches[i], TRUE);
    gdouble difference = 0;

    for (guint k = 0; k < plain->bytes->len; k++)
      difference += ABS (run->bytes->data[k] - plain->bytes->data[k]);
    fail_unless (i == 0 || !is_same (run, plain)); /* a spectrogram's need not show in bytes */
    fail_unless (difference / plain->bytes->len < 3, "%u: %g", i, difference / plain->bytes->len);
  }
}
GST_END_TEST;

static void
expect_same_portrait (const gchar *format)
{
  g_autofree gchar *path = sample_path ("portrait.png");
  g_autofree gchar *launch = g_strdup_printf (
      AUDIO (
          5) " ! " DENOISE LATENTS
             " filesrc location=%s ! pngdec ! videoconvert ! video/x-raw,format=%s ! denoise.reference",
      path, format);
  g_autoptr (Run) file = run_pipeline (AUDIO (5) " ! " DENOISE LATENTS, TRUE);
  g_autoptr (Run) pad = run_pipeline (launch, FALSE);

  g_assert_no_error (pad->error);
  fail_unless (file->bytes->len > 0 && file->bytes->len == pad->bytes->len);
  fail_unless (memcmp (file->bytes->data, pad->bytes->data, file->bytes->len) == 0);
}

GST_START_TEST (test_reference_pad)
{
  expect_same_portrait ("RGB");
  expect_same_portrait ("RGBA");
  expect_same_portrait ("RGBx");
}
GST_END_TEST;

GST_START_TEST (test_size)
{
  g_autoptr (Run) run = run_pipeline (
      AUDIO (
          5) " ! " DENOISE
             " ! avatarvaedecode ! video/x-raw,format=RGB,width=96,height=160 ! fakesink name=sink",
      TRUE);
  gint width = 0, height = 0;

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 5);
  gst_structure_get_int (gst_caps_get_structure (run->caps, 0), "width", &width);
  gst_structure_get_int (gst_caps_get_structure (run->caps, 0), "height", &height);
  fail_unless_equals_int (width, 96);
  fail_unless_equals_int (height, 160);
}
GST_END_TEST;

GST_START_TEST (test_windows)
{
  g_autoptr (Run) run
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode ! fakesink name=sink", TRUE);
  static const gchar *const stages[] = { "audio", "denoise", "decode" };

  fail_unless_equals_int (run->windows->len, 3);
  for (guint i = 0; i < 3; i++) {
    const GstStructure *s = run->windows->pdata[i];
    GstClockTime compute = 0, duration = 0;
    guint64 now = 0, peak = 0;
    guint frames = 0;

    fail_unless_equals_string (gst_structure_get_string (s, "stage"), stages[i]);
    fail_unless (gst_structure_get_clock_time (s, "compute-time", &compute) && compute > 0);
    fail_unless (gst_structure_get_clock_time (s, "duration", &duration));
    fail_unless_equals_uint64 (duration, 360 * GST_MSECOND);
    fail_unless (gst_structure_get_uint (s, "frames", &frames) && frames == 9);
    fail_unless (gst_structure_get_uint64 (s, "memory-now", &now));
    fail_unless (gst_structure_get_uint64 (s, "memory-peak", &peak));
    fail_unless (peak >= now && peak > 0);
  }
}
GST_END_TEST;

/* The face box of the message. */
typedef struct
{
  guint n, n_warnings;
  GstStructure *said;
  gchar *warning; /* the last */
} Faces;

static void
take_face (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Faces *faces = data;

  if (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
    g_autoptr (GError) error = NULL;

    gst_message_parse_warning (message, &error, NULL);
    g_free (faces->warning);
    faces->warning = g_strdup (error->message);
    faces->n_warnings++;
  }
  if (!message || !gst_message_has_name (message, "avatar-face"))
    return;
  faces->n++;
  gst_clear_structure (&faces->said);
  faces->said = gst_structure_copy (gst_message_get_structure (message));
}

static GByteArray *
expect_face (const gchar *settings, const gchar *source, gdouble x, gdouble width, guint n_warnings)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " seed=1 %s" LATENTS, settings);
  g_autoptr (Run) run = NULL;
  Faces faces = { 0 };
  gdouble found_x = -1, found_width = -1;

  run = run_play (pipeline_new (launch, TRUE), take_face, &faces);
  g_assert_no_error (run->error);
  fail_unless_equals_int (faces.n, 1);
  fail_unless_equals_int (faces.n_warnings, n_warnings);
  fail_unless_equals_string (gst_structure_get_string (faces.said, "source"), source);
  fail_unless (gst_structure_get_double (faces.said, "x", &found_x));
  fail_unless (gst_structure_get_double (faces.said, "width", &found_width));
  GST_INFO ("%s: %" GST_PTR_FORMAT, settings, faces.said);
  if (width >= 0) {
    fail_unless_equals_float (found_x, x);
    fail_unless_equals_float (found_width, width);
  }
  gst_clear_structure (&faces.said);
  g_free (faces.warning);
  return g_byte_array_ref (run->bytes);
}

/* The plain model with a face detector, whose weights are random, so that it finds something
 * anywhere. */
static gchar *
folder_with_detector (const gchar *file)
{
  const gchar *plain = g_getenv ("AVATAR_PLAIN");
  gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *detector = g_build_filename (g_getenv ("AVATAR_CORPUS"), file, NULL);
  g_autofree gchar *link = g_build_filename (folder, "detface.pt", NULL);
  g_autoptr (GDir) dir = g_dir_open (plain, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree gchar *from = g_build_filename (plain, name, NULL);
    g_autofree gchar *to = g_build_filename (folder, name, NULL);

    fail_unless (symlink (from, to) == 0);
  }
  fail_unless (symlink (detector, link) == 0);
  g_setenv ("AVATAR_MODEL", plain, TRUE); /* model of the other elements */
  return folder;
}

static void
remove_links (const gchar *folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree gchar *path = g_build_filename (folder, name, NULL);

    g_unlink (path);
  }
  g_rmdir (folder);
}

/* A box that is given comes before the detector's, that before the whole picture; which it is as
 * well when the detector is some other network. */
GST_START_TEST (test_face)
{
  g_autofree gchar *folder = folder_with_detector ("detector/detface.pt");
  g_autofree gchar *other = folder_with_detector ("torch/script.pt");
  g_autofree gchar *finding = g_strdup_printf ("model=%s", folder);
  g_autofree gchar *given = g_strdup_printf ("model=%s face-box=0,0,256,256", folder);
  g_autofree gchar *puzzled = g_strdup_printf ("model=%s", other);
  g_autoptr (GByteArray) whole = expect_face ("", "none", 0, 0, 0);
  g_autoptr (GByteArray) boxed = expect_face ("face-box=0,0,256,256", "face-box", 0, 32, 0);
  g_autoptr (GByteArray) found = expect_face (finding, "detector", 0, -1, 1);
  g_autoptr (GByteArray) told = expect_face (given, "face-box", 0, 32, 0);
  g_autoptr (GByteArray) lost = expect_face (puzzled, "none", 0, 0, 1);

  fail_unless (whole->len > 0 && whole->len == boxed->len && whole->len == found->len);
  fail_if (memcmp (whole->data, boxed->data, whole->len) == 0);
  fail_if (memcmp (whole->data, found->data, whole->len) == 0);
  fail_unless (memcmp (told->data, boxed->data, whole->len) == 0);
  fail_unless (memcmp (lost->data, whole->data, whole->len) == 0);
  remove_links (folder);
  remove_links (other);
}
GST_END_TEST;

/* Runs with a portrait of @picture, the end of a pipeline of one RGB frame, on the reference
 * pad. */
static GByteArray *
run_picture (const gchar *settings, const gchar *picture, Faces *faces)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " seed=1 %s" LATENTS " %s ! video/x-raw,format=RGB"
                                   " ! denoise.reference",
          settings, picture);
  g_autoptr (Run) run = run_play (pipeline_new (launch, FALSE), take_face, faces);

  g_assert_no_error (run->error);
  fail_unless_equals_int (faces->n, 1);
  GST_INFO ("%s: %" GST_PTR_FORMAT, settings, faces->said);
  return g_byte_array_ref (run->bytes);
}

static void
expect_seen (const gchar *settings, const gchar *picture, const gchar *source, guint n_warnings)
{
  Faces faces = { 0 };
  g_autoptr (GByteArray) bytes = run_picture (settings, picture, &faces);
  gdouble x = -1, width = 0;
  guint whole = 0;

  fail_unless (gst_structure_get_double (faces.said, "x", &x));
  fail_unless (gst_structure_get_double (faces.said, "width", &width));
  fail_unless (gst_structure_get_uint (faces.said, "picture-width", &whole));
  fail_unless_equals_string (gst_structure_get_string (faces.said, "source"), source);
  fail_unless_equals_int (faces.n_warnings, n_warnings);
  if (!g_str_equal (source, "none"))
    fail_unless (x >= 0 && x + width <= whole && width >= whole / 3.);
  gst_clear_structure (&faces.said);
  g_free (faces.warning);
}

/* A crop keeps the face, given or found; where there is none, where nobody
 * looks, and where it is too large, one warning says so. */
GST_START_TEST (test_crop)
{
  g_autofree gchar *folder
      = folder_with_detector ("../../../models/demo/ckpts/det_align/detface.pt");
  g_autofree gchar *finding = g_strdup_printf ("model=%s", folder);
  g_autofree gchar *path = sample_path ("portrait.png");
  g_autofree gchar *portrait
      = g_strdup_printf ("filesrc location=%s ! pngdec ! videoconvert", path);
  g_autofree gchar *right = g_strdup_printf ("%s ! videobox left=-512", portrait);
  const gchar *black
      = "videotestsrc pattern=black num-buffers=1 ! video/x-raw,width=200,height=%d ! videoconvert";
  g_autofree gchar *square = g_strdup_printf (black, 200), *wide = g_strdup_printf (black, 100);

  expect_seen (finding, portrait, "detector", 0);
  expect_seen (finding, right, "detector", 0);
  expect_seen ("face-box=634,90,264,340", right, "face-box", 0);
  expect_seen ("face-box=100,10,900,400", right, "face-box", 1);
  expect_seen ("", right, "none", 1);
  expect_seen ("", portrait, "none", 0);
  expect_seen (finding, square, "none", 1);
  expect_seen (finding, wide, "none", 1);
  remove_links (folder);
}
GST_END_TEST;

/* Plays the demo model with a portrait. @texts: parts of its one warning; none without them. */
static void
expect_warning (const gchar *settings, const gchar *picture, const gchar *const *texts)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (1) " ! avatardenoise name=denoise steps=1 %s"
                                   " ! fakesink name=sink %s ! denoise.reference",
          settings, picture);
  Faces faces = { 0 };
  g_autoptr (Run) run = run_play (pipeline_new (launch, FALSE), take_face, &faces);

  g_assert_no_error (run->error);
  fail_unless_equals_int (faces.n_warnings, texts ? 1 : 0);
  for (guint i = 0; texts && texts[i]; i++)
    fail_unless (strstr (faces.warning, texts[i]) != NULL, "\"%s\" lacks \"%s\"", faces.warning,
        texts[i]);
  gst_clear_structure (&faces.said);
  g_free (faces.warning);
}

/* A portrait of which the demo model makes no good video gets a warning that says what was found,
 * what was expected and what to do; the sample portrait gets none. */
GST_START_TEST (test_unsuitable)
{
  g_autofree gchar *path = sample_path ("portrait.png");
  g_autofree gchar *portrait
      = g_strdup_printf ("filesrc location=%s ! pngdec ! videoconvert ! video/x-raw,format=RGB",
          path);
  const gchar *noise = "videotestsrc pattern=snow num-buffers=1 ! "
                       "video/x-raw,format=RGB,width=128,height=128";
  const gchar *plain = "videotestsrc pattern=gradient num-buffers=1 ! "
                       "video/x-raw,format=RGB,width=128,height=128";
  const gchar *const unlike[] = { "unlike the pictures", "expected at least 25.0 dB",
    "use another portrait", "released weights", "docs/guide/weights.md", NULL };
  const gchar *const small[] = { "the face has 20 x 40 pixels in a video of 128 x 128",
    "expected at least 24 x 24", "crop the portrait to the head", "released weights", NULL };
  const gchar *const none[] = { "no face was found", "expected one upright face", "face-box",
    "use another portrait", "released weights", NULL };

  expect_warning ("", portrait, NULL);
  expect_warning ("face-box=0,0,128,128", noise, unlike);
  expect_warning ("face-box=8,8,20,40", plain, small);
  expect_warning ("", plain, none);
}
GST_END_TEST;

static Suite *
denoise_suite (void)
{
  Suite *suite = suite_create ("denoise");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_counts);
  tcase_add_test (tc, test_seed);
  tcase_add_test (tc, test_sigmas);
  tcase_add_test (tc, test_attention);
  tcase_add_test (tc, test_preset);
  tcase_add_test (tc, test_continuation);
  tcase_add_test (tc, test_noise);
  tcase_add_test (tc, test_offsets);
  tcase_add_test (tc, test_bytes);
  tcase_add_test (tc, test_parity);
  tcase_add_test (tc, test_reference_pad);
  tcase_add_test (tc, test_size);
  tcase_add_test (tc, test_windows);
  tcase_add_test (tc, test_face);
  tcase_add_test (tc, test_crop);
  tcase_add_test (tc, test_unsuitable);
  return suite;
}

GST_CHECK_MAIN (denoise);
