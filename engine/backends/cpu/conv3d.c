/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal convolution, one frame at a time. The workspace is a ring buffer of three input
 * frames, normalised, activated and padded. The rows of an output frame are distributed over the
 * threads. Sums are added in a fixed order, so the result does not depend on the number of
 * threads. */
#include "engine/backends/cpu/conv3d.h"

#include "engine/backends/cpu/conv3d-pack.h"
#include "engine/backends/cpu/cpu.h"

#include <string.h>

#define RING 3
/* Multiply-adds of an output frame, and elements of an input frame, below which a single thread is
 * faster than several. */
#define SMALL_OUTPUT 2000000
#define SMALL_INPUT 50000

typedef struct
{
  const AvatarConvStream *stream;
  const AvatarConvLoops *loops;
  AvatarTensor y, x, residual;
  gint64 first_y; /* index in the stream of the first frame of y */
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

/* Returns a padded row of an input frame in the ring buffer [RING, H + 2, W + 2, in]. */
static float *
ring_row (const AvatarConvStream *stream, gint64 frame, gint64 row)
{
  return (float *) stream->ring
      + ((frame % RING * (stream->h + 2)) + row) * (stream->w + 2) * stream->conv->in;
}

/* Returns the sums [2, 16] of a row and a block in stream->partials [H', blocks, 2, 16]. */
static double *
row_sums (const AvatarConvStream *stream, gint64 row, gint64 block)
{
  return (double *) stream->partials + (row * avatar_conv3d_blocks (stream->conv) + block) * 32;
}

/* Writes the input frame @x [H, W, in] to its place in the ring buffer. */
static void
fill_frame (const AvatarConvStream *stream, gint64 frame, const float *x)
{
  const AvatarConvLoops *loops = best_loops ();
  gint64 h = stream->h, w = stream->w, c = stream->conv->in;
  const AvatarNorm *norm = &stream->norm;

#pragma omp parallel for schedule(static) if (h * w * c > SMALL_INPUT)
  for (gint64 row = 0; row < h + 2; row++)
    loops->fill_row (ring_row (stream, frame, row), x + CLAMP (row - 1, 0, h - 1) * w * c, w, c,
        norm->scale.data, norm->shift.data, norm->silu);
}

/* Computes row @y of output frame @t for the 16 channels of @block. */
static void
compute_row (const Run *run, gint64 t, gint64 y, gint64 block)
{
  const AvatarConvStream *stream = run->stream;
  const AvatarConv3d *conv = stream->conv;
  const AvatarConvShape *s = &conv->shape;
  const gint64 out_w = stream->out_w, up = s->up_s;
  gint64 pt = 0, t_last = t * s->stride_t, py = y % up;
  gint64 y_first = up == 2 ? y / 2 + py : y * s->stride_s; /* row of the ring: its row 0 is -1 */
  gsize offset = (((t - run->first_y) * stream->out_h + y) * out_w) * conv->out + block * 16;
  AvatarConvRow job = { .taps_x = conv->taps_s,
    .n_rows = conv->taps_t * conv->taps_s,
    .channels_in = conv->in,
    .channels_out = MIN (16, conv->out - block * 16),
    .x_step = s->stride_s * conv->in,
    .y_step = up * conv->out,
    .width = out_w / up,
    .bias = avatar_conv3d_bias (conv, block) };

  if (s->up_t == 2) {
    t_last = (t + 1) / 2;
    pt = (t + 1) % 2;
  }
  for (gint64 px = 0; px < up; px++) {
    for (gint64 i = 0; i < job.n_rows; i++) {
      gint64 frame = MAX (0, t_last - (conv->taps_t - 1) + i / conv->taps_s);

      job.rows[i] = ring_row (stream, frame, y_first + i % conv->taps_s) + px * conv->in;
    }
    job.weights = avatar_conv3d_weights (conv, pt, py, px, block);
    job.y = avatar_tensor_f32 (run->y) + offset + px * conv->out;
    job.residual = avatar_tensor_is_set (run->residual)
        ? avatar_tensor_f32 (run->residual) + offset + px * conv->out
        : NULL;
    run->loops->conv_row (&job);
  }
  if (stream->sums)
    run->loops->sum_row (row_sums (stream, y, block), avatar_tensor_f32 (run->y) + offset, out_w,
        conv->out, job.channels_out);
}

/* Adds the sums of all rows of a frame to those of the stream. */
static void
add_row_sums (const AvatarConvStream *stream)
{
  const gint64 out = stream->conv->out;

  for (gint64 row = 0; row < stream->out_h; row++)
    for (gint64 c = 0; c < out; c++) {
      const double *s = row_sums (stream, row, c / 16);

      stream->sums->sums[c] += s[c % 16];
      stream->sums->sums[out + c] += s[16 + c % 16];
    }
}

static void
compute_frame (const Run *run, gint64 t)
{
  const AvatarConvStream *stream = run->stream;
  const gint64 rows = stream->out_h, blocks = avatar_conv3d_blocks (stream->conv);
  gint64 work = rows * stream->out_w * blocks * avatar_conv3d_phase_size (stream->conv);

/* Dynamic scheduling: one preempted thread must not delay the frame. */
#pragma omp parallel for schedule(dynamic, 2) if (work > SMALL_OUTPUT)
  for (gint64 i = 0; i < rows * blocks; i++)
    compute_row (run, t, i / blocks, i % blocks);
  if (stream->sums)
    add_row_sums (stream);
}

void
avatar_cpu_conv3d_sizes (AvatarConvStream *stream, gsize sizes[3])
{
  const AvatarConv3d *conv = stream->conv;

  sizes[0] = RING * (stream->h + 2) * (stream->w + 2) * conv->in * sizeof (float);
  sizes[1] = 0;
  sizes[2] = stream->sums ? stream->out_h * avatar_conv3d_blocks (conv) * 32 * sizeof (double) : 0;
}

void
avatar_cpu_conv3d_begin (AvatarQueue *queue, AvatarConvStream *stream)
{
  if (stream->sums)
    memset (stream->sums->sums, 0, 2 * stream->conv->out * sizeof (double));
}

void
avatar_cpu_conv3d_seek (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context)
{
  for (gint64 i = 0; i < 2; i++)
    fill_frame (stream, stream->first - 2 + i, avatar_tensor_f32 (context) + i * context.stride[0]);
}

void
avatar_cpu_conv3d_group (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual)
{
  const AvatarConv3d *conv = stream->conv;
  Run run = { .stream = stream, .loops = best_loops (), .y = y, .x = x, .residual = residual };
  gint64 t = avatar_conv_frames (conv, stream->next);

  run.first_y = t;
  for (gint64 i = 0; i < x.shape[0]; i++) {
    fill_frame (stream, stream->next + i, avatar_tensor_f32 (x) + i * x.stride[0]);
    for (; t < avatar_conv_frames (conv, stream->next + i + 1); t++)
      compute_frame (&run, t);
  }
}

void
avatar_cpu_conv3d_end (AvatarQueue *queue, AvatarConvStream *stream)
{
}
