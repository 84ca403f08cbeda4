/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The matrix is only read by products with thin matrices. Their rows are orthonormalised, and the
 * remaining small problem is solved by one-sided Jacobi rotations. */
#include "tools/low-rank.h"

#include "engine/denoise/sampler.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

/* Vectors beyond the rank, and iterations, which make the largest singular values accurate. */
#define OVERSAMPLE 16
#define ITERATIONS 3
#define MAX_SWEEPS 60
/* Smallest singular value relative to the largest; smaller ones are rounding errors. */
#define SMALLEST 1e-6

/* c [m, n] = alpha a b + beta c. @transposed: b is [n, k] instead of [k, n] */
static void
multiply (float *c, const float *a, const float *b, gint64 m, gint64 n, gint64 k, char transposed,
    float alpha, float beta)
{
  dnnl_sgemm ('N', transposed, m, n, k, alpha, a, k, b, transposed == 'T' ? k : n, beta, c, n);
}

static double
dot (const float *a, const float *b, gint64 n)
{
  double sum = 0;

#pragma omp simd reduction(+ : sum)
  for (gint64 i = 0; i < n; i++)
    sum += (double) a[i] * b[i];
  return sum;
}

double
avatar_sum_of_squares (const float *x, gsize n)
{
  double sum = 0;

#pragma omp parallel for simd reduction(+ : sum)
  for (gsize i = 0; i < n; i++)
    sum += (double) x[i] * x[i];
  return sum;
}

/* Subtracts from @row its parts along the orthonormal rows 0 .. n - 1 of @q [.., width]. */
static void
remove_parts (float *row, const float *q, gint64 n, gint64 width)
{
  g_autofree double *parts = g_new (double, MAX (n, 1));

#pragma omp parallel for
  for (gint64 j = 0; j < n; j++)
    parts[j] = dot (row, q + j * width, width);
#pragma omp parallel for
  for (gint64 start = 0; start < width; start += 4096) {
    gint64 end = MIN (start + 4096, width);

    for (gint64 j = 0; j < n; j++)
      for (gint64 i = start; i < end; i++)
        row[i] -= parts[j] * q[j * width + i];
  }
}

/* Makes the rows of @q [n, width] orthonormal; a row that depends on those before it becomes 0. */
static void
orthonormalise (float *q, gint64 n, gint64 width)
{
  for (gint64 j = 0; j < n; j++) {
    float *row = q + j * width;
    double before = sqrt (dot (row, row, width)), length;

    for (guint pass = 0; pass < 2; pass++) /* the second pass removes the rounding of the first */
      remove_parts (row, q, j, width);
    length = sqrt (dot (row, row, width));
    length = length > 1e-6 * before ? length : 0;
    for (gint64 i = 0; i < width; i++)
      row[i] = length > 0 ? row[i] / length : 0;
  }
}

/* Rotates rows @x and @y, [n], by cosine @c and sine @s. */
static void
rotate (double *x, double *y, gint64 n, double c, double s)
{
  for (gint64 i = 0; i < n; i++) {
    double a = x[i], b = y[i];

    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}

/* Makes rows @i and @j of @l [k, k] orthogonal, and rotates those of @r likewise. Returns FALSE if
 * they are orthogonal. */
static gboolean
rotate_pair (double *l, double *r, gint64 k, gint64 i, gint64 j)
{
  double *x = l + i * k, *y = l + j * k, xx = 0, yy = 0, xy = 0, zeta, t, c;

  for (gint64 n = 0; n < k; n++) {
    xx += x[n] * x[n];
    yy += y[n] * y[n];
    xy += x[n] * y[n];
  }
  if (fabs (xy) <= 1e-14 * sqrt (xx * yy) || xy == 0)
    return FALSE;
  zeta = (yy - xx) / (2 * xy);
  t = copysign (1, zeta) / (fabs (zeta) + sqrt (1 + zeta * zeta));
  c = 1 / sqrt (1 + t * t);
  rotate (x, y, k, c, c * t);
  rotate (r + i * k, r + j * k, k, c, c * t);
  return TRUE;
}

/* Rotates the rows of @l [k, k] until they are orthogonal. @r: (out): [k, k]: the rotation */
static void
jacobi (double *l, double *r, gint64 k)
{
  gboolean rotated = TRUE;

  for (gint64 i = 0; i < k; i++)
    r[i * k + i] = 1;
  for (guint sweep = 0; rotated && sweep < MAX_SWEEPS; sweep++) {
    rotated = FALSE;
    for (gint64 i = 0; i < k; i++)
      for (gint64 j = i + 1; j < k; j++)
        rotated |= rotate_pair (l, r, k, i, j);
  }
}

/* A row of the small problem with its singular value. */
typedef struct
{
  gint64 row;
  double value;
} Singular;

static gint
compare_singular (gconstpointer a, gconstpointer b)
{
  double x = ((const Singular *) a)->value, y = ((const Singular *) b)->value;

  return x < y ? 1 : x > y ? -1 : 0;
}

/* Returns the singular values of the rows of @l, largest first. */
static Singular *
sort_values (const double *l, guint k)
{
  Singular *values = g_new (Singular, k);

  for (guint i = 0; i < k; i++) {
    const double *row = l + (gsize) i * k;
    double sum = 0;

    for (guint n = 0; n < k; n++)
      sum += row[n] * row[n];
    values[i] = (Singular){ i, sqrt (sum) };
  }
  qsort (values, k, sizeof *values, compare_singular);
  return values;
}

/* Returns the smallest sufficient rank. @total: sum of the squares of the matrix */
static gint64
choose_rank (const Singular *values, gint64 k, double energy, double total)
{
  gint64 rank = 0;

  for (double sum = 0; rank < k && sum < energy * total; rank++) {
    if (values[rank].value <= SMALLEST * values[0].value)
      break;
    sum += values[rank].value * values[rank].value;
  }
  return rank;
}

/* Fills the factors from l = r^T s w, where the rows of @l are s w after the rotation @r.
 * @q: [k, rows], @b: [k, cols]: orthonormal bases of both sides */
static void
fill_factors (AvatarLowRank *self, const Singular *values, const double *l, const double *r,
    const float *q, const float *b, gint64 k)
{
  g_autofree float *left = g_new (float, self->rank *k), *right = g_new (float, self->rank *k);
  g_autofree float *up = g_new (float, self->rank * self->rows);

  for (gint64 i = 0; i < self->rank; i++) {
    double root = sqrt (values[i].value);

    for (gint64 n = 0; n < k; n++) {
      left[i * k + n] = root * r[values[i].row * k + n];
      right[i * k + n] = l[values[i].row * k + n] / root;
    }
  }
  self->up = g_new (float, self->rows * self->rank);
  self->down = g_new (float, self->rank * self->cols);
  multiply (up, left, q, self->rank, self->rows, k, 'N', 1, 0);
  multiply (self->down, right, b, self->rank, self->cols, k, 'N', 1, 0);
  for (gint64 i = 0; i < self->rank; i++)
    for (gint64 j = 0; j < self->rows; j++)
      self->up[j * self->rank + i] = up[i * self->rows + j];
}

/* Finds orthonormal rows @q [k, rows] and @b [k, cols] and small l with d = q^T l b nearly. Returns
 * l [k, k]. */
static double *
reduce (const float *d, gint64 rows, gint64 cols, gint64 k, float *q, float *b)
{
  g_autofree float *product = g_new (float, k *cols), *small = g_new (float, k *k);
  double *l = g_new (double, k *k);

  avatar_noise_fill (b, k * cols, 1, 0);
  for (guint i = 0; i <= ITERATIONS; i++) {
    multiply (q, b, d, k, rows, cols, 'T', 1, 0);
    orthonormalise (q, k, rows);
    multiply (b, q, d, k, cols, rows, 'N', 1, 0);
    memcpy (product, b, k * cols * sizeof (float));
    orthonormalise (b, k, cols);
  }
  multiply (small, product, b, k, k, cols, 'T', 1, 0);
  for (gint64 i = 0; i < k * k; i++)
    l[i] = small[i];
  return l;
}

void
avatar_low_rank_init (AvatarLowRank *self, const float *d, gint64 rows, gint64 cols,
    gint64 max_rank, double energy)
{
  gint64 k = MIN (max_rank + OVERSAMPLE, MIN (rows, cols));
  double total = avatar_sum_of_squares (d, rows * cols);
  g_autofree float *q = g_new (float, k *rows), *b = g_new (float, k *cols);
  g_autofree double *l = NULL, *r = g_new0 (double, k *k);
  g_autofree Singular *values = NULL;

  *self = (AvatarLowRank){ .rows = rows, .cols = cols };
  if (total == 0)
    return;
  l = reduce (d, rows, cols, k, q, b);
  jacobi (l, r, k);
  values = sort_values (l, k);
  self->rank = choose_rank (values, MIN (k, max_rank), energy, total);
  fill_factors (self, values, l, r, q, b, k);
}

void
avatar_low_rank_subtract (const AvatarLowRank *self, float *d)
{
  if (self->rank > 0)
    multiply (d, self->up, self->down, self->rows, self->cols, self->rank, 'N', -1, 1);
}

void
avatar_low_rank_clear (AvatarLowRank *self)
{
  g_clear_pointer (&self->up, g_free);
  g_clear_pointer (&self->down, g_free);
}
