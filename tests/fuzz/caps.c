/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any text as a dimension string and as caps of tensors. What is accepted must say the
 * same after a round trip. */
#include "tests/fuzz/target.h"
#include "tests/fuzz/whole-stacks.h"

#include "gst/gstavatarcaps.h"

/* The sanitizer's, where there is one. */
void __lsan_disable (void) __attribute__ ((weak));
void __lsan_enable (void) __attribute__ ((weak));

static void
say_nothing (const char *domain, GLogLevelFlags level, const char *message, gpointer user_data)
{
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  gst_init (argc, argv);
  /* GStreamer's own parser calls itself wrongly on malformed names */
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_log_set_handler ("GStreamer", G_LOG_LEVEL_MASK, say_nothing, NULL);
  gst_debug_set_default_threshold (GST_LEVEL_NONE);
  return 0;
}

/* GStreamer 1.22's own parser drops what malformed caps have held so far. */
static GstCaps *
parse (const char *text)
{
  GstCaps *caps;

  if (__lsan_disable)
    __lsan_disable ();
  caps = gst_caps_from_string (text);
  if (__lsan_enable)
    __lsan_enable ();
  return caps;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autofree char *text = g_strndup ((const char *) data, size);
  guint dims[GST_AVATAR_MAX_RANK], again[GST_AVATAR_MAX_RANK];

  if (gst_avatar_dimensions_parse (text, dims, NULL)) {
    g_autofree char *back = gst_avatar_dimensions_to_string (dims, 1);

    g_assert (gst_avatar_dimensions_parse (back, again, NULL));
    g_assert (memcmp (dims, again, sizeof dims) == 0);
  }
  if (g_str_has_prefix (text, "other/tensors,") && g_utf8_validate (text, -1, NULL)) {
    g_autoptr (GstCaps) caps = parse (text);

    if (caps && gst_caps_is_fixed (caps)) {
      GstAvatarFeatureInfo features;
      GstAvatarLatentInfo latents;

      if (gst_avatar_caps_parse_features (caps, NULL, &features, NULL))
        g_assert (gst_avatar_feature_info_get_size (&features) > 0);
      if (gst_avatar_caps_parse_latents (caps, NULL, &latents, NULL))
        g_assert (gst_avatar_latent_info_get_size (&latents) > 0);
    }
  }
  return 0;
}
