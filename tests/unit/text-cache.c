/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoded prompts on disk: found again, and only by what they were made of; broken ones made again;
 * the oldest go. */
#include "tests/unit/text-tree.h"

#include <utime.h>

static void
test_cache (Fixture *f, gconstpointer data)
{
  guint parts;
  g_autoptr (GByteArray) without = encode (f, &two, &parts);
  g_autoptr (GByteArray) first = NULL, second = NULL, changed = NULL;
  Job job = two;

  g_assert_cmpuint (count_cache (f), ==, 0);
  job.cache = f->cache;
  first = encode (f, &job, &parts);
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 2);
  g_assert_true (is_same (first, without));
  second = encode (f, &job, &parts);
  g_assert_cmpuint (parts, ==, 0); /* nothing was computed */
  g_assert_true (is_same (second, without));
  /* another prompt, and the old one found again */
  job.prompts[0] = "A man talks.";
  changed = encode (f, &job, &parts);
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 3);
  g_assert_false (is_same (changed, without));
  job.prompts[0] = two.prompts[0];
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, ==, 0);
  /* another option, another device, another portrait */
  job.exact = TRUE;
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 5);
  job.exact = FALSE;
  job.device = "sim:512";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 7);
  job.device = NULL;
  for (guint i = 0; i < 40; i++) /* the resampling averages single pixels away */
    f->image->data[i] ^= 0x80;
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, >, 0);
  g_assert_cmpuint (count_cache (f), ==, 9);
}

/* A damaged entry gives the right result and is replaced. */
static void
test_broken_entries (Fixture *f, gconstpointer data)
{
  guint parts;
  Job job = two;
  g_autoptr (GByteArray) right = NULL;

  job.cache = f->cache;
  right = encode (f, &job, &parts);
  for (guint way = 0; way < 6; way++) {
    g_autoptr (GPtrArray) paths = list_cache (f);
    g_autoptr (GByteArray) again = NULL, kept = NULL;

    for (guint i = 0; i < paths->len; i++) {
      g_autofree char *bytes = NULL;
      gsize n;

      g_assert_true (g_file_get_contents (g_ptr_array_index (paths, i), &bytes, &n, NULL));
      if (way == 0)
        n = 0;
      else if (way == 1)
        n = n / 2;
      else if (way == 2)
        n = 7;
      else if (way == 3)
        bytes[n - SIDE] ^= 1; /* a byte of the checksum, or of a value */
      else if (way == 4)
        bytes[n / 2] ^= 1; /* a value */
      else
        memset (bytes, 0xff, 8); /* the length of the table */
      g_assert_true (g_file_set_contents (g_ptr_array_index (paths, i), bytes, n, NULL));
    }
    again = encode (f, &job, &parts);
    g_assert_cmpuint (parts, >, 0);
    g_assert_true (is_same (again, right));
    kept = encode (f, &job, &parts);
    g_assert_cmpuint (parts, ==, 0);
    g_assert_true (is_same (kept, right));
  }
}

/* The most recently used entries stay within the size limit. */
static void
test_limit (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) first = NULL;
  Job job = { .prompts = { "one", "two" }, .cache = f->cache };
  struct utimbuf old = { 1000000, 1000000 };
  guint parts;
  guint64 all = 0, most = 0;
  GStatBuf st;

  g_byte_array_unref (encode (f, &job, &parts));
  first = list_cache (f);
  g_assert_cmpuint (first->len, ==, 2);
  for (guint i = 0; i < 2; i++) {
    g_assert_cmpint (g_stat (g_ptr_array_index (first, i), &st), ==, 0);
    all += st.st_size;
    most = MAX (most, (guint64) st.st_size);
  }
  /* room for three; the two there are have not been used for long, but "two" is now */
  job.limit = all + most + most / 4;
  for (guint i = 0; i < 2; i++)
    g_assert_cmpint (g_utime (g_ptr_array_index (first, i), &old), ==, 0);
  job.prompts[0] = "three";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
  job.prompts[0] = "four";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
  job.prompts[0] = "three";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, ==, 0);
  job.prompts[0] = "one"; /* that is the one which had to go */
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (parts, >, 0);
  job.limit = 100; /* nothing fits, nothing is kept, and nothing else goes */
  job.prompts[0] = "five";
  g_byte_array_unref (encode (f, &job, &parts));
  g_assert_cmpuint (count_cache (f), ==, 3);
}

/* A folder that cannot be made: the run goes on. */
static void
test_no_folder (Fixture *f, gconstpointer data)
{
  g_autofree char *file = path_of (f, "small.json");
  Job job = two;
  guint parts;

  job.cache = file;
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*folder for encoded prompts*");
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*folder for encoded prompts*");
  g_byte_array_unref (encode (f, &job, &parts));
  g_test_assert_expected_messages ();
}

int
main (int argc, char **argv)
{
  static const Case cases[] = { { "cache", test_cache }, { "broken-entries", test_broken_entries },
    { "limit", test_limit }, { "no-folder", test_no_folder } };

  return run_cases (argc, argv, "text-cache", cases, G_N_ELEMENTS (cases));
}
