/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text conditioning of the demo model. Models with text encoders use engine/text/encoder.h. */
#pragma once

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * avatar_text_encode:
 * @model: a model whose text.kind is "bytes"
 * @prompt: (nullable): the prompt in UTF-8; %NULL is the empty prompt
 * @states: (out) (transfer full): [n, text_dim] floats
 * @n: (out): number of tokens, at most max_states of the model
 * @pooled: (out) (transfer full): [pooled_dim] floats
 * @error: return location for a #GError: #AVATAR_ERROR_NOT_FOUND, #AVATAR_ERROR_SETTINGS,
 *   #AVATAR_ERROR_READ
 *
 * Encodes @prompt. The tokens are a start byte and the bytes of the text, which is truncated to the
 * model's maximum length. Without weights, @n is this maximum, and @states and @pooled are %NULL.
 *
 * Returns: %TRUE, or %FALSE on error
 */
gboolean avatar_text_encode (AvatarModel *model, const char *prompt, float **states, guint *n,
    float **pooled, GError **error);

G_END_DECLS
