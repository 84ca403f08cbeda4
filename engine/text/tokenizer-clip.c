/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's tokenizer: vocab.json and merges.txt, read as by transformers' CLIPTokenizer. */
#include "engine/text/tokenizer.h"

#include <string.h>

#define MAX_FILE (8u << 20) /* bytes; the released files have 0.9 and 0.5 MiB */
#define MAX_MERGES 48894    /* CLIPTokenizer ignores further ones: 49152 - 256 - 2 */
#define BOS "<|startoftext|>"
#define EOS "<|endoftext|>"

static gboolean
read_merge (AvatarTokenizer *self, const char *line, gsize n, guint number, GError **error)
{
  AvatarJsonText pair[2];

  if (!avatar_tokenizer_split_merge (line, n, pair)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: merges.txt, line %u: expected two tokens with one space between them", self->name,
        number);
    return FALSE;
  }
  if (avatar_bpe_add_merge (self->bpe, pair[0].text, pair[0].n, pair[1].text, pair[1].n))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: merges.txt, line %u: \"%.*s\", \"%.*s\" or their concatenation is not a token of "
      "vocab.json; the two files do not belong together: download both from one source",
      self->name, number, (int) MIN (pair[0].n, 100), pair[0].text, (int) MIN (pair[1].n, 100),
      pair[1].text);
  return FALSE;
}

/* Reads the merges. The first line is the version, which is ignored. */
static gboolean
read_merges (AvatarTokenizer *self, const char *text, gsize length, GError **error)
{
  const char *end = text + length, *p;
  guint number = 1;

  if (!g_utf8_validate_len (text, length, NULL)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: merges.txt is not valid UTF-8; expected lines of two tokens", self->name);
    return FALSE;
  }
  while (end > text && g_ascii_isspace (end[-1]))
    end--;
  for (p = memchr (text, '\n', end - text); p && number <= MAX_MERGES; number++) {
    const char *start = p + 1, *stop;

    p = memchr (start, '\n', end - start);
    stop = p ? p : end;
    if (stop > start && stop[-1] == '\r')
      stop--;
    if (!read_merge (self, start, stop - start, number + 1, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
add_special (AvatarTokenizer *self, const char *name, gint32 *id, GError **error)
{
  AvatarAddedToken token = { .name = (char *) name, .id = avatar_bpe_find (self->bpe, name) };

  *id = token.id;
  if (token.id >= 0)
    return avatar_added_tokens_add (self->added, &token);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: vocab.json has no token \"%s\"; expected the vocabulary of CLIP", self->name, name);
  return FALSE;
}

AvatarTokenizer *
avatar_tokenizer_parse_clip (const char *vocab, gsize vocab_length, const char *merges,
    gsize merges_length, const char *name, GError **error)
{
  static const AvatarBpeRules rules = { .word_suffix = "</w>", .in_passes = TRUE };
  g_autoptr (AvatarTokenizer) self = avatar_tokenizer_new (AVATAR_TOKENIZER_CLIP, name, &rules);

  if (avatar_tokenizer_read_vocabulary (self, vocab, vocab_length, error)
      && read_merges (self, merges, merges_length, error)
      && add_special (self, BOS, &self->bos, error) && add_special (self, EOS, &self->eos, error))
    return g_steal_pointer (&self);
  return NULL;
}

AvatarTokenizer *
avatar_tokenizer_new_clip (const char *folder, GError **error)
{
  g_autofree char *vocab_path = g_build_filename (folder, "vocab.json", NULL);
  g_autofree char *merges_path = g_build_filename (folder, "merges.txt", NULL);
  gsize vocab_length, merges_length;
  g_autofree char *vocab
      = avatar_json_read (vocab_path, MAX_FILE, "a vocabulary", &vocab_length, error);
  g_autofree char *merges = vocab
      ? avatar_json_read (merges_path, MAX_FILE, "a list of merges", &merges_length, error)
      : NULL;

  if (!merges)
    return NULL;
  return avatar_tokenizer_parse_clip (vocab, vocab_length, merges, merges_length, folder, error);
}
