/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lag A.raw B.raw: the time by which the sound B is late against A, in ms, where the two correlate
 * best within +-250 ms. Both are 16-bit samples of this machine's byte order, 16 kHz, mono. */
#include <glib.h>

#define RATE 16000
#define REACH (RATE / 4)

/* Sum over all samples that both have when b is @lag samples late. */
static double
correlate (const gint16 *a, gint64 n_a, const gint16 *b, gint64 n_b, gint64 lag)
{
  double sum = 0;

  for (gint64 i = MAX (0, -lag); i < n_a && i + lag < n_b; i++)
    sum += (double) a[i] * b[i + lag];
  return sum;
}

int
main (int argc, char **argv)
{
  g_autofree char *a = NULL, *b = NULL;
  gsize n_a, n_b;
  double best = 0;
  gint64 best_lag = REACH + 1;

  if (argc != 3 || !g_file_get_contents (argv[1], &a, &n_a, NULL)
      || !g_file_get_contents (argv[2], &b, &n_b, NULL)) {
    g_printerr ("usage: lag A.raw B.raw\n");
    return 2;
  }
  for (gint64 lag = -REACH; lag <= REACH; lag++) {
    double sum = correlate ((gint16 *) a, n_a / 2, (gint16 *) b, n_b / 2, lag);
    if (sum > best) {
      best = sum;
      best_lag = lag;
    }
  }
  if (best_lag > REACH) {
    g_printerr ("%s and %s have nothing in common\n", argv[1], argv[2]);
    return 1;
  }
  g_print ("%.2f\n", best_lag * 1000. / RATE);
  return 0;
}
