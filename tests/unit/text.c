/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text conditioning of the demo model. */
#include "tests/golden/golden.h"

#include "engine/text/text.h"

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

static void
test_golden (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("demo/tensors.safetensors");
  Text t = encode ("a cartoon face talks");

  g_assert_cmpuint (t.n, ==, 21);
  golden_compare (golden, "text_states", t.states, 21 * 64, 1e-6);
  golden_compare (golden, "text_states_2", t.pooled, 32, 1e-6);
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
  model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  g_test_add_func ("/text/golden", test_golden);
  g_test_add_func ("/text/lengths", test_lengths);
  g_test_add_func ("/text/bytes", test_bytes);
  g_test_add_func ("/text/invalid", test_invalid);
  result = g_test_run ();
  avatar_model_unref (model);
  return result;
}
