/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing weights: conversion and quantisation, in pieces by all cores. */
#include "engine/weights/pack.h"

#include "engine/model/lora.h"

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

/* Large enough, and of sides that the kernels of 8 bits divide (docs/dev/spec/denoise.md 1.3). */
static gboolean
fits_8bit (const AvatarTensorSource *t)
{
  return t->rank == 2 && t->shape[0] >= MIN_QUANTISED && t->shape[1] >= MIN_QUANTISED
      && t->shape[0] % 16 == 0 && t->shape[1] % 16 == 0;
}

static AvatarDType
image_dtype (AvatarWeightClass storage, const AvatarTensorSource *t,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  if (storage == AVATAR_WEIGHT_CLASS_F32)
    return AVATAR_F32;
  if (storage == AVATAR_WEIGHT_CLASS_ACTIVATION || !fits_8bit (t))
    return activation;
  if (t->dtype == AVATAR_I8 || t->dtype == AVATAR_F8_E4M3)
    return t->dtype;
  if (storage == AVATAR_WEIGHT_CLASS_STORED_8BIT)
    return activation;
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
add_tensor (AvatarWeightGroup *unit, GHashTable *tensors, const AvatarWeightList *list, guint at,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  const AvatarWeightEntry *entry = avatar_weight_list_nth (list, at);
  const AvatarTensorSource *t = g_hash_table_lookup (tensors, entry->name);
  AvatarPackedTensor p = { .name = g_strdup (entry->name),
    .entry = at,
    .source = *t,
    .loras = avatar_lora_touches (settings->loras, entry->name) ? settings->loras : NULL,
    .dtype = image_dtype (entry->storage, t, settings, activation),
    .expanded = activation };
  g_autofree char *scale_name = g_strconcat (entry->name, "_scale", NULL);
  const AvatarTensorSource *scale = g_hash_table_lookup (tensors, scale_name);
  gsize n = avatar_tensor_source_n (t);

  if (scale)
    p.source_scale = *scale;
  p.offset = unit->bytes;
  unit->bytes += aligned (n * avatar_dtype_size (p.dtype));
  if (avatar_dtype_size (p.dtype) == 1) {
    p.scale_offset = unit->bytes;
    unit->bytes += aligned (t->shape[0] * sizeof (float));
    p.expands = !settings->compute_fp8 || p.dtype != AVATAR_F8_E4M3
        || entry->storage == AVATAR_WEIGHT_CLASS_STORED_8BIT;
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

static gint
compare_names (gconstpointer a, gconstpointer b, gpointer list)
{
  return strcmp (avatar_weight_list_nth (list, *(const guint *) a)->name,
      avatar_weight_list_nth (list, *(const guint *) b)->name);
}

/* Positions in @list by name: files that are made of a plan depend on this order. */
static GArray *
sorted_entries (const AvatarWeightList *list)
{
  GArray *order = g_array_new (FALSE, FALSE, sizeof (guint));

  for (guint i = 0; i < list->entries->len; i++)
    g_array_append_val (order, i);
  g_array_sort_with_data (order, compare_names, (gpointer) list);
  return order;
}

GArray *
avatar_pack_plan (GHashTable *tensors, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarDType activation)
{
  g_autoptr (GArray) order = sorted_entries (list);
  GArray *all = g_array_sized_new (FALSE, TRUE, sizeof (AvatarWeightGroup), list->n_groups + 1);

  g_array_set_clear_func (all, unit_clear);
  g_array_set_size (all, list->n_groups + 1);
  for (guint i = 0; i <= list->n_groups; i++) {
    AvatarWeightGroup *unit = &g_array_index (all, AvatarWeightGroup, i);

    unit->tensors = g_array_new (FALSE, FALSE, sizeof (AvatarPackedTensor));
    g_array_set_clear_func (unit->tensors, packed_clear);
  }
  for (guint i = 0; i < order->len; i++) {
    guint at = g_array_index (order, guint, i);
    guint group = MIN (avatar_weight_list_nth (list, at)->group, list->n_groups);

    add_tensor (&g_array_index (all, AvatarWeightGroup, group), tensors, list, at, settings,
        activation);
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

/* Reads the scale factors of rows @start .. @end; 1 for a tensor without any. */
static gboolean
read_factors (const AvatarPackedTensor *p, gint64 start, gint64 end, float *factors, GError **error)
{
  const AvatarTensorSource *scale = &p->source_scale;

  if (avatar_tensor_source_n (scale) > 1)
    return avatar_tensor_source_read (scale, start, end - start, factors, error);
  factors[0] = 1;
  if (avatar_tensor_source_is_set (scale)
      && !avatar_tensor_source_read (scale, 0, 1, factors, error))
    return FALSE;
  for (gint64 i = 1; i < end - start; i++)
    factors[i] = factors[0];
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

/* Refuses values that would become 8-bit numbers that look sound. */
static gboolean
check_finite (const AvatarPackedTensor *p, const float *values, gsize n, GError **error)
{
  if (avatar_is_finite (values, n))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: tensor \"%s\" has NaN or infinite values, which cannot be rounded to 8 bits; the file "
      "is corrupt: fetch or convert it again",
      p->source.file ? p->source.file : "weights", p->name);
  return FALSE;
}

/* Rows @start .. @end of an 8-bit tensor. */
static gboolean
pack_8bit (const AvatarPackedTensor *p, guint8 *image, gint64 start, gint64 end, GError **error)
{
  gsize n = avatar_tensor_source_n (&p->source) / p->source.shape[0];
  float *scale = (float *) (image + p->scale_offset);
  g_autofree float *values = NULL, *delta = NULL;

  if (p->source.dtype == p->dtype) /* LoRAs are kept in two factors in this case */
    return read_factors (p, start, end, scale + start, error)
        && avatar_tensor_source_read_stored (&p->source, start * n, (end - start) * n,
            image + p->offset + start * n, error);
  values = g_new (float, n);
  delta = delta_of (p, start, end, n);
  for (gint64 r = start; r < end; r++) {
    if (!avatar_tensor_source_read (&p->source, r * n, n, values, error))
      return FALSE;
    add_row (values, delta ? delta + (r - start) * n : NULL, n);
    if (!check_finite (p, values, n, error))
      return FALSE;
    quantise_row (image + p->offset + r * n, &scale[r], p->dtype, values, n);
  }
  return TRUE;
}

/* Rows @start .. @end of another tensor. */
static gboolean
pack_rows (const AvatarPackedTensor *p, guint8 *image, gint64 start, gint64 end, GError **error)
{
  gint64 rows = p->source.rank ? p->source.shape[0] : 1;
  gsize n = avatar_tensor_source_n (&p->source) / MAX (rows, 1);
  gsize size = avatar_dtype_size (p->dtype);
  guint8 *dst = image + p->offset + start * n * size;
  g_autofree float *values = NULL, *factors = NULL, *delta = delta_of (p, start, end, n);

  if (p->source.dtype == p->dtype && size > 1 && !delta)
    return avatar_tensor_source_read_stored (&p->source, start * n, (end - start) * n, dst, error);
  values = g_new (float, n);
  factors = g_new (float, end - start);
  if (!read_factors (p, start, end, factors, error))
    return FALSE;
  for (gint64 r = start; r < end; r++, dst += n * size) {
    float factor = factors[r - start];

    if (!avatar_tensor_source_read (&p->source, r * n, n, values, error))
      return FALSE;
    for (gsize i = 0; factor != 1 && i < n; i++)
      values[i] *= factor;
    add_row (values, delta ? delta + (r - start) * n : NULL, n);
    avatar_dtype_from_f32 (dst, p->dtype, values, n);
  }
  return TRUE;
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

static gboolean
pack_piece (const Piece *piece, guint8 *image, GError **error)
{
  const AvatarPackedTensor *p = piece->tensor;

  if (p->rank)
    pack_factors (p, image, piece->start, piece->end);
  return avatar_dtype_size (p->dtype) == 1 ? pack_8bit (p, image, piece->start, piece->end, error)
                                           : pack_rows (p, image, piece->start, piece->end, error);
}

/* Divides all tensors of @unit into pieces of about PIECE values. */
static GArray *
list_pieces (const AvatarWeightGroup *unit)
{
  GArray *pieces = g_array_new (FALSE, FALSE, sizeof (Piece));

  for (guint i = 0; i < unit->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (unit->tensors, AvatarPackedTensor, i);
    gint64 rows = p->source.shape[0], n = avatar_tensor_source_n (&p->source) / MAX (rows, 1);
    gint64 step = MAX (1, (gint64) PIECE / MAX (n, 1));

    for (gint64 r = 0; r < rows; r += step) {
      Piece piece = { p, r, MIN (r + step, rows) };

      g_array_append_val (pieces, piece);
    }
  }
  return pieces;
}

gboolean
avatar_pack_group (const AvatarWeightGroup *unit, guint8 *image, const gint *cancelled,
    GError **error)
{
  g_autoptr (GArray) pieces = list_pieces (unit);
  GError *failure = NULL;

#pragma omp parallel for schedule(dynamic)
  for (guint i = 0; i < pieces->len; i++) {
    g_autoptr (GError) problem = NULL;

    if (cancelled && g_atomic_int_get (cancelled))
      continue;
    if (!pack_piece (&g_array_index (pieces, Piece, i), image, &problem))
#pragma omp critical
    {
      g_clear_error (&failure);
      failure = g_steal_pointer (&problem);
    }
  }
  if (cancelled && g_atomic_int_get (cancelled)) {
    g_clear_error (&failure);
    g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
    return FALSE;
  }
  if (!failure)
    return TRUE;
  g_propagate_error (error, failure);
  return FALSE;
}
