/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: an offer of SDP, of which payload types are taken. */
#include "tests/fuzz/target.h"
#include "tests/fuzz/whole-stacks.h"

#include "tools/server/live-rtc.h"

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  gst_init (NULL, NULL);
  return 0;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autofree char *sdp = g_strndup ((const char *) data, size);
  int video = avatar_live_rtc_find_payload (sdp, "video", "H264");
  int audio = avatar_live_rtc_find_payload (sdp, "audio", "OPUS");

  g_assert (video >= -1 && video <= 127 && audio >= -1 && audio <= 127);
  return 0;
}
