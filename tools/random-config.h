/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a configuration says of prompts, made to fit random text encoders and their tokenizers. */
#pragma once

#include "engine/model/config.h"

/* What is put around a prompt, which the tokenizers are to know; up to %NULL. */
GStrv random_config_texts (const AvatarConfig *config);

/* The configuration @json, which is @config, with a "text" section for the encoders of
 * random_llava_sizes (config, small): image_tokens, and crop_start as their tokenizer counts it. A
 * section of tables of bytes is replaced. %NULL with @error: the sizes are impossible. */
char *random_config_with_text (const char *json, const AvatarConfig *config, gboolean small,
    GError **error);
