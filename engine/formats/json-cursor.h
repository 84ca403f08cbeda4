/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A way through JSON text without a tree of it, for lists of hundred thousands of values. What is
 * read is held to RFC 8259: json-glib's laxer dialect is refused. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarJsonCursor:
 * @at: where the next value begins, or white space before it
 * @expected: what does not stand at @at, for messages; %NULL: all was fine so far. Nothing is read
 *   any more where it is set
 *
 * A list is read by avatar_json_cursor_enter(), then avatar_json_cursor_next() before each value
 * until it is %FALSE. Of an object's members avatar_json_cursor_name() reads the name.
 */
typedef struct
{
  const char *start, *at, *end;
  const char *expected;
  gboolean first; /* of its list */
} AvatarJsonCursor;

/* A string's text, without a 0 behind it. */
typedef struct
{
  const char *text;
  gsize n;
} AvatarJsonText;

/* TRUE: @self is @other, to the last byte. */
gboolean avatar_json_text_is (AvatarJsonText self, const char *other);

/* @text must outlive the cursor. */
AvatarJsonCursor avatar_json_cursor (const char *text, gsize length);
/* TRUE: a value follows that begins with @c: one of {["; the cursor stays where it is. */
gboolean avatar_json_cursor_is_at (AvatarJsonCursor *self, char c);
/* @bracket: { or [ */
gboolean avatar_json_cursor_enter (AvatarJsonCursor *self, char bracket);
/* @bracket: that which closes the list. FALSE: there are no more values, or @expected is set. */
gboolean avatar_json_cursor_next (AvatarJsonCursor *self, char bracket);
/* A string of UTF-8 without characters of 0. *@out is valid as long as the text, and as @scratch
 * is not used again: what has escapes is written there. */
gboolean avatar_json_cursor_string (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* A string, and the colon behind it. */
gboolean avatar_json_cursor_name (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* A whole number of at most 9 digits without a sign. FALSE: something else, and the cursor is of
 * no use any more. */
gboolean avatar_json_cursor_count (AvatarJsonCursor *self, gint32 *out);
/* Passes over any value, whose own syntax is not looked at but for strings and brackets. */
gboolean avatar_json_cursor_skip (AvatarJsonCursor *self);
/* TRUE: white space alone follows, and all was fine. */
gboolean avatar_json_cursor_finish (AvatarJsonCursor *self);
/* Says what was expected, and what was found. @name is for messages. */
void avatar_json_cursor_complain (const AvatarJsonCursor *self, const char *name, GError **error);

/* The end of the escape that begins at @p, behind the backslash, and the character that it stands
 * for; NULL: it is none of JSON's, or half of a surrogate pair alone. */
const char *avatar_json_read_escape (const char *p, const char *end, gunichar *c);

G_END_DECLS
