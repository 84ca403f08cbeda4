/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing weights: conversion and quantisation, in pieces by all cores. */
#include "engine/weights/pack.h"

#include "engine/model/lora.h"
#include "engine/formats/mapped-file.h"

#include <math.h>
#include <string.h>

#define ALIGN 256
/* Values that a thread takes at a time. */
#define PIECE ((gsize) 1 << 19)
/* Smaller matrices are not worth their scales. */
#define MIN_QUANTISED 64

static gsize
aligned (gsize bytes)
{
  return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Is it the bias of a matrix? Those are added in the matrix' own dtype. */
static gboolean
is_matrix_bias (GHashTable *tensors, const char *name)
{
  g_autofree char *weight = NULL;
  const AvatarTensor *t;

  if (!g_str_has_suffix (name, ".bias"))
    return FALSE;
  weight = g_strdup_printf ("%.*s.weight", (int) (strlen (name) - 5), name);
  t = g_hash_table_lookup (tensors, weight);
  return t && t->rank >= 2;
}

/* A large matrix of a block: what the released 8-bit files quantise, too
 * (docs/dev/spec/denoise.md 1.3). */
static gboolean
is_block_matrix (const char *name, const AvatarTensor *t)
{
  return (g_str_has_prefix (name, "double_blocks.") || g_str_has_prefix (name, "single_blocks."))
      && g_str_has_suffix (name, ".weight") && t->rank == 2 && t->shape[0] >= MIN_QUANTISED
      && t->shape[1] >= MIN_QUANTISED && t->shape[0] % 16 == 0 && t->shape[1] % 16 == 0;
}

static gboolean
is_modulation (const char *name)
{
  return strstr (name, "_mod.") || strstr (name, ".modulation.");
}

static AvatarDType
image_dtype (GHashTable *tensors, const char *name, const AvatarTensor *t,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  if (t->rank < 2)
    return is_matrix_bias (tensors, name) ? activation : AVATAR_F32;
  if (!is_block_matrix (name, t))
    return activation;
  if (t->dtype == AVATAR_I8 || t->dtype == AVATAR_F8_E4M3)
    return t->dtype;
  if (is_modulation (name))
    return activation; /* used once, ahead of everything: not worth the rounding */
  switch (settings->quantise) {
    case AVATAR_QUANTISE_FP8:
      return AVATAR_F8_E4M3;
    case AVATAR_QUANTISE_INT8:
      return AVATAR_I8;
    default:
      return activation;
  }
}

/* What is 8-bit in its file stays as it is: quantising the sum anew would round it once more. */
static gboolean
takes_loras_apart (const AvatarPackedTensor *p)
{
  return p->loras && avatar_dtype_size (p->source.dtype) == 1 && avatar_dtype_size (p->dtype) == 1;
}

static void
add_factors (AvatarWeightGroup *unit, AvatarPackedTensor *p)
{
  gsize row;

  p->rank = avatar_lora_rank (p->loras, p->name);
  row = p->rank * avatar_dtype_size (p->expanded);
  p->up_offset = unit->bytes;
  unit->bytes += aligned (p->source.shape[0] * row);
  p->down_offset = unit->bytes;
  unit->bytes += aligned (p->source.shape[1] * row);
}

static void
add_tensor (AvatarWeightGroup *unit, GHashTable *tensors, const char *name, const AvatarTensor *t,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  AvatarPackedTensor p = { .name = g_strdup (name),
    .source = *t,
    .loras = avatar_lora_touches (settings->loras, name) ? settings->loras : NULL,
    .dtype = image_dtype (tensors, name, t, settings, activation),
    .expanded = activation };
  g_autofree char *scale_name = g_strdup_printf ("%s_scale", name);
  const AvatarTensor *scale = g_hash_table_lookup (tensors, scale_name);
  gsize n = avatar_tensor_n (*t);

  if (scale)
    p.source_scale = *scale;
  p.offset = unit->bytes;
  unit->bytes += aligned (n * avatar_dtype_size (p.dtype));
  if (avatar_dtype_size (p.dtype) == 1) {
    p.scale_offset = unit->bytes;
    unit->bytes += aligned (t->shape[0] * sizeof (float));
    p.expands = !(settings->compute_fp8 && p.dtype == AVATAR_F8_E4M3 && !is_modulation (name));
    if (p.expands) {
      p.expand_offset = unit->scratch;
      unit->scratch += aligned (n * avatar_dtype_size (activation));
    }
  }
  if (takes_loras_apart (&p))
    add_factors (unit, &p);
  g_array_append_val (unit->tensors, p);
}

static void
packed_clear (gpointer data)
{
  g_free (((AvatarPackedTensor *) data)->name);
}

static void
unit_clear (gpointer data)
{
  g_array_unref (((AvatarWeightGroup *) data)->tensors);
}

GArray *
avatar_pack_plan (GHashTable *tensors, const AvatarWeightGrouping *units,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  /* sorted, so that every plan is the same */
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (tensors), (GCompareFunc) strcmp);
  GArray *all = g_array_sized_new (FALSE, TRUE, sizeof (AvatarWeightGroup), units->n + 1);

  g_array_set_clear_func (all, unit_clear);
  g_array_set_size (all, units->n + 1);
  for (guint i = 0; i <= units->n; i++) {
    AvatarWeightGroup *unit = &g_array_index (all, AvatarWeightGroup, i);

    unit->tensors = g_array_new (FALSE, FALSE, sizeof (AvatarPackedTensor));
    g_array_set_clear_func (unit->tensors, packed_clear);
  }
  for (GList *l = names; l; l = l->next) {
    const AvatarTensor *t = g_hash_table_lookup (tensors, l->data);
    guint i = units->group_of ? units->group_of (l->data, units->data) : AVATAR_WEIGHT_GROUP_FIXED;

    if (g_str_has_suffix (l->data, "_scale") || t->dtype == AVATAR_I64 || t->dtype == AVATAR_I32
        || i == AVATAR_WEIGHT_GROUP_HOST_ONLY)
      continue; /* belongs to another tensor; is not a weight */
    add_tensor (&g_array_index (all, AvatarWeightGroup, MIN (i, units->n)), tensors, l->data, t,
        settings, activation);
  }
  return all;
}

gboolean
avatar_pack_check (GArray *units, GError **error)
{
  for (guint i = 0; i < units->len; i++) {
    GArray *tensors = g_array_index (units, AvatarWeightGroup, i).tensors;

    for (guint j = 0; j < tensors->len; j++) {
      const AvatarPackedTensor *p = &g_array_index (tensors, AvatarPackedTensor, j);

      if (takes_loras_apart (p)
          && !avatar_lora_check_8bit (p->loras, p->name, p->dtype,
              p->expands ? AVATAR_LORA_8BIT_EXPANDED : AVATAR_LORA_8BIT_COMPUTED, error))
        return FALSE;
    }
  }
  return TRUE;
}

/* The factor of row @r of an 8-bit source. */
static gboolean
read_factor (const AvatarPackedTensor *p, gint64 r, float *factor)
{
  gsize size = avatar_dtype_size (p->source_scale.dtype);
  guint8 raw[sizeof (gint64)];
  gint64 at;

  *factor = 1;
  if (!p->source_scale.rank && !p->source_scale.data)
    return TRUE;
  at = avatar_tensor_n (p->source_scale) > 1 ? r : 0;
  if (!avatar_mapped_read (raw, (const guint8 *) p->source_scale.data + at * size, size))
    return FALSE;
  avatar_dtype_to_f32 (factor, raw, p->source_scale.dtype, 1);
  return TRUE;
}

/* Those of rows @start .. @end at once. */
static gboolean
read_factors (const AvatarPackedTensor *p, gint64 start, gint64 end, float *factors)
{
  gsize size = avatar_dtype_size (p->source_scale.dtype), n = end - start;
  g_autofree guint8 *raw = NULL;

  if (avatar_tensor_n (p->source_scale) <= 1) {
    if (!read_factor (p, 0, factors))
      return FALSE;
    for (gsize i = 1; i < n; i++)
      factors[i] = factors[0];
    return TRUE;
  }
  raw = g_malloc (n * size);
  if (!avatar_mapped_read (raw, (const guint8 *) p->source_scale.data + start * size, n * size))
    return FALSE;
  avatar_dtype_to_f32 (factors, raw, p->source_scale.dtype, n);
  return TRUE;
}

/* @n values of row @r, from column 0, as float32. @raw: room for them as they are stored. */
static gboolean
read_row (const AvatarPackedTensor *p, gint64 r, gsize n, guint8 *raw, float *values)
{
  gsize size = avatar_dtype_size (p->source.dtype);

  if (!avatar_mapped_read (raw, (const guint8 *) p->source.data + r * n * size, n * size))
    return FALSE;
  if (p->source.dtype == AVATAR_I8)
    for (gsize i = 0; i < n; i++)
      values[i] = ((const gint8 *) raw)[i];
  else
    avatar_dtype_to_f32 (values, raw, p->source.dtype, n);
  return TRUE;
}

static void
quantise_row (guint8 *dst, float *scale, AvatarDType dtype, const float *values, gsize n)
{
  float most = 0, limit = dtype == AVATAR_I8 ? 127 : 448, factor;

  for (gsize i = 0; i < n; i++)
    most = MAX (most, fabsf (values[i]));
  *scale = most > 0 ? most / limit : 1;
  factor = 1 / *scale;
  for (gsize i = 0; i < n; i++) {
    float v = values[i] * factor;

    if (dtype == AVATAR_I8)
      ((gint8 *) dst)[i] = (gint8) CLAMP (nearbyintf (v), -127, 127);
    else
      avatar_dtype_from_f32 (dst + i, dtype, &v, 1);
  }
}

/* What LoRAs add to rows @start .. @end, or NULL. */
static float *
delta_of (const AvatarPackedTensor *p, gint64 start, gint64 end, gsize n)
{
  return p->loras ? avatar_lora_sum (p->loras, p->name, start, end, n) : NULL;
}

static void
add_row (float *values, const float *delta, gsize n)
{
  for (gsize i = 0; delta && i < n; i++)
    values[i] += delta[i];
}

typedef enum
{
  PACK_DONE,
  PACK_UNREADABLE,
  PACK_NOT_FINITE, /* would be rounded to numbers that look sound */
} PackResult;

/* Rows @start .. @end of an 8-bit tensor. */
static PackResult
pack_8bit (const AvatarPackedTensor *p, guint8 *image, gint64 start, gint64 end)
{
  gsize n = avatar_tensor_n (p->source) / p->source.shape[0];
  float *scale = (float *) (image + p->scale_offset);
  g_autofree guint8 *raw = NULL;
  g_autofree float *values = NULL, *delta = NULL;

  if (p->source.dtype == p->dtype) /* as it is; LoRAs are apart, then */
    return read_factors (p, start, end, scale + start)
            && avatar_mapped_read (image + p->offset + start * n,
                (const guint8 *) p->source.data + start * n, (end - start) * n)
        ? PACK_DONE
        : PACK_UNREADABLE;
  raw = g_malloc (n * avatar_dtype_size (p->source.dtype));
  values = g_new (float, n);
  delta = delta_of (p, start, end, n);
  for (gint64 r = start; r < end; r++) {
    if (!read_row (p, r, n, raw, values))
      return PACK_UNREADABLE;
    add_row (values, delta ? delta + (r - start) * n : NULL, n);
    if (!avatar_is_finite (values, n))
      return PACK_NOT_FINITE;
    quantise_row (image + p->offset + r * n, &scale[r], p->dtype, values, n);
  }
  return PACK_DONE;
}

/* Rows @start .. @end of another tensor. */
static PackResult
pack_rows (const AvatarPackedTensor *p, guint8 *image, gint64 start, gint64 end)
{
  gint64 rows = p->source.rank ? p->source.shape[0] : 1;
  gsize n = avatar_tensor_n (p->source) / MAX (rows, 1), size = avatar_dtype_size (p->dtype);
  guint8 *dst = image + p->offset + start * n * size;
  g_autofree guint8 *raw = NULL;
  g_autofree float *values = NULL, *delta = delta_of (p, start, end, n);

  if (p->source.dtype == p->dtype && avatar_dtype_size (p->dtype) > 1 && !delta)
    return avatar_mapped_read (dst, (const guint8 *) p->source.data + start * n * size,
               (end - start) * n * size)
        ? PACK_DONE
        : PACK_UNREADABLE;
  raw = g_malloc (n * avatar_dtype_size (p->source.dtype));
  values = g_new (float, n);
  for (gint64 r = start; r < end; r++, dst += n * size) {
    float factor;

    if (!read_factor (p, r, &factor) || !read_row (p, r, n, raw, values))
      return PACK_UNREADABLE;
    for (gsize i = 0; factor != 1 && i < n; i++)
      values[i] *= factor;
    add_row (values, delta ? delta + (r - start) * n : NULL, n);
    avatar_dtype_from_f32 (dst, p->dtype, values, n);
  }
  return PACK_DONE;
}

/* Rows @start .. @end of the left factor of LoRAs kept apart, and with the first all of the right. */
static void
pack_factors (const AvatarPackedTensor *p, guint8 *image, gint64 start, gint64 end)
{
  gint64 n_up = (end - start) * p->rank, n_down = p->source.shape[1] * p->rank;
  gsize size = avatar_dtype_size (p->expanded);
  g_autofree float *up = g_new0 (float, n_up);
  g_autofree float *down = start == 0 ? g_new0 (float, n_down) : NULL;

  avatar_lora_fill (p->loras, p->name, start, end, up, down);
  avatar_dtype_from_f32 (image + p->up_offset + start * p->rank * size, p->expanded, up, n_up);
  if (down)
    avatar_dtype_from_f32 (image + p->down_offset, p->expanded, down, n_down);
}

/* Some rows of one tensor. */
typedef struct
{
  const AvatarPackedTensor *tensor;
  gint64 start, end;
} Piece;

gboolean
avatar_pack_group (const AvatarWeightGroup *unit, guint8 *image, const char *file,
    const gint *cancelled, GError **error)
{
  g_autoptr (GArray) pieces = g_array_new (FALSE, FALSE, sizeof (Piece));
  const char *broken = NULL;
  PackResult worst = PACK_DONE;

  for (guint i = 0; i < unit->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (unit->tensors, AvatarPackedTensor, i);
    gint64 rows = p->source.shape[0], n = avatar_tensor_n (p->source) / MAX (rows, 1);
    gint64 step = MAX (1, (gint64) PIECE / MAX (n, 1));

    for (gint64 r = 0; r < rows; r += step) {
      Piece piece = { p, r, MIN (r + step, rows) };

      g_array_append_val (pieces, piece);
    }
  }
#pragma omp parallel for schedule(dynamic)
  for (guint i = 0; i < pieces->len; i++) {
    const Piece *piece = &g_array_index (pieces, Piece, i);
    PackResult result;

    if (cancelled && g_atomic_int_get (cancelled))
      continue;
    result = avatar_dtype_size (piece->tensor->dtype) == 1
        ? pack_8bit (piece->tensor, image, piece->start, piece->end)
        : pack_rows (piece->tensor, image, piece->start, piece->end);
    if (piece->tensor->rank)
      pack_factors (piece->tensor, image, piece->start, piece->end);
    if (result != PACK_DONE)
#pragma omp critical
    {
      broken = piece->tensor->name;
      worst = result;
    }
  }
  if (cancelled && g_atomic_int_get (cancelled)) {
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
    return FALSE;
  }
  if (!broken)
    return TRUE;
  if (worst == PACK_UNREADABLE)
    avatar_mapped_set_error (error, file, broken);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" has NaN or infinite values, which cannot be rounded to 8 bits; the file "
        "is corrupt: fetch or convert it again",
        file ? file : "weights", broken);
  return FALSE;
}
