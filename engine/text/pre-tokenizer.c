/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Written by hand, an alternative of the expression a function: GRegex would recurse on long runs, and
 * has classes of its own. Which characters are letters and numbers is GLib's to say. */
#include "engine/text/pre-tokenizer.h"

#include <string.h>

const char avatar_split_llama_regex[]
    = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef enum
{
  OTHER,
  LETTER,
  NUMBER,
  SPACE, /* but for line ends */
  LINE_END,
  NOTHING, /* the end of the text */
} Class;

gboolean
avatar_pre_tokenize_is_space (gunichar c)
{
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680
      || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f
      || c == 0x3000;
}

static Class
class_at (const char *p, const char *end)
{
  gunichar c;

  if (p >= end)
    return NOTHING;
  if (*p == '\r' || *p == '\n')
    return LINE_END;
  c = g_utf8_get_char (p);
  if (avatar_pre_tokenize_is_space (c))
    return SPACE;
  switch (g_unichar_type (c)) {
    case G_UNICODE_LOWERCASE_LETTER:
    case G_UNICODE_MODIFIER_LETTER:
    case G_UNICODE_OTHER_LETTER:
    case G_UNICODE_TITLECASE_LETTER:
    case G_UNICODE_UPPERCASE_LETTER:
      return LETTER;
    case G_UNICODE_DECIMAL_NUMBER:
    case G_UNICODE_LETTER_NUMBER:
    case G_UNICODE_OTHER_NUMBER:
      return NUMBER;
    default:
      return OTHER;
  }
}

/* Behind all that is of @class from @p on, but for what comes after @most characters. */
static const char *
skip (const char *p, const char *end, Class class, guint most)
{
  for (; most > 0 && class_at (p, end) == class; most--)
    p = g_utf8_next_char (p);
  return p;
}

/* @text in small letters of ASCII, in any case. U+017F is an s that is not in ASCII. NULL: it is not
 * what stands at @p. */
static const char *
skip_text (const char *p, const char *end, const char *text)
{
  for (; *text; text++) {
    if (*text == 's' && end - p >= 2 && memcmp (p, "\xc5\xbf", 2) == 0)
      p += 2;
    else if (p < end && g_ascii_tolower (*p) == *text)
      p++;
    else
      return NULL;
  }
  return p;
}

static const char *
skip_any (const char *p, const char *end, const char *const *texts)
{
  const char *behind = NULL;

  for (; *texts && !behind; texts++)
    behind = skip_text (p, end, *texts);
  return behind;
}

static const char *const contractions[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", NULL };

/* \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last line end; or else all, where nothing follows; or else all
 * but the last, which the next piece may want. */
static const char *
skip_space (const char *p, const char *end)
{
  const char *behind_line = NULL, *last = p;
  Class class;

  for (const char *q = p; (class = class_at (q, end)) == SPACE || class == LINE_END;) {
    last = q;
    q = g_utf8_next_char (q);
    if (class == LINE_END)
      behind_line = q;
  }
  if (behind_line)
    return behind_line;
  return last == p || g_utf8_next_char (last) >= end ? g_utf8_next_char (last) : last;
}

/* The piece that begins at @p, before @end. */
static const char *
skip_llama (const char *p, const char *end)
{
  const char *next = g_utf8_next_char (p), *behind = skip_any (p, end, contractions);
  Class class = class_at (p, end), after = class_at (next, end);

  if (behind)
    return behind;
  if (class == LETTER || (after == LETTER && (class == OTHER || class == SPACE)))
    return skip (next, end, LETTER, G_MAXUINT);
  if (class == NUMBER)
    return skip (p, end, NUMBER, 3);
  if (class == OTHER || (*p == ' ' && after == OTHER))
    return skip (skip (next, end, OTHER, G_MAXUINT), end, LINE_END, G_MAXUINT);
  return skip_space (p, end);
}

void
avatar_pre_tokenize_llama (const char *text, gsize n, AvatarPieceFunc func, gpointer data)
{
  const char *end = text + n;

  for (const char *p = text, *next; p < end; p = next) {
    next = skip_llama (p, end);
    func (p, next - p, data);
  }
}

/* <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ */
static const char *
skip_clip (const char *p, const char *end, Class class)
{
  static const char *const specials[] = { "<|startoftext|>", "<|endoftext|>", NULL };
  const char *behind = skip_any (p, end, specials);

  if (!behind)
    behind = skip_any (p, end, contractions);
  return behind ? behind : skip (p, end, class, class == NUMBER ? 1 : G_MAXUINT);
}

static void
split_clip (const char *p, const char *end, AvatarPieceFunc func, gpointer data)
{
  for (const char *next; p < end; p = next) {
    Class class = class_at (p, end);

    next = g_utf8_next_char (p);
    if (class == SPACE || class == LINE_END)
      continue;
    next = skip_clip (p, end, class);
    func (p, next - p, data);
  }
}

/* U+0345 is no letter, but in capitals it is: where case is ignored, Python's module regex finds it
 * neither among letters nor among what is none, and it is passed over like a space. */
void
avatar_pre_tokenize_clip (const char *text, gsize n, AvatarPieceFunc func, gpointer data)
{
  static const char passed_over[] = "\xcd\x85";
  const char *end = text + n, *gap;

  while ((gap = g_strstr_len (text, end - text, passed_over))) {
    split_clip (text, gap, func, data);
    text = gap + strlen (passed_over);
  }
  split_clip (text, end, func, data);
}
