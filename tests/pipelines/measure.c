/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Correlation of a generated mouth's opening with the true one.
 *   measure HELDOUT.json                     prints the number of clips
 *   measure HELDOUT.json CLIP FRAMES.rgb     prints the correlation over the clip's frames
 * FRAMES.rgb: 128 x 128 RGB bytes, frame after frame. The opening is measured as the demo model's
 * own evaluation does (tools/demo-model/data.py, measure_opening): a soft count of pixels in the
 * mouth's box that have the colour of the inside of a mouth. */
#include "tests/correlation.h"
#include "tests/mouth.h"

#include <json-glib/json-glib.h>
#include <math.h>

#define SIZE 128
#define FRAME_BYTES (SIZE * SIZE * 3)

static gboolean
measure_clip (JsonObject *clip, const char *path)
{
  g_autofree char *bytes = NULL;
  g_autoptr (GError) error = NULL;
  JsonArray *true_opening = json_object_get_array_member (clip, "true_opening");
  JsonArray *mouth = json_object_get_array_member (clip, "mouth_box");
  guint n = json_array_get_length (true_opening);
  g_autofree double *expected = g_new (double, n);
  g_autofree double *found = g_new (double, n);
  int box[4];
  gsize length;

  if (!g_file_get_contents (path, &bytes, &length, &error)) {
    g_printerr ("measure: %s\n", error->message);
    return FALSE;
  }
  if (length != (gsize) n * FRAME_BYTES) {
    g_printerr ("measure: %s has %" G_GSIZE_FORMAT " bytes, expected %u frames of %d\n", path,
        length, n, FRAME_BYTES);
    return FALSE;
  }
  for (guint i = 0; i < 4; i++)
    box[i] = CLAMP ((int) json_array_get_double_element (mouth, i), 0, SIZE);
  for (guint i = 0; i < n; i++) {
    expected[i] = json_array_get_double_element (true_opening, i);
    found[i] = mouth_opening ((const guint8 *) bytes + (gsize) i * FRAME_BYTES, SIZE, box);
  }
  g_print ("%.4f\n", correlation (found, expected, n));
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) error = NULL;
  JsonArray *clips;

  if (argc != 2 && argc != 4) {
    g_printerr ("usage: measure HELDOUT.json [CLIP FRAMES.rgb]\n");
    return 2;
  }
  if (!json_parser_load_from_file (parser, argv[1], &error)) {
    g_printerr ("measure: %s: %s\n", argv[1], error->message);
    return 1;
  }
  clips = json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)),
      "clips");
  if (argc == 2) {
    g_print ("%u\n", json_array_get_length (clips));
    return 0;
  }
  return measure_clip (json_array_get_object_element (clips,
                           (guint) g_ascii_strtoull (argv[2], NULL, 10)),
             argv[3])
      ? 0
      : 1;
}
