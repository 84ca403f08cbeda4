/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention of the CPU against loops in double precision that make the same choice of
 * blocks, at odd sizes and strides; its limits; and the settings of the denoiser that use it. */
#include "engine/device/device.h"
#include "engine/ops/sparse-attention.h"

#include <avatar/avatar.h>
#include <math.h>
#include <string.h>

#define BLOCK AVATAR_SPARSE_BLOCK
#define LIMIT 1e-5

static AvatarDevice *device;

/**
 * Case:
 * @sink: keys at the end that are always exact
 */
typedef struct
{
  gint64 lq, lk, heads, d, q_start, sink;
  double tau;
} Case;

typedef struct
{
  const Case *c;
  AvatarOps *ops;
  AvatarTensor q, k, v, o;
} Run;

static double
at (AvatarTensor t, gint64 i, gint64 h, gint64 c)
{
  return avatar_tensor_f32 (t)[i * t.stride[0] + h * t.stride[1] + c];
}

/* Random heads [rows, heads, d] whose rows lie @gap apart, with NaN in between. Neighbouring rows
 * are alike, so that the means of blocks differ. */
static AvatarTensor
heads (AvatarOps *ops, const Case *c, gint64 rows, gint64 gap)
{
  gint64 width = c->heads * c->d;
  AvatarTensor t = avatar_ops_alloc (ops, 2, rows, width + gap);
  g_autofree float *slow = g_new0 (float, width);

  for (gint64 i = 0; i < rows; i++)
    for (gint64 j = 0; j < width + gap; j++) {
      if (j < width)
        slow[j] += i % 32 == 0 ? g_test_rand_double_range (-1, 1) : 0;
      avatar_tensor_f32 (t)[i * (width + gap) + j]
          = j < width ? slow[j] + g_test_rand_double_range (-1, 1) : NAN;
    }
  return avatar_tensor_split_last (avatar_tensor_cols (t, 0, width), c->d);
}

static void
run_begin (Run *run, const Case *c)
{
  g_autoptr (GError) error = NULL;
  AvatarArena *arena = avatar_arena_new (device, 64 << 20, "test", &error);

  g_assert_no_error (error);
  run->c = c;
  run->ops = avatar_ops_new (device, arena, NULL);
  run->q = heads (run->ops, c, c->lq, 3);
  run->k = heads (run->ops, c, c->lk, 5);
  run->v = heads (run->ops, c, c->lk, 0);
  run->o = heads (run->ops, c, c->lq, 2);
}

static void
run_sparse (const Run *run)
{
  AvatarSparseAttention a
      = { run->o, run->q, run->k, run->v, avatar_ops_key_blocks (run->ops, run->k, run->v), 0.4,
          run->c->tau, run->c->q_start, run->c->lk - run->c->sink };

  avatar_op_sparse_attention (run->ops, &a);
}

/* Returns the mean of column @col over the block that starts with row @first. */
static double
mean (AvatarTensor t, gint64 first, gint64 h, gint64 col)
{
  gint64 n = MIN (BLOCK, t.shape[0] - first);
  double sum = 0;

  for (gint64 i = 0; i < n; i++)
    sum += at (t, first + i, h, col);
  return sum / n;
}

/* Fills exact [blocks of keys] for the queries from @first on, and returns how many are exact. */
static gint64
choose (const Run *run, gint64 h, gint64 first, gboolean *exact)
{
  const Case *c = run->c;
  gint64 n = (c->lk + BLOCK - 1) / BLOCK, last = MIN (first + BLOCK, c->lq) - 1, count = 0;
  double s = 0.4 / log (2), center = 0, spread = 0;
  g_autofree double *score = g_new0 (double, n);

  for (gint64 col = 0; col < c->d; col++) {
    double q = mean (run->q, first, h, col), m = 0, variance = 0;

    for (gint64 j = 0; j < n; j++) {
      score[j] += s * q * mean (run->k, j * BLOCK, h, col);
      m += mean (run->k, j * BLOCK, h, col) / n;
    }
    for (gint64 j = 0; j < n; j++)
      variance += pow (mean (run->k, j * BLOCK, h, col) - m, 2) / n;
    center += s * q * m;
    spread += s * s * q * q * variance;
  }
  for (gint64 j = 0; j < n; j++) {
    gint64 distance_low = (c->q_start + first) / BLOCK - j;
    gint64 distance_high = j - (c->q_start + last) / BLOCK;

    exact[j] = score[j] > center + c->tau * sqrt (spread + 1e-6)
        || (distance_low <= 1 && distance_high <= 1) || (j + 1) * BLOCK > c->lk - c->sink;
    count += exact[j];
  }
  return count;
}

/* Adds the weights and weighted values of query @i: one for each exact key, and one for each block
 * that is not exact. truth [d]: the output */
static void
truth_of (const Run *run, gint64 h, gint64 i, const gboolean *exact, double *truth)
{
  const Case *c = run->c;
  double total = 0;

  memset (truth, 0, c->d * sizeof *truth);
  for (gint64 j = 0, step; j < c->lk; j += step) {
    gboolean whole = !exact[j / BLOCK];
    double score = 0, weight;

    step = whole ? MIN (BLOCK, c->lk - j) : 1;
    for (gint64 col = 0; col < c->d; col++)
      score += at (run->q, i, h, col) * (whole ? mean (run->k, j, h, col) : at (run->k, j, h, col));
    weight = step * exp (0.4 * score);
    total += weight;
    for (gint64 col = 0; col < c->d; col++)
      truth[col] += weight * (whole ? mean (run->v, j, h, col) : at (run->v, j, h, col));
  }
  for (gint64 col = 0; col < c->d; col++)
    truth[col] /= total;
}

static void
check_reference (const Case *c)
{
  Run run;
  g_autofree gboolean *exact = g_new (gboolean, c->lk / BLOCK + 1);
  g_autofree double *truth = g_new (double, c->d);
  double error = 0, size = 0;
  gint64 chosen = 0;

  run_begin (&run, c);
  run_sparse (&run);
  for (gint64 h = 0; h < c->heads; h++)
    for (gint64 i = 0; i < c->lq; i++) {
      if (i % BLOCK == 0)
        chosen += choose (&run, h, i, exact);
      truth_of (&run, h, i, exact, truth);
      for (gint64 col = 0; col < c->d; col++) {
        g_assert_true (isfinite (at (run.o, i, h, col)));
        error += pow (at (run.o, i, h, col) - truth[col], 2);
        size += pow (truth[col], 2);
      }
    }
  g_assert_cmpint (chosen, >, 0);
  g_assert_cmpfloat (sqrt (error / size), <, LIMIT);
  avatar_ops_free (run.ops);
}

static void
test_reference (void)
{
  static const Case all[] = {
    { .lq = 5, .lk = 7, .heads = 2, .d = 6, .tau = 1 },
    { .lq = 64, .lk = 640, .heads = 1, .d = 16, .tau = 1 },
    { .lq = 131, .lk = 901, .heads = 2, .d = 10, .tau = 0.5 },
    { .lq = 200, .lk = 1025, .heads = 1, .d = 8, .tau = 1.5, .q_start = 300, .sink = 40 },
    { .lq = 70, .lk = 4200, .heads = 1, .d = 4, .tau = 1, .q_start = 4130, .sink = 100 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    check_reference (&all[i]);
}

/* With a threshold that every block exceeds, the result is that of dense attention. */
static void
test_dense (void)
{
  static const Case c = { .lq = 150, .lk = 1000, .heads = 2, .d = 12, .tau = -1e6 };
  Run run;
  AvatarTensor dense;

  run_begin (&run, &c);
  run_sparse (&run);
  dense = heads (run.ops, &c, c.lq, 0);
  avatar_op_attention (run.ops, dense, run.q, run.k, run.v, 0.4, 0, 0, AVATAR_NO_TENSOR);
  for (gint64 h = 0; h < c.heads; h++)
    for (gint64 i = 0; i < c.lq; i++)
      for (gint64 col = 0; col < c.d; col++)
        g_assert_cmpfloat_with_epsilon (at (run.o, i, h, col), at (dense, i, h, col), 1e-5);
  avatar_ops_free (run.ops);
}

/* A larger tau makes fewer blocks exact, and the error against dense attention grows. */
static void
test_tau (void)
{
  const double taus[] = { -1e6, 0, 1, 2 };
  double before = -1;

  for (guint n = 0; n < G_N_ELEMENTS (taus); n++) {
    Case c = { .lq = 256, .lk = 4096, .heads = 1, .d = 16, .tau = taus[n] };
    g_autofree gboolean *exact = g_new (gboolean, c.lk / BLOCK + 1);
    g_autofree double *truth = g_new (double, c.d);
    double error = 0;
    Run run;

    run_begin (&run, &c);
    for (gint64 j = 0; j < c.lk; j++)
      for (gint64 col = 0; col < c.d; col++) {
        avatar_tensor_f32 (run.k)[j * run.k.stride[0] + col] = sin (j / 200. * (1 + col % 5) + col);
        avatar_tensor_f32 (run.v)[j * run.v.stride[0] + col] = cos (j / 30. + col);
        if (j < c.lq)
          avatar_tensor_f32 (run.q)[j * run.q.stride[0] + col] = sin (j / 50. * (col % 3) + col);
      }
    run_sparse (&run);
    for (gint64 j = 0; j <= c.lk / BLOCK; j++)
      exact[j] = TRUE;
    for (gint64 i = 0; i < c.lq; i++) {
      truth_of (&run, 0, i, exact, truth);
      for (gint64 col = 0; col < c.d; col++)
        error += pow (at (run.o, i, 0, col) - truth[col], 2);
    }
    g_assert_cmpfloat (error, >, before);
    before = error;
    avatar_ops_free (run.ops);
  }
}

#define SIZE 64
#define LATENT (16 * (SIZE / 8) * (SIZE / 8))
#define FRAMES 65
#define LATENTS ((FRAMES + 3) / 4)

/* Returns all latents of a window, on the device @name. @dense_steps: negative: dense attention */
static float *
denoise (AvatarModel *model, const char *name, double dense_steps, guint dense_layers)
{
  g_autoptr (AvatarDevice) on = avatar_device_open (name, NULL);
  g_autofree guint8 *pixels = g_malloc0 (SIZE * SIZE * 3);
  g_autoptr (AvatarImage) image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  g_autoptr (AvatarDenoiser) self = NULL;
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  float *out = g_new (float, LATENTS *LATENT);
  AvatarDenoiseSettings s;
  g_autoptr (GError) error = NULL;

  avatar_denoise_settings_init (&s, model);
  s.width = s.height = SIZE;
  s.mode = AVATAR_DENOISE_MODE_STREAM;
  s.window_latents = LATENTS;
  s.steps = 2;
  if (dense_steps >= 0) {
    s.attention = AVATAR_ATTENTION_SPARSE;
    s.attention_dense_steps = dense_steps;
    s.attention_dense_layers = dense_layers;
  }
  self = avatar_denoiser_new (model, on, &s, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self, image, NULL));
  for (guint frame = 0; frame < FRAMES; frame++) {
    for (gsize i = 0; i < n; i++)
      features[i] = (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  }
  g_assert_true (avatar_denoiser_drain (self, NULL));
  for (guint i = 0; i < LATENTS; i++)
    g_assert_cmpint (avatar_denoiser_pull (self, out + i * LATENT, NULL), ==, AVATAR_PULL_OK);
  return out;
}

static double
difference (const float *a, const float *b)
{
  double error = 0, size = 0;

  for (guint i = 0; i < LATENTS * LATENT; i++) {
    error += pow (a[i] - b[i], 2);
    size += pow (b[i], 2);
  }
  return sqrt (error / size);
}

/* Dense steps and dense layers compute what dense attention does, to the bit. The rest differs a
 * little, and is the same on a device with memory of its own. */
static void
test_denoiser (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autofree float *dense = denoise (model, "cpu", -1, 0);
  g_autofree float *steps = denoise (model, "cpu", 1, 0);
  g_autofree float *layers = denoise (model, "cpu", 0, 1000);
  g_autofree float *sparse = denoise (model, "cpu", 0, 0);
  g_autofree float *first = denoise (model, "cpu", 0.5, 0);
  g_autofree float *other = denoise (model, "sim:4000", 0, 0);

  g_assert_cmpfloat (difference (steps, dense), ==, 0);
  g_assert_cmpfloat (difference (layers, dense), ==, 0);
  g_assert_cmpfloat (difference (sparse, dense), >, 1e-4);
  g_assert_cmpfloat (difference (sparse, dense), <, 0.5);
  g_assert_cmpfloat (difference (first, dense), >, 1e-4);
  g_assert_cmpfloat (difference (first, dense), <, difference (sparse, dense));
  g_assert_cmpfloat (difference (other, sparse), <, 1e-4);
}

/* A device that cannot compute it is named. */
static void
test_unsupported (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autoptr (AvatarDevice) plan = avatar_device_open ("plan:cuda:8000", NULL);
  g_autoptr (GError) error = NULL;
  AvatarDenoiseSettings s;

  avatar_denoise_settings_init (&s, model);
  s.attention = AVATAR_ATTENTION_SPARSE;
  g_assert_null (avatar_denoiser_new (model, plan, &s, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "attention is sparse, which plan:cuda:8000"));
  g_clear_error (&error);
  s.attention = 2;
  g_assert_null (avatar_denoiser_new (model, device, &s, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/sparse/reference", test_reference);
  g_test_add_func ("/sparse/dense", test_dense);
  g_test_add_func ("/sparse/tau", test_tau);
  g_test_add_func ("/sparse/denoiser", test_denoiser);
  g_test_add_func ("/sparse/unsupported", test_unsupported);
  status = g_test_run ();
  avatar_device_unref (device);
  return status;
}
