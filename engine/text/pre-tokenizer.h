/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Splits a text into the pieces within which BPE merges, as the regular expression of a tokenizer
 * does. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The regular expression that avatar_pre_tokenize_llama() implements, as in tokenizer.json. */
extern const char avatar_pre_tokenize_llama_regex[];

typedef void (*AvatarPieceFunc) (const char *piece, gsize n, gpointer data);

/* Splits @text, @n bytes of valid UTF-8, by the rules of LLaMA-3 and calls @func for each piece in
 * order. Every byte is in one piece. */
void avatar_pre_tokenize_llama (const char *text, gsize n, AvatarPieceFunc func, gpointer data);
/* Splits @text, in lower case, by the rules of CLIP. White space is not in any piece. */
void avatar_pre_tokenize_clip (const char *text, gsize n, AvatarPieceFunc func, gpointer data);

/* Returns TRUE for characters with Unicode's property White_Space. */
gboolean avatar_pre_tokenize_is_space (gunichar c);

G_END_DECLS
