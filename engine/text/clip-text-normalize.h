/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Normalises a text before CLIP's pre-tokenizer. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Normalises @text, @n bytes of valid UTF-8, as BasicTokenizer of transformers 4.45 does
 * (strip_accents=False, do_split_on_punc=False), which CLIPTokenizer uses without ftfy, as with
 * upstream's requirements.txt: removes control characters, puts spaces around CJK ideographs,
 * composes to NFC, and returns the words in lower case, separated by one space.
 *
 * Returns: (transfer full): the text */
char *avatar_clip_normalize (const char *text, gsize n);

/* Appends the word @text in lower case to @out, as Python's str.lower() does: with Unicode's
 * Final_Sigma, independent of the locale. */
void avatar_clip_lowercase (const char *text, gsize n, GString *out);

G_END_DECLS
