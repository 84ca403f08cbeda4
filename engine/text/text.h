/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompt in, text conditioning out. */
#pragma once

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * avatar_text_encode:
 * @prompt: (nullable): UTF-8; %NULL is the empty prompt
 * @states: (out): [n, text_dim] floats; free with g_free()
 * @n: (out): tokens, at most the model's max_states
 * @pooled: (out): [pooled_dim] floats; free with g_free()
 *
 * The demo model's conditioning: tokens are a start byte and the bytes of the text; what is
 * longer than the model's length is cut off. Of a model without weights only the longest length
 * is known; @states and @pooled are %NULL. Models with text encoders: engine/text/encoder.h.
 */
gboolean avatar_text_encode (AvatarModel *model, const char *prompt, float **states, guint *n,
    float **pooled, GError **error);

G_END_DECLS
