/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The caches that replace whole forwards: the forecast against a reference in double precision, its
 * schedule, the history of velocities in windows that shift, and the decision of the easy cache. */
#include "engine/denoise/easy-cache.h"
#include "engine/denoise/sampler.h"
#include "engine/denoise/velocity-cache.h"
#include "engine/device/ledger.h"

#include <avatar/avatar.h>

#include <math.h>
#include <string.h>

#define MAX_N AVATAR_FORECAST_MAX_HISTORY

/* Fills @times with @n ascending times of steps, all before @at. */
static void
draw_times (double *times, guint n, double *at)
{
  guint step = 0;

  for (guint i = 0; i < n; i++) {
    times[i] = avatar_forecast_time (step, 50);
    step += g_test_rand_int_range (1, 5);
  }
  *at = avatar_forecast_time (step, 50);
}

/* Returns the value at @at of the ridge regression of @values on Chebyshev polynomials: normal
 * equations, solved by elimination with pivots. */
static double
regress (const double *times, const double *values, guint n, double at, guint degree, double ridge)
{
  guint m = MIN (degree, n - 1) + 1;
  double a[MAX_N][MAX_N + 1] = { 0 }, result = 0;

  for (guint j = 0; j < m; j++) {
    a[j][j] = ridge;
    for (guint i = 0; i < n; i++) {
      double t = cos (j * acos (times[i]));

      for (guint k = 0; k < m; k++)
        a[j][k] += t * cos (k * acos (times[i]));
      a[j][m] += t * values[i];
    }
  }
  for (guint j = 0; j < m; j++) {
    guint pivot = j;

    for (guint k = j + 1; k < m; k++)
      pivot = fabs (a[k][j]) > fabs (a[pivot][j]) ? k : pivot;
    for (guint c = 0; c <= m; c++) {
      double other = a[j][c];

      a[j][c] = a[pivot][c];
      a[pivot][c] = other;
    }
    for (guint k = 0; k < m; k++)
      for (guint c = m + 1; k != j && c-- > j;)
        a[k][c] -= a[k][j] / a[j][j] * a[j][c];
  }
  for (guint j = 0; j < m; j++)
    result += a[j][m] / a[j][j] * cos (j * acos (at));
  return result;
}

/* Returns the value at @at of Newton's polynomial through the last @order + 1 values. */
static double
interpolate (const double *times, const double *values, guint n, double at, guint order)
{
  guint m = MIN (order, n - 1) + 1, first = n - m;
  double differences[MAX_N], result = 0, product = 1;

  memcpy (differences, values + first, m * sizeof (double));
  for (guint k = 1; k < m; k++)
    for (guint i = m; i-- > k;)
      differences[i]
          = (differences[i] - differences[i - 1]) / (times[first + i] - times[first + i - k]);
  for (guint k = 0; k < m; k++) {
    result += product * differences[k];
    product *= at - times[first + k];
  }
  return result;
}

static double
forecast (const double *times, const double *values, guint n, double at, const AvatarForecast *f)
{
  double weights[MAX_N], sum = 0;

  avatar_forecast_weights (weights, times, n, at, f);
  for (guint i = 0; i < n; i++)
    sum += weights[i] * values[i];
  return sum;
}

static void
test_reference (void)
{
  for (guint round = 0; round < 300; round++) {
    guint n = g_test_rand_int_range (1, MAX_N + 1);
    const AvatarForecast f = { .degree = g_test_rand_int_range (0, 5),
      .order = g_test_rand_int_range (0, 4),
      .ridge = g_test_rand_double_range (1e-3, 1),
      .blend = round % 3 == 0 ? 1 : g_test_rand_double_range (0, 1) };
    double times[MAX_N], values[MAX_N], at, wanted, found;

    draw_times (times, n, &at);
    for (guint i = 0; i < n; i++)
      values[i] = g_test_rand_double_range (-1, 1);
    wanted = f.blend * regress (times, values, n, at, f.degree, f.ridge)
        + (1 - f.blend) * interpolate (times, values, n, at, f.order);
    found = forecast (times, values, n, at, &f);
    g_assert_cmpfloat (fabs (found - wanted), <=, 1e-8 * MAX (1, fabs (wanted)));
  }
}

/* Returns the value at @t of the polynomial with coefficients @c. */
static double
polynomial (const double *c, guint degree, double t)
{
  double value = c[degree];

  for (guint k = degree; k-- > 0;)
    value = value * t + c[k];
  return value;
}

/* Without a ridge a forecast of a polynomial of low degree is exact. */
static void
test_polynomials (void)
{
  for (guint degree = 0; degree < 4; degree++)
    for (guint n = degree + 1; n <= MAX_N; n++) {
      const AvatarForecast f = { .degree = degree, .order = degree, .blend = 0.5 };
      double times[MAX_N], values[MAX_N], at, c[4];

      draw_times (times, n, &at);
      for (guint k = 0; k < 4; k++)
        c[k] = g_test_rand_double_range (-1, 1);
      for (guint i = 0; i < n; i++)
        values[i] = polynomial (c, degree, times[i]);
      g_assert_cmpfloat_with_epsilon (forecast (times, values, n, at, &f),
          polynomial (c, degree, at), 1e-6);
    }
}

/* The constants in use are exact, but for their ridge, if velocities change linearly. */
static void
test_default (void)
{
  const double times[] = { -0.6, -0.4, 0 }, values[] = { 1.6, 1.4, 1 };
  const AvatarForecast *f = &avatar_forecast_default;

  g_assert_cmpuint (f->history, <=, MAX_N);
  g_assert_cmpfloat (fabs (forecast (times, values, 3, 0.4, f) - 0.6), <, 5e-3);
  g_assert_cmpfloat (fabs (forecast (times + 2, values + 2, 1, 0.4, f) - 1), <, 1e-3);
}

/* Expects the schedule of @steps steps with at most @n_full full ones, as text: 'x' full, '.'
 * forecast. @border: first step of a second phase; 0: none */
static void
expect_schedule (guint steps, guint border, guint n_full, const char *wanted)
{
  gboolean full[50], first[50] = { 0 };
  double sigmas[51];
  char found[51] = "";

  first[border] = TRUE;
  for (guint i = 0; i <= steps; i++)
    sigmas[i] = avatar_sigma (i, steps, 3);
  avatar_forecast_schedule (full, sigmas, first, steps, n_full);
  for (guint i = 0; i < steps; i++)
    found[i] = full[i] ? 'x' : '.';
  g_assert_cmpstr (found, ==, wanted);
}

static void
test_schedule (void)
{
  expect_schedule (50, 10, 50, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
  expect_schedule (50, 10, 15, "xx..x.....xx..x.....x......x....x...x...x..x.x.x.x");
  expect_schedule (50, 0, 12, "xx...x......x.........x......x.....x...x..x..x.x.x");
  expect_schedule (50, 10, 0, "xx........xx.....................................x");
  expect_schedule (12, 10, 8, "xx.x..x.xxxx");
  expect_schedule (4, 0, 3, "xx.x");
  expect_schedule (2, 1, 0, "xx");
  expect_schedule (1, 0, 0, "x");
  /* more full steps than there are steps */
  expect_schedule (7, 0, 8, "xxxxxxx");
  expect_schedule (3, 0, 1000, "xxx");
  expect_schedule (1, 0, 8, "x");
}

#define CHANNELS 2
#define FRAMES 3
#define PLANE 2
#define WINDOW (CHANNELS * FRAMES * PLANE)

typedef struct
{
  AvatarDevice *device;
  AvatarOps *ops;
  AvatarVelocityCache *cache;
} History;

static History
history_new (AvatarTokenStorage storage, guint latents)
{
  const AvatarVelocityShape shape
      = { .branches = 2, .history = 2, .channels = CHANNELS, .frames = FRAMES, .plane = PLANE };
  History h = { .device = avatar_device_open ("cpu", NULL) };

  h.ops = avatar_ops_new (h.device, avatar_arena_new (h.device, 1 << 20, "test", NULL), NULL);
  h.cache = avatar_velocity_cache_new (h.ops, storage, &shape);
  avatar_velocity_cache_reset (h.cache, latents);
  return h;
}

static void
history_clear (History *h)
{
  avatar_velocity_cache_free (h->cache);
  avatar_ops_free (h->ops);
  avatar_device_unref (h->device);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (History, history_clear)

/* Stores a window whose values are @value + 10 c + f, f being the latent frame of the clip. */
static void
store (History *h, guint branch, guint start, guint latents, float value)
{
  gsize mark = avatar_ops_mark (h->ops);
  AvatarTensor v = avatar_ops_alloc_as (h->ops, AVATAR_F32, 3, (gint64) CHANNELS, (gint64) FRAMES,
      (gint64) PLANE);

  for (guint c = 0; c < CHANNELS; c++)
    for (guint j = 0; j < FRAMES; j++)
      for (guint k = 0; k < PLANE; k++)
        avatar_tensor_f32 (v)[(c * FRAMES + j) * PLANE + k]
            = value + 10.f * c + (start + j) % latents;
  avatar_velocity_cache_store (h->cache, h->ops, v, branch, start);
  avatar_ops_release (h->ops, mark);
}

/* Expects that the sum with @weights at @start has the values @value[j] + @factor (10 c + f). */
static void
expect_sum (History *h, guint branch, guint start, guint latents, const double *weights,
    const float *value, float factor)
{
  gsize mark = avatar_ops_mark (h->ops);
  AvatarTensor v = avatar_ops_alloc_as (h->ops, AVATAR_F32, 3, (gint64) CHANNELS, (gint64) FRAMES,
      (gint64) PLANE);

  avatar_velocity_cache_combine (h->cache, h->ops, v, branch, start, weights);
  for (guint c = 0; c < CHANNELS; c++)
    for (guint j = 0; j < FRAMES; j++)
      for (guint k = 0; k < PLANE; k++)
        g_assert_cmpfloat_with_epsilon (avatar_tensor_f32 (v)[(c * FRAMES + j) * PLANE + k],
            value[j] + factor * (10.f * c + (start + j) % latents), 1e-4);
  avatar_ops_release (h->ops, mark);
}

/* Windows of 3 of 5 latent frames, at other positions in each step; one frame is in both. */
static void
test_windows (void)
{
  static const double sum[] = { 2, -1 };
  g_auto (History) h = history_new (AVATAR_TOKEN_STORAGE_HOST, 5);

  avatar_velocity_cache_begin (h.cache, 0, 0);
  store (&h, 0, 0, 5, 100); /* frames 0 1 2 */
  avatar_velocity_cache_begin (h.cache, 0, 0);
  store (&h, 0, 2, 5, 200); /* 2 3 4, so that 2 has the mean 150 */
  store (&h, 1, 0, 5, 1);
  store (&h, 1, 2, 5, 1);
  expect_sum (&h, 0, 4, 5, (const double[]){ 1 }, (const float[]){ 200, 100, 100 }, 1);
  expect_sum (&h, 0, 1, 5, (const double[]){ 1 }, (const float[]){ 100, 150, 200 }, 1);
  avatar_velocity_cache_begin (h.cache, 3, 0);
  store (&h, 0, 3, 5, 300); /* 3 4 0 */
  store (&h, 0, 0, 5, 500); /* 0 1 2; 0 has the mean 400 */
  store (&h, 1, 3, 5, 7);
  store (&h, 1, 0, 5, 7);
  expect_sum (&h, 0, 4, 5, sum, (const float[]){ 100, -200, -300 }, 1);
  expect_sum (&h, 1, 2, 5, (const double[]){ 1, 0 }, (const float[]){ 1, 1, 1 }, 1);
}

/* The oldest step is replaced, and a border drops all before it. */
static void
test_history (void)
{
  static const float a[] = { 1, 1, 1 }, b[] = { 5, 5, 5 };
  guint steps[MAX_N];

  for (guint storage = AVATAR_TOKEN_STORAGE_HOST; storage <= AVATAR_TOKEN_STORAGE_DEVICE;
       storage++) {
    g_auto (History) h = history_new (storage, FRAMES);

    g_assert_cmpuint (avatar_velocity_cache_steps (h.cache, steps), ==, 0);
    for (guint i = 0; i < 3; i++) {
      avatar_velocity_cache_begin (h.cache, 2 * i, 0);
      store (&h, 0, 0, FRAMES, i);
      store (&h, 1, 0, FRAMES, i + 4);
    }
    g_assert_cmpuint (avatar_velocity_cache_steps (h.cache, steps), ==, 2);
    g_assert_cmpuint (steps[0], ==, 2);
    g_assert_cmpuint (steps[1], ==, 4);
    expect_sum (&h, 0, 0, FRAMES, (const double[]){ 1, 0 }, a, 1);
    expect_sum (&h, 1, 0, FRAMES, (const double[]){ 1, 0 }, b, 1);
    avatar_velocity_cache_begin (h.cache, 5, 5);
    store (&h, 0, 0, FRAMES, 1);
    g_assert_cmpuint (avatar_velocity_cache_steps (h.cache, steps), ==, 1);
    g_assert_cmpuint (steps[0], ==, 5);
    expect_sum (&h, 0, 0, FRAMES, (const double[]){ 1 }, a, 1);
    avatar_velocity_cache_reset (h.cache, FRAMES);
    g_assert_cmpuint (avatar_velocity_cache_steps (h.cache, steps), ==, 0);
  }
}

/* Latents 8, 7, 6, ... of one frame and velocities that change by @rate times as much: the relative
 * change since the last full step is the sum of @rate / |velocity| over the steps. Returns which
 * steps of 9 are full. */
static char *
decide (double rate, double threshold, guint drop)
{
  g_autoptr (AvatarEasyCache) cache = avatar_easy_cache_new (1, 1);
  GString *text = g_string_new (NULL);

  avatar_easy_cache_reset (cache, 1);
  for (guint i = 0; i < 9; i++) {
    float x = 8.f - i, v = 10 + rate * i;
    gboolean skip;

    if (i == drop)
      avatar_easy_cache_drop (cache);
    skip = avatar_easy_cache_begin (cache, &x, threshold, i < 8);
    g_string_append_c (text, skip ? '.' : 'x');
    if (!skip)
      avatar_easy_cache_store (cache, &v, 1, 0);
  }
  return g_string_free (text, FALSE);
}

static void
expect_decision (double rate, double threshold, guint drop, const char *wanted)
{
  g_autofree char *found = decide (rate, threshold, drop);

  g_assert_cmpstr (found, ==, wanted);
}

static void
test_easy (void)
{
  expect_decision (0, 0.01, 9, "xx......x");    /* a constant velocity, and the last step */
  expect_decision (0.1, 0.025, 9, "xx..x..xx"); /* 1 % a step */
  expect_decision (0.1, 0.001, 9, "xxxxxxxxx");
  expect_decision (0, 0.01, 4, "xx..xx..x");
  expect_decision (NAN, 0.01, 9, "xxxxxxxxx");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/forecast/reference", test_reference);
  g_test_add_func ("/forecast/polynomials", test_polynomials);
  g_test_add_func ("/forecast/default", test_default);
  g_test_add_func ("/forecast/schedule", test_schedule);
  g_test_add_func ("/forecast/windows", test_windows);
  g_test_add_func ("/forecast/history", test_history);
  g_test_add_func ("/forecast/easy", test_easy);
  return g_test_run ();
}
