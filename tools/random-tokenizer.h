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

/**
 * RandomTokenizerSizes:
 * @vocab: rows of the embedding. LLaMA's: 128320 in the release, at least 640; CLIP's: 49408, at
 *   least 514
 * @merges: their number: 280147 and 48894 in the release; those that the texts do not need are of
 *   invented words. 0: only what the texts need, and names that no text has for the rest
 * @seed: of the words
 */
typedef struct
{
  guint vocab, merges;
  guint64 seed;
} RandomTokenizerSizes;

/* @texts: up to %NULL: their words are tokens, as far as there is room. With invented words the file is
 * laid out as Hugging Face has it today: a line for a name, merges as lists of two. Free with
 * random_tokenizer_clear(). */
RandomTokenizer
random_tokenizer_llama (const RandomTokenizerSizes *sizes, const char *const *texts);
void random_tokenizer_clear (RandomTokenizer *self);

/* vocab.json and, in *@merges, merges.txt. */
char *
random_tokenizer_clip (const RandomTokenizerSizes *sizes, const char *const *texts, char **merges);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RandomTokenizer, random_tokenizer_clear)
