/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRA files: additions to the transformer's weights, independent of the trainer's key names. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/tensor-file.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarLoraDelta: addition of @factor * B A to rows @row .. @row + @n_rows of a weight [out, in]
 * @a: [rank, in]; unset if @b is the whole addition, [.., in], or [..] for a bias
 * @b: [.., rank]; the addition uses its rows from @source_row
 * @factor: strength * alpha / rank
 */
typedef struct
{
  AvatarTensorSource a, b;
  gint64 row, n_rows, source_row;
  float factor;
} AvatarLoraDelta;

typedef struct _AvatarLora AvatarLora;

/* Opens a LoRA file of any format and dialect of docs/dev/spec/vae-text-face-formats.md 5.6. Keys
 * that match no weight of the transformer cause a warning. Fails if no key matches, or if a key is
 * of an unsupported kind (DoRA, LoKr, LoHa), because the result would be wrong without it. */
AvatarLora *
avatar_lora_open (const char *path, const AvatarConfig *config, double strength, GError **error);
AvatarLora *avatar_lora_new (AvatarTensorFile *file, const AvatarConfig *config, double strength,
    GError **error); /* takes ownership of @file, also on failure */
/* Opens all @n LoRAs of @settings in order.
 * Returns: (transfer full): array of AvatarLora, empty if @n is 0. */
GPtrArray *avatar_lora_open_all (const AvatarLoraSetting *settings, guint n,
    const AvatarConfig *config, GError **error);
void avatar_lora_free (AvatarLora *self);
/* Returns: (transfer none) (nullable): array of AvatarLoraDelta for @tensor, e.g.
 * "double_blocks.0.img_attn_qkv.weight". */
GArray *avatar_lora_get (AvatarLora *self, const char *tensor);
/* Counters: tensors with an addition, skipped keys; and the first skipped key, or %NULL. */
guint avatar_lora_n_tensors (AvatarLora *self);
guint avatar_lora_n_unknown (AvatarLora *self);
const char *avatar_lora_get_unknown (AvatarLora *self);
/* Returns: (nullable): origin of the alpha, if it is not stored as a tensor. */
const char *avatar_lora_get_alpha_source (AvatarLora *self);
/* Returns: (transfer none): array of char *, warnings for the user. */
GPtrArray *avatar_lora_get_warnings (AvatarLora *self);

/* Sums the additions of all LoRAs to rows @start .. @end of @tensor.
 * @loras: (nullable): array of AvatarLora
 * @n: values of a row
 * Returns: (transfer full) (nullable): [end - start, n], or %NULL if there is no addition. */
float *avatar_lora_sum (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, gsize n);
/* Returns: TRUE if any LoRA adds to @tensor. */
gboolean avatar_lora_touches (GPtrArray *loras, const char *tensor);

/* Total rank of the additions to @tensor as a product of two matrices, up [rows, rank] down^T and
 * down [cols, rank]; used for weights that are stored in 8 bits. All additions must be of low rank
 * (avatar_lora_check_8bit()). */
gint64 avatar_lora_rank (GPtrArray *loras, const char *tensor);
/* Writes both matrices.
 * @up: zeroed rows @start .. @end
 * @down: (nullable): zeroed matrix of all columns */
void avatar_lora_fill (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, float *up,
    float *down);
/* Use of weights that are stored in 8 bits. */
typedef enum
{
  AVATAR_LORA_8BIT_EXPANDED, /* copied to 16 bits before use */
  AVATAR_LORA_8BIT_COMPUTED, /* used in 8 bits */
} AvatarLora8bitUse;

/* Checks that the additions to @tensor, stored in 8 bits as @dtype, can be applied to an expanded
 * copy. Fails if one is not of low rank, or if there is no expanded copy. The error names the
 * file. */
gboolean avatar_lora_check_8bit (GPtrArray *loras, const char *tensor, AvatarDType dtype,
    AvatarLora8bitUse use, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarLora, avatar_lora_free)

G_END_DECLS
