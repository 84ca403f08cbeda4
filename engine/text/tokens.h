/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts as ids of the two text encoders' vocabularies
 * (docs/dev/spec/vae-text-face-formats.md 2.4, 2.9, 3; upstream hymm_sp/text_encoder,
 * hymm_sp/constants.py). */
#pragma once

#include "engine/model/config.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarLlavaTokens: a prompt as the LLaVA encoder takes it
 * @ids: [n], BOS first, the image's token last; free with avatar_llava_tokens_clear()
 * @n: at most @length
 * @length: what upstream pads to: 351 in the release. The n - 1 + image_tokens rows of the encoder
 *   are followed by length - n rows of padding, all alike
 * @crop: rows cut from the front of the encoder's output: 95 in the release
 * @dropped: ids of the prompt's own text that did not fit
 *
 * No id but the last is the image's token; any may be that of the padding, if the prompt has its name.
 */
typedef struct
{
  gint32 *ids;
  guint n, length, crop;
  guint dropped;
} AvatarLlavaTokens;

/**
 * AvatarClipTokens: a prompt as CLIP takes it
 * @ids: [n], BOS first, filled up with EOS; free with avatar_clip_tokens_clear()
 * @n: AvatarTextConfig.clip_length: 77 in the release
 * @eos: row of the first EOS, which is the pooled one
 * @dropped: ids of the text that did not fit
 */
typedef struct
{
  gint32 *ids;
  guint n, eos;
  guint dropped;
} AvatarClipTokens;

/* Byte-level BPE by the rules of LLaMA-3 or of CLIP. Immutable: any thread may use it. */
typedef struct _AvatarTokenizer AvatarTokenizer;

/* Reads tokenizer.json, or vocab.json and merges.txt, of @folder. AVATAR_ERROR_NOT_FOUND, _READ,
 * _FORMAT: the file is not there, or is none that can be read; _MISMATCH: a tokenizer of other rules. */
AvatarTokenizer *avatar_tokenizer_new_llama (const char *folder, GError **error);
AvatarTokenizer *avatar_tokenizer_new_clip (const char *folder, GError **error);
void avatar_tokenizer_free (AvatarTokenizer *self);
/* One more than the largest id: an embedding has at least as many rows. */
guint avatar_tokenizer_get_n_ids (const AvatarTokenizer *self);
/* The id of the token that is called @name; -1: there is none. */
gint32 avatar_tokenizer_find (const AvatarTokenizer *self, const char *name);

/* Ids of what stands before the prompt, with BOS: what crop_start must be. */
guint avatar_tokens_count_head (const AvatarTokenizer *self, const AvatarTextConfig *config);
/* @prompt: (nullable): UTF-8; %NULL is the empty prompt. AVATAR_ERROR_SETTINGS: it is not UTF-8, or has
 * the image's token; _MISMATCH: tokenizer and @config do not belong together. */
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
