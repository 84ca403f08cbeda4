/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Matches without GRegex, which recurses on long runs and defines the character classes
 * differently. Letters and numbers are those of GLib. */
#include "engine/text/pre-tokenizer.h"

#include <string.h>

const char avatar_pre_tokenize_llama_regex[]
    = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef enum
{
  OTHER,
  LETTER,
  NUMBER,
  SPACE, /* except line ends */
  LINE_END,
  END_OF_TEXT,
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
    return END_OF_TEXT;
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

/* Returns the end of the run of @class at @p, after at most @max_count characters. */
static const char *
skip (const char *p, const char *end, Class class, guint max_count)
{
  for (; max_count > 0 && class_at (p, end) == class; max_count--)
    p = g_utf8_next_char (p);
  return p;
}

/* Returns the end of @text, ASCII in lower case, if it is at @p in any case, or NULL. U+017F also
 * matches s. */
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
  const char *match = NULL;

  for (; *texts && !match; texts++)
    match = skip_text (p, end, *texts);
  return match;
}

static const char *const contractions[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", NULL };

/* Matches \s*[\r\n]+|\s+(?!\S)|\s+: up to the last line end; without one, all white space at the
 * end of the text, and otherwise all but the last character, which may belong to the next piece. */
static const char *
skip_space (const char *p, const char *end)
{
  const char *after_line_end = NULL, *last = p;
  Class class;

  for (const char *q = p; (class = class_at (q, end)) == SPACE || class == LINE_END;) {
    last = q;
    q = g_utf8_next_char (q);
    if (class == LINE_END)
      after_line_end = q;
  }
  if (after_line_end)
    return after_line_end;
  return last == p || g_utf8_next_char (last) >= end ? g_utf8_next_char (last) : last;
}

/* Returns the end of the piece at @p. */
static const char *
skip_llama (const char *p, const char *end)
{
  const char *next = g_utf8_next_char (p), *match = skip_any (p, end, contractions);
  Class class = class_at (p, end), after = class_at (next, end);

  if (match)
    return match;
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

/* Matches
 * <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ */
static const char *
skip_clip (const char *p, const char *end, Class class)
{
  static const char *const specials[] = { "<|startoftext|>", "<|endoftext|>", NULL };
  const char *match = skip_any (p, end, specials);

  if (!match)
    match = skip_any (p, end, contractions);
  return match ? match : skip (p, end, class, class == NUMBER ? 1 : G_MAXUINT);
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

/* Skips U+0345 like white space. It is not a letter, but its upper case is: ignoring case, Python's
 * module regex matches it neither as a letter nor as another character. */
void
avatar_pre_tokenize_clip (const char *text, gsize n, AvatarPieceFunc func, gpointer data)
{
  static const char skipped[] = "\xcd\x85";
  const char *end = text + n, *gap;

  while ((gap = g_strstr_len (text, end - text, skipped))) {
    split_clip (text, gap, func, data);
    text = gap + strlen (skipped);
  }
  split_clip (text, end, func, data);
}
