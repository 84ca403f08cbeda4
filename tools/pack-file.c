/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Values are converted by the code that packs them for a device (engine/weights/pack.c), so that
 * 8-bit values are identical to those of quantisation at load. */
#include "tools/pack-file.h"

#include "engine/denoise/transformer.h"
#include "engine/model/manifest.h"
#include "engine/formats/tensor-writer.h"

#include <string.h>

/* Alignment of large tensors, and their minimum size. Others are aligned to cache lines. */
#define PAGE 4096
#define LINE 64
/* Number of bytes that are converted at a time if rows are independent. */
#define PIECE ((gsize) 64 << 20)

/* ------------------------------------------------------------------------- order of the tensors */

static gboolean
is_8bit (AvatarDType dtype)
{
  return avatar_dtype_size (dtype) == 1;
}

static void
packed_clear (gpointer data)
{
  g_free (((AvatarPackedTensor *) data)->name);
}

/* Chooses the stored dtype of @p, whose dtype is that of the device. */
static gboolean
choose_dtype (AvatarPackedTensor *p, GError **error)
{
  if (is_8bit (p->source.dtype)) {
    if (p->loras) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "a LoRA adds to \"%s\", which is 8-bit in its file, and merging would round it once more; "
          "pack a 16-bit transformer, or give the LoRA when the packed one is used",
          p->name);
      return FALSE;
    }
    p->dtype = p->source.dtype;
  } else if (!is_8bit (p->dtype)) {
    /* With LoRAs, the sum is rounded once: to the dtype of the GPU, or later. */
    gboolean same = p->dtype == p->source.dtype || !p->loras;

    p->dtype = same ? p->source.dtype : AVATAR_F32;
  }
  return TRUE;
}

static void
add_group (GArray *list, const AvatarWeightGroup *group)
{
  for (guint i = 0; i < group->tensors->len; i++) {
    AvatarPackedTensor p = g_array_index (group->tensors, AvatarPackedTensor, i);

    p.name = g_strdup (p.name);
    g_array_append_val (list, p);
  }
}

/* Lists the tensors of the precomputation, the fixed ones and those of each forward. */
static void
list_transformer (Pack *pack, GHashTable *tensors, GArray *list)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (pack->model)->transformer;
  g_autoptr (AvatarTransformerWeights) weights = avatar_transformer_weights_new (c);
  const AvatarWeightSettings settings
      = { .quantise = pack->quantise, .loras = pack->loras, .pinned_bytes = G_MAXUINT64 };
  g_autoptr (GArray) all = avatar_pack_plan (tensors, weights->list, &settings, AVATAR_BF16);
  g_autofree AvatarWeightSchedule *precompute
      = avatar_transformer_weight_schedule (c, AVATAR_PASS_PRECOMPUTE);
  g_autofree AvatarWeightSchedule *forward
      = avatar_transformer_weight_schedule (c, AVATAR_PASS_FORWARD);

  for (guint i = 0; i < precompute->n; i++)
    add_group (list, avatar_weight_group_nth (all, precompute->groups[i]));
  add_group (list, avatar_weight_group_nth (all, weights->list->n_groups)); /* the fixed tensors */
  for (guint i = 0; i < forward->n_on_demand; i++)
    add_group (list, avatar_weight_group_nth (all, forward->on_demand[i]));
  for (guint i = 0; i < forward->n; i++)
    add_group (list, avatar_weight_group_nth (all, forward->groups[i]));
}

/* Lists the tensors unchanged, in the order of the manifest. Only CLIP's text tower is stored. */
static void
list_component (Pack *pack, AvatarComponentKind component, GHashTable *tensors, GArray *list)
{
  g_autoptr (GArray) manifest
      = avatar_manifest_new (avatar_model_get_config (pack->model), component);

  for (guint i = 0; i < manifest->len; i++) {
    const char *name = g_array_index (manifest, AvatarManifestEntry, i).name;
    const AvatarTensorSource *t = g_hash_table_lookup (tensors, name);
    g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
    const AvatarTensorSource *scale = g_hash_table_lookup (tensors, scale_name);
    AvatarPackedTensor p = { 0 };

    if (!t)
      continue; /* optional tensors */
    p.name = g_strconcat (component == AVATAR_COMPONENT_CLIP ? "text_model." : "", name, NULL);
    p.source = *t;
    p.dtype = t->dtype;
    if (scale)
      p.source_scale = *scale;
    g_array_append_val (list, p);
  }
}

static gsize
stored_bytes (const AvatarPackedTensor *p)
{
  return avatar_tensor_source_n (&p->source) * avatar_dtype_size (p->dtype)
      + (is_8bit (p->dtype) ? p->source.shape[0] * sizeof (float) : 0);
}

GArray *
pack_list (Pack *pack, AvatarComponentKind component, GError **error)
{
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarPackedTensor));
  GHashTable *tensors = avatar_model_get_component (pack->model, component, NULL);

  g_array_set_clear_func (list, packed_clear);
  if (component == AVATAR_COMPONENT_TRANSFORMER)
    list_transformer (pack, tensors, list);
  else
    list_component (pack, component, tensors, list);
  for (guint i = 0; i < list->len; i++) {
    AvatarPackedTensor *p = &g_array_index (list, AvatarPackedTensor, i);

    if (!choose_dtype (p, error))
      return NULL;
    pack->total += stored_bytes (p);
  }
  return g_steal_pointer (&list);
}

/* --------------------------------------------------------------------------------------- header */

typedef struct
{
  GString *text;
  guint64 at; /* end of the data so far */
  guint n_paddings;
} Table;

static void
add_entry (Table *table, const char *name, const char *dtype, guint rank, const gint64 *shape,
    guint64 bytes)
{
  g_string_append_printf (table->text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
      table->text->len > 1 ? "," : "", name, dtype);
  for (guint i = 0; i < rank; i++)
    g_string_append_printf (table->text, "%s%" G_GINT64_FORMAT, i ? "," : "", shape[i]);
  g_string_append_printf (table->text,
      "],\"data_offsets\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}", table->at,
      table->at + bytes);
  table->at += bytes;
}

/* Adds a padding tensor, because the format does not allow gaps between tensors. */
static void
align (Table *table, guint64 to)
{
  g_autofree char *name = g_strdup_printf (AVATAR_COMPONENT_PADDING "%u", table->n_paddings);
  gint64 n = (to - table->at % to) % to;

  if (n == 0)
    return;
  add_entry (table, name, "U8", 1, &n, n);
  table->n_paddings++;
}

/* Returns the offset of the next tensor. */
static guint64
add_tensor (Table *table, const char *name, AvatarDType dtype, const AvatarTensorSource *t)
{
  static const char *const names[] = { "F32", "F16", "BF16", "F8_E4M3", "I64", "I32", "I8", "U8" };
  gsize bytes = avatar_tensor_source_n (t) * avatar_dtype_size (dtype);
  guint64 begin;

  align (table, bytes >= PAGE ? PAGE : LINE);
  begin = table->at;
  add_entry (table, name, names[dtype], t->rank, t->shape, bytes);
  return begin;
}

/* Builds the header. The data begin on a page.
 * @offsets: [2 n], offsets of each tensor and of its factors in the file */
static GString *
make_table (GArray *list, const char *metadata, guint64 *offsets, guint64 *bytes)
{
  Table table = { .text = g_string_new ("{") };

  for (guint i = 0; i < list->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (list, AvatarPackedTensor, i);
    AvatarTensorSource scale = avatar_tensor_source_of_shape (AVATAR_F32, 1, p->source.shape);
    g_autofree char *name = g_strconcat (p->name, "_scale", NULL);

    offsets[2 * i] = add_tensor (&table, p->name, p->dtype, &p->source);
    if (is_8bit (p->dtype))
      offsets[2 * i + 1] = add_tensor (&table, name, AVATAR_F32, &scale);
  }
  g_string_append_printf (table.text, ",\"__metadata__\":%s}", metadata);
  while ((8 + table.text->len) % PAGE)
    g_string_append_c (table.text, ' ');
  for (guint i = 0; i < 2 * list->len; i++)
    offsets[i] += 8 + table.text->len;
  *bytes = 8 + table.text->len + table.at;
  return table.text;
}

/* --------------------------------------------------------------------------------------- values */

/* Returns rows @start .. @end of @p as a tensor. With a LoRA, these must be all of its rows. */
static AvatarPackedTensor
rows_of (const AvatarPackedTensor *p, gint64 start, gint64 end)
{
  AvatarPackedTensor slice = *p;

  slice.offset = 0;
  slice.expands = FALSE;
  slice.rank = 0;
  slice.source = avatar_tensor_source_rows (&p->source, start, end - start);
  if (avatar_tensor_source_n (&p->source_scale) > 1)
    slice.source_scale = avatar_tensor_source_rows (&p->source_scale, start, end - start);
  return slice;
}

static gboolean
write_rows (Pack *pack, AvatarOutput *out, const AvatarPackedTensor *p, gint64 start, gint64 end,
    const guint64 *offsets, GError **error)
{
  AvatarPackedTensor slice = rows_of (p, start, end);
  gsize row
      = avatar_tensor_source_n (&p->source) / p->source.shape[0] * avatar_dtype_size (p->dtype);
  gsize bytes = (end - start) * row,
        scales = is_8bit (p->dtype) ? (end - start) * sizeof (float) : 0;
  g_autoptr (GArray) tensors = g_array_new (FALSE, FALSE, sizeof (AvatarPackedTensor));
  AvatarWeightGroup group = { .tensors = tensors };
  g_autofree guint8 *packed = NULL;

  slice.scale_offset = (bytes + LINE - 1) / LINE * LINE;
  g_array_append_val (tensors, slice);
  packed = g_try_malloc (slice.scale_offset + scales);
  if (!packed) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "not enough memory for %" G_GSIZE_FORMAT " MiB of \"%s\"; close other programs",
        (slice.scale_offset + scales) >> 20, p->name);
    return FALSE;
  }
  return avatar_pack_group (&group, packed, pack->cancelled, error)
      && avatar_output_put (out, offsets[0] + start * row, packed, bytes, error)
      && (scales == 0
          || avatar_output_put (out, offsets[1] + start * sizeof (float),
              packed + slice.scale_offset, scales, error));
}

static gboolean
write_tensor (Pack *pack, AvatarOutput *out, const AvatarPackedTensor *p, const guint64 *offsets,
    GError **error)
{
  gint64 rows = p->source.shape[0], step = rows;
  gsize row = stored_bytes (p) / MAX (rows, 1);

  if (!p->loras) /* a LoRA counts rows from the first */
    step = CLAMP ((gint64) (PIECE / MAX (row, 1)), 1, rows);
  for (gint64 r = 0; r < rows; r += step)
    if (!write_rows (pack, out, p, r, MIN (r + step, rows), offsets, error))
      return FALSE;
  return TRUE;
}

static gboolean
write_all (Pack *pack, AvatarComponentKind component, AvatarOutput *out, GArray *list,
    GError **error)
{
  g_autofree guint64 *offsets = g_new0 (guint64, 2 * list->len + 1);
  guint64 bytes, length;
  g_autoptr (GString) table = make_table (list, pack->metadata, offsets, &bytes);

  length = GUINT64_TO_LE (table->len);
  if (!avatar_output_reserve (out, bytes, error) || !avatar_output_put (out, 0, &length, 8, error)
      || !avatar_output_put (out, 8, table->str, table->len, error)
      /* Bytes that are not written read as zeros. */
      || !avatar_output_put (out, bytes - 1, "", 1, error))
    return FALSE;
  for (guint i = 0; i < list->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (list, AvatarPackedTensor, i);

    if (!write_tensor (pack, out, p, offsets + 2 * i, error))
      return FALSE;
    pack->done += stored_bytes (p);
    pack->progress (avatar_component_name (component), pack->done, pack->data);
  }
  return TRUE;
}

gboolean
pack_write (Pack *pack, AvatarComponentKind component, GArray *list, const char *path,
    GError **error)
{
  AvatarOutput out = { .sync = TRUE };
  gboolean done;

  if (!avatar_output_open (&out, path, error))
    return FALSE;
  done = write_all (pack, component, &out, list, error);
  return avatar_output_close (&out, done ? AVATAR_OUTPUT_KEEP : AVATAR_OUTPUT_DISCARD, error);
}
