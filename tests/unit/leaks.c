/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leaks on purpose, for tests/unit/leaks.
 *   leaks ours      a block of ours, by g_malloc()
 *   leaks quarks N  GLib's, once there are more than 2048 quarks */
#include <glib.h>
#include <string.h>

static void
leak_ours (void)
{
  memset (g_malloc (12345), 1, 12345);
}

int
main (int argc, char **argv)
{
  guint64 n = 0;

  if (argc == 3 && g_str_equal (argv[1], "quarks"))
    g_ascii_string_to_unsigned (argv[2], 10, 1, 1 << 20, &n, NULL);
  else if (argc != 2 || !g_str_equal (argv[1], "ours"))
    return 2;
  for (guint64 i = 0; i < n; i++) {
    g_autofree char *name = g_strdup_printf ("quark %" G_GUINT64_FORMAT, i);

    g_quark_from_string (name);
  }
  if (n == 0)
    leak_ours ();
  return 0;
}
