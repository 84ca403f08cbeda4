/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the headers Host and Origin, one a line. No name but those of this machine is its
 * own, and what has another host is another origin. */
#include "tests/fuzz/target.h"

#include "tools/server/guard.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const AvatarServerConfig config = { .loopback = TRUE };
  g_autofree char *text = g_strndup ((const char *) data, size);
  g_auto (GStrv) lines = g_strsplit (text, "\n", 2);
  const char *host = lines[0], *origin = host ? lines[1] : NULL;
  g_autofree char *lower = host ? g_ascii_strdown (host, -1) : NULL;

  if (host && avatar_guard_is_own_host (&config, host))
    g_assert (g_str_has_prefix (lower, "localhost") || g_str_has_prefix (lower, "127.0.0.1")
        || g_str_has_prefix (lower, "[::1") || g_str_has_prefix (lower, "::1"));
  if (origin && avatar_guard_is_same_origin (origin, host))
    g_assert (strlen (origin) >= strlen (host) + 3);
  return 0;
}
