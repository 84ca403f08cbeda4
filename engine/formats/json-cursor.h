/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads JSON text without building a tree, for lists of hundreds of thousands of values. Follows
 * RFC 8259 strictly, unlike json-glib. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarJsonCursor:
 * @at: position of the next value, or of white space before it
 * @expected: (nullable): after an error, what was expected at @at; nothing more is read then
 *
 * A list is read by avatar_json_cursor_enter(), then avatar_json_cursor_next() before each value
 * until it is %FALSE. avatar_json_cursor_name() reads the name of an object's member.
 */
typedef struct
{
  const char *start, *at, *end;
  const char *expected;
  gboolean first; /* TRUE before the first value of a list */
} AvatarJsonCursor;

/* Text of a string, not terminated by 0. */
typedef struct
{
  const char *text;
  gsize n;
} AvatarJsonText;

/* TRUE if @self is @other. */
gboolean avatar_json_text_is (AvatarJsonText self, const char *other);

/* @text must outlive the cursor. */
AvatarJsonCursor avatar_json_cursor (const char *text, gsize length);
/* TRUE if the next value begins with @c, one of {["; does not move the cursor. */
gboolean avatar_json_cursor_is_at (AvatarJsonCursor *self, char c);
/* Enters an object or a list. @bracket: { or [ */
gboolean avatar_json_cursor_enter (AvatarJsonCursor *self, char bracket);
/* Moves to the next value. @bracket: the closing bracket, } or ]. FALSE: there are no more
 * values, or @expected is set. */
gboolean avatar_json_cursor_next (AvatarJsonCursor *self, char bracket);
/* Reads a string of UTF-8 without NUL. *@out is valid as long as the text, and until @scratch is
 * used again, in which strings with escapes are decoded. */
gboolean avatar_json_cursor_string (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* Reads a string and the colon after it. */
gboolean avatar_json_cursor_name (AvatarJsonCursor *self, GString *scratch, AvatarJsonText *out);
/* Reads an integer of at most 9 digits without a sign. FALSE: @expected is set. */
gboolean avatar_json_cursor_count (AvatarJsonCursor *self, gint32 *out);
/* Skips a value. Only strings and brackets in it are checked. */
gboolean avatar_json_cursor_skip (AvatarJsonCursor *self);
/* TRUE if only white space follows and no error occurred. */
gboolean avatar_json_cursor_finish (AvatarJsonCursor *self);
/* Sets @error to what was expected and what was found. @name: name of the file */
void avatar_json_cursor_complain (const AvatarJsonCursor *self, const char *name, GError **error);

/* Decodes the escape at @p, after the backslash, to @c. Returns its end; NULL if it is not an
 * escape of JSON, or is half of a surrogate pair. */
const char *avatar_json_read_escape (const char *p, const char *end, gunichar *c);

G_END_DECLS
