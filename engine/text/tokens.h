/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts as token ids of the two text encoders
 * (docs/dev/spec/vae-text-face-formats.md 2.4, 2.9, 3; upstream hymm_sp/text_encoder,
 * hymm_sp/constants.py). */
#pragma once

#include "engine/model/config.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarLlavaTokens:
 * @ids: (owned): [n], BOS first, the token of the image last
 * @n: number of ids, at most @length
 * @length: length to which upstream pads: 351 in the release. The n - 1 + image_tokens rows of the
 *   encoder are followed by length - n equal rows of padding
 * @crop: number of rows that are removed from the front of the encoder's output: 95 in the release
 * @dropped: number of ids of the prompt that were removed because it is too long
 *
 * A prompt for LLaVA. Only the last id is the token of the image. An id may be the token of the
 * padding, if the prompt contains its name.
 */
typedef struct
{
  gint32 *ids;
  guint n, length, crop;
  guint dropped;
} AvatarLlavaTokens;

/**
 * AvatarClipTokens:
 * @ids: (owned): [n], BOS first, padded with EOS
 * @n: AvatarTextConfig.clip_length: 77 in the release
 * @eos: index of the first EOS, whose row is the pooled output
 * @dropped: number of ids of the prompt that were removed because it is too long
 *
 * A prompt for CLIP.
 */
typedef struct
{
  gint32 *ids;
  guint n, eos;
  guint dropped;
} AvatarClipTokens;

/* Byte-level BPE by the rules of LLaMA-3 or of CLIP. Immutable, and used by any number of
 * threads. */
typedef struct _AvatarTokenizer AvatarTokenizer;

/* Reads tokenizer.json, or vocab.json and merges.txt, from @folder. Returns NULL with
 * AVATAR_ERROR_NOT_FOUND, AVATAR_ERROR_READ or AVATAR_ERROR_FORMAT if a file is missing or damaged,
 * and with AVATAR_ERROR_MISMATCH for a tokenizer with other rules. */
AvatarTokenizer *avatar_tokenizer_new_llama (const char *folder, GError **error);
AvatarTokenizer *avatar_tokenizer_new_clip (const char *folder, GError **error);
void avatar_tokenizer_free (AvatarTokenizer *self);
/* Returns the largest id + 1, the minimum number of rows of an embedding table. */
guint avatar_tokenizer_get_n_ids (const AvatarTokenizer *self);
/* Returns the id of the token @name, or -1. */
gint32 avatar_tokenizer_find (const AvatarTokenizer *self, const char *name);

/* Returns the number of ids before the prompt, including BOS, which crop_start must equal. */
guint avatar_tokens_count_head (const AvatarTokenizer *self, const AvatarTextConfig *config);
/* Makes the ids of a prompt in its template.
 * @prompt: (nullable): UTF-8; NULL is the empty prompt
 * Returns FALSE with AVATAR_ERROR_SETTINGS if the prompt is not UTF-8 or contains the token of the
 * image, and with AVATAR_ERROR_MISMATCH if the tokenizer does not match @config. */
gboolean avatar_tokens_llava (const AvatarTokenizer *self, const AvatarTextConfig *config,
    const char *prompt, AvatarPromptKind kind, AvatarLlavaTokens *out, GError **error);
gboolean avatar_tokens_clip (const AvatarTokenizer *self, const AvatarTextConfig *config,
    const char *prompt, AvatarPromptKind kind, AvatarClipTokens *out, GError **error);
void avatar_llava_tokens_clear (AvatarLlavaTokens *tokens);
void avatar_clip_tokens_clear (AvatarClipTokens *tokens);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTokenizer, avatar_tokenizer_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarLlavaTokens, avatar_llava_tokens_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarClipTokens, avatar_clip_tokens_clear)

G_END_DECLS
