/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRA files: what they add to the transformer's weights, whatever their keys are called. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/tensor-file.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarLoraDelta: rows @row .. @row + @n_rows of a weight W [out, in] get @factor * B A
 * @a: [rank, in]; not given: B is the whole delta, [.., in], or [..] of a bias
 * @b: [.., rank], of which the rows from @source_row are meant
 * @factor: strength * alpha / rank
 */
typedef struct
{
  AvatarTensor a, b;
  gint64 row, n_rows, source_row;
  float factor;
} AvatarLoraDelta;

typedef struct _AvatarLora AvatarLora;

/* Any format and dialect of docs/dev/spec/vae-text-face-formats.md 5.6. Keys that belong to no
 * weight of the transformer are a warning; a file without any that does fails, and so does one with
 * a key of a weight that is of a kind that is not known (DoRA, LoKr, LoHa), as without it the
 * result would be another. */
AvatarLora *
avatar_lora_open (const char *path, const AvatarConfig *config, double strength, GError **error);
AvatarLora *avatar_lora_new (AvatarTensorFile *file, const AvatarConfig *config, double strength,
    GError **error); /* takes @file, also when it fails */
/* All of @settings [n], in their order; an empty array if there are none. */
GPtrArray *avatar_lora_open_all (const AvatarLoraSetting *settings, guint n,
    const AvatarConfig *config, GError **error);
void avatar_lora_free (AvatarLora *self);
/* Of AvatarLoraDelta; %NULL: none. @tensor: e.g. "double_blocks.0.img_attn_qkv.weight" */
GArray *avatar_lora_get (AvatarLora *self, const char *tensor);
/* How many tensors get something, and how many keys were passed over; the first of these, or %NULL. */
guint avatar_lora_n_tensors (AvatarLora *self);
guint avatar_lora_n_unknown (AvatarLora *self);
const char *avatar_lora_get_unknown (AvatarLora *self);
/* Where an alpha is from that is not among the tensors; or %NULL. */
const char *avatar_lora_get_alpha_source (AvatarLora *self);
/* Of char *: what its user should know of. */
GPtrArray *avatar_lora_get_warnings (AvatarLora *self);

/* @loras: (nullable): of AvatarLora. The sum of what all of them add to rows @start .. @end of
 * @tensor, as [end - start, n]; %NULL: nothing. Free with g_free(). */
float *avatar_lora_sum (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, gsize n);
/* Whether any of them adds to @tensor. */
gboolean avatar_lora_touches (GPtrArray *loras, const char *tensor);

/* The sum in two factors, up [rows, rank] down^T, down [cols, rank], for weights that are 8-bit in
 * their file. All must be of low rank: see avatar_lora_check_8bit(). */
gint64 avatar_lora_rank (GPtrArray *loras, const char *tensor);
/* @up: zeros for rows @start .. @end; @down: (nullable): zeros for all of it */
void avatar_lora_fill (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, float *up,
    float *down);
/* FALSE with @error, which names the file, if what they add to @tensor, stored in 8 bits as @dtype,
 * cannot be added to an expanded copy: it is not of low rank, or the model @computes in 8 bits. */
gboolean avatar_lora_check_8bit (GPtrArray *loras, const char *tensor, AvatarDType dtype,
    gboolean computes, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarLora, avatar_lora_free)

G_END_DECLS
