/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NNStreamer's rules for other/tensors: a table of caps, and caps and buffers of the elements. */
#include "gst/gstavatarcaps.h"

#include "nnstreamer.h"
#include "support.h"

GST_START_TEST (test_table)
{
  for (guint i = 0; i < G_N_ELEMENTS (tensor_caps); i++) {
    const TensorCaps *row = &tensor_caps[i];
    g_autoptr (GstCaps) caps = gst_caps_from_string (row->caps);
    GstAvatarFeatureInfo features;
    GstAvatarLatentInfo latents;
    gboolean as_features, as_latents;

    fail_unless (caps != NULL, "%s", row->caps);
    as_features = gst_avatar_caps_parse_features (caps, NULL, &features, NULL);
    as_latents = gst_avatar_caps_parse_latents (caps, NULL, &latents, NULL);
    fail_unless (as_features == (row->taken_as == FEATURES), "%s", row->caps);
    fail_unless (as_latents == (row->taken_as == LATENTS), "%s", row->caps);
    if (row->taken_as == FEATURES) {
      fail_unless_equals_int (gst_avatar_feature_info_get_size (&features), row->size);
      fail_unless_equals_int (features.fps_n, row->rate_n);
    } else if (row->taken_as == LATENTS) {
      fail_unless_equals_int (gst_avatar_latent_info_get_size (&latents), row->size);
      /* The rate of latents is a quarter of the video's. */
      fail_unless_equals_int (latents.fps_n * row->rate_d, 4 * row->rate_n * latents.fps_d);
    }
  }
}
GST_END_TEST;

/* Checks the fields. Returns the number of bytes of a tensor by NNStreamer's rules. */
static gsize
size_by_the_rules (GstCaps *caps)
{
  g_autoptr (GstCaps) template = gst_caps_from_string (
      "other/tensors, format=(string)static, num_tensors=(int)[1, 256], framerate=(fraction)[0/1, "
      "2147483647/1]");
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  g_auto (GStrv) dims = NULL;
  gint n = 0, rate_n = -1, rate_d = 0;
  gsize size = 4;

  fail_unless (gst_caps_is_subset (caps, template), "%" GST_PTR_FORMAT, caps);
  fail_unless (gst_structure_get_int (s, "num_tensors", &n) && n == 1);
  fail_unless (gst_structure_get_fraction (s, "framerate", &rate_n, &rate_d));
  fail_unless (rate_n >= 0 && rate_d > 0);
  fail_unless_equals_string (gst_structure_get_string (s, "types"), "float32");
  fail_unless (gst_structure_has_field_typed (s, "dimensions", G_TYPE_STRING));
  dims = g_strsplit (gst_structure_get_string (s, "dimensions"), ":", -1);
  fail_unless (g_strv_length (dims) <= 4);
  for (guint i = 0; dims[i]; i++) {
    fail_unless (g_ascii_isdigit (dims[i][0]) && dims[i][0] != '0');
    size *= g_ascii_strtoull (dims[i], NULL, 10);
  }
  return size;
}

typedef struct
{
  gsize size;
  guint n_buffers, n_wrong;
} Watch;

static GstPadProbeReturn
watch (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Watch *self = data;
  GstBufferList *list = info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST ? info->data : NULL;
  guint n = list ? gst_buffer_list_length (list) : 1;
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);

  self->size = size_by_the_rules (caps);
  for (guint i = 0; i < n; i++) {
    GstBuffer *buffer = list ? gst_buffer_list_get (list, i) : info->data;
    if (gst_buffer_n_memory (buffer) != 1 || gst_buffer_get_size (buffer) != self->size)
      self->n_wrong++;
    self->n_buffers++;
  }
  return GST_PAD_PROBE_OK;
}

static void
watch_element (GstElement *pipeline, const gchar *name, Watch *self)
{
  g_autoptr (GstElement) element = gst_bin_get_by_name (GST_BIN (pipeline), name);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (element, "src");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, watch, self,
      NULL);
}

/* One memory for each buffer, as long as the caps say. */
GST_START_TEST (test_buffers)
{
  Watch features = { 0 }, latents = { 0 };
  GstElement *pipeline
      = pipeline_new (AUDIO (9) " name=enc ! " DENOISE " ! " SMALL_LATENTS " ! fakesink name=sink",
          TRUE);

  watch_element (pipeline, "enc", &features);
  watch_element (pipeline, "denoise", &latents);
  g_autoptr (Run) run = run_play (pipeline, NULL, NULL);
  fail_unless (run->eos, "%s", run->error ? run->error->message : "no EOS");
  fail_unless_equals_int (features.n_buffers, 9);
  fail_unless_equals_int (latents.n_buffers, 3);
  fail_unless_equals_int (features.n_wrong + latents.n_wrong, 0);
  fail_unless_equals_int (latents.size, 4 * 8 * 8 * 16);
}
GST_END_TEST;

static Suite *
nnstreamer_suite (void)
{
  Suite *suite = suite_create ("nnstreamer");
  TCase *tcase = tcase_create ("general");

  suite_add_tcase (suite, tcase);
  tcase_add_test (tcase, test_table);
  tcase_add_test (tcase, test_buffers);
  return suite;
}

GST_CHECK_MAIN (nnstreamer);
