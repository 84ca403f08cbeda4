/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time and peak memory of reading a tokenizer once. Prints "NAME VALUE" lines for tests/bench/load:
 * seconds of processor and wall-clock time, MiB.
 *
 *   bench-tokenizer llama|clip FOLDER
 *
 * FOLDER: with tokenizer.json, or with vocab.json and merges.txt. */
#include "engine/text/tokens.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static double
cpu_seconds (const struct rusage *usage)
{
  return usage->ru_utime.tv_sec + usage->ru_stime.tv_sec
      + 1e-6 * (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTokenizer) tokenizer = NULL;
  struct rusage before, after;
  gint64 start;

  if (argc != 3) {
    g_printerr ("bench-tokenizer llama|clip FOLDER\n");
    return EXIT_FAILURE;
  }
  getrusage (RUSAGE_SELF, &before);
  start = g_get_monotonic_time ();
  tokenizer = strcmp (argv[1], "clip") == 0 ? avatar_tokenizer_new_clip (argv[2], &error)
                                            : avatar_tokenizer_new_llama (argv[2], &error);
  if (!tokenizer) {
    g_printerr ("bench-tokenizer: %s\n", error->message);
    return EXIT_FAILURE;
  }
  getrusage (RUSAGE_SELF, &after);
  g_print ("wall %.3f\nhost %.0f\ncpu %.3f\n", (g_get_monotonic_time () - start) * 1e-6,
      (after.ru_maxrss - before.ru_maxrss) / 1024., cpu_seconds (&after) - cpu_seconds (&before));
  return EXIT_SUCCESS;
}
