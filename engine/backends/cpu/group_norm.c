/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Group norm of a whole tensor. The statistics, in double precision, are reduced to a scale and a
 * shift per channel, which the next convolution applies to its input. */
#include "engine/backends/cpu/cpu.h"

#include <math.h>
#include <string.h>

/* Number of partial sums: fixed, so that the result does not depend on the number of threads. */
#define PIECES 64

gsize
avatar_cpu_channel_sums_workspace (AvatarTensor x)
{
  return PIECES * 2 * x.shape[x.rank - 1] * sizeof (double);
}

static void
sum_piece (double *sums, const float *x, gint64 pixels, gint64 channels)
{
  memset (sums, 0, 2 * channels * sizeof (double));
  for (gint64 i = 0; i < pixels; i++)
    for (gint64 c = 0; c < channels; c++) {
      double v = x[i * channels + c];

      sums[c] += v;
      sums[channels + c] += v * v;
    }
}

void
avatar_cpu_channel_sums (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws)
{
  gint64 channels = sums->channels, pixels = sums->pixels;
  double *parts = ws;

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < PIECES; i++)
    sum_piece (parts + i * 2 * channels, avatar_tensor_f32 (x) + pixels * i / PIECES * channels,
        pixels * (i + 1) / PIECES - pixels * i / PIECES, channels);
  memset (sums->sums, 0, 2 * channels * sizeof (double));
  for (gint64 i = 0; i < PIECES * 2 * channels; i++)
    sums->sums[i % (2 * channels)] += parts[i];
}

void
avatar_cpu_group_norm (AvatarQueue *queue, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps)
{
  gint64 channels = sums->channels, size = channels / groups;
  const float *g = gamma.data, *b = beta.data;
  float *scale = norm->scale.data, *shift = norm->shift.data;

  for (guint group = 0; group < groups; group++) {
    double n = (double) size * sums->pixels, mean = 0, square = 0, rstd;

    for (gint64 c = group * size; c < (group + 1) * size; c++) {
      mean += sums->sums[c] / n;
      square += sums->sums[channels + c] / n;
    }
    rstd = 1 / sqrt (MAX (0, square - mean * mean) + eps);
    for (gint64 c = group * size; c < (group + 1) * size; c++) {
      scale[c] = g[c] * rstd;
      shift[c] = b[c] - mean * rstd * g[c];
    }
  }
}

void
avatar_cpu_apply_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm)
{
  gint64 channels = x.shape[x.rank - 1], pixels = avatar_tensor_n (x) / channels;
  const float *in = x.data, *scale = norm->scale.data, *shift = norm->shift.data;
  float *out = y.data;

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < pixels; i++)
    for (gint64 c = 0; c < channels; c++) {
      float v = in[i * channels + c] * scale[c] + shift[c];

      out[i * channels + c] = norm->silu ? v / (1 + expf (-v)) : v;
    }
}
