/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private functions of the tokenizers. */
#pragma once

#include "engine/text/added-tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/tokens.h"
#include "engine/formats/json-cursor.h"
#include "engine/formats/json.h"

G_BEGIN_DECLS

/* Maximum id, larger than in any known vocabulary. */
#define AVATAR_MAX_TOKEN_ID ((1 << 24) - 1)
/* Maximum number of tokens and merges together; the release has 0.4 million. */
#define AVATAR_MAX_TOKENIZER_ENTRIES 1200000u

typedef enum
{
  AVATAR_TOKENIZER_LLAMA,
  AVATAR_TOKENIZER_CLIP,
} AvatarTokenizerKind;

struct _AvatarTokenizer
{
  AvatarTokenizerKind kind;
  char *name; /* path of the file or folder, for messages */
  AvatarBpe *bpe;
  AvatarAddedTokens *added;
  gint32 bos, eos; /* eos: CLIP only */
  guint n_ids;     /* largest id + 1 */
};

/* Makes a tokenizer without tokens.
 * @name: path, for messages */
AvatarTokenizer *
avatar_tokenizer_new (AvatarTokenizerKind kind, const char *name, const AvatarBpeRules *rules);

/* Parses tokenizer.json. Returns NULL with AVATAR_ERROR_FORMAT, or AVATAR_ERROR_MISMATCH for a
 * tokenizer with other rules than LLaMA-3's.
 * @name: path, for messages */
AvatarTokenizer *
avatar_tokenizer_parse_llama (const char *json, gsize length, const char *name, GError **error);
/* Sets the BOS token from tokenizer_config.json. */
gboolean avatar_tokenizer_configure (AvatarTokenizer *self, const char *json, gsize length,
    const char *name, GError **error);
/* Parses vocab.json and merges.txt. Returns NULL likewise. */
AvatarTokenizer *avatar_tokenizer_parse_clip (const char *vocab, gsize vocab_length,
    const char *merges, gsize merges_length, const char *name, GError **error);

/* Reads a vocabulary: a JSON object of names and ids. Every byte must have a token. */
gboolean avatar_tokenizer_read_vocabulary (AvatarTokenizer *self, const char *json, gsize length,
    GError **error);

/* Splits "a b", @n bytes, at its space. Returns FALSE unless there is exactly one space, with text
 * on both sides. */
gboolean avatar_tokenizer_split_merge (const char *text, gsize n, AvatarJsonText pair[2]);

/* Appends the ids of @text, @n bytes of valid UTF-8, to @ids (gint32), without BOS and EOS. */
void avatar_tokenizer_encode (const AvatarTokenizer *self, const char *text, gsize n, GArray *ids);

G_END_DECLS
