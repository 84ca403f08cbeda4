/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A prompt on its way through the text encoders. */
#pragma once

#include "engine/text/tokens.h"

G_BEGIN_DECLS

/**
 * AvatarEncoding: ids, and what follows from their number alone
 * @valid: rows of LLaVA's sequence that are not padding; @padded: whether there are others
 * @n: rows that the transformer gets, of which the first @used are text and portrait
 * @mask: [n] rows that its refiner takes as valid, which are others: see avatar_encoding_init()
 * @states: [n, hidden], @pooled: [CLIP's hidden]; %NULL until it is encoded
 */
typedef struct
{
  AvatarLlavaTokens llava;
  AvatarClipTokens clip;
  guint valid;
  gboolean padded;
  guint n, used;
  guint8 *mask;
  float *states, *pooled;
} AvatarEncoding;

/* Takes the ids over. FALSE with AVATAR_ERROR_MISMATCH if they are none of the encoders'. */
gboolean avatar_encoding_init (AvatarEncoding *self, const AvatarConfig *config,
    AvatarLlavaTokens *llava, AvatarClipTokens *clip, GError **error);
/* The longest there is, without ids: for plans. */
void avatar_encoding_init_longest (AvatarEncoding *self, const AvatarConfig *config);
/* Rows that are different from each other among the @n: those of the padding are one. */
guint avatar_encoding_distinct (const AvatarEncoding *self);
/* states from its distinct rows, at its beginning. */
void avatar_encoding_spread (const AvatarEncoding *self, float *states, gsize width);
void avatar_encoding_clear (AvatarEncoding *self);

G_END_DECLS
