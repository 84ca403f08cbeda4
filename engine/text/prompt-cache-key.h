/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The key of an encoded prompt in the cache: a hash of all data that the encoding depends on. */
#pragma once

#include "engine/image/vision.h"
#include "engine/text/encoding.h"

G_BEGIN_DECLS

/**
 * avatar_prompt_cache_key:
 * @model: a model with text encoders
 * @prompt: the prompt's ids
 * @square: the portrait from avatar_vision_prepare()
 * @options: other data that the encoding depends on, e.g. the kind of device
 *
 * Hashes names, shapes and a sample of the bytes of all weights. Reading all bytes would take as
 * long as encoding.
 *
 * Returns: (transfer full) (nullable): the key in hexadecimal, or %NULL if weights are missing or
 * cannot be read
 */
char *avatar_prompt_cache_key (AvatarModel *model, const AvatarEncoding *prompt,
    const AvatarImage *square, const char *options);

G_END_DECLS
