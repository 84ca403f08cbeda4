/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokenizers for random text encoders, in the files of the release: they know the words that upstream
 * puts around a prompt, and spell all others. Hugging Face's libraries read them, too, and agree. */
#pragma once

#include <glib.h>

/**
 * RandomTokenizer:
 * @json: tokenizer.json, with the released names of special tokens at the released distance from the
 *   end of the vocabulary; @config: tokenizer_config.json
 */
typedef struct
{
  char *json, *config;
} RandomTokenizer;

/* @vocab: rows of the embedding; 128320 in the release, at least 640. @texts: up to %NULL: what is to
 * be known, as far as there is place. Free with random_tokenizer_clear(). */
RandomTokenizer random_tokenizer_llama (guint vocab, const char *const *texts);
void random_tokenizer_clear (RandomTokenizer *self);

/* vocab.json and, in *@merges, merges.txt. @vocab: 49408 in the release, at least 514. */
char *random_tokenizer_clip (guint vocab, const char *const *texts, char **merges);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RandomTokenizer, random_tokenizer_clear)
