/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text section of a configuration for random text encoders and their tokenizers. */
#pragma once

#include "tools/random-text.h"

/* Returns: (transfer none): %NULL-terminated texts around a prompt, which the tokenizers must
 * know. */
GStrv random_config_texts (const AvatarConfig *config);

/* Returns: (transfer full) (nullable): @json, the text of @config, with a "text" section for the
 * encoders of random_llava_sizes (config, kind): image_tokens, and crop_start as their
 * tokenizer counts it. Replaces a section for byte embeddings. %NULL with @error if the sizes
 * are impossible. */
char *random_config_with_text (const char *json, const AvatarConfig *config, RandomSizes kind,
    GError **error);
