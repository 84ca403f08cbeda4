/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and summation of LoRAs. A and B are read from the file for every use, since their
 * conversion is cheap compared with their product. */
#define G_LOG_DOMAIN "avatar"
#include "engine/model/lora.h"

#include "engine/model/lora-alpha.h"
#include "engine/model/lora-keys.h"
#include "engine/formats/plain-cast.h"

#include <math.h>
#include <string.h>

/* Maximum number of additions, which limits the work for a small malformed file. */
#define MAX_RANK 4096
/* Ranks are padded with zeros to a multiple of this, which tensor cores need. */
#define RANK_STEP 16

struct _AvatarLora
{
  AvatarTensorFile *file;
  double strength;
  GHashTable *deltas; /* tensor -> GArray of AvatarLoraDelta */
  AvatarLoraAlpha alpha;
  guint n_unknown;
  char *unknown; /* (nullable): first skipped key */
  GPtrArray *warnings;
};

/* Tensors of a file with the same module name. */
typedef struct
{
  char *name;
  GArray *targets;
  AvatarTensorSource found[AVATAR_LORA_REFUSED];
} Group;

/* State of the grouping of keys by module name. */
typedef struct
{
  GHashTable *names; /* from avatar_lora_names_new() */
  GArray *groups;    /* array of Group, in file order */
  GHashTable *index; /* name -> position among the groups + 1 */
  GHashTable *taken; /* module -> position of its first group + 1 */
  gboolean is_peft;  /* the names of the matrices are lora_A and lora_B */
} Keys;

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
      avatar_tensor_file_get_name (self->file), text);
  return FALSE;
}

static void
skip_key (AvatarLora *self, const char *key)
{
  if (self->n_unknown++ == 0)
    self->unknown = g_strdup (key);
  g_debug ("%s: key \"%s\" belongs to no weight of the transformer",
      avatar_tensor_file_get_name (self->file), key);
}

static gboolean
overlap (const Group *a, const Group *b)
{
  for (guint i = 0; i < a->targets->len; i++)
    for (guint j = 0; j < b->targets->len; j++) {
      const AvatarLoraTarget *x = &g_array_index (a->targets, AvatarLoraTarget, i);
      const AvatarLoraTarget *y = &g_array_index (b->targets, AvatarLoraTarget, j);

      if (strcmp (x->module, y->module) == 0 && x->row < y->row + y->n_rows
          && y->row < x->row + x->n_rows)
        return TRUE;
    }
  return FALSE;
}

/* Refuses two dialects in one file, which would add to the same rows twice. */
static gboolean
check_overlap (AvatarLora *self, Keys *keys, const Group *group, GError **error)
{
  const AvatarLoraTarget *target = &g_array_index (group->targets, AvatarLoraTarget, 0);
  GArray *others = g_hash_table_lookup (keys->taken, target->module);

  for (guint i = 0; others && i < others->len; i++) {
    const Group *other = &g_array_index (keys->groups, Group, g_array_index (others, guint, i));

    if (overlap (group, other))
      return fail (self, error, "\"%s\" and \"%s\" name the same weight twice; keep one of them",
          other->name, group->name);
  }
  if (!others) {
    others = g_array_new (FALSE, FALSE, sizeof (guint));
    g_hash_table_insert (keys->taken, target->module, others);
  }
  g_array_append_val (others, keys->groups->len);
  return TRUE;
}

/* Returns the group of @name, or %NULL with @error. */
static Group *
get_group (AvatarLora *self, Keys *keys, const char *name, GArray *targets, GError **error)
{
  guint at = GPOINTER_TO_UINT (g_hash_table_lookup (keys->index, name));

  if (at == 0) {
    Group group = { .name = g_strdup (name), .targets = targets };

    if (!check_overlap (self, keys, &group, error)) {
      g_free (group.name);
      return NULL;
    }
    g_array_append_val (keys->groups, group);
    at = keys->groups->len;
    g_hash_table_insert (keys->index, group.name, GUINT_TO_POINTER (at));
  }
  return &g_array_index (keys->groups, Group, at - 1);
}

/* Adds @key with the tensor @t. If @t is NULL, the key cannot be read for @reason. */
static gboolean
sort_key (AvatarLora *self, Keys *keys, const char *key, const AvatarTensorSource *t,
    const char *reason, GError **error)
{
  g_autofree char *name = NULL;
  const char *bare = NULL;
  AvatarLoraRole role = avatar_lora_parse_key (key, &name);
  GArray *targets = name ? avatar_lora_names_find (keys->names, name, &bare) : NULL;
  Group *group;

  if (role == AVATAR_LORA_REFUSED || (!targets && avatar_lora_names_touch (keys->names, key)))
    return fail (self, error,
        "key \"%s\" belongs to an unsupported kind of adapter; expected a LoRA of matrices, alphas and "
        "differences: without this key the result would be wrong",
        key);
  if (!targets) {
    skip_key (self, key);
    return TRUE;
  }
  if (!t)
    return fail (self, error, "key \"%s\" cannot be used: %s", key, reason);
  group = get_group (self, keys, bare, targets, error);
  if (!group)
    return FALSE;
  if (avatar_tensor_source_is_set (&group->found[role]))
    return fail (self, error,
        "key \"%s\" exists twice, with different prefixes or adapter names; keep one", key);
  group->found[role] = *t;
  keys->is_peft = keys->is_peft || g_strrstr (key, ".lora_A") || g_strrstr (key, ".lora_B");
  return TRUE;
}

static gboolean
sort_keys (AvatarLora *self, Keys *keys, GError **error)
{
  GHashTable *unusable = avatar_tensor_file_get_unusable (self->file);
  g_autoptr (GList) others
      = g_list_sort (g_hash_table_get_keys (unusable), (GCompareFunc) g_strcmp0);

  for (guint i = 0; i < avatar_tensor_file_n (self->file); i++) {
    AvatarTensorSource t;
    const char *key = avatar_tensor_file_nth (self->file, i, &t);

    if (!sort_key (self, keys, key, &t, NULL, error))
      return FALSE;
  }
  for (GList *l = others; l; l = l->next)
    if (!sort_key (self, keys, l->data, NULL, g_hash_table_lookup (unusable, l->data), error))
      return FALSE;
  return TRUE;
}

static gboolean
is_float (const AvatarTensorSource *t)
{
  return t->dtype <= AVATAR_F8_E4M3 || t->dtype == AVATAR_F8_E5M2;
}

/* Reshapes @t to [rows, cols]; tensors of convolutions have more dimensions. Returns FALSE if that
 * is impossible. */
static gboolean
as_matrix (AvatarTensorSource *t, gint64 rows, gint64 cols)
{
  if (!is_float (t) || t->shape[0] != rows
      || avatar_tensor_source_n (t) != (guint64) rows * (guint64) cols)
    return FALSE;
  *t = avatar_tensor_source_as_matrix (t, rows, cols);
  return TRUE;
}

/* Checks that an 8-bit matrix is a plain cast, because a missing factor would change its values. */
static gboolean
check_cast (AvatarLora *self, const Group *g, const AvatarTensorSource *t, GError **error)
{
  g_autofree char *reason = avatar_plain_cast_check (t);

  return !reason
      || fail (self, error, "\"%s\" is %s without a factor, and %s", g->name,
          avatar_dtype_name (t->dtype), reason);
}

static void
add_deltas (AvatarLora *self, const Group *g, const char *suffix, const AvatarTensorSource *a,
    const AvatarTensorSource *b, double factor)
{
  for (guint i = 0; i < g->targets->len; i++) {
    const AvatarLoraTarget *target = &g_array_index (g->targets, AvatarLoraTarget, i);
    char *tensor = g_strconcat (target->module, suffix, NULL);
    GArray *list = g_hash_table_lookup (self->deltas, tensor);
    AvatarLoraDelta delta = { .b = *b,
      .row = target->row,
      .n_rows = target->n_rows,
      .source_row = target->source_row,
      .factor = factor };

    if (a)
      delta.a = *a;
    if (!list) {
      list = g_array_new (FALSE, FALSE, sizeof (AvatarLoraDelta));
      g_hash_table_insert (self->deltas, g_strdup (tensor), list);
    }
    g_array_append_val (list, delta);
    g_free (tensor);
  }
}

/* Reads the alpha of a group; NaN if it has none. */
static gboolean
read_alpha (AvatarLora *self, const Group *g, double *value, GError **error)
{
  const AvatarTensorSource *t = &g->found[AVATAR_LORA_ALPHA];
  float alpha = NAN;

  *value = NAN;
  if (!avatar_tensor_source_is_set (t))
    return TRUE;
  if (avatar_tensor_source_n (t) == 1
      && (t->dtype <= AVATAR_BF16 || t->dtype == AVATAR_I64 || t->dtype == AVATAR_I32)
      && !avatar_tensor_source_read (t, 0, 1, &alpha, error))
    return FALSE;
  *value = alpha;
  return isfinite (alpha) || fail (self, error, "the alpha of \"%s\" is not a number", g->name);
}

static gboolean
check_matrix_of (AvatarLora *self, const Group *g, AvatarTensorSource *a, AvatarTensorSource *b,
    gint64 rows, gint64 cols, GError **error)
{
  g_autofree char *a_text = avatar_tensor_source_describe (a);
  g_autofree char *b_text = avatar_tensor_source_describe (b);
  gint64 rank = a->shape[0];

  if (!is_float (a) || !is_float (b))
    return fail (self, error,
        "\"%s\" is %s and %s; expected float32, float16, bfloat16, float8_e4m3 or float8_e5m2",
        g->name, a_text, b_text);
  if (!g_array_index (g->targets, AvatarLoraTarget, 0).is_matrix || rank < 1 || rank > MAX_RANK
      || !as_matrix (a, rank, cols) || !as_matrix (b, rows, rank))
    return fail (self, error,
        "\"%s\" is %s and %s; expected floats [r, %" G_GINT64_FORMAT "] and [%" G_GINT64_FORMAT
        ", r] of a rank up to %d: it was made for another model",
        g->name, a_text, b_text, cols, rows, MAX_RANK);
  return check_cast (self, g, a, error) && check_cast (self, g, b, error);
}

static gboolean
read_factors (AvatarLora *self, const Group *g, gint64 rows, gint64 cols, GError **error)
{
  AvatarTensorSource a = g->found[AVATAR_LORA_DOWN], b = g->found[AVATAR_LORA_UP];
  double own, factor;

  if (!avatar_tensor_source_is_set (&a) && !avatar_tensor_source_is_set (&b))
    return !avatar_tensor_source_is_set (&g->found[AVATAR_LORA_ALPHA])
        || fail (self, error, "\"%s\" has an alpha but no matrices; download the file again",
            g->name);
  if (!avatar_tensor_source_is_set (&a) || !avatar_tensor_source_is_set (&b))
    return fail (self, error, "\"%s\" has only one of its two matrices; download the file again",
        g->name);
  if (!check_matrix_of (self, g, &a, &b, rows, cols, error) || !read_alpha (self, g, &own, error)
      || !avatar_lora_alpha_get (&self->alpha, avatar_tensor_file_get_name (self->file), g->name,
          own, a.shape[0], &factor, error))
    return FALSE;
  add_deltas (self, g, ".weight", &a, &b, self->strength * factor);
  return TRUE;
}

static gboolean
read_diffs (AvatarLora *self, const Group *g, gint64 rows, gint64 cols, GError **error)
{
  AvatarTensorSource diff = g->found[AVATAR_LORA_DIFF], bias = g->found[AVATAR_LORA_DIFF_B];
  const AvatarLoraTarget *target = &g_array_index (g->targets, AvatarLoraTarget, 0);

  if (avatar_tensor_source_is_set (&diff)) {
    if (!as_matrix (&diff, rows, cols))
      return fail (self, error,
          "\"%s.diff\" is not [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
          "] floats: it was made for another model",
          g->name, rows, cols);
    if (!check_cast (self, g, &diff, error))
      return FALSE;
    add_deltas (self, g, ".weight", NULL, &diff, self->strength);
  }
  if (avatar_tensor_source_is_set (&bias)) {
    if (!target->has_bias || bias.rank != 1 || !as_matrix (&bias, rows, 1))
      return fail (self, error,
          "\"%s.diff_b\" is not %" G_GINT64_FORMAT
          " floats for an existing bias: it was made for another model",
          g->name, rows);
    if (!check_cast (self, g, &bias, error))
      return FALSE;
    add_deltas (self, g, ".bias", NULL, &bias, self->strength);
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
        "none of its %u keys belongs to a weight of the transformer%s%s%s; expected a LoRA for "
        "HunyuanVideo",
        self->n_unknown, self->unknown ? " (the first is \"" : "",
        self->unknown ? self->unknown : "", self->unknown ? "\")" : "");
  return TRUE;
}

G_GNUC_PRINTF (2, 3)
static void
warn (AvatarLora *self, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_ptr_array_add (self->warnings,
      g_strdup_printf ("%s: %s", avatar_tensor_file_get_name (self->file), text));
}

static void
warn_of_skipped (AvatarLora *self)
{
  guint n = avatar_tensor_file_n (self->file)
      + g_hash_table_size (avatar_tensor_file_get_unusable (self->file));

  if (self->n_unknown)
    warn (self,
        "%u of its %u keys belong to no weight of the transformer and are skipped, the first of "
        "them \"%s\": the file may have been made for another model",
        self->n_unknown, n, self->unknown);
  if (!isnan (self->alpha.folded))
    warn (self,
        "its metadata says \"ss_network_alpha\": %g, which is not applied, because musubi-tuner's "
        "convert_lora.py has multiplied it into lora_A and lora_B; if this file was made otherwise, "
        "change its strength",
        self->alpha.folded);
}

static void
list_free (gpointer data)
{
  g_array_unref (data);
}

static gboolean
read_file (AvatarLora *self, const AvatarConfig *config, const char *path, GError **error)
{
  g_autoptr (GHashTable) names = avatar_lora_names_new (config);
  g_autoptr (GArray) groups = g_array_new (FALSE, TRUE, sizeof (Group));
  g_autoptr (GHashTable) index = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GHashTable) taken = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, list_free);
  Keys keys = { names, groups, index, taken, FALSE };

  g_array_set_clear_func (groups, group_clear);
  if (!sort_keys (self, &keys, error)
      || !avatar_lora_alpha_read (&self->alpha, self->file, path,
          keys.is_peft ? AVATAR_LORA_NAMES_PEFT : AVATAR_LORA_NAMES_UP_DOWN, error)
      || !read_groups (self, groups, error))
    return FALSE;
  warn_of_skipped (self);
  return TRUE;
}

/* Opens a LoRA. @path: (nullable): path of the file, whose folder may have a configuration */
static AvatarLora *
lora_new (AvatarTensorFile *file, const AvatarConfig *config, const char *path, double strength,
    GError **error)
{
  g_autoptr (AvatarLora) self = g_new0 (AvatarLora, 1);

  self->file = file;
  self->strength = strength;
  self->deltas = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, list_free);
  self->warnings = g_ptr_array_new_with_free_func (g_free);
  if (!isfinite (strength)) {
    fail (self, error, "its strength is not a number");
    return NULL;
  }
  return read_file (self, config, path, error) ? g_steal_pointer (&self) : NULL;
}

AvatarLora *
avatar_lora_new (AvatarTensorFile *file, const AvatarConfig *config, double strength,
    GError **error)
{
  return lora_new (file, config, NULL, strength, error);
}

AvatarLora *
avatar_lora_open (const char *path, const AvatarConfig *config, double strength, GError **error)
{
  AvatarTensorFile *file = avatar_tensor_file_open (path, error);

  return file ? lora_new (file, config, path, strength, error) : NULL;
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
  avatar_lora_alpha_clear (&self->alpha);
  g_ptr_array_unref (self->warnings);
  g_free (self->unknown);
  avatar_tensor_file_free (self->file);
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

const char *
avatar_lora_get_unknown (AvatarLora *self)
{
  return self->unknown;
}

const char *
avatar_lora_get_alpha_source (AvatarLora *self)
{
  return self->alpha.source;
}

GPtrArray *
avatar_lora_get_warnings (AvatarLora *self)
{
  return self->warnings;
}

/* Reads values as float32. If the file was truncated, @out becomes NaN, which ends the run like
 * other non-finite weights. */
static float *
read_rows (const AvatarTensorSource *t, gint64 row, gint64 n_rows)
{
  gint64 n = avatar_tensor_source_n (t) / t->shape[0], count = n_rows * n;
  float *out = g_new (float, MAX (count, 1));

  if (!avatar_tensor_source_read (t, row * n, count, out, NULL))
    for (gint64 i = 0; i < count; i++)
      out[i] = NAN;
  return out;
}

/* Computes y [n] += sum of b [k] a [k, n] for four rows of A at a time, to load y less often. */
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

/* Adds to rows @start .. @end, of @n columns, in @out. */
static void
add_delta (const AvatarLoraDelta *d, float multiplier, gint64 start, gint64 end, gsize n,
    float *out)
{
  gint64 first = MAX (start, d->row), last = MIN (end, d->row + d->n_rows);
  gboolean product = avatar_tensor_source_is_set (&d->a);
  g_autofree float *a = NULL, *b = NULL;
  gint64 rank;

  if (first >= last)
    return;
  b = read_rows (&d->b, d->source_row + first - d->row, last - first);
  a = product ? read_rows (&d->a, 0, d->a.shape[0]) : NULL;
  rank = product ? d->a.shape[0] : (gint64) n;
  for (gint64 i = 0; i < (last - first) * rank; i++)
    b[i] *= d->factor * multiplier;
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
avatar_lora_sum (GPtrArray *loras, const double *multipliers, const char *tensor, gint64 start,
    gint64 end, gsize n)
{
  float *out;

  if (!avatar_lora_touches (loras, tensor))
    return NULL;
  out = g_new0 (float, MAX ((end - start) * n, 1));
  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);

    for (guint j = 0; list && j < list->len; j++)
      add_delta (&g_array_index (list, AvatarLoraDelta, j), multipliers ? multipliers[i] : 1, start,
          end, n, out);
  }
  return out;
}

gboolean
avatar_lora_has_diff (AvatarLora *self, const char *tensor)
{
  GArray *list = avatar_lora_get (self, tensor);

  for (guint j = 0; list && j < list->len; j++)
    if (!avatar_tensor_source_is_set (&g_array_index (list, AvatarLoraDelta, j).a))
      return TRUE;
  return FALSE;
}

float *
avatar_lora_sum_diffs (AvatarLora *self, const char *tensor, gint64 start, gint64 end, gsize n)
{
  GArray *list = avatar_lora_get (self, tensor);
  float *out;

  if (!avatar_lora_has_diff (self, tensor))
    return NULL;
  out = g_new0 (float, MAX ((end - start) * n, 1));
  for (guint j = 0; j < list->len; j++) {
    const AvatarLoraDelta *d = &g_array_index (list, AvatarLoraDelta, j);

    if (!avatar_tensor_source_is_set (&d->a))
      add_delta (d, 1, start, end, n, out);
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
      const AvatarTensorSource *a = &g_array_index (list, AvatarLoraDelta, j).a;

      rank += avatar_tensor_source_is_set (a) ? a->shape[0] : 0;
    }
  }
  return (rank + RANK_STEP - 1) / RANK_STEP * RANK_STEP;
}

/* Writes columns from @at of rows @start .. @end of the left matrix. */
static void
fill_up (const AvatarLoraDelta *d, gint64 start, gint64 end, gint64 at, gint64 rank, float *up)
{
  gint64 first = MAX (start, d->row), last = MIN (end, d->row + d->n_rows), n = d->a.shape[0];
  g_autofree float *b = NULL;

  if (first >= last || n == 0)
    return;
  b = read_rows (&d->b, d->source_row + first - d->row, last - first);
  for (gint64 r = 0; r < last - first; r++)
    for (gint64 k = 0; k < n; k++)
      up[(first - start + r) * rank + at + k] = d->factor * b[r * n + k];
}

static void
fill_down (const AvatarLoraDelta *d, gint64 at, gint64 rank, float *down)
{
  gint64 cols = d->a.shape[1];
  g_autofree float *a = read_rows (&d->a, 0, d->a.shape[0]);

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
      if (down && avatar_tensor_source_is_set (&d->a))
        fill_down (d, at, rank, down);
      at += d->a.shape[0];
    }
  }
}

gboolean
avatar_lora_check_8bit (GPtrArray *loras, const char *tensor, AvatarDType dtype,
    AvatarLora8bitUse use, GError **error)
{
  static const char way_out[]
      = "use the 16-bit weights, which can be quantised while they are loaded";

  for (guint i = 0; i < loras->len; i++) {
    GArray *list = avatar_lora_get (loras->pdata[i], tensor);
    const char *file = avatar_tensor_file_get_name (((AvatarLora *) loras->pdata[i])->file);

    for (guint j = 0; list && j < list->len; j++) {
      if (use == AVATAR_LORA_8BIT_COMPUTED) {
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
            "%s: it adds to \"%s\", which is stored as %s, and precision=fp8 leaves no 16-bit copy "
            "to add to; choose precision=auto, or %s",
            file, tensor, avatar_dtype_name (dtype), way_out);
        return FALSE;
      }
      if (!avatar_tensor_source_is_set (&g_array_index (list, AvatarLoraDelta, j).a)) {
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
            "%s: it adds a whole matrix (.diff) to \"%s\", which is stored as %s and accepts "
            "low-rank additions only; %s",
            file, tensor, avatar_dtype_name (dtype), way_out);
        return FALSE;
      }
    }
  }
  return TRUE;
}
