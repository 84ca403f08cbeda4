/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares the table of tests/elements/nnstreamer.h with NNStreamer's parser, and takes caps of the
 * elements, one each on standard input with the size of a buffer before it. Built and run by
 * tests/pipelines/nnstreamer. */
#include "tests/elements/nnstreamer.h"
#include <nnstreamer_plugin_api.h>
#include <nnstreamer_plugin_api_util.h>
#include <stdio.h>

static int n_wrong;

static void
compare (const char *caps, const char *what, gint64 found, gint64 expected)
{
  if (found == expected)
    return;
  g_print ("%s: %s is %" G_GINT64_FORMAT ", expected %" G_GINT64_FORMAT "\n", caps, what, found,
      expected);
  n_wrong++;
}

static void
check (const TensorCaps *row)
{
  g_autoptr (GstCaps) template = gst_caps_from_string (GST_TENSORS_CAP_DEFAULT);
  g_autoptr (GstCaps) caps = gst_caps_from_string (row->caps);
  GstTensorsConfig config;
  gboolean valid = gst_tensors_config_from_caps (&config, caps, FALSE)
      && gst_tensors_config_validate (&config);

  compare (row->caps, "subset of the template", gst_caps_is_subset (caps, template),
      row->is_subset);
  compare (row->caps, "validity", valid, row->is_valid);
  if (!valid || !row->is_valid)
    return;
  g_autofree char *dimensions = gst_tensors_info_get_dimensions_string (&config.info);
  g_autoptr (GstCaps) back = gst_tensors_caps_from_config (&config);
  compare (row->caps, "size", gst_tensors_info_get_size (&config.info, -1), row->size);
  compare (row->caps, "rate", config.rate_n * 1000 + config.rate_d,
      row->rate_n * 1000 + row->rate_d);
  compare (row->caps, "intersection with what NNStreamer writes",
      gst_caps_can_intersect (caps, back), TRUE);
  if (row->dimensions && !g_str_equal (dimensions, row->dimensions)) {
    g_print ("%s: dimensions %s, expected %s\n", row->caps, dimensions, row->dimensions);
    n_wrong++;
  }
  gst_tensors_config_free (&config);
}

int
main (int argc, char **argv)
{
  char line[4096];
  int n = 0, n_own = 0;

  gst_init (&argc, &argv);
  for (guint i = 0; i < G_N_ELEMENTS (tensor_caps); i++, n++)
    check (&tensor_caps[i]);
  while (fgets (line, sizeof line, stdin)) {
    char *space = strchr (line, ' ');
    int rate_n = 25, rate_d = strstr (line, "25/4") ? 4 : 1;
    const TensorCaps row = { g_strstrip (space + 1), 1, 1, NULL, atoi (line), rate_n, rate_d, 0 };
    check (&row);
    n_own++;
  }
  g_print ("%d caps of the table and %d of the elements, %d wrong\n", n, n_own, n_wrong);
  return n_wrong > 0 || n_own == 0;
}
