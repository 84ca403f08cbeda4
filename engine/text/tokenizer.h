/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of tokenizers, and reading them from bytes. */
#pragma once

#include "engine/text/added-tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/tokens.h"
#include "engine/formats/json-cursor.h"
#include "engine/formats/json.h"

G_BEGIN_DECLS

/* Larger than any vocabulary there is. */
#define AVATAR_MAX_TOKEN_ID ((1 << 24) - 1)
/* Tokens and merges together; the release has 0.4 million. */
#define AVATAR_MAX_TOKENIZER_ENTRIES 1200000u

typedef enum
{
  AVATAR_TOKENIZER_LLAMA,
  AVATAR_TOKENIZER_CLIP,
} AvatarTokenizerKind;

struct _AvatarTokenizer
{
  AvatarTokenizerKind kind;
  char *name; /* of its file or folder, for messages */
  AvatarBpe *bpe;
  AvatarAddedTokens *added;
  gint32 bos, eos; /* LLaMA's has no use for the second */
  guint n_ids;
};

AvatarTokenizer *
avatar_tokenizer_new (AvatarTokenizerKind kind, const char *name, const AvatarBpeRules *rules);

/* tokenizer.json. @name is for messages. */
AvatarTokenizer *
avatar_tokenizer_parse_llama (const char *json, gsize length, const char *name, GError **error);
/* What tokenizer_config.json says of it: bos_token. */
gboolean avatar_tokenizer_configure (AvatarTokenizer *self, const char *json, gsize length,
    const char *name, GError **error);
/* vocab.json and merges.txt. */
AvatarTokenizer *avatar_tokenizer_parse_clip (const char *vocab, gsize vocab_length,
    const char *merges, gsize merges_length, const char *name, GError **error);

/* A vocabulary: an object of names and ids, and white space around it. Every byte must have a
 * token. */
gboolean avatar_tokenizer_read_vocabulary (AvatarTokenizer *self, const char *json, gsize length,
    GError **error);

/* "a b" in its two parts. FALSE: it has not exactly one space, or nothing on one side of it. */
gboolean avatar_tokenizer_split_merge (const char *text, gsize n, AvatarJsonText pair[2]);

/* Appends the ids of @text, @n bytes of valid UTF-8, to @ids (gint32), without BOS and EOS. */
void avatar_tokenizer_encode (const AvatarTokenizer *self, const char *text, gsize n, GArray *ids);

G_END_DECLS
