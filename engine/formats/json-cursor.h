/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of JSON text that builds no tree, for lists of hundreds of thousands of values. It follows
 * RFC 8259 strictly, unlike json-glib. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarJsonCursor: position in a JSON text
 * @start, @end: bounds of the text
 * @at: position of the next value, or of white space before it
 * @expected: (nullable): set after an error: description of the expected text at @at. Nothing more
 *   is read then
 * @first: TRUE before the first value of a list or object
 *
 * To read a list, call avatar_json_cursor_enter(), and avatar_json_cursor_next() before each value,
 * until it returns %FALSE. In an object, avatar_json_cursor_name() reads the name of a member. The
 * functions return %FALSE after an error, with @expected set.
 */
typedef struct
{
  const char *start, *at, *end;
  const char *expected;
  gboolean first;
} AvatarJsonCursor;

/* String of @n bytes, without a terminator. */
typedef struct
{
  const char *text;
  gsize n;
} AvatarJsonText;

/* Returns: TRUE if both strings are equal. */
gboolean avatar_json_text_is (AvatarJsonText self, const char *other);

/* @text: [length] must outlive the cursor
 * Returns: a cursor at the start of @text. */
AvatarJsonCursor avatar_json_cursor (const char *text, gsize length);
/* @c: one of {["
 * Returns: TRUE if the next value begins with @c. Only white space is skipped. */
gboolean avatar_json_cursor_is_at (AvatarJsonCursor *self, char c);
/* Enters an object or a list.
 * @bracket: { or [ */
gboolean avatar_json_cursor_enter (AvatarJsonCursor *self, char bracket);
/* Moves to the next value of an object or a list, or leaves it after the last value.
 * @bracket: closing bracket, } or ]
 * Returns: FALSE if there are no more values. */
gboolean avatar_json_cursor_next (AvatarJsonCursor *self, char bracket);
/* Reads a string. Strings that are not valid UTF-8 or contain NUL are errors.
 * @scratch: buffer for decoded strings with escapes
 * @out: (out): valid until @scratch is used again */
gboolean avatar_json_cursor_string (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* Reads a string and the colon after it. */
gboolean avatar_json_cursor_name (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* Reads an integer of at most 9 digits without a sign.
 * Returns: FALSE if there is no such integer; @expected is not set. */
gboolean avatar_json_cursor_count (AvatarJsonCursor *self, gint32 *out);
/* Skips a value. Only its strings and brackets are checked. */
gboolean avatar_json_cursor_skip (AvatarJsonCursor *self);
/* Returns: TRUE if only white space follows. */
gboolean avatar_json_cursor_finish (AvatarJsonCursor *self);
/* Sets AVATAR_ERROR_FORMAT with the expected and the found text. @expected must be set.
 * @name: name of the file */
void avatar_json_cursor_set_error (const AvatarJsonCursor *self, const char *name, GError **error);

/* Decodes an escape sequence.
 * @p: position after the backslash
 * @c: (out): the character
 * Returns: end of the sequence; NULL if it is not an escape of JSON, or is half of a surrogate
 * pair. */
const char *avatar_json_read_escape (const char *p, const char *end, gunichar *c);

G_END_DECLS
