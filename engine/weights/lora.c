/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading LoRAs, and adding them up. A and B stay as they are in the mapped file: converting them
 * costs little beside their product. */
#define G_LOG_DOMAIN "avatar"
#include "engine/weights/lora.h"

#include "engine/weights/lora-names.h"
#include "engine/weights/mapped.h"

#include <math.h>
#include <string.h>

/* Without a limit a file of a few bytes could ask for any amount of work. */
#define MAX_RANK 4096
/* Ranks of what is kept in two factors are rounded up to this, with zeros: tensor cores want it. */
#define RANK_STEP 16

struct _AvatarLora
{
  AvatarWeightFile *file;
  double strength;
  GHashTable *deltas; /* tensor -> GArray of AvatarLoraDelta */
  guint n_unknown;
};

/* What a file says under one name. */
typedef struct
{
  char *name;
  GArray *targets;
  AvatarTensor found[AVATAR_LORA_REFUSED];
} Group;

static void
group_clear (gpointer data)
{
  g_free (((Group *) data)->name);
}

static gboolean
fail (AvatarLora *self, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail (AvatarLora *self, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH, "%s: %s",
      avatar_weight_file_get_name (self->file), text);
  return FALSE;
}

/* Sorts keys by name, in the order of the file. */
static gboolean
collect (AvatarLora *self, GHashTable *names, GArray *groups, GError **error)
{
  g_autoptr (GHashTable) index = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < avatar_weight_file_n (self->file); i++) {
    AvatarTensor t;
    const char *key = avatar_weight_file_nth (self->file, i, &t);
    g_autofree char *name = NULL;
    AvatarLoraRole role = avatar_lora_parse_key (key, &name);
    GArray *targets = name ? g_hash_table_lookup (names, name) : NULL;
    guint at = targets ? GPOINTER_TO_UINT (g_hash_table_lookup (index, name)) : 0;

    if (role == AVATAR_LORA_REFUSED)
      return fail (self, error,
          "key \"%s\" is of a kind of adapter that is not known; expected a LoRA", key);
    if (!targets) {
      self->n_unknown++;
      g_debug ("%s: key \"%s\" belongs to no weight of the transformer",
          avatar_weight_file_get_name (self->file), key);
      continue;
    }
    if (at == 0) {
      Group group = { .name = g_steal_pointer (&name), .targets = targets };

      g_array_append_val (groups, group);
      at = groups->len;
      g_hash_table_insert (index, group.name, GUINT_TO_POINTER (at));
    }
    if (avatar_tensor_given (g_array_index (groups, Group, at - 1).found[role]))
      return fail (self, error, "key \"%s\" is there twice, under different prefixes; keep one",
          key);
    g_array_index (groups, Group, at - 1).found[role] = t;
  }
  return TRUE;
}

static gboolean
is_float_matrix (const AvatarTensor *t, guint rank)
{
  return t->rank == rank && t->dtype <= AVATAR_BF16;
}

static void
add_deltas (AvatarLora *self, const Group *g, const char *suffix, AvatarTensor a, AvatarTensor b,
    double factor)
{
  for (guint i = 0; i < g->targets->len; i++) {
    const AvatarLoraTarget *target = &g_array_index (g->targets, AvatarLoraTarget, i);
    char *tensor = g_strconcat (target->module, suffix, NULL);
    GArray *list = g_hash_table_lookup (self->deltas, tensor);
    AvatarLoraDelta delta = { a, b, target->row, target->n_rows, target->source_row, factor };

    if (!list) {
      list = g_array_new (FALSE, FALSE, sizeof (AvatarLoraDelta));
      g_hash_table_insert (self->deltas, g_strdup (tensor), list);
    }
    g_array_append_val (list, delta);
    g_free (tensor);
  }
}

/* alpha / rank; without an alpha 1. */
static gboolean
get_factor (AvatarLora *self, const Group *g, gint64 rank, double *factor, GError **error)
{
  const AvatarTensor *t = &g->found[AVATAR_LORA_ALPHA];
  float alpha = rank;
  gint64 whole;

  if (avatar_tensor_given (*t)) {
    gboolean there = avatar_tensor_n (*t) == 1
        && avatar_mapped_read (&whole, t->data, avatar_dtype_size (t->dtype));

    if (there && t->dtype <= AVATAR_BF16)
      avatar_dtype_to_f32 (&alpha, &whole, t->dtype, 1);
    else if (there && t->dtype == AVATAR_I64)
      alpha = GINT64_FROM_LE (whole);
    else
      alpha = NAN;
  }
  *factor = self->strength * alpha / rank;
  return isfinite (alpha) || fail (self, error, "the alpha of \"%s\" is not a number", g->name);
}

static gboolean
read_factors (AvatarLora *self, const Group *g, gint64 rows, gint64 cols, GError **error)
{
  AvatarTensor a = g->found[AVATAR_LORA_DOWN], b = g->found[AVATAR_LORA_UP];
  double factor;

  if (!avatar_tensor_given (a) && !avatar_tensor_given (b))
    return TRUE;
  if (!avatar_tensor_given (a) || !avatar_tensor_given (b))
    return fail (self, error, "\"%s\" has only one of its two matrices; fetch the file again",
        g->name);
  if (!is_float_matrix (&a, 2) || !is_float_matrix (&b, 2) || a.shape[1] != cols
      || b.shape[0] != rows || a.shape[0] != b.shape[1] || a.shape[0] < 1
      || a.shape[0] > MAX_RANK) {
    g_autofree char *a_text = avatar_tensor_describe (a), *b_text = avatar_tensor_describe (b);

    return fail (self, error,
        "\"%s\" is %s and %s; expected floats [r, %" G_GINT64_FORMAT "] and [%" G_GINT64_FORMAT
        ", r] of a rank up to %d: it was made for another model",
        g->name, a_text, b_text, cols, rows, MAX_RANK);
  }
  if (!get_factor (self, g, a.shape[0], &factor, error))
    return FALSE;
  add_deltas (self, g, ".weight", a, b, factor);
  return TRUE;
}

static gboolean
read_diffs (AvatarLora *self, const Group *g, gint64 rows, gint64 cols, GError **error)
{
  AvatarTensor diff = g->found[AVATAR_LORA_DIFF], bias = g->found[AVATAR_LORA_DIFF_B];

  if (avatar_tensor_given (diff)) {
    if (!is_float_matrix (&diff, 2) || diff.shape[0] != rows || diff.shape[1] != cols)
      return fail (self, error,
          "\"%s.diff\" is not [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
          "] floats: it was made for another model",
          g->name, rows, cols);
    add_deltas (self, g, ".weight", AVATAR_NO_TENSOR, diff, self->strength);
  }
  if (avatar_tensor_given (bias)) {
    if (!is_float_matrix (&bias, 1) || bias.shape[0] != rows)
      return fail (self, error,
          "\"%s.diff_b\" is not %" G_GINT64_FORMAT " floats: it was made for another model",
          g->name, rows);
    add_deltas (self, g, ".bias", AVATAR_NO_TENSOR, bias, self->strength);
  }
  return TRUE;
}

static gboolean
read_groups (AvatarLora *self, GArray *groups, GError **error)
{
  for (guint i = 0; i < groups->len; i++) {
    const Group *g = &g_array_index (groups, Group, i);
    gint64 rows = 0, cols = g_array_index (g->targets, AvatarLoraTarget, 0).cols;

    for (guint j = 0; j < g->targets->len; j++)
      rows += g_array_index (g->targets, AvatarLoraTarget, j).n_rows;
    if (!read_factors (self, g, rows, cols, error) || !read_diffs (self, g, rows, cols, error))
      return FALSE;
  }
  if (g_hash_table_size (self->deltas) == 0)
    return fail (self, error,
        "none of its %u keys belongs to a weight of the transformer; expected a LoRA for "
        "HunyuanVideo",
        avatar_weight_file_n (self->file));
  return TRUE;
}

static void
list_free (gpointer data)
{
  g_array_unref (data);
}

AvatarLora *
avatar_lora_new (AvatarWeightFile *file, const AvatarConfig *config, double strength,
    GError **error)
{
  g_autoptr (AvatarLora) self = g_new0 (AvatarLora, 1);
  g_autoptr (GHashTable) names = avatar_lora_names_new (config);
  g_autoptr (GArray) groups = g_array_new (FALSE, TRUE, sizeof (Group));

  self->file = file;
  self->strength = strength;
  self->deltas = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, list_free);
  g_array_set_clear_func (groups, group_clear);
  if (!isfinite (strength)) {
    fail (self, error, "its strength is not a number");
    return NULL;
  }
  if (!collect (self, names, groups, error) || !read_groups (self, groups, error))
    return NULL;
  return g_steal_pointer (&self);
}

AvatarLora *
avatar_lora_open (const char *path, const AvatarConfig *config, double strength, GError **error)
{
  AvatarWeightFile *file = avatar_weight_file_open (path, error);

  return file ? avatar_lora_new (file, config, strength, error) : NULL;
}

GPtrArray *
avatar_lora_open_all (const AvatarLoraSetting *settings, guint n, const AvatarConfig *config,
    GError **error)
{
  g_autoptr (GPtrArray) loras = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_lora_free);

  for (guint i = 0; i < n; i++) {
    AvatarLora *lora = avatar_lora_open (settings[i].path, config, settings[i].strength, error);

    if (!lora)
      return NULL;
    g_ptr_array_add (loras, lora);
  }
  return g_steal_pointer (&loras);
}

void
avatar_lora_free (AvatarLora *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->deltas);
  avatar_weight_file_free (self->file);
  g_free (self);
}

GArray *
avatar_lora_get (AvatarLora *self, const char *tensor)
{
  return g_hash_table_lookup (self->deltas, tensor);
}

guint
avatar_lora_n_tensors (AvatarLora *self)
{
  return g_hash_table_size (self->deltas);
}

guint
avatar_lora_n_unknown (AvatarLora *self)
{
  return self->n_unknown;
}

/* NaN if the file was cut short meanwhile, which ends the run as other broken weights do. */
static float *
to_f32 (AvatarTensor t, gint64 row, gint64 n_rows)
{
  gint64 n = avatar_tensor_n (t) / t.shape[0], count = n_rows * n;
  gsize size = avatar_dtype_size (t.dtype);
  float *out = g_new (float, MAX (count, 1));
  g_autofree guint8 *raw = g_malloc (MAX (count, 1) * size);

  if (avatar_mapped_read (raw, (const guint8 *) t.data + row * n * size, count * size))
    avatar_dtype_to_f32 (out, raw, t.dtype, count);
  else
    for (gint64 i = 0; i < count; i++)
      out[i] = NAN;
  return out;
}

/* y [n] += sum of b [k] a [k, n], four rows of A at a time, so that y is fetched less often. */
static void
add_rows (float *y, const float *b, const float *a, gint64 rank, gsize n)
{
  gint64 k = 0;

  for (; k + 4 <= rank; k += 4, a += 4 * n)
    for (gsize i = 0; i < n; i++)
      y[i] += b[k] * a[i] + b[k + 1] * a[n + i] + b[k + 2] * a[2 * n + i] + b[k + 3] * a[3 * n + i];
  for (; k < rank; k++, a += n)
    for (gsize i = 0; i < n; i++)
      y[i] += b[k] * a[i];
}

/* Rows @start .. @end of a weight, of @n columns, in @out. */
static void
add_delta (const AvatarLoraDelta *d, gint64 start, gint64 end, gsize n, float *out)
{
  gint64 first = MAX (start, d->row), last = MIN (end, d->row + d->n_rows);
  gboolean product = avatar_tensor_given (d->a);
  g_autofree float *a = NULL, *b = NULL;
  gint64 rank;

  if (first >= last)
    return;
  b = to_f32 (d->b, d->source_row + first - d->row, last - first);
  a = product ? to_f32 (d->a, 0, d->a.shape[0]) : NULL;
  rank = product ? d->a.shape[0] : (gint64) n;
  for (gint64 i = 0; i < (last - first) * rank; i++)
    b[i] *= d->factor;
  for (gint64 r = first; r < last; r++) {
    float *y = out + (r - start) * n;

    if (product)
      add_rows (y, b + (r - first) * rank, a, rank, n);
    else
      for (gsize i = 0; i < n; i++)
        y[i] += b[(r - first) * rank + i];
  }
}

gboolean
avatar_lora_touches (GPtrArray *loras, const char *tensor)
{
  for (guint i = 0; loras && i < loras->len; i++)
    if (avatar_lora_get (loras->pdata[i], tensor))
      return TRUE;
  return FALSE;
}

float *
avatar_lora_sum (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, gsize n)
{
  float *out;

  if (!avatar_lora_touches (loras, tensor))
    return NULL;
  out = g_new0 (float, MAX ((end - start) * n, 1));
  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);

    for (guint j = 0; list && j < list->len; j++)
      add_delta (&g_array_index (list, AvatarLoraDelta, j), start, end, n, out);
  }
  return out;
}

gint64
avatar_lora_rank (GPtrArray *loras, const char *tensor)
{
  gint64 rank = 0;

  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);

    for (guint j = 0; list && j < list->len; j++) {
      AvatarTensor a = g_array_index (list, AvatarLoraDelta, j).a;

      rank += avatar_tensor_given (a) ? a.shape[0] : 0;
    }
  }
  return (rank + RANK_STEP - 1) / RANK_STEP * RANK_STEP;
}

/* Columns from @at of rows @start .. @end of the left factor. */
static void
fill_up (const AvatarLoraDelta *d, gint64 start, gint64 end, gint64 at, gint64 rank, float *up)
{
  gint64 first = MAX (start, d->row), last = MIN (end, d->row + d->n_rows), n = d->a.shape[0];
  g_autofree float *b = NULL;

  if (first >= last)
    return;
  b = to_f32 (d->b, d->source_row + first - d->row, last - first);
  for (gint64 r = 0; r < last - first; r++)
    for (gint64 k = 0; k < n; k++)
      up[(first - start + r) * rank + at + k] = d->factor * b[r * n + k];
}

static void
fill_down (const AvatarLoraDelta *d, gint64 at, gint64 rank, float *down)
{
  gint64 cols = d->a.shape[1];
  g_autofree float *a = to_f32 (d->a, 0, d->a.shape[0]);

  for (gint64 k = 0; k < d->a.shape[0]; k++)
    for (gint64 c = 0; c < cols; c++)
      down[c * rank + at + k] = a[k * cols + c];
}

void
avatar_lora_fill (GPtrArray *loras, const char *tensor, gint64 start, gint64 end, float *up,
    float *down)
{
  gint64 rank = avatar_lora_rank (loras, tensor), at = 0;

  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);

    for (guint j = 0; list && j < list->len; j++) {
      const AvatarLoraDelta *d = &g_array_index (list, AvatarLoraDelta, j);

      fill_up (d, start, end, at, rank, up);
      if (down)
        fill_down (d, at, rank, down);
      at += d->a.shape[0];
    }
  }
}

gboolean
avatar_lora_check_8bit (GPtrArray *loras, const char *tensor, AvatarDType dtype, gboolean computes,
    GError **error)
{
  static const char way_out[]
      = "use the 16-bit weights, which may be made 8-bit while they are loaded";

  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);
    const char *file = avatar_weight_file_get_name (((AvatarLora *) loras->pdata[i])->file);

    for (guint j = 0; list && j < list->len; j++) {
      if (computes) {
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
            "%s: it adds to \"%s\", which is stored as %s, and precision=fp8 leaves no 16-bit copy "
            "to add to; choose precision=auto, or %s",
            file, tensor, avatar_dtype_name (dtype), way_out);
        return FALSE;
      }
      if (!avatar_tensor_given (g_array_index (list, AvatarLoraDelta, j).a)) {
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
            "%s: it adds a whole matrix (.diff) to \"%s\", which is stored as %s and takes the two "
            "narrow ones of a LoRA only; %s",
            file, tensor, avatar_dtype_name (dtype), way_out);
        return FALSE;
      }
    }
  }
  return TRUE;
}
