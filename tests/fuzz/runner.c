/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzz target without libFuzzer: every file of a corpus as it is, cut at every length up to
 * 512 bytes, and then with random faults for a number of seconds. The seed determines the faults.
 *   runner CORPUS SECONDS [SEED] */
#include "tests/fuzz/target.h"

static const guint8 odd_bytes[]
    = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', '[', ']', ',', ':', '-', '9', 'e' };

/* Makes one fault in @data: changes a byte, removes or repeats a range, or changes a digit. */
static void
break_something (GRand *rand, GByteArray *data)
{
  guint at, n;

  if (data->len == 0) {
    g_byte_array_append (data, odd_bytes, sizeof odd_bytes);
    return;
  }
  at = g_rand_int_range (rand, 0, data->len);
  n = g_rand_int_range (rand, 1, 64);
  n = MIN (n, data->len - at);
  switch (g_rand_int_range (rand, 0, 6)) {
    case 0:
      data->data[at] ^= 1 << g_rand_int_range (rand, 0, 8);
      break;
    case 1:
      data->data[at] = odd_bytes[g_rand_int_range (rand, 0, sizeof odd_bytes)];
      break;
    case 2:
      g_byte_array_remove_range (data, at, n);
      break;
    case 3: {
      g_autofree guint8 *copy = g_memdup2 (data->data + at, n);
      g_byte_array_append (data, copy, n);
      break;
    }
    case 4:
      g_byte_array_set_size (data, at);
      break;
    default: {
      /* Changes the next digit, which reaches most numbers of a text format. */
      for (guint i = at; i < data->len; i++)
        if (g_ascii_isdigit (data->data[i])) {
          data->data[i] = '0' + g_rand_int_range (rand, 0, 10);
          break;
        }
      break;
    }
  }
}

static void
feed (const guint8 *data, gsize size)
{
  /* Copies to memory of exactly this size, so that the sanitizer detects a read past the end. */
  g_autofree guint8 *copy = g_malloc (MAX (size, 1));

  if (size > 0)
    memcpy (copy, data, size);
  LLVMFuzzerTestOneInput (copy, size);
}

int
main (int argc, char **argv)
{
  g_autoptr (GPtrArray) corpus = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  g_autoptr (GError) error = NULL;
  g_autoptr (GDir) dir = NULL;
  g_autoptr (GRand) rand = NULL;
  const char *name;
  gint64 end;
  guint64 n = 0;

  if (argc < 3) {
    g_printerr ("usage: %s CORPUS SECONDS [SEED]\n", argv[0]);
    return 2;
  }
  if (LLVMFuzzerInitialize)
    LLVMFuzzerInitialize (&argc, &argv);
  rand = g_rand_new_with_seed (argc > 3 ? (guint32) g_ascii_strtoull (argv[3], NULL, 10) : 1);
  dir = g_dir_open (argv[1], 0, &error);
  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (argv[1], name, NULL);
    char *data;
    gsize size;

    if (g_file_get_contents (path, &data, &size, &error))
      g_ptr_array_add (corpus, g_bytes_new_take (data, size));
  }
  if (error || corpus->len == 0) {
    g_printerr ("%s: %s\n", argv[1], error ? error->message : "no files, expected a corpus");
    return 1;
  }
  end = g_get_monotonic_time () + (gint64) (g_ascii_strtod (argv[2], NULL) * G_USEC_PER_SEC);
  for (guint i = 0; i < corpus->len; i++) {
    gsize size;
    const guint8 *data = g_bytes_get_data (corpus->pdata[i], &size);

    feed (data, size);
    for (gsize cut = 0; cut < MIN (size, 512); cut++, n++)
      feed (data, cut);
  }
  for (; g_get_monotonic_time () < end; n++) {
    gsize size;
    const guint8 *data
        = g_bytes_get_data (corpus->pdata[g_rand_int_range (rand, 0, corpus->len)], &size);
    g_autoptr (GByteArray) broken = g_byte_array_new ();

    g_byte_array_append (broken, data, size);
    for (int faults = g_rand_int_range (rand, 1, 5); faults > 0; faults--)
      break_something (rand, broken);
    feed (broken->data, broken->len);
  }
  g_print ("%u files, %" G_GUINT64_FORMAT " inputs\n", corpus->len, n);
  return 0;
}
