/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bad input: one error on the bus, in the right domain, that names what was found. */
#include "support.h"

#include <avatar/device.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static void
expect (const gchar *launch, gboolean portrait, GQuark domain, gint code, const gchar *text)
{
  g_autoptr (Run) run = run_pipeline (launch, portrait);

  fail_unless (run->error != NULL, "no error: %s", launch);
  fail_unless (strstr (run->error->message, text), "\"%s\" has no \"%s\"", run->error->message,
      text);
  fail_unless_equals_string (g_quark_to_string (run->error->domain), g_quark_to_string (domain));
  fail_unless_equals_int (run->error->code, code);
  fail_unless_equals_int (run->n_errors, 1);
  fail_unless_equals_int (run->n_buffers, 0);
}

#define END " ! avatarvaedecode ! fakesink name=sink"

GST_START_TEST (test_portrait)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf (AUDIO (5) " ! avatardenoise reference=%s" END, sound);

  expect (AUDIO (5) " ! avatardenoise" END, FALSE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
      "no portrait");
  expect (AUDIO (5) " ! avatardenoise reference=/nowhere/face.png" END, FALSE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, "/nowhere/face.png");
  expect (launch, FALSE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "hello.wav");
  expect (AUDIO (5) " ! " DENOISE END " videotestsrc num-buffers=0 ! denoise.reference", FALSE,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "no portrait");
}
GST_END_TEST;

GST_START_TEST (test_audio)
{
  expect (AUDIO (0) " ! " DENOISE END, TRUE, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE, "empty");
}
GST_END_TEST;

static GstPadProbeReturn
on_event (GstPad *pad, GstPadProbeInfo *info, gpointer bus)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS)
    gst_bus_post (bus, gst_message_new_application (NULL, gst_structure_new_empty ("end")));
  return GST_PAD_PROBE_OK;
}

/* Plays until EOS arrives at the sink, and returns the number of errors before. */
static guint
count_errors (const gchar *launch)
{
  GstElement *pipeline = pipeline_new (launch, TRUE);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (sink, "sink");
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessageType type = GST_MESSAGE_UNKNOWN;
  guint n = 0;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_event, bus, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (type != GST_MESSAGE_APPLICATION) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND,
        GST_MESSAGE_ERROR | GST_MESSAGE_APPLICATION);

    fail_unless (message != NULL, "no EOS after %u errors", n);
    type = GST_MESSAGE_TYPE (message);
    n += type == GST_MESSAGE_ERROR;
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  return n;
}

/* After an error EOS still reaches the sink, and no element downstream posts another error. */
GST_START_TEST (test_eos_after_error)
{
  fail_unless_equals_int (count_errors (AUDIO (0) " ! " DENOISE END), 1);
  fail_unless_equals_int (count_errors ("fakesrc num-buffers=0 ! " DENOISE END), 1);
}
GST_END_TEST;

GST_START_TEST (test_settings)
{
  expect (AUDIO (5) " ! avatardenoise name=denoise steps=0" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "steps is 0");
  expect (AUDIO (5) " ! " DENOISE " face-box=1,2,3" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "1,2,3");
  expect (AUDIO (5) " ! " DENOISE " window-latents=3 overlap=3" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "overlap");
  expect (AUDIO (5) " ! " DENOISE
                    " ! avatarvaedecode ! video/x-raw,width=100,height=60 ! fakesink name=sink",
      TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "100 x 60");
  expect (AUDIO (5) " ! " DENOISE
                    " ! avatarvaedecode ! video/x-raw,width=136,height=136 ! fakesink name=sink",
      TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "136 x 136");
  expect (AUDIO (5) " ! " DENOISE " ! avatarvaedecode tile-size=7 ! fakesink name=sink", TRUE,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "7");
}
GST_END_TEST;

#define REFUSED(caps) AUDIO (5) " ! " DENOISE " ! avatarvaedecode ! " caps " ! fakesink name=sink"

/* Downstream takes something else than the size: the error says what. */
GST_START_TEST (test_refused_caps)
{
  expect (REFUSED ("video/x-raw,framerate=30/1"), TRUE, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
      "framerate is 25/1, downstream accepts 30/1: add videorate");
  expect (REFUSED ("video/x-raw,pixel-aspect-ratio=2/1"), TRUE, GST_CORE_ERROR,
      GST_CORE_ERROR_NEGOTIATION, "pixel-aspect-ratio");
  expect (AUDIO (5) " ! " DENOISE " ! other/tensors,framerate=30/4 ! fakesink name=sink", TRUE,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "framerate is 25/4");
}
GST_END_TEST;

GST_START_TEST (test_model)
{
  expect (AUDIO (5) " ! " DENOISE " model=/nowhere/model" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, "/nowhere/model");
  expect (AUDIO (5) " ! " DENOISE " device=abacus" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_FAILED, "abacus");
}
GST_END_TEST;

#define DEVICE(name) AUDIO (5) " ! " DENOISE " device=" name END

/* A GPU that is not there. Where there is one, "cuda" is tested by using it. */
GST_START_TEST (test_no_gpu)
{
  g_autoptr (AvatarDevice) gpu = avatar_device_open ("cuda", NULL);

  if (!gpu) {
    expect (DEVICE ("cuda"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "device=cpu");
    expect (DEVICE ("cuda:7"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "device=cpu");
    expect (AUDIO (5) " device=cuda ! " DENOISE END, TRUE, GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_FAILED, "device=cpu");
    expect (AUDIO (5) " ! " DENOISE " ! avatarvaedecode device=cuda ! fakesink name=sink", TRUE,
        GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "device=cpu");
  }
  expect (DEVICE ("cuda:1000"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED,
      gpu ? "numbered from 0" : "device=cpu");
  expect (DEVICE ("cuda:x"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "cuda:x");
  expect (DEVICE ("cuda:-1"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "cuda:-1");
  expect (DEVICE ("cuda:99999999999"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED,
      "cuda:99999999999");
}
GST_END_TEST;

/* A back-end of libraries that are not there, or of another version. */
GST_START_TEST (test_broken_module)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *module = g_build_filename (folder, "libavatar-cuda.so", NULL);

  fail_unless (g_file_set_contents (module, "no module", -1, NULL));
  g_setenv ("AVATAR_MODULE_DIR", folder, TRUE);
  expect (DEVICE ("cuda"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "cannot be loaded");
  g_remove (module);
  fail_unless_equals_int (symlink (g_getenv ("AVATAR_PLUGIN"), module), 0);
  expect (DEVICE ("cuda"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED, "another version");
  g_unsetenv ("AVATAR_MODULE_DIR");
  g_remove (module);
  g_rmdir (folder);
  /* the process lives, and plays */
  {
    g_autoptr (Run) run = run_pipeline (DEVICE ("cpu"), TRUE);

    g_assert_no_error (run->error);
    fail_unless (run->n_buffers > 0);
  }
}
GST_END_TEST;

GST_START_TEST (test_small_gpu)
{
  expect (DEVICE ("sim:14"), TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
      "close other programs");
}
GST_END_TEST;

/* Makes a copy of the plain model. @byte: offset of a bfloat16 NaN in the transformer's file, or 0.
 * The other elements use the plain model as well, since all elements must have the same model. */
static gchar *
model_copy (gsize byte)
{
  static const gchar *const files[] = { "config.json", "transformer.safetensors", "vae.safetensors",
    "whisper_encoder.safetensors", "text_stub.safetensors" };
  gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);

  g_setenv ("AVATAR_MODEL", g_getenv ("AVATAR_PLAIN"), TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree gchar *from = g_build_filename (g_getenv ("AVATAR_PLAIN"), files[i], NULL);
    g_autofree gchar *to = g_build_filename (folder, files[i], NULL);
    g_autofree gchar *data = NULL;
    gsize length;

    fail_unless (g_file_get_contents (from, &data, &length, NULL));
    if (i == 1 && byte)
      memcpy (data + byte, "\xc0\x7f", 2);
    fail_unless (g_file_set_contents (to, data, length, NULL));
  }
  return folder;
}

static void
remove_folder (const gchar *folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree gchar *path = g_build_filename (folder, name, NULL);

    g_remove (path);
  }
  g_rmdir (folder);
}

GST_START_TEST (test_nan)
{
  g_autofree gchar *folder = model_copy (4000000);
  g_autofree gchar *cpu
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " device=cpu model=%s" END, folder);
  g_autofree gchar *gpu
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " device=sim:4096 model=%s" END, folder);

  expect (cpu, TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "transformer.safetensors");
  expect (gpu, TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "step 1 of 2");
  remove_folder (folder);
}
GST_END_TEST;

typedef struct
{
  const gchar *file;
  gboolean done;
} Cutter;

/* The transformer's file becomes empty when the first step is done. */
static void
cut_file (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Cutter *cutter = data;
  GstProgressType type;
  g_autofree gchar *code = NULL;

  if (!message || cutter->done || GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return;
  gst_message_parse_progress (message, &type, &code, NULL);
  if (!g_str_equal (code, "denoise") || type == GST_PROGRESS_TYPE_START)
    return;
  cutter->done = TRUE;
  fail_unless_equals_int (truncate (cutter->file, 0), 0);
}

static Run *
run_and_cut (const gchar *settings)
{
  g_autofree gchar *folder = model_copy (0);
  g_autofree gchar *file = g_build_filename (folder, "transformer.safetensors", NULL);
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (5) " ! " DENOISE " model=%s %s ! " SMALL_LATENTS
                                   " ! fakesink name=sink",
          folder, settings);
  Cutter cutter = { .file = file };
  GstElement *pipeline;
  Run *run;

  pipeline = pipeline_new (launch, TRUE);
  run = run_play (pipeline, cut_file, &cutter);
  fail_unless (cutter.done);
  gst_object_unref (pipeline);
  remove_folder (folder);
  return run;
}

/* A file that shrinks while it is mapped: the CPU has read all it needs, a GPU's weights may still
 * come from it. */
GST_START_TEST (test_cut)
{
  g_autoptr (Run) cpu = run_and_cut ("device=cpu");
  g_autoptr (Run) gpu = run_and_cut ("device=sim:4096 vram-budget=30 pinned-memory=0");

  g_assert_no_error (cpu->error);
  fail_unless (cpu->n_buffers > 0);
  fail_unless (g_error_matches (gpu->error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ));
  fail_unless (strstr (gpu->error->message, "cut short"), "%s", gpu->error->message);
  fail_unless_equals_int (gpu->n_errors, 1);
  fail_unless_equals_int (gpu->n_buffers, 0);
}
GST_END_TEST;

static Suite *
errors_suite (void)
{
  Suite *suite = suite_create ("errors");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_portrait);
  tcase_add_test (tc, test_audio);
  tcase_add_test (tc, test_eos_after_error);
  tcase_add_test (tc, test_settings);
  tcase_add_test (tc, test_refused_caps);
  tcase_add_test (tc, test_model);
  tcase_add_test (tc, test_no_gpu);
  tcase_add_test (tc, test_broken_module);
  tcase_add_test (tc, test_small_gpu);
  tcase_add_test (tc, test_nan);
  tcase_add_test (tc, test_cut);
  return suite;
}

GST_CHECK_MAIN (errors);
