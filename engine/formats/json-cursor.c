/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/formats/json-cursor.h"

#include <avatar/error.h>

#include <string.h>

/* Number of bytes of a text that are shown in an error. */
#define MAX_SHOWN 40

static gboolean
read_hex (const char *p, const char *end, gunichar *c)
{
  *c = 0;
  for (guint i = 0; i < 4; i++) {
    int digit = p + i < end ? g_ascii_xdigit_value (p[i]) : -1;

    if (digit < 0)
      return FALSE;
    *c = *c << 4 | digit;
  }
  return TRUE;
}

const char *
avatar_json_read_escape (const char *p, const char *end, gunichar *c)
{
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char *found = p < end && *p ? strchr (from, *p) : NULL;
  gunichar low;

  if (found) {
    *c = to[found - from];
    return p + 1;
  }
  if (p == end || *p != 'u' || !read_hex (p + 1, end, c))
    return NULL;
  p += 5;
  if ((*c & 0xf800) != 0xd800)
    return p;
  if (*c >= 0xdc00 || end - p < 2 || p[0] != '\\' || p[1] != 'u' || !read_hex (p + 2, end, &low)
      || (low & 0xfc00) != 0xdc00)
    return NULL;
  *c = 0x10000 + ((*c & 0x3ff) << 10) + (low & 0x3ff);
  return p + 6;
}

gboolean
avatar_json_text_is (AvatarJsonText self, const char *other)
{
  return self.n == strlen (other) && memcmp (self.text, other, self.n) == 0;
}

AvatarJsonCursor
avatar_json_cursor (const char *text, gsize length)
{
  return (AvatarJsonCursor){ text, text, text + length, NULL, FALSE };
}

static gboolean
fail (AvatarJsonCursor *self, const char *expected)
{
  if (!self->expected)
    self->expected = expected;
  return FALSE;
}

static const char *
skip_space (const char *p, const char *end)
{
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
    p++;
  return p;
}

gboolean
avatar_json_cursor_is_at (AvatarJsonCursor *self, char c)
{
  self->at = skip_space (self->at, self->end);
  return !self->expected && self->at < self->end && *self->at == c;
}

gboolean
avatar_json_cursor_enter (AvatarJsonCursor *self, char bracket)
{
  if (!avatar_json_cursor_is_at (self, bracket))
    return fail (self, bracket == '{' ? "\"{\"" : "\"[\"");
  self->at++;
  self->first = TRUE;
  return TRUE;
}

gboolean
avatar_json_cursor_next (AvatarJsonCursor *self, char bracket)
{
  gboolean first = self->first;

  self->first = FALSE;
  if (avatar_json_cursor_is_at (self, bracket)) {
    self->at++;
    return FALSE;
  }
  if (first)
    return !self->expected;
  if (!avatar_json_cursor_is_at (self, ','))
    return fail (self, bracket == '}' ? "\",\" or \"}\"" : "\",\" or \"]\"");
  self->at++;
  return TRUE;
}

/* Returns the first quote, backslash or control character after @p, or @end. The bytes before it
 * are combined into *@bits by OR. */
static const char *
skip_plain (const char *p, const char *end, guint8 *bits)
{
  guint8 all = *bits;

  while (p < end && *p != '"' && *p != '\\' && (guint8) *p >= 0x20)
    all |= (guint8) *p++;
  *bits = all;
  return p;
}

/* Decodes a string with escapes to @scratch. Returns the position of the closing quote or NULL. */
static const char *
unescape (const char *p, const char *end, GString *scratch, guint8 *bits)
{
  g_string_truncate (scratch, 0);
  for (;;) {
    const char *stop = skip_plain (p, end, bits);
    gunichar c;

    g_string_append_len (scratch, p, stop - p);
    if (stop == end || *stop == '"')
      return stop;
    p = *stop == '\\' ? avatar_json_read_escape (stop + 1, end, &c) : NULL;
    if (!p || c == 0)
      return NULL;
    g_string_append_unichar (scratch, c);
  }
}

gboolean
avatar_json_cursor_string (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out)
{
  static const char expected[] = "a string of valid UTF-8 and escapes";
  const char *start, *stop;
  guint8 bits = 0;

  if (!avatar_json_cursor_is_at (self, '"'))
    return fail (self, expected);
  start = self->at + 1;
  stop = skip_plain (start, self->end, &bits);
  *out = (AvatarJsonText){ start, stop - start };
  if (stop < self->end && *stop != '"') {
    stop = unescape (start, self->end, scratch, &bits);
    *out = (AvatarJsonText){ scratch->str, scratch->len };
  }
  if (!stop || stop == self->end
      || (bits >= 0x80 && !g_utf8_validate_len (out->text, out->n, NULL)))
    return fail (self, expected);
  self->at = stop + 1;
  return TRUE;
}

gboolean
avatar_json_cursor_name (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out)
{
  if (!avatar_json_cursor_string (self, scratch, out))
    return FALSE;
  if (!avatar_json_cursor_is_at (self, ':'))
    return fail (self, "\":\"");
  self->at++;
  return TRUE;
}

gboolean
avatar_json_cursor_count (AvatarJsonCursor *self, gint32 *out)
{
  const char *start = self->at = skip_space (self->at, self->end);
  const char *p = start;

  for (*out = 0; p < self->end && g_ascii_isdigit (*p) && p - start < 9; p++)
    *out = *out * 10 + (*p - '0');
  self->at = p;
  return p > start && (*start != '0' || p == start + 1) && p < self->end && !g_ascii_isdigit (*p)
      && !strchr (".eE", *p);
}

/* Returns the end of a string whose first character is at @p, or @end. */
static const char *
skip_string (const char *p, const char *end)
{
  while (p < end && *p != '"')
    p += *p == '\\' && end - p > 1 ? 2 : 1;
  return p < end ? p + 1 : end;
}

gboolean
avatar_json_cursor_skip (AvatarJsonCursor *self)
{
  const char *p = skip_space (self->at, self->end), *start = p;
  gsize depth = 0;

  while (p < self->end && !self->expected) {
    char c = *p;

    if (depth == 0 && (c == ',' || c == '}' || c == ']'))
      break;
    p = c == '"' ? skip_string (p + 1, self->end) : p + 1;
    depth += c == '{' || c == '[';
    depth -= c == '}' || c == ']';
  }
  self->at = p;
  return (p > start && p < self->end) || fail (self, "a value and the end of its list");
}

gboolean
avatar_json_cursor_finish (AvatarJsonCursor *self)
{
  self->at = skip_space (self->at, self->end);
  return !self->expected && (self->at == self->end || fail (self, "the end"));
}

void
avatar_json_cursor_set_error (const AvatarJsonCursor *self, const char *name, GError **error)
{
  g_autofree char *found = g_utf8_make_valid (self->at, MIN (self->end - self->at, MAX_SHOWN));

  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: not valid JSON: expected %s, found %s%s", name, self->expected,
      *found ? found : "the end", self->end - self->at > MAX_SHOWN ? "..." : "");
}
