/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-extract-lora: writes the difference of two checkpoints as a LoRA file. One tensor of each
 * is in memory at a time, and the LoRA. */
#include "engine/formats/tensor-file.h"
#include "engine/formats/tensor-writer.h"
#include "tools/low-rank.h"

#include <avatar/error.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_RANK 1024

static int max_rank = 64;
static double energy = 0.999;
static char *dtype_name = NULL;
static gboolean quiet = FALSE;

static const GOptionEntry entries[] = {
  { "rank", 'r', 0, G_OPTION_ARG_INT, &max_rank, "Largest rank of a matrix, 1 to 1024 (default 64)",
      "N" },
  { "energy", 'e', 0, G_OPTION_ARG_DOUBLE, &energy,
      "Fraction of the squares of a difference that is kept, if the rank permits (default 0.999)",
      "X" },
  { "dtype", 'd', 0, G_OPTION_ARG_STRING, &dtype_name,
      "Format of the values: bf16 (default), f16 or f32", "FORMAT" },
  { "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print the last line and errors only", NULL },
  G_OPTION_ENTRY_NULL,
};

/* The LoRA that is made.
 * @tensors: AvatarNamedTensor with data, which are written at the end; names and data are owned
 * @total, @residual: sums of squares of all differences, and of what the LoRA leaves of them
 * @skipped: tensors that the other file does not have, or has in another shape */
typedef struct
{
  AvatarTensorFile *base, *tuned;
  AvatarDType dtype;
  GArray *tensors;
  double total, residual;
  guint n_matrices, n_diffs, skipped;
} Extract;

static void
named_clear (gpointer data)
{
  AvatarNamedTensor *t = data;

  g_free ((char *) t->name);
  g_free (t->tensor.data);
}

static void
extract_clear (Extract *self)
{
  g_clear_pointer (&self->base, avatar_tensor_file_free);
  g_clear_pointer (&self->tuned, avatar_tensor_file_free);
  g_clear_pointer (&self->tensors, g_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Extract, extract_clear)

/* Adds a tensor to the file, in the chosen format or, if it is one number, in float32. Rounds
 * @values to that. */
static void
add (Extract *self, const char *module, const char *suffix, float *values, guint rank, gint64 rows,
    gint64 cols)
{
  gint64 n = rows * cols;
  AvatarDType dtype = n > 1 ? self->dtype : AVATAR_F32;
  AvatarNamedTensor t = { g_strconcat (module, suffix, NULL),
    avatar_tensor_of_shape (dtype, NULL, rank, (const gint64[]){ rows, cols }) };

  avatar_dtype_round (values, n, dtype);
  t.tensor.data = g_malloc (n * avatar_dtype_size (dtype));
  avatar_dtype_from_f32 (t.tensor.data, dtype, values, n);
  g_array_append_val (self->tensors, t);
}

/* Says what the LoRA holds of one tensor. @left: sum of squares that it leaves */
G_GNUC_PRINTF (5, 6)
static void
report (Extract *self, const char *name, double total, double left, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  self->total += total;
  self->residual += left;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  if (!quiet)
    g_print ("%s: %s, residual %.3g\n", name, text, sqrt (left / total));
}

/* Adds a difference as it is: @d [rows, cols], of @rank dimensions. */
static void
add_diff (Extract *self, const char *name, const char *module, const char *suffix, float *d,
    guint rank, gint64 rows, gint64 cols)
{
  g_autofree float *exact = g_memdup2 (d, rows * cols * sizeof (float));
  double total = avatar_sum_of_squares (d, rows * cols);

  add (self, module, suffix, d, rank, rows, cols);
  for (gint64 i = 0; i < rows * cols; i++)
    exact[i] -= d[i];
  report (self, name, total, avatar_sum_of_squares (exact, rows * cols), "whole");
  self->n_diffs++;
}

/* Adds a matrix as two factors, or as it is if they were larger. */
static void
add_matrix (Extract *self, const char *name, const char *module, float *d, gint64 rows, gint64 cols)
{
  double total = avatar_sum_of_squares (d, rows * cols);
  AvatarLowRank low;
  float alpha;

  avatar_low_rank_init (&low, d, rows, cols, max_rank, energy);
  if (low.rank * (rows + cols) >= rows * cols) {
    avatar_low_rank_clear (&low);
    add_diff (self, name, module, ".diff", d, 2, rows, cols);
    return;
  }
  alpha = low.rank;
  add (self, module, ".lora_down.weight", low.down, 2, low.rank, cols);
  add (self, module, ".lora_up.weight", low.up, 2, rows, low.rank);
  add (self, module, ".alpha", &alpha, 1, 1, 1);
  avatar_low_rank_subtract (&low, d);
  report (self, name, total, avatar_sum_of_squares (d, rows * cols),
      "rank %" G_GINT64_FORMAT " of [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT "]", low.rank, rows,
      cols);
  self->n_matrices++;
  avatar_low_rank_clear (&low);
}

/* Returns TUNED - BASE, or %NULL with @error. */
static float *
read_difference (const AvatarTensorSource *base, const AvatarTensorSource *tuned, const char *name,
    GError **error)
{
  const gsize piece = (gsize) 1 << 22;
  gsize n = avatar_tensor_source_n (base);
  g_autofree float *d = g_new (float, n), *part = g_new (float, MIN (piece, n));

  if (!avatar_tensor_source_read (tuned, 0, n, d, error))
    return NULL;
  for (gsize at = 0; at < n; at += piece) {
    gsize count = MIN (piece, n - at);

    if (!avatar_tensor_source_read (base, at, count, part, error))
      return NULL;
    for (gsize i = 0; i < count; i++)
      d[at + i] -= part[i];
  }
  if (avatar_is_finite (d, n))
    return g_steal_pointer (&d);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "tensor \"%s\" has NaN or infinite values; download the checkpoints again", name);
  return NULL;
}

/* Refuses integers, and 8 bits, whose factors are other tensors. */
static gboolean
check_dtype (const AvatarTensorSource *t, const char *name, GError **error)
{
  if (t->dtype <= AVATAR_BF16)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is %s; expected float32, float16 or bfloat16", t->file, name,
      avatar_dtype_name (t->dtype));
  return FALSE;
}

/* Lets the system reclaim the pages of a tensor that has been read, so that the process does not
 * seem to need as much memory as both files. */
static void
release_pages (const AvatarTensorSource *t)
{
  guintptr page = sysconf (_SC_PAGESIZE);
  guintptr start = (guintptr) g_bytes_get_data (t->bytes, NULL) + t->offset;
  guintptr first = (start + page - 1) / page * page;
  guintptr end = (start + avatar_tensor_source_stored_size (t)) / page * page;

  if (end > first)
    madvise ((void *) first, end - first, MADV_PAGEOUT);
}

static gboolean
has_same_shape (const AvatarTensorSource *a, const AvatarTensorSource *b)
{
  return a->rank == b->rank && memcmp (a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* Adds the difference of tensor @name. */
static gboolean
extract_one (Extract *self, const char *name, const AvatarTensorSource *base,
    const AvatarTensorSource *tuned, GError **error)
{
  gboolean is_bias = g_str_has_suffix (name, ".bias");
  gint64 n = avatar_tensor_source_n (base), rows = base->shape[0];
  g_autofree char *module = g_strndup (name, strrchr (name, '.') - name);
  g_autofree float *d = NULL;

  if (!check_dtype (base, name, error) || !check_dtype (tuned, name, error))
    return FALSE;
  if (n == 0)
    return TRUE;
  d = read_difference (base, tuned, name, error);
  if (!d)
    return FALSE;
  release_pages (base);
  release_pages (tuned);
  if (avatar_sum_of_squares (d, n) == 0)
    return TRUE;
  if (base->rank > 1)
    add_matrix (self, name, module, d, rows, n / rows);
  else
    add_diff (self, name, module, is_bias ? ".diff_b" : ".diff", d, 1, rows, 1);
  return TRUE;
}

/* Counts a tensor that cannot be compared. @reason: text for the user */
static void
skip (Extract *self, const char *name, const char *reason)
{
  self->skipped++;
  if (!quiet)
    g_print ("%s: skipped, %s\n", name, reason);
}

/* Returns a table of name -> index + 1 of the tensors of @file. */
static GHashTable *
index_of (AvatarTensorFile *file)
{
  GHashTable *index = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < avatar_tensor_file_n (file); i++)
    g_hash_table_insert (index, (gpointer) avatar_tensor_file_nth (file, i, NULL),
        GUINT_TO_POINTER (i + 1));
  return index;
}

static gboolean
extract_all (Extract *self, GError **error)
{
  g_autoptr (GHashTable) index = index_of (self->base);
  guint n_common = 0;

  for (guint i = 0; i < avatar_tensor_file_n (self->tuned); i++) {
    AvatarTensorSource base, tuned;
    const char *name = avatar_tensor_file_nth (self->tuned, i, &tuned);
    guint at = GPOINTER_TO_UINT (g_hash_table_lookup (index, name));

    if (at)
      avatar_tensor_file_nth (self->base, at - 1, &base);
    if (!g_str_has_suffix (name, ".weight") && !g_str_has_suffix (name, ".bias"))
      skip (self, name, "it is neither .weight nor .bias");
    else if (!at)
      skip (self, name, "the first checkpoint does not have it");
    else if (!has_same_shape (&base, &tuned) || base.rank == 0)
      skip (self, name, "the shapes differ");
    else if (!extract_one (self, name, &base, &tuned, error))
      return FALSE;
    else
      n_common++;
  }
  if (self->tensors->len > 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      n_common ? "%s and %s are the same in all %u tensors; there is nothing to write"
               : "%s and %s have %u tensors in common; expected two checkpoints of one layout",
      avatar_tensor_file_get_name (self->base), avatar_tensor_file_get_name (self->tuned),
      n_common);
  return FALSE;
}

/* AvatarFillFunc */
static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  gsize size = avatar_dtype_size (t->tensor.dtype);

  memcpy (out, (const guint8 *) t->tensor.data + first * size, n * size);
}

static gboolean
parse_options (Extract *self, GError **error)
{
  static const char *const names[] = { "bf16", "f16", "f32" };
  static const AvatarDType dtypes[] = { AVATAR_BF16, AVATAR_F16, AVATAR_F32 };
  const char *name = dtype_name ? dtype_name : names[0];
  guint i = 0;

  while (i < G_N_ELEMENTS (names) && strcmp (name, names[i]) != 0)
    i++;
  if (i == G_N_ELEMENTS (names))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "dtype is \"%s\"; expected bf16, f16 or f32", name);
  else if (max_rank < 1 || max_rank > MAX_RANK)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "rank is %d; expected 1 to %d",
        max_rank, MAX_RANK);
  else if (!(energy > 0 && energy <= 1))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "energy is %g; expected a number above 0 and at most 1", energy);
  else
    self->dtype = dtypes[i];
  return i < G_N_ELEMENTS (names) && !*error;
}

/* Refuses to replace an input, which is read until the output is complete. */
static gboolean
check_output (const char *path, char **inputs, GError **error)
{
  GStatBuf out, in;

  if (g_stat (path, &out) != 0)
    return TRUE;
  for (guint i = 0; i < 2; i++)
    if (g_stat (inputs[i], &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "\"%s\" is one of the checkpoints; choose another name for the LoRA", path);
      return FALSE;
    }
  return TRUE;
}

static gboolean
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("BASE TUNED OUT");
  g_auto (Extract) self = { .tensors = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor)) };

  g_array_set_clear_func (self.tensors, named_clear);
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Writes the difference of two checkpoints of one layout, TUNED - BASE, as a LoRA file: matrices\n"
      "as two factors, vectors as they are. OUT.safetensors added to BASE gives TUNED, but for the\n"
      "residual that is printed.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc != 4) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found %d arguments, expected two checkpoints and a file to write; see --help", argc - 1);
    return FALSE;
  }
  if (!parse_options (&self, error) || !check_output (argv[3], argv + 1, error))
    return FALSE;
  self.base = avatar_tensor_file_open (argv[1], error);
  self.tuned = self.base ? avatar_tensor_file_open (argv[2], error) : NULL;
  if (!self.tuned || !extract_all (&self, error)
      || !avatar_write_safetensors (argv[3], self.tensors, fill, NULL, error))
    return FALSE;
  g_print ("%s: %u matrices in factors, %u whole tensors, %u skipped; residual %.3g\n", argv[3],
      self.n_matrices, self.n_diffs, self.skipped, sqrt (self.residual / self.total));
  return TRUE;
}

int
main (int argc, char **argv)
{
  GError *error = NULL;

  if (run (argc, argv, &error))
    return EXIT_SUCCESS;
  g_printerr ("avatar-extract-lora: %s\n", error->message);
  g_error_free (error);
  return EXIT_FAILURE;
}
