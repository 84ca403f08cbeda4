/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A prompt, its token ids and its encoding. */
#pragma once

#include "engine/text/tokens.h"

G_BEGIN_DECLS

/**
 * AvatarEncoding:
 * @llava: ids for LLaVA
 * @clip: ids for CLIP
 * @valid: number of rows of LLaVA's sequence that are not padding
 * @padded: %TRUE if rows of padding follow them
 * @n: number of rows that the transformer gets
 * @used: number of them that are text or portrait, from the first on
 * @mask: [n], the rows that the transformer's refiner treats as valid, as upstream does; they are
 *   not the first @used rows: see find_rows() in encoding.c
 * @states: (nullable): [n, hidden of LLaVA], %NULL until the prompt is encoded
 * @pooled: (nullable): [hidden of CLIP], %NULL until the prompt is encoded
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

/* Initialises @self from ids, of which it takes ownership. Returns FALSE with AVATAR_ERROR_MISMATCH
 * if an id is not in the vocabulary of its encoder. */
gboolean avatar_encoding_init (AvatarEncoding *self, const AvatarConfig *config,
    AvatarLlavaTokens *llava, AvatarClipTokens *clip, GError **error);
/* Initialises @self with the maximum length and without ids, for a dry run. */
void avatar_encoding_init_max_length (AvatarEncoding *self, const AvatarConfig *config);
/* Returns the number of different rows among the @n: all rows of padding are equal. */
guint avatar_encoding_count_distinct (const AvatarEncoding *self);
/* Expands @states [n, @width] in place: the first rows are the different ones, and that of the
 * padding is copied to all rows of padding. */
void avatar_encoding_expand (const AvatarEncoding *self, float *states, gsize width);
void avatar_encoding_clear (AvatarEncoding *self);

G_END_DECLS
