/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal convolution, frame after frame: a ring of three input frames, normalised, activated
 * and with their borders copied, is all the workspace there is. Rows of an output frame are
 * shared out among the threads; sums are added in one order, whatever the number of threads. */
#include "engine/ops/cpu/conv3d.h"
#include "engine/ops/cpu/conv3d-pack.h"

#include <math.h>
#include <string.h>

#define RING 3
/* Multiply-adds and elements below which waking other threads costs more than it brings. */
#define SMALL_FRAME 2000000
#define SMALL_SLAB 50000

typedef struct
{
  const AvatarConv3d *conv;
  const AvatarConvLoops *loops;
  const AvatarNorm *norm;
  AvatarTensor y, x, residual;
  float *ring;      /* [RING, H + 2, W + 2, in] */
  double *row_sums; /* [H', blocks, 2, 16] or %NULL */
} Run;

static const AvatarConvLoops *
best_loops (void)
{
#if defined(__x86_64__)
  if (__builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512dq")
      && __builtin_cpu_supports ("avx512vl"))
    return &avatar_conv_loops_avx512;
  if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma"))
    return &avatar_conv_loops_avx2;
#endif
  return &avatar_conv_loops_any;
}

static float *
slab_row (const Run *run, gint64 frame, gint64 row)
{
  gint64 h = run->x.shape[1], w = run->x.shape[2], c = run->x.shape[3];

  return run->ring + ((frame % RING * (h + 2)) + row) * (w + 2) * c;
}

static void
fill_frame (const Run *run, gint64 frame)
{
  gint64 h = run->x.shape[1], w = run->x.shape[2], c = run->x.shape[3];
  const float *x = avatar_tensor_f32 (run->x) + frame * h * w * c;
  const AvatarNorm *norm = run->norm;

#pragma omp parallel for schedule(static) if (h * w * c > SMALL_SLAB)
  for (gint64 row = 0; row < h + 2; row++)
    run->loops->fill_row (slab_row (run, frame, row), x + CLAMP (row - 1, 0, h - 1) * w * c, w, c,
        norm ? norm->scale.data : NULL, norm ? norm->shift.data : NULL, norm && norm->silu);
}

/* Row @y of output frame @t, 16 channels from 16 * @block. */
static void
compute_row (const Run *run, gint64 t, gint64 y, gint64 block)
{
  const AvatarConv3d *conv = run->conv;
  const AvatarConvShape *s = &conv->shape;
  const gint64 out_w = run->y.shape[2], up = s->up_s;
  gint64 pt = 0, t_last = t * s->stride_t, py = y % up;
  gint64 y_first = up == 2 ? y / 2 + py : y * s->stride_s; /* of the slab, which begins at -1 */
  gsize offset = ((t * run->y.shape[1] + y) * out_w) * conv->out + block * 16;
  AvatarConvRow job = { .taps_x = conv->taps_s,
    .n_rows = conv->taps_t * conv->taps_s,
    .channels_in = conv->in,
    .channels_out = MIN (16, conv->out - block * 16),
    .x_step = s->stride_s * conv->in,
    .y_step = up * conv->out,
    .width = out_w / up,
    .bias = conv->bias + block * 16 };

  if (s->up_t == 2) {
    t_last = (t + 1) / 2;
    pt = (t + 1) % 2;
  }
  for (gint64 px = 0; px < up; px++) {
    for (gint64 i = 0; i < job.n_rows; i++) {
      gint64 frame = MAX (0, t_last - (conv->taps_t - 1) + i / conv->taps_s);

      job.rows[i] = slab_row (run, frame, y_first + i % conv->taps_s) + px * conv->in;
    }
    job.weights = avatar_conv3d_weights (conv, pt, py, px, block);
    job.y = avatar_tensor_f32 (run->y) + offset + px * conv->out;
    job.residual = avatar_tensor_given (run->residual)
        ? avatar_tensor_f32 (run->residual) + offset + px * conv->out
        : NULL;
    run->loops->conv_row (&job);
  }
  if (run->row_sums)
    run->loops->sum_row (run->row_sums + (y * conv->blocks + block) * 32,
        avatar_tensor_f32 (run->y) + offset, out_w, conv->out, job.channels_out);
}

static void
add_row_sums (const Run *run, AvatarChannelSums *sums)
{
  const AvatarConv3d *conv = run->conv;

  for (gint64 row = 0; row < run->y.shape[1]; row++)
    for (gint64 c = 0; c < conv->out; c++) {
      const double *s = run->row_sums + (row * conv->blocks + c / 16) * 32;

      sums->sums[c] += s[c % 16];
      sums->sums[conv->out + c] += s[16 + c % 16];
    }
}

static void
compute (AvatarOps *ops, Run *run, AvatarChannelSums *sums)
{
  const AvatarConv3d *conv = run->conv;
  gint64 rows = run->y.shape[1], filled = 0;
  gint64 work = rows * run->y.shape[2] * conv->blocks * avatar_conv3d_phase_size (conv);

  if (sums)
    memset (sums->sums, 0, 2 * conv->out * sizeof (double));
  for (gint64 t = 0; t < run->y.shape[0] && avatar_ops_running (ops); t++) {
    gint64 last = conv->shape.up_t == 2 ? (t + 1) / 2 : t * conv->shape.stride_t;

    for (; filled <= last; filled++)
      fill_frame (run, filled);
/* dynamic: a thread that the machine takes away must not hold up the frame */
#pragma omp parallel for schedule(dynamic, 2) if (work > SMALL_FRAME)
    for (gint64 i = 0; i < rows * conv->blocks; i++)
      compute_row (run, t, i / conv->blocks, i % conv->blocks);
    if (sums)
      add_row_sums (run, sums);
  }
}

static gboolean
same_shape (AvatarTensor a, AvatarTensor b)
{
  return a.rank == b.rank && memcmp (a.shape, b.shape, a.rank * sizeof *a.shape) == 0
      && avatar_tensor_is_contiguous (a) && avatar_tensor_is_contiguous (b);
}

void
avatar_op_conv3d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarConv3d *conv,
    const AvatarNorm *norm, AvatarTensor residual, AvatarChannelSums *sums)
{
  gint64 t = x.shape[0], h = x.shape[1], w = x.shape[2];
  gsize mark = avatar_ops_mark (ops);
  Run run = { .conv = conv, .norm = norm, .y = y, .x = x, .residual = residual };

  avatar_conv3d_output (conv, &t, &h, &w);
  g_assert (x.rank == 4 && x.shape[3] == conv->in && avatar_tensor_is_contiguous (x));
  g_assert (y.rank == 4 && y.shape[0] == t && y.shape[1] == h && y.shape[2] == w
      && y.shape[3] == conv->out && avatar_tensor_is_contiguous (y));
  g_assert (!avatar_tensor_given (residual) || same_shape (residual, y));
  g_assert (!norm || (norm->scale.shape[0] == conv->in && norm->shift.shape[0] == conv->in));
  g_assert (!sums || sums->channels == conv->out);

  run.ring = avatar_arena_push (ops->arena,
      RING * (x.shape[1] + 2) * (x.shape[2] + 2) * conv->in * sizeof (float));
  if (sums) {
    sums->pixels = t * h * w;
    run.row_sums = avatar_arena_push (ops->arena, h * conv->blocks * 32 * sizeof (double));
  }
  avatar_ops_count (ops,
      2. * conv->taps_t * conv->taps_s * conv->taps_s * conv->in * avatar_tensor_n (y),
      (double) avatar_tensor_bytes (x) + conv->bytes
          + avatar_tensor_bytes (y) * (avatar_tensor_given (residual) ? 2. : 1.));
  if (avatar_ops_running (ops)) {
    run.loops = best_loops ();
    compute (ops, &run, sums);
  }
  avatar_ops_release (ops, mark);
}
