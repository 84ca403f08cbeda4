/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text conditioning where tables of bytes stand in for the encoders. */
#include "tests/golden/golden.h"

#include "engine/text/text.h"

#include <math.h>
#include <string.h>

static AvatarModel *model;

typedef struct
{
  float *states, *pooled;
  guint n;
} Text;

static Text
encode (const char *prompt)
{
  GError *error = NULL;
  Text t;

  g_assert_true (avatar_text_encode (model, prompt, &t.states, &t.n, &t.pooled, &error));
  g_assert_no_error (error);
  return t;
}

static void
text_clear (Text *t)
{
  g_free (t->states);
  g_free (t->pooled);
}

/* Row i is byte_embed of byte i plus pos_embed of i; the pooled vector is the sum of
 * byte_embed_2 divided by the square root of the number of bytes. */
static void
test_tables (void)
{
  static const char prompt[] = "\2a cartoon face talks";
  const guint n = sizeof prompt - 1;
  g_autofree char *path = g_build_filename (AVATAR_PLAIN_DIR, "text_stub.safetensors", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = avatar_safetensors_open (path, &error);
  AvatarTensor bytes = golden_get (file, "byte_embed"), places = golden_get (file, "pos_embed");
  AvatarTensor second = golden_get (file, "byte_embed_2");
  Text t = encode (prompt + 1);

  g_assert_cmpuint (t.n, ==, n);
  for (guint i = 0; i < n; i++)
    for (guint j = 0; j < 64; j++)
      g_assert_cmpfloat_with_epsilon (t.states[i * 64 + j],
          ((float *) bytes.data)[prompt[i] * 64 + j] + ((float *) places.data)[i * 64 + j], 1e-6);
  for (guint j = 0; j < 32; j++) {
    double sum = 0;

    for (guint i = 0; i < n; i++)
      sum += ((float *) second.data)[prompt[i] * 32 + j];
    g_assert_cmpfloat_with_epsilon (t.pooled[j], sum / sqrt (n), 1e-5);
  }
  g_free (bytes.data);
  g_free (places.data);
  g_free (second.data);
  text_clear (&t);
}

static void
test_lengths (void)
{
  Text none = encode (NULL), empty = encode (""), cut = encode (NULL);
  g_autofree char *text = g_strnfill (100, 'x');

  g_assert_cmpuint (none.n, ==, 1);
  g_assert_cmpmem (none.states, 64 * 4, empty.states, 64 * 4);
  text_clear (&cut);
  cut = encode (text);
  g_assert_cmpuint (cut.n, ==, 32);
  text_clear (&none);
  text_clear (&empty);
  text_clear (&cut);
}

/* "\xc3\xa9" is one character and two tokens. */
static void
test_bytes (void)
{
  Text t = encode ("\xc3\xa9");

  g_assert_cmpuint (t.n, ==, 3);
  text_clear (&t);
}

static void
test_invalid (void)
{
  g_autoptr (GError) error = NULL;
  Text t;

  g_assert_false (avatar_text_encode (model, "abc\xff", &t.states, &t.n, &t.pooled, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "byte 3"));
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  model = avatar_model_open (AVATAR_PLAIN_DIR, &error);
  g_assert_no_error (error);
  g_test_add_func ("/text/tables", test_tables);
  g_test_add_func ("/text/lengths", test_lengths);
  g_test_add_func ("/text/bytes", test_bytes);
  g_test_add_func ("/text/invalid", test_invalid);
  result = g_test_run ();
  avatar_model_unref (model);
  return result;
}
