/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Uses GLib's Unicode categories, case mapping and composition. */
#include "engine/text/clip-text-normalize.h"

/* Returns TRUE for control characters as in Python (categories C*). The caller handles white space
 * first. */
static gboolean
is_control (gunichar c)
{
  switch (g_unichar_type (c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_UNASSIGNED:
    case G_UNICODE_PRIVATE_USE:
    case G_UNICODE_SURROGATE:
      return TRUE;
    default:
      return c == 0xfffd;
  }
}

/* Returns TRUE for the blocks of CJK ideographs of BERT's tokenizer. */
static gboolean
is_ideograph (gunichar c)
{
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf)
      || (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f)
      || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf)
      || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static gboolean
is_space (gunichar c)
{
  return c == '\t' || c == '\n' || c == '\r' || g_unichar_type (c) == G_UNICODE_SPACE_SEPARATOR;
}

/* ------------------------------------------------------------------------------------------ NFC */

static gint
compare_classes (gconstpointer a, gconstpointer b)
{
  return g_unichar_combining_class (*(const gunichar *) a)
      - g_unichar_combining_class (*(const gunichar *) b);
}

/* Sorts the combining marks from @from to the end of @text into canonical order. */
static void
sort_marks (GArray *text, guint from)
{
  g_autoptr (GArray) marks = NULL;

  if (text->len - from < 2)
    return;
  marks = g_array_new (FALSE, FALSE, sizeof (gunichar));
  g_array_append_vals (marks, &g_array_index (text, gunichar, from), text->len - from);
  g_array_sort (marks, compare_classes); /* a stable sort */
  g_array_set_size (text, from);
  g_array_append_vals (text, marks->data, marks->len);
}

/* Composes to NFC. Sorts combining marks first, since g_utf8_normalize() takes quadratic time for
 * unsorted ones. */
static char *
compose (const char *text, gsize n)
{
  g_autoptr (GArray) all = g_array_new (FALSE, FALSE, sizeof (gunichar));
  g_autofree char *ordered = NULL;
  guint marks = 0; /* start of the last run of marks */
  glong length = 0;

  for (const char *p = text; p < text + n; p = g_utf8_next_char (p)) {
    gunichar parts[G_UNICHAR_MAX_DECOMPOSITION_LENGTH];
    gsize n_parts
        = g_unichar_fully_decompose (g_utf8_get_char (p), FALSE, parts, G_N_ELEMENTS (parts));

    for (gsize i = 0; i < n_parts; i++) {
      if (g_unichar_combining_class (parts[i]) == 0) {
        sort_marks (all, marks);
        marks = all->len + 1;
      }
      g_array_append_val (all, parts[i]);
    }
  }
  sort_marks (all, marks);
  ordered = g_ucs4_to_utf8 ((const gunichar *) all->data, all->len, NULL, &length, NULL);
  return ordered ? g_utf8_normalize (ordered, length, G_NORMALIZE_DEFAULT_COMPOSE) : g_strdup ("");
}

/* ----------------------------------------------------------------------------------- lower case */

/* Returns TRUE for characters with Unicode's property Case_Ignorable: MidLetter, MidNumLet and
 * Single_Quote of Word_Break, and some categories. */
static gboolean
is_case_ignorable (gunichar c)
{
  static const gunichar others[] = { '\'', '.', ':', 0xb7, 0x387, 0x55f, 0x5f4, 0x2018, 0x2019,
    0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a };

  switch (g_unichar_type (c)) {
    case G_UNICODE_NON_SPACING_MARK:
    case G_UNICODE_ENCLOSING_MARK:
    case G_UNICODE_FORMAT:
    case G_UNICODE_MODIFIER_LETTER:
    case G_UNICODE_MODIFIER_SYMBOL:
      return TRUE;
    default:
      for (guint i = 0; i < G_N_ELEMENTS (others); i++)
        if (c == others[i])
          return TRUE;
      return FALSE;
  }
}

/* Returns TRUE for characters with Unicode's property Cased. @c is not case-ignorable. */
static gboolean
is_cased (gunichar c)
{
  switch (g_unichar_type (c)) {
    case G_UNICODE_LOWERCASE_LETTER:
    case G_UNICODE_UPPERCASE_LETTER:
    case G_UNICODE_TITLECASE_LETTER:
      return TRUE;
    default:
      return c == 0xaa || c == 0xba || (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9)
          || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169)
          || (c >= 0x1f170 && c <= 0x1f189);
  }
}

/* Returns TRUE if a cased letter precedes the sigma at @p and none follows it. */
static gboolean
is_final_sigma (const char *text, const char *end, const char *p)
{
  const char *q = p;
  gunichar c = 0;

  do {
    q = g_utf8_find_prev_char (text, q);
    c = q ? g_utf8_get_char (q) : 0;
  } while (q && is_case_ignorable (c));
  if (!q || !is_cased (c))
    return FALSE;
  for (q = g_utf8_next_char (p); q < end; q = g_utf8_next_char (q)) {
    c = g_utf8_get_char (q);
    if (!is_case_ignorable (c))
      return !is_cased (c);
  }
  return TRUE;
}

void
avatar_clip_lowercase (const char *text, gsize n, GString *out)
{
  const char *end = text + n;

  for (const char *p = text; p < end; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);

    if (c == 0x130) /* I with a dot above becomes two characters */
      g_string_append (out, "i\xcc\x87");
    else if (c == 0x3a3)
      g_string_append_unichar (out, is_final_sigma (text, end, p) ? 0x3c2 : 0x3c3);
    else if (c >= 0x2160 && c <= 0x216f) /* Roman numerals, which GLib does not convert */
      g_string_append_unichar (out, c + 16);
    else if (c >= 0x24b6 && c <= 0x24cf) /* circled letters, likewise */
      g_string_append_unichar (out, c + 26);
    else
      g_string_append_unichar (out, g_unichar_tolower (c));
  }
}

/* -------------------------------------------------------------------------------- normalization */

char *
avatar_clip_normalize (const char *text, gsize n)
{
  g_autoptr (GString) spaced = g_string_sized_new (n + 1);
  GString *out = g_string_sized_new (n + 1);
  g_autofree char *composed = NULL;
  const char *p, *next;

  for (p = text; p < text + n; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);

    if (is_space (c))
      g_string_append_c (spaced, ' ');
    else if (is_ideograph (c) && !is_control (c)) {
      g_string_append_c (spaced, ' ');
      g_string_append_unichar (spaced, c);
      g_string_append_c (spaced, ' ');
    } else if (!is_control (c))
      g_string_append_unichar (spaced, c);
  }
  composed = compose (spaced->str, spaced->len);
  for (p = composed; *p; p = next) {
    /* line and paragraph separators end a word, too, as in Python's str.split() */
    for (next = p; *next && *next != ' '; next = g_utf8_next_char (next))
      if (g_utf8_get_char (next) == 0x2028 || g_utf8_get_char (next) == 0x2029)
        break;
    if (next > p && out->len > 0)
      g_string_append_c (out, ' ');
    avatar_clip_lowercase (p, next - p, out);
    next = *next ? g_utf8_next_char (next) : next;
  }
  return g_string_free (out, FALSE);
}
