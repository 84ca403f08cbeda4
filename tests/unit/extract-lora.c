/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-extract-lora: approximations are as good as possible, the file gives the second checkpoint
 * within the printed residual, and other files are refused. */
#include "engine/denoise/sampler.h"
#include "engine/formats/tensor-writer.h"
#include "engine/model/lora.h"
#include "engine/model/model.h"
#include "tools/low-rank.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define ROWS 96
#define COLS 160
#define VALUES 40
#define ATTENTION "double_blocks.0.img_attn_proj"
#define LINEAR "single_blocks.0.linear2"
#define NORM "single_blocks.0.q_norm"

/* Orthonormal vector @k of the cosine transform of length @n, at @i. */
static double
wave (gint64 k, gint64 i, gint64 n)
{
  return sqrt ((k ? 2. : 1.) / n) * cos (G_PI * (i + 0.5) * k / n);
}

/* A matrix whose singular values 1, 0.8, 0.64, ... are known: the residual of rank r is that of the
 * best approximation (Eckart and Young 1936). */
static void
test_optimal (void)
{
  g_autofree float *d = g_new0 (float, ROWS *COLS);
  double total = 0;

  for (gint64 k = 0; k < VALUES; k++)
    for (gint64 i = 0; i < ROWS; i++)
      for (gint64 j = 0; j < COLS; j++)
        d[i * COLS + j] += pow (0.8, k) * wave (k, i, ROWS) * wave (VALUES - k, j, COLS);
  for (gint64 k = 0; k < VALUES; k++)
    total += pow (0.64, k);
  for (gint64 rank = 1; rank <= 24; rank += 7) {
    g_autofree float *rest = g_memdup2 (d, ROWS * COLS * sizeof (float));
    double best = 0;
    AvatarLowRank low;

    for (gint64 k = rank; k < VALUES; k++)
      best += pow (0.64, k);
    avatar_low_rank_init (&low, d, ROWS, COLS, rank, 1);
    g_assert_cmpint (low.rank, ==, rank);
    avatar_low_rank_subtract (&low, rest);
    g_assert_cmpfloat (sqrt (avatar_sum_of_squares (rest, ROWS * COLS) / best), <, 1.001);
    g_assert_cmpfloat (sqrt (avatar_sum_of_squares (rest, ROWS * COLS) / best), >, 0.999);
    avatar_low_rank_clear (&low);
    /* the energy of that rank is sufficient */
    avatar_low_rank_init (&low, d, ROWS, COLS, 64, (total - best) / total - 1e-5);
    g_assert_cmpint (low.rank, ==, rank);
    avatar_low_rank_clear (&low);
  }
}

/* Ranks beyond that of the matrix are not used, and a matrix of zeros has rank 0. */
static void
test_exact (void)
{
  g_autofree float *d = g_new0 (float, ROWS *COLS);
  AvatarLowRank low;

  avatar_low_rank_init (&low, d, ROWS, COLS, 16, 1);
  g_assert_cmpint (low.rank, ==, 0);
  avatar_low_rank_clear (&low);
  for (gint64 k = 0; k < 3; k++)
    for (gint64 i = 0; i < ROWS; i++)
      for (gint64 j = 0; j < COLS; j++)
        d[i * COLS + j] += wave (k, i, ROWS) * wave (k + 5, j, COLS);
  avatar_low_rank_init (&low, d, ROWS, COLS, 64, 1);
  g_assert_cmpint (low.rank, ==, 3);
  avatar_low_rank_subtract (&low, d);
  g_assert_cmpfloat (sqrt (avatar_sum_of_squares (d, ROWS * COLS) / 3), <, 1e-5);
  avatar_low_rank_clear (&low);
}

/* Files in a folder. */
typedef struct
{
  AvatarModel *model;
  char *folder, *base, *tuned, *lora;
  GArray *tensors; /* AvatarNamedTensor, with data of their own */
} Fixture;

static void
named_clear (gpointer data)
{
  g_free (((AvatarNamedTensor *) data)->tensor.data);
}

static void
setup (Fixture *f, gconstpointer data)
{
  f->model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->base = g_build_filename (f->folder, "base.safetensors", NULL);
  f->tuned = g_build_filename (f->folder, "tuned.safetensors", NULL);
  f->lora = g_build_filename (f->folder, "lora.safetensors", NULL);
  f->tensors = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_array_set_clear_func (f->tensors, named_clear);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  g_unlink (f->base);
  g_unlink (f->tuned);
  g_unlink (f->lora);
  g_rmdir (f->folder);
  g_free (f->folder);
  g_free (f->base);
  g_free (f->tuned);
  g_free (f->lora);
  g_array_unref (f->tensors);
  avatar_model_unref (f->model);
}

/* Adds a float32 tensor of noise, [rows] or [rows, cols]. */
static void
add (Fixture *f, const char *name, gint64 rows, gint64 cols)
{
  AvatarNamedTensor t = { name,
    avatar_tensor_of_shape (AVATAR_F32, NULL, cols ? 2 : 1, (const gint64[]){ rows, cols }) };
  gsize n = rows * MAX (cols, 1);

  t.tensor.data = g_new (float, n);
  avatar_noise_fill (t.tensor.data, n, f->tensors->len, 9);
  g_array_append_val (f->tensors, t);
}

static AvatarTensor
find (Fixture *f, const char *name)
{
  for (guint i = 0; i < f->tensors->len; i++)
    if (strcmp (g_array_index (f->tensors, AvatarNamedTensor, i).name, name) == 0)
      return g_array_index (f->tensors, AvatarNamedTensor, i).tensor;
  g_assert_not_reached ();
}

/* AvatarFillFunc */
static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  memcpy (out, (float *) t->tensor.data + first, n * sizeof (float));
}

static void
write_file (Fixture *f, const char *path)
{
  g_autoptr (GError) error = NULL;

  avatar_write_safetensors (path, f->tensors, fill, NULL, &error);
  g_assert_no_error (error);
}

/* Runs the tool. Returns its status. @out: (out): its output, or its errors if it failed */
static int
extract (const char *base, const char *tuned, const char *lora, const char *option, char **out)
{
  const char *argv[] = { AVATAR_EXTRACT_LORA, base, tuned, lora, option, NULL };
  g_autofree char *errors = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, 0, NULL, NULL, out, &errors, &status, &error);
  g_assert_no_error (error);
  if (status != 0) {
    g_free (*out);
    *out = g_steal_pointer (&errors);
  }
  return status;
}

/* Returns the residual that the line of @name ends with. */
static double
residual_of (const char *text, const char *name)
{
  const char *line = strstr (text, name), *at = line ? strstr (line, "residual ") : NULL;

  g_assert_nonnull (at);
  return g_ascii_strtod (at + strlen ("residual "), NULL);
}

/* Adds a matrix of rank @rank to the tensor @name, or noise of every rank. */
static void
change (Fixture *f, const char *name, gint64 rank)
{
  AvatarTensor t = find (f, name);
  float *values = t.data;
  gint64 rows = t.shape[0], cols = avatar_tensor_n (t) / rows;
  g_autofree float *noise = g_new (float, rows *cols);

  avatar_noise_fill (noise, rows * cols, 77, 3);
  for (gint64 i = 0; i < rows; i++)
    for (gint64 j = 0; j < cols; j++) {
      double sum = rank ? 0 : 0.01 * noise[i * cols + j];

      for (gint64 k = 0; k < rank; k++)
        sum += 0.1 * wave (k, i, rows) * wave (k + 1, j, cols);
      values[i * cols + j] += sum;
    }
}

/* Compares what the LoRA adds to @name with the difference of the files. */
static void
expect (Fixture *f, GPtrArray *loras, const char *said, const char *name, const float *before)
{
  AvatarTensor t = find (f, name);
  gint64 n = avatar_tensor_n (t), cols = n / t.shape[0];
  g_autofree float *added = avatar_lora_sum (loras, NULL, name, 0, t.shape[0], cols);
  const float *after = t.data;
  double left = 0, total = 0, residual = residual_of (said, name);

  g_assert_nonnull (added);
  for (gint64 i = 0; i < n; i++) {
    double d = (double) after[i] - before[i];

    left += (d - added[i]) * (d - added[i]);
    total += d * d;
  }
  g_assert_cmpfloat (sqrt (left / total), <, 1.02 * residual + 1e-6);
  g_assert_cmpfloat (sqrt (left / total), >, 0.98 * residual - 1e-6);
}

/* Vectors, a matrix of low rank and one of full rank, which our own loader reads. */
static void
test_round_trip (Fixture *f, gconstpointer data)
{
  static const char *const names[]
      = { ATTENTION ".weight", ATTENTION ".bias", LINEAR ".weight", NORM ".weight" };
  const AvatarTransformerConfig *c = &avatar_model_get_config (f->model)->transformer;
  float *before[G_N_ELEMENTS (names)];
  g_autofree char *said = NULL;
  g_autoptr (GError) error = NULL;
  const AvatarLoraSetting setting = { .path = f->lora, .strength = 1 };
  g_autoptr (GPtrArray) loras = NULL;

  add (f, names[0], c->hidden, c->hidden);
  add (f, names[1], c->hidden, 0);
  add (f, names[2], c->hidden, c->hidden + c->mlp);
  add (f, names[3], c->head_dim, 0);
  add (f, "img_in.proj.bias", c->hidden, 0);
  write_file (f, f->base);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    before[i] = g_memdup2 (find (f, names[i]).data,
        avatar_tensor_n (find (f, names[i])) * sizeof (float));
  change (f, names[0], 4);
  for (guint i = 1; i < G_N_ELEMENTS (names); i++)
    change (f, names[i], 0);
  write_file (f, f->tuned);
  g_assert_cmpint (extract (f->base, f->tuned, f->lora, "--rank=16", &said), ==, 0);
  g_assert_nonnull (strstr (said, "rank 4 of"));
  g_assert_nonnull (strstr (said, "rank 16 of"));
  g_assert_cmpfloat (residual_of (said, names[0]), <, 1e-2); /* bfloat16 */
  g_assert_cmpfloat (residual_of (said, names[2]), >, 0.5);
  loras = avatar_lora_open_all (&setting, 1, avatar_model_get_config (f->model), &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_lora_n_tensors (loras->pdata[0]), ==, G_N_ELEMENTS (names));
  g_assert_cmpuint (avatar_lora_n_unknown (loras->pdata[0]), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    expect (f, loras, said, names[i], before[i]);
    g_free (before[i]);
  }
}

static void
expect_refused (Fixture *f, const char *tuned, const char *lora, const char *option,
    const char *text)
{
  g_autofree char *said = NULL;

  g_assert_cmpint (extract (f->base, tuned, lora, option, &said), !=, 0);
  g_assert_nonnull (strstr (said, text));
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  add (f, ATTENTION ".weight", 8, 8);
  add (f, "empty.weight", 0, 8);
  write_file (f, f->base);
  write_file (f, f->tuned);
  expect_refused (f, f->tuned, f->lora, NULL, "are the same in all 2 tensors");
  change (f, ATTENTION ".weight", 0);
  write_file (f, f->tuned);
  expect_refused (f, f->tuned, f->base, NULL, "is one of the checkpoints");
  expect_refused (f, f->tuned, f->lora, "--rank=0", "rank is 0");
  expect_refused (f, f->tuned, f->lora, "--energy=2", "energy is 2");
  expect_refused (f, f->tuned, f->lora, "--dtype=f8", "dtype is \"f8\"");
  expect_refused (f, "/nowhere/tuned.pt", f->lora, NULL, "/nowhere/tuned.pt");
  ((float *) find (f, ATTENTION ".weight").data)[5] = NAN;
  write_file (f, f->tuned);
  expect_refused (f, f->tuned, f->lora, NULL, "NaN");
  g_array_set_size (f->tensors, 0);
  add (f, "other.weight", 8, 8);
  add (f, ATTENTION ".weight", 8, 9);
  write_file (f, f->tuned);
  expect_refused (f, f->tuned, f->lora, NULL, "have 0 tensors in common");
  g_assert_false (g_file_test (f->lora, G_FILE_TEST_EXISTS));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/extract-lora/optimal", test_optimal);
  g_test_add_func ("/extract-lora/exact", test_exact);
  g_test_add ("/extract-lora/round-trip", Fixture, NULL, setup, test_round_trip, teardown);
  g_test_add ("/extract-lora/refused", Fixture, NULL, setup, test_refused, teardown);
  return g_test_run ();
}
