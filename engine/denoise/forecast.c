/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Forecast of velocities after Spectrum ("Adaptive Spectral Feature Forecasting for Diffusion
 * Sampling Acceleration", arXiv 2603.01623): Chebyshev polynomials in time are fitted to the
 * history by least squares with a ridge, and blended with the polynomial through the last steps. */
#include "engine/denoise/forecast.h"

#include <math.h>

#define N_MAX (AVATAR_FORECAST_MAX_DEGREE + 1)
/* Number of steps for which the growth of windows is given, as in Spectrum. */
#define GROWTH_STEPS 50
/* Precision of the growth that is searched. */
#define GROWTH_UNIT 0.05
/* Largest change of sigma in a window for each step of growth. Near the end a step changes sigma by
 * much of its value, and the velocity with it. Spectrum has no such limit; on the demo model it
 * reduces the error to a third at 15 of 50 steps (docs/measurements/numerics.md). */
#define CHANGE_PER_GROWTH 0.04

const AvatarForecast avatar_forecast_default
    = { .history = 3, .degree = 1, .order = 1, .ridge = 0.001, .blend = 0.5 };

double
avatar_forecast_time (guint i, guint steps)
{
  return 2. * i / steps - 1;
}

/* Computes the Chebyshev polynomials of degree 0 .. @n - 1 at @t. */
static void
chebyshev (double *out, guint n, double t)
{
  for (guint k = 0; k < n; k++)
    out[k] = k == 0 ? 1 : k == 1 ? t : 2 * t * out[k - 1] - out[k - 2];
}

/* Solves A x = b in place, b becoming x. A [n, n] is symmetric and positive definite; its lower
 * triangle is overwritten by its Cholesky factor. */
static void
solve (double a[N_MAX][N_MAX], double *b, guint n)
{
  for (guint i = 0; i < n; i++)
    for (guint j = 0; j <= i; j++) {
      double sum = a[i][j];

      for (guint k = 0; k < j; k++)
        sum -= a[i][k] * a[j][k];
      a[i][j] = i == j ? sqrt (sum) : sum / a[j][j];
    }
  for (guint i = 0; i < n; i++) {
    for (guint k = 0; k < i; k++)
      b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (guint i = n; i-- > 0;) {
    for (guint k = i + 1; k < n; k++)
      b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
}

/* Adds to @weights the factors of the fit, times @share: X (X' X + ridge I)^-1 phi (at). */
static void
add_fit (double *weights, const double *times, guint n, double at, const AvatarForecast *f,
    double share)
{
  double x[AVATAR_FORECAST_MAX_HISTORY][N_MAX], a[N_MAX][N_MAX], b[N_MAX];
  guint m = MIN (f->degree, n - 1) + 1;

  for (guint i = 0; i < n; i++)
    chebyshev (x[i], m, times[i]);
  for (guint j = 0; j < m; j++)
    for (guint k = 0; k < m; k++) {
      a[j][k] = j == k ? f->ridge : 0;
      for (guint i = 0; i < n; i++)
        a[j][k] += x[i][j] * x[i][k];
    }
  chebyshev (b, m, at);
  solve (a, b, m);
  for (guint i = 0; i < n; i++)
    for (guint j = 0; j < m; j++)
      weights[i] += share * x[i][j] * b[j];
}

/* Adds to @weights the factors of the polynomial through the last steps, times @share, in
 * Lagrange's form. */
static void
add_polynomial (double *weights, const double *times, guint n, double at, guint order, double share)
{
  guint first = n - 1 - MIN (order, n - 1);

  for (guint i = first; i < n; i++) {
    double product = share;

    for (guint j = first; j < n; j++)
      if (j != i)
        product *= (at - times[j]) / (times[i] - times[j]);
    weights[i] += product;
  }
}

void
avatar_forecast_weights (double *weights, const double *times, guint n, double at,
    const AvatarForecast *forecast)
{
  g_return_if_fail (n >= 1 && n <= AVATAR_FORECAST_MAX_HISTORY);
  for (guint i = 0; i < n; i++)
    weights[i] = 0;
  if (forecast->blend > 0)
    add_fit (weights, times, n, at, forecast, forecast->blend);
  if (forecast->blend < 1)
    add_polynomial (weights, times, n, at, forecast->order, 1 - forecast->blend);
}

/* Returns the end of the window of cached steps that follows full step @i: at most @width steps and
 * a change of @change in sigma after it. */
static guint
window_end (const double *sigmas, const gboolean *is_first, guint steps, guint i, double width,
    double change)
{
  guint end = i + 1;

  while (end < steps && !is_first[end] && end + 1 - i <= width
      && sigmas[i] - sigmas[end + 1] <= change)
    end++;
  return end;
}

/* Chooses the full steps with windows that grow by @growth. Returns their number. */
static guint
fill_schedule (gboolean *is_full, const double *sigmas, const gboolean *is_first, guint steps,
    double growth)
{
  double width = 1;
  guint n = 0;

  for (guint i = 0; i < steps; i++)
    is_full[i] = i + 1 == steps;
  for (guint i = 0, end; i < steps; i = end) {
    width = i == 0 || is_first[i] ? 1 : width + growth * steps / GROWTH_STEPS;
    is_full[i] = TRUE;
    end = window_end (sigmas, is_first, steps, i, width, growth * CHANGE_PER_GROWTH);
  }
  for (guint i = 0; i < steps; i++)
    n += is_full[i];
  return n;
}

void
avatar_forecast_schedule (gboolean *is_full, const double *sigmas, const gboolean *is_first,
    guint steps, guint n_full)
{
  guint n = G_MAXUINT;

  for (guint k = 0; n > n_full && k <= GROWTH_STEPS / GROWTH_UNIT; k++)
    n = fill_schedule (is_full, sigmas, is_first, steps, k * GROWTH_UNIT);
}
