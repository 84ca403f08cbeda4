/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing of weights: conversion and quantisation, in pieces of some rows on all cores. */
#include "engine/weights/pack.h"

#include "engine/model/lora.h"

#include <math.h>
#include <string.h>

#define ALIGN 256
/* Number of values in a piece, the work of one thread at a time. */
#define PIECE ((gsize) 1 << 19)
/* Minimum rows and columns of a matrix that is quantised. */
#define MIN_QUANTISED 64

static gsize
aligned (gsize bytes)
{
  return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Returns TRUE for a matrix that is large enough to be quantised, with sides that are multiples of
 * 16, as the 8-bit kernels require (docs/dev/spec/denoise.md 1.3). */
static gboolean
fits_8bit (const AvatarTensorSource *t)
{
  return t->rank == 2 && t->shape[0] >= MIN_QUANTISED && t->shape[1] >= MIN_QUANTISED
      && t->shape[0] % 16 == 0 && t->shape[1] % 16 == 0;
}

static AvatarDType
packed_dtype (AvatarWeightClass storage, const AvatarTensorSource *t,
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

/* Returns TRUE if LoRAs are stored as two factors after the tensor instead of being added to it.
 * The values of an 8-bit file are not changed, because quantising the sum would round them a
 * second time. */
static gboolean
keeps_lora_factors (const AvatarPackedTensor *p)
{
  return p->loras && avatar_dtype_size (p->source.dtype) == 1 && avatar_dtype_size (p->dtype) == 1;
}

/* Reserves space for the factors of the LoRAs of @p. */
static void
add_factors (AvatarWeightGroup *group, AvatarPackedTensor *p)
{
  gsize row;

  p->rank = avatar_lora_rank (p->loras, p->name);
  row = p->rank * avatar_dtype_size (p->expanded);
  p->up_offset = group->bytes;
  group->bytes += aligned (p->source.shape[0] * row);
  p->down_offset = group->bytes;
  group->bytes += aligned (p->source.shape[1] * row);
}

/* Reserves space for an expanded copy of @p. */
static void
add_expanded (AvatarWeightGroup *group, AvatarPackedTensor *p)
{
  p->expands = TRUE;
  p->expand_offset = group->scratch_bytes;
  group->scratch_bytes
      += aligned (avatar_tensor_source_n (&p->source) * avatar_dtype_size (p->expanded));
}

static void
packed_lora_clear (gpointer data)
{
  g_ptr_array_unref (((AvatarPackedLora *) data)->lora);
}

/* Reserves space for @lora, the @index-th one whose multiplier changes. */
static void
add_scheduled (AvatarWeightGroup *group, AvatarPackedTensor *p, AvatarLora *lora, guint index)
{
  gsize size = avatar_dtype_size (p->expanded);
  AvatarPackedLora s = { .index = index, .lora = g_ptr_array_new () };

  g_ptr_array_add (s.lora, lora);
  s.rank = avatar_lora_rank (s.lora, p->name);
  s.has_diff = avatar_lora_has_diff (lora, p->name);
  s.up_offset = group->bytes;
  group->bytes += aligned (s.rank * p->source.shape[0] * size);
  s.down_offset = group->bytes;
  group->bytes += s.rank ? aligned (s.rank * p->source.shape[1] * size) : 0;
  s.diff_offset = group->bytes;
  group->bytes += s.has_diff ? aligned (avatar_tensor_source_n (&p->source) * size) : 0;
  if (!p->scheduled) {
    p->scheduled = g_array_new (FALSE, FALSE, sizeof (AvatarPackedLora));
    g_array_set_clear_func (p->scheduled, packed_lora_clear);
  }
  g_array_append_val (p->scheduled, s);
}

/* Reserves space for the LoRAs of @loras (nullable) that add to @p. Does not expand values that are
 * computed with in 8 bits, which avatar_pack_check() refuses. */
static void
add_all_scheduled (AvatarWeightGroup *group, AvatarPackedTensor *p, GPtrArray *loras)
{
  if (!avatar_lora_touches (loras, p->name))
    return;
  if (avatar_dtype_size (p->dtype) > 1) {
    p->expanded = p->dtype;
    add_expanded (group, p);
  }
  for (guint i = 0; i < loras->len; i++)
    if (avatar_lora_get (loras->pdata[i], p->name))
      add_scheduled (group, p, loras->pdata[i], i);
}

static void
add_tensor (AvatarWeightGroup *group, GHashTable *tensors, const AvatarWeightList *list,
    guint index, const AvatarWeightSettings *settings, AvatarDType activation)
{
  const AvatarWeightEntry *entry = avatar_weight_list_nth (list, index);
  const AvatarTensorSource *t = g_hash_table_lookup (tensors, entry->name);
  AvatarPackedTensor p = { .name = g_strdup (entry->name),
    .entry = index,
    .source = *t,
    .loras = avatar_lora_touches (settings->loras, entry->name) ? settings->loras : NULL,
    .dtype = packed_dtype (entry->storage, t, settings, activation),
    .expanded = activation };
  g_autofree char *scale_name = g_strconcat (entry->name, "_scale", NULL);
  const AvatarTensorSource *scale = g_hash_table_lookup (tensors, scale_name);
  gsize n = avatar_tensor_source_n (t);

  if (scale)
    p.source_scale = *scale;
  p.offset = group->bytes;
  group->bytes += aligned (n * avatar_dtype_size (p.dtype));
  if (avatar_dtype_size (p.dtype) == 1) {
    p.scale_offset = group->bytes;
    group->bytes += aligned (t->shape[0] * sizeof (float));
    if (!settings->compute_fp8 || p.dtype != AVATAR_F8_E4M3
        || entry->storage == AVATAR_WEIGHT_CLASS_STORED_8BIT)
      add_expanded (group, &p);
  }
  if (keeps_lora_factors (&p))
    add_factors (group, &p);
  add_all_scheduled (group, &p, settings->scheduled_loras);
  g_array_append_val (group->tensors, p);
}

static void
packed_clear (gpointer data)
{
  g_free (((AvatarPackedTensor *) data)->name);
  g_clear_pointer (&((AvatarPackedTensor *) data)->scheduled, g_array_unref);
}

static void
group_clear (gpointer data)
{
  g_array_unref (((AvatarWeightGroup *) data)->tensors);
}

static gint
compare_names (gconstpointer a, gconstpointer b, gpointer list)
{
  return strcmp (avatar_weight_list_nth (list, *(const guint *) a)->name,
      avatar_weight_list_nth (list, *(const guint *) b)->name);
}

/* Returns the indices in @list, sorted by name. The order of tensors in packed files depends on
 * it. */
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

  g_array_set_clear_func (all, group_clear);
  g_array_set_size (all, list->n_groups + 1);
  for (guint i = 0; i <= list->n_groups; i++) {
    AvatarWeightGroup *group = avatar_weight_group_nth (all, i);

    group->tensors = g_array_new (FALSE, FALSE, sizeof (AvatarPackedTensor));
    g_array_set_clear_func (group->tensors, packed_clear);
  }
  for (guint i = 0; i < order->len; i++) {
    guint index = g_array_index (order, guint, i);
    guint group = MIN (avatar_weight_list_nth (list, index)->group, list->n_groups);

    add_tensor (avatar_weight_group_nth (all, group), tensors, list, index, settings, activation);
  }
  return all;
}

/* Refuses a tensor to whose values nothing can be added from step to step. @is_fixed: it is in the
 * group of the fixed tensors, which have no copies */
static gboolean
check_scheduled (const AvatarPackedTensor *p, gboolean is_fixed, GError **error)
{
  if (!p->scheduled || (p->expands && !is_fixed))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "a LoRA whose strength depends on the step adds to \"%s\", which %s; give it one strength%s",
      p->name, is_fixed ? "a GPU stores once" : "is computed with in 8 bits",
      is_fixed ? "" : ", or choose precision=auto");
  return FALSE;
}

gboolean
avatar_pack_check (GArray *groups, GError **error)
{
  for (guint i = 0; i < groups->len; i++) {
    GArray *tensors = avatar_weight_group_nth (groups, i)->tensors;

    for (guint j = 0; j < tensors->len; j++) {
      const AvatarPackedTensor *p = &g_array_index (tensors, AvatarPackedTensor, j);

      if (!check_scheduled (p, i + 1 == groups->len, error))
        return FALSE;
      if (keeps_lora_factors (p)
          && !avatar_lora_check_8bit (p->loras, p->name, p->dtype,
              p->expands ? AVATAR_LORA_8BIT_EXPANDED : AVATAR_LORA_8BIT_COMPUTED, error))
        return FALSE;
    }
  }
  return TRUE;
}

/* Reads the scale factors of rows @start .. @end into @factors [end - start]. They are 1 for a
 * tensor without scale factors. */
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
  float max = 0, limit = dtype == AVATAR_I8 ? 127 : 448, factor;

  for (gsize i = 0; i < n; i++)
    max = MAX (max, fabsf (values[i]));
  *scale = max > 0 ? max / limit : 1;
  factor = 1 / *scale;
  for (gsize i = 0; i < n; i++) {
    float v = values[i] * factor;

    if (dtype == AVATAR_I8)
      ((gint8 *) dst)[i] = (gint8) CLAMP (nearbyintf (v), -127, 127);
    else
      avatar_dtype_from_f32 (dst + i, dtype, &v, 1);
  }
}

/* Returns the sum of the LoRAs for rows @start .. @end, [end - start, n], or NULL. */
static float *
lora_delta (const AvatarPackedTensor *p, gint64 start, gint64 end, gsize n)
{
  return p->loras ? avatar_lora_sum (p->loras, NULL, p->name, start, end, n) : NULL;
}

static void
add_row (float *values, const float *delta, gsize n)
{
  for (gsize i = 0; delta && i < n; i++)
    values[i] += delta[i];
}

/* Refuses NaN and infinite values, which quantisation would turn into valid 8-bit numbers. */
static gboolean
check_finite (const AvatarPackedTensor *p, const float *values, gsize n, GError **error)
{
  if (avatar_is_finite (values, n))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: tensor \"%s\" has NaN or infinite values, which cannot be quantised to 8 bits; the file "
      "is corrupt: download or convert it again",
      p->source.file ? p->source.file : "weights", p->name);
  return FALSE;
}

/* Packs rows @start .. @end of a tensor that is packed in 8 bits. */
static gboolean
pack_8bit (const AvatarPackedTensor *p, guint8 *packed, gint64 start, gint64 end, GError **error)
{
  gsize n = avatar_tensor_source_n (&p->source) / p->source.shape[0];
  float *scale = (float *) (packed + p->scale_offset);
  g_autofree float *values = NULL, *delta = NULL;

  if (p->source.dtype == p->dtype) /* LoRAs are stored as factors in this case */
    return read_factors (p, start, end, scale + start, error)
        && avatar_tensor_source_read_stored (&p->source, start * n, (end - start) * n,
            packed + p->offset + start * n, error);
  values = g_new (float, n);
  delta = lora_delta (p, start, end, n);
  for (gint64 r = start; r < end; r++) {
    if (!avatar_tensor_source_read (&p->source, r * n, n, values, error))
      return FALSE;
    add_row (values, delta ? delta + (r - start) * n : NULL, n);
    if (!check_finite (p, values, n, error))
      return FALSE;
    quantise_row (packed + p->offset + r * n, &scale[r], p->dtype, values, n);
  }
  return TRUE;
}

/* Packs rows @start .. @end of a tensor that is packed in 16 or 32 bits. */
static gboolean
pack_rows (const AvatarPackedTensor *p, guint8 *packed, gint64 start, gint64 end, GError **error)
{
  gint64 rows = p->source.rank ? p->source.shape[0] : 1;
  gsize n = avatar_tensor_source_n (&p->source) / MAX (rows, 1);
  gsize size = avatar_dtype_size (p->dtype);
  guint8 *dst = packed + p->offset + start * n * size;
  g_autofree float *values = NULL, *factors = NULL, *delta = lora_delta (p, start, end, n);

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

/* Packs rows @start .. @end of the left factor of @loras, of total rank @rank, and the whole
 * right factor if @start is 0. */
static void
pack_factors (const AvatarPackedTensor *p, GPtrArray *loras, gint64 rank, guint8 *packed_up,
    guint8 *packed_down, gint64 start, gint64 end)
{
  gint64 n_up = (end - start) * rank, n_down = p->source.shape[1] * rank;
  gsize size = avatar_dtype_size (p->expanded);
  g_autofree float *up = g_new0 (float, n_up);
  g_autofree float *down = start == 0 ? g_new0 (float, n_down) : NULL;

  avatar_lora_fill (loras, p->name, start, end, up, down);
  avatar_dtype_from_f32 (packed_up + start * rank * size, p->expanded, up, n_up);
  if (down)
    avatar_dtype_from_f32 (packed_down, p->expanded, down, n_down);
}

/* Packs rows @start .. @end of what LoRAs add whose multipliers change. */
static void
pack_scheduled (const AvatarPackedTensor *p, guint8 *packed, gint64 start, gint64 end)
{
  gsize n = avatar_tensor_source_n (&p->source) / p->source.shape[0];

  for (guint i = 0; i < p->scheduled->len; i++) {
    const AvatarPackedLora *s = &g_array_index (p->scheduled, AvatarPackedLora, i);
    g_autofree float *diff = avatar_lora_sum_diffs (s->lora->pdata[0], p->name, start, end, n);

    if (s->rank)
      pack_factors (p, s->lora, s->rank, packed + s->up_offset, packed + s->down_offset, start,
          end);
    if (diff)
      avatar_dtype_from_f32 (packed + s->diff_offset + start * n * avatar_dtype_size (p->expanded),
          p->expanded, diff, (end - start) * n);
  }
}

/* Rows @start .. @end of one tensor. */
typedef struct
{
  const AvatarPackedTensor *tensor;
  gint64 start, end;
} Piece;

static gboolean
pack_piece (const Piece *piece, guint8 *packed, GError **error)
{
  const AvatarPackedTensor *p = piece->tensor;

  if (p->rank)
    pack_factors (p, p->loras, p->rank, packed + p->up_offset, packed + p->down_offset,
        piece->start, piece->end);
  if (p->scheduled)
    pack_scheduled (p, packed, piece->start, piece->end);
  return avatar_dtype_size (p->dtype) == 1 ? pack_8bit (p, packed, piece->start, piece->end, error)
                                           : pack_rows (p, packed, piece->start, piece->end, error);
}

/* Divides all tensors of @group into pieces of about PIECE values. */
static GArray *
list_pieces (const AvatarWeightGroup *group)
{
  GArray *pieces = g_array_new (FALSE, FALSE, sizeof (Piece));

  for (guint i = 0; i < group->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (group->tensors, AvatarPackedTensor, i);
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
avatar_pack_group (const AvatarWeightGroup *group, guint8 *packed, const gint *cancelled,
    GError **error)
{
  g_autoptr (GArray) pieces = list_pieces (group);
  GError *failure = NULL;

#pragma omp parallel for schedule(dynamic)
  for (guint i = 0; i < pieces->len; i++) {
    g_autoptr (GError) problem = NULL;

    if (cancelled && g_atomic_int_get (cancelled))
      continue;
    if (!pack_piece (&g_array_index (pieces, Piece, i), packed, &problem))
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
