/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avataraudioenc and sound of any number of channels: the features are those of the mono mix, or of
 * the loudest channel where the channels cancel each other out. */
#include <gst/audio/audio.h>
#include <math.h>

#include "support.h"

#define N 16000

/* Sample @i of channel @c. */
typedef float (*Sound) (guint c, guint i);

static float
voice (guint i)
{
  return (float) (0.25 * sin (0.05 * i) * (1 + sin (0.0008 * i)));
}

static float
same (guint c, guint i)
{
  return voice (i);
}

static float
antiphase (guint c, guint i)
{
  return c % 2 ? -voice (i) : voice (i);
}

/* The second channel is louder than the first, but the mix is still 20 dB down. */
static float
louder_antiphase (guint c, guint i)
{
  return c ? -1.1f * voice (i) : voice (i);
}

static float
first_only (guint c, guint i)
{
  return c == 0 ? voice (i) : 0;
}

static float
faint_antiphase (guint c, guint i)
{
  return 0.001f * antiphase (c, i);
}

static GstBuffer *
sound_new (Sound sound, guint channels, gboolean s16, guint start, guint n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, (s16 ? 2 : 4) * n * channels, NULL);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (guint i = 0; i < n * channels; i++) {
    float value = sound (i % channels, start + i / channels);
    if (s16)
      ((gint16 *) map.data)[i] = (gint16) lrintf (32768 * value);
    else
      ((float *) map.data)[i] = value;
  }
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale_int (start, GST_SECOND, 16000);
  return buffer;
}

static gchar *
caps_string (guint channels, gboolean s16, const gchar *mask)
{
  return g_strdup_printf ("audio/x-raw,format=%s,rate=16000,layout=interleaved,channels=%u%s%s",
      s16 ? "S16LE" : "F32LE", channels, mask ? ",channel-mask=(bitmask)" : "", mask ?: "");
}

typedef struct
{
  GstHarness *h;
  GstBus *bus;
} Fixture;

static Fixture
fixture_new (const gchar *caps)
{
  g_autofree gchar *launch
      = g_strdup_printf ("avataraudioenc name=enc model=%s", g_getenv ("AVATAR_PLAIN"));
  Fixture self = { gst_harness_new_parse (launch), gst_bus_new () };

  gst_element_set_bus (self.h->element, self.bus);
  gst_harness_set_src_caps_str (self.h, caps);
  return self;
}

/* Ends the sound; the features, and the number of warnings in @n_warnings. */
static GByteArray *
fixture_finish (Fixture *self, guint *n_warnings)
{
  GByteArray *bytes = g_byte_array_new ();
  GstMessage *message;
  GstBuffer *buffer;

  fail_unless (gst_harness_push_event (self->h, gst_event_new_eos ()));
  while ((buffer = gst_harness_try_pull (self->h))) {
    GstMapInfo map;
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  for (*n_warnings = 0;
       (message = gst_bus_pop_filtered (self->bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR));
       gst_message_unref (message)) {
    fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_WARNING);
    (*n_warnings)++;
  }
  gst_element_set_bus (self->h->element, NULL);
  gst_harness_teardown (self->h);
  gst_object_unref (self->bus);
  return bytes;
}

/* The features of a second of @sound in pieces of @piece; expects @n_warnings. */
static GByteArray *
features_of (Sound sound, guint channels, gboolean s16, const gchar *mask, guint piece,
    guint n_warnings)
{
  g_autofree gchar *caps = caps_string (channels, s16, mask);
  Fixture fixture = fixture_new (caps);
  GByteArray *bytes;
  guint n;

  for (guint at = 0; at < N; at += piece)
    fail_unless_equals_int (gst_harness_push (fixture.h,
                                sound_new (sound, channels, s16, at, MIN (piece, N - at))),
        GST_FLOW_OK);
  bytes = fixture_finish (&fixture, &n);
  fail_unless_equals_int (n, n_warnings);
  return bytes;
}

/* Largest difference between features, relative to the largest of @a. */
static double
distance (const GByteArray *a, const GByteArray *b)
{
  double most = 0, difference = 0;

  fail_unless (a->len > 0);
  fail_unless_equals_int (a->len, b->len);
  for (guint i = 0; i < a->len / sizeof (float); i++) {
    float x = ((const float *) a->data)[i], y = ((const float *) b->data)[i];
    most = MAX (most, fabs (x));
    difference = MAX (difference, fabs (x - y));
  }
  return difference / most;
}

static const struct
{
  guint channels;
  gboolean s16;
  const gchar *mask;
} layouts[] = { { 1, TRUE, NULL }, { 2, TRUE, "0x3" }, { 2, FALSE, "0x3" }, { 2, FALSE, NULL },
  { 2, TRUE, "0x0" }, { 4, FALSE, "0x33" }, { 4, TRUE, "0x0" }, { 4, FALSE, NULL },
  { 6, TRUE, "0x3f" }, { 8, FALSE, "0x63f" }, { 10, TRUE, "0x0" }, { 10, FALSE, NULL },
  { 63, TRUE, "0x0" }, { 64, FALSE, "0x0" } };

/* Equal channels mix to what one of them is, whatever their number, positions and format. */
GST_START_TEST (test_equal_channels)
{
  guint channels = layouts[__i__].channels;
  gboolean s16 = layouts[__i__].s16;
  g_autoptr (GByteArray) mono = features_of (same, 1, s16, NULL, N, 0);
  g_autoptr (GByteArray) mixed = features_of (same, channels, s16, layouts[__i__].mask, 1600, 0);

  fail_unless (distance (mono, mixed) < 1e-3, "%g", distance (mono, mixed));
}
GST_END_TEST;

static float
half (guint c, guint i)
{
  return voice (i) / 2;
}

static float
tenth (guint c, guint i)
{
  return voice (i) / 10;
}

/* Without positions it is the plain average. */
GST_START_TEST (test_average)
{
  g_autoptr (GByteArray) tenth_mono = features_of (tenth, 1, FALSE, NULL, N, 0);
  g_autoptr (GByteArray) ten = features_of (first_only, 10, FALSE, "0x0", N, 0);
  g_autoptr (GByteArray) half_mono = features_of (half, 1, FALSE, NULL, N, 0);
  g_autoptr (GByteArray) two = features_of (first_only, 2, FALSE, "0x3", N, 0);
  g_autoptr (GByteArray) many = features_of (first_only, 64, TRUE, "0x0", N, 0);

  fail_unless (distance (tenth_mono, ten) < 1e-3);
  fail_unless (distance (half_mono, two) < 1e-3);
  fail_unless (many->len == two->len);
}
GST_END_TEST;

/* Channels that cancel: the loudest is taken, with one warning, and the same in any pieces. */
GST_START_TEST (test_cancelling)
{
  g_autoptr (GByteArray) mono = features_of (same, 1, FALSE, NULL, N, 0);
  g_autoptr (GByteArray) two = features_of (antiphase, 2, FALSE, "0x3", N, 1);
  g_autoptr (GByteArray) cut = features_of (antiphase, 2, FALSE, "0x3", 333, 1);
  g_autoptr (GByteArray) ten = features_of (antiphase, 10, TRUE, "0x0", N, 1);
  g_autoptr (GByteArray) second = features_of (louder_antiphase, 2, FALSE, "0x3", N, 1);
  g_autoptr (GByteArray) silence = features_of (faint_antiphase, 2, FALSE, "0x3", N, 0);

  fail_unless (two->len == cut->len && memcmp (two->data, cut->data, cut->len) == 0);
  fail_unless (distance (mono, two) < 0.03, "%g", distance (mono, two));
  fail_unless (distance (mono, ten) < 0.03, "%g", distance (mono, ten));
  fail_unless (distance (mono, second) > 1e-3);
  fail_unless (distance (mono, silence) > 0.1, "%g", distance (mono, silence));
}
GST_END_TEST;

/* Another number of channels in the middle of the sound does not break it. */
GST_START_TEST (test_change)
{
  static const guint channels[] = { 1, 2, 6, 10 };
  static const gchar *const masks[] = { NULL, "0x3", "0x3f", "0x0" };
  g_autoptr (GByteArray) mono = features_of (same, 1, TRUE, NULL, N, 0);
  Fixture fixture = { 0 };
  g_autoptr (GByteArray) changed = NULL;
  guint n;

  for (guint i = 0; i < 4; i++) {
    g_autofree gchar *string = caps_string (channels[i], TRUE, masks[i]);
    g_autoptr (GstCaps) caps = gst_caps_from_string (string);
    if (i == 0)
      fixture = fixture_new (string);
    else
      fail_unless (gst_harness_push_event (fixture.h, gst_event_new_caps (caps)));
    fail_unless_equals_int (gst_harness_push (fixture.h,
                                sound_new (same, channels[i], TRUE, i * N / 4, N / 4)),
        GST_FLOW_OK);
  }
  changed = fixture_finish (&fixture, &n);
  fail_unless_equals_int (n, 0);
  fail_unless (distance (mono, changed) < 1e-3, "%g", distance (mono, changed));
}
GST_END_TEST;

/* The usual line takes every kind of source, and does not mix before the element does. */
GST_START_TEST (test_negotiation)
{
  static const gchar *const kinds[]
      = { "channels=1", "channels=2", "channels=2,layout=non-interleaved",
          "channels=10,channel-mask=(bitmask)0x0", "channels=6,channel-mask=(bitmask)0x3f" };
  static const gint channels[] = { 1, 2, 2, 10, 6 };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    g_autofree gchar *launch = g_strdup_printf (
        "audiotestsrc num-buffers=4 samplesperbuffer=4410 ! audioconvert ! "
        "audio/x-raw,format=F32LE,rate=44100,%s ! audioconvert ! audioresample ! "
        "avataraudioenc name=enc model=%s ! fakesink name=sink",
        kinds[i], g_getenv ("AVATAR_PLAIN"));
    GstElement *pipeline = pipeline_new (launch, FALSE);
    g_autoptr (GstElement) enc = gst_bin_get_by_name (GST_BIN (pipeline), "enc");
    g_autoptr (GstPad) pad = gst_element_get_static_pad (enc, "sink");
    g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
    g_autoptr (GstMessage) message = NULL;
    g_autoptr (GstCaps) caps = NULL;
    gint n = 0;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
    caps = gst_pad_get_current_caps (pad);
    fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, 0), "channels", &n));
    fail_unless_equals_int (n, channels[i]);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
}
GST_END_TEST;

static Suite *
audiochannels_suite (void)
{
  Suite *suite = suite_create ("audiochannels");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_equal_channels, 0, G_N_ELEMENTS (layouts));
  tcase_add_test (tc, test_average);
  tcase_add_test (tc, test_cancelling);
  tcase_add_test (tc, test_change);
  tcase_add_test (tc, test_negotiation);
  return suite;
}

GST_CHECK_MAIN (audiochannels);
