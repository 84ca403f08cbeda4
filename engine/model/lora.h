/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRA files, as additions to the transformer's weights that do not depend on the key names of the
 * trainer. Functions that do not open or free a LoRA are thread-safe. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/tensor-file.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarLoraDelta: addition of @factor * B A to rows @row .. @row + @n_rows of a weight [out, in]
 * @a: [rank, in]; unset if @b is the addition itself
 * @b: [.., rank]; the addition itself is [.., in], or [..] for a bias
 * @row, @n_rows: first row in the weight, and number of rows
 * @source_row: first row in @b
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
 * of an unsupported kind (DoRA, LoKr, LoHa), because the result would be wrong without it.
 * @strength: factor of all additions
 * Returns: (transfer full): the LoRA, or %NULL with @error */
AvatarLora *
avatar_lora_open (const char *path, const AvatarConfig *config, double strength, GError **error);
/* Opens a LoRA like avatar_lora_open().
 * @file: (transfer full): taken also on failure */
AvatarLora *avatar_lora_new (AvatarTensorFile *file, const AvatarConfig *config, double strength,
    GError **error);
/* Opens all @n LoRAs of @settings in order.
 * Returns: (transfer full): array of AvatarLora, empty if @n is 0; %NULL with @error */
GPtrArray *avatar_lora_open_all (const AvatarLoraSetting *settings, guint n,
    const AvatarConfig *config, GError **error);
void avatar_lora_free (AvatarLora *self);
/* @tensor: name, such as "double_blocks.0.img_attn_qkv.weight"
 * Returns: (transfer none) (nullable): array of AvatarLoraDelta for @tensor. */
GArray *avatar_lora_get (AvatarLora *self, const char *tensor);
/* Returns: number of tensors with an addition. */
guint avatar_lora_n_tensors (AvatarLora *self);
/* Returns: number of skipped keys. */
guint avatar_lora_n_unknown (AvatarLora *self);
/* Returns: (transfer none) (nullable): first skipped key. */
const char *avatar_lora_get_unknown (AvatarLora *self);
/* Returns: (nullable): origin of the alpha, if it is not stored as a tensor. */
const char *avatar_lora_get_alpha_source (AvatarLora *self);
/* Returns: (transfer none): array of char *, warnings for the user. */
GPtrArray *avatar_lora_get_warnings (AvatarLora *self);

/* Sums the additions of all LoRAs to rows @start .. @end of @tensor.
 * @loras: (nullable): array of AvatarLora
 * @multipliers: (nullable): a factor for each LoRA; %NULL: 1
 * @n: number of columns
 * Returns: (transfer full) (nullable): [end - start, n], or %NULL if there is no addition. */
float *avatar_lora_sum (GPtrArray *loras, const double *multipliers, const char *tensor,
    gint64 start, gint64 end, gsize n);
/* Returns: TRUE if any LoRA adds to @tensor. */
gboolean avatar_lora_touches (GPtrArray *loras, const char *tensor);

/* Sums the additions to @tensor that are not products of two matrices, without the multiplier.
 * Returns: (transfer full) (nullable): [end - start, n], or %NULL if there is none. */
float *
avatar_lora_sum_diffs (AvatarLora *self, const char *tensor, gint64 start, gint64 end, gsize n);
gboolean avatar_lora_has_diff (AvatarLora *self, const char *tensor);

/* Returns: total rank of the additions to @tensor as a product of two matrices, up down^T with
 * up [rows, rank] and down [cols, rank], for weights that are stored in 8 bits. All additions
 * must be of low rank (avatar_lora_check_8bit()). */
gint64 avatar_lora_rank (GPtrArray *loras, const char *tensor);
/* Fills the matrices of avatar_lora_rank().
 * @up: (out): [end - start, rank] zeroed; rows @start .. @end
 * @down: (out) (nullable): [cols, rank] zeroed */
void avatar_lora_fill (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, float *up,
    float *down);
/* Use of weights that are stored in 8 bits. */
typedef enum
{
  AVATAR_LORA_8BIT_EXPANDED, /* they are expanded to 16 bits before use */
  AVATAR_LORA_8BIT_COMPUTED, /* they are used in 8 bits */
} AvatarLora8bitUse;

/* Checks that the additions to @tensor, stored in 8 bits as @dtype, can be applied to an expanded
 * copy.
 * Returns: FALSE with AVATAR_ERROR_SETTINGS if one is not of low rank, or there is no expanded
 * copy. */
gboolean avatar_lora_check_8bit (GPtrArray *loras, const char *tensor, AvatarDType dtype,
    AvatarLora8bitUse use, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarLora, avatar_lora_free)

G_END_DECLS
