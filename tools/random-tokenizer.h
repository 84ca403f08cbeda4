/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokenizers for random text encoders, in the files of the release. They know the words that
 * upstream adds to a prompt and encode other text byte by byte. Hugging Face's libraries read them
 * and give the same ids. */
#pragma once

#include <glib.h>

/**
 * RandomTokenizer: files of LLaMA's tokenizer
 * @json: tokenizer.json, with the released names of special tokens at the same distance from the
 *   end of the vocabulary as in the release
 * @config: tokenizer_config.json
 */
typedef struct
{
  char *json, *config;
} RandomTokenizer;

/**
 * RandomTokenizerSizes: sizes of a tokenizer
 * @vocab: number of rows of the embedding. LLaMA: 128320 in the release, at least 640; CLIP: 49408,
 *   at least 514
 * @merges: number of merges, 280147 and 48894 in the release. Merges that the texts do not need are
 *   for invented words. 0: merges for the texts only; the remaining ids get names that occur in no
 *   text
 * @seed: seed of the invented words
 */
typedef struct
{
  guint vocab, merges;
  guint64 seed;
} RandomTokenizerSizes;

/* Builds LLaMA's tokenizer. With invented words the file has Hugging Face's current format: a line
 * for each name, merges as lists of two. Free with random_tokenizer_clear().
 * @texts: %NULL-terminated texts whose words become tokens, until the vocabulary is full */
RandomTokenizer
random_tokenizer_llama (const RandomTokenizerSizes *sizes, const char *const *texts);
void random_tokenizer_clear (RandomTokenizer *self);

/* Returns: (transfer full): vocab.json of CLIP's tokenizer.
 * @merges: (out) (transfer full): merges.txt */
char *
random_tokenizer_clip (const RandomTokenizerSizes *sizes, const char *const *texts, char **merges);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RandomTokenizer, random_tokenizer_clear)
