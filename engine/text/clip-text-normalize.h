/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CLIP's tokenizer does to a text before it is cut into pieces. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* transformers 4.45's BasicTokenizer (strip_accents=False, do_split_on_punc=False), which CLIPTokenizer
 * uses where ftfy is not installed, as with upstream's requirements.txt: control characters are
 * dropped, CJK ideographs stand alone, NFC, words in small letters with one space between them.
 * @text: @n bytes of valid UTF-8. Free with g_free(). */
char *avatar_clip_normalize_clip (const char *text, gsize n);

/* As str.lower() of Python, of the word @text: capital sigma as Unicode's Final_Sigma has it, and no
 * regard to the locale. */
void avatar_clip_normalize_lower (const char *text, gsize n, GString *out);

G_END_DECLS
