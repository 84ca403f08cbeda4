/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the message "start" of a live session. What is taken is within its bounds, and
 * pushes only where it may. */
#include "tests/fuzz/target.h"

#include "engine/formats/json.h"
#include "tools/server/live-session.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  char *push_to[] = { "rtmp://example/", NULL };
  const AvatarServerConfig config = { .push_to = push_to };
  g_autoptr (JsonObject) message = avatar_json_parse ((const char *) data, size, "a message", NULL);
  g_autoptr (AvatarProblem) problem = NULL;
  AvatarLiveOptions options;
  const char *portrait;

  if (!message)
    return 0;
  if (avatar_live_options_parse (&options, &config, message, &portrait, &problem)) {
    g_assert (options.sample_rate >= 8000 && options.sample_rate <= 192000);
    g_assert (options.channels == 1 || options.channels == 2);
    g_assert (options.output != AVATAR_LIVE_RTMP || g_str_has_prefix (options.url, push_to[0]));
  } else {
    g_assert (problem);
  }
  avatar_live_options_clear (&options);
  return 0;
}
