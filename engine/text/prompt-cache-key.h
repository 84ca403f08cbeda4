/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an encoded prompt depends on, as one sum. */
#pragma once

#include "engine/image/vision.h"
#include "engine/text/encoding.h"

G_BEGIN_DECLS

/**
 * avatar_prompt_cache_key:
 * @square: see avatar_vision_prepare()
 * @options: what else it depends on, e.g. the kind of device
 *
 * Weights are known by their names and shapes and by some bytes of each: reading all of them would
 * take as long as encoding. Free with g_free(); %NULL: they cannot be read, or a part is not there.
 */
char *avatar_prompt_cache_key (AvatarModel *model, const AvatarEncoding *prompt,
    const AvatarImage *square, const char *options);

G_END_DECLS
