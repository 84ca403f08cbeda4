/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a tokenizer's regular expression makes of a text: pieces, within which BPE merges. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The regular expression that avatar_pre_tokenize_llama() stands for, as tokenizer.json has it. */
extern const char avatar_split_llama_regex[];

typedef void (*AvatarPieceFunc) (const char *piece, gsize n, gpointer data);

/* @text: @n bytes of valid UTF-8. Every byte of it is in one piece. */
void avatar_pre_tokenize_llama (const char *text, gsize n, AvatarPieceFunc func, gpointer data);
/* CLIP's, of a text in lower case. White space is in no piece. */
void avatar_pre_tokenize_clip (const char *text, gsize n, AvatarPieceFunc func, gpointer data);

/* Unicode's White_Space. */
gboolean avatar_pre_tokenize_is_space (gunichar c);

G_END_DECLS
