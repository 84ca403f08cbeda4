/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Computes the log-mel spectrogram by matrix products: the Fourier transform of 400 samples (a
 * small size and not a power of two) is a [402, 400] matrix, the mel filters are a [mels, 201]
 * matrix. The last step limits values to 8 decades below the maximum of all frames. */
#include "engine/audio/mel.h"

#include <math.h>

#define WINDOW 400
#define BINS (WINDOW / 2 + 1)
#define RATE 16000
/* Number of rows that are processed at once. Limits the memory and the latency of a
 * cancellation. */
#define CHUNK 500

static void
fill_basis (float *basis)
{
  for (guint k = 0; k < BINS; k++)
    for (guint n = 0; n < WINDOW; n++) {
      double hann = .5 - .5 * cos (2 * G_PI * n / WINDOW);
      double angle = 2 * G_PI * ((k * n) % WINDOW) / WINDOW;

      basis[k * WINDOW + n] = (float) (hann * cos (angle));
      basis[(BINS + k) * WINDOW + n] = (float) (-hann * sin (angle));
    }
}

/* Converts to Slaney's mel scale: linear below 1 kHz, logarithmic above. */
static double
hz_to_mel (double hz)
{
  return hz < 1000 ? 3 * hz / 200 : 15 + 27 * log (hz / 1000) / log (6.4);
}

static double
mel_to_hz (double mel)
{
  return mel < 15 ? 200 * mel / 3 : 1000 * exp (log (6.4) / 27 * (mel - 15));
}

static void
fill_filters (float *filters, guint mels)
{
  double top = hz_to_mel (RATE / 2);

  for (guint i = 0; i < mels; i++) {
    double low = mel_to_hz (top * i / (mels + 1)), mid = mel_to_hz (top * (i + 1) / (mels + 1));
    double high = mel_to_hz (top * (i + 2) / (mels + 1));

    for (guint k = 0; k < BINS; k++) {
      double hz = (double) k * RATE / WINDOW;
      double slope = MIN ((hz - low) / (mid - low), (high - hz) / (high - mid));

      filters[i * BINS + k] = (float) (MAX (0, slope) * 2 / (high - low));
    }
  }
}

void
avatar_mel_init (AvatarMel *self, AvatarOps *ops, guint mels)
{
  self->basis = avatar_ops_alloc (ops, 2, (gint64) 2 * BINS, (gint64) WINDOW);
  self->filters = avatar_ops_alloc (ops, 2, (gint64) mels, (gint64) BINS);
  if (ops->dry_run)
    return;
  fill_basis (avatar_tensor_f32 (self->basis));
  fill_filters (avatar_tensor_f32 (self->filters), mels);
}

AvatarTensor
avatar_mel_alloc_input (AvatarOps *ops, gint64 frames)
{
  return avatar_ops_alloc (ops, 1, frames * AVATAR_MEL_HOP + WINDOW);
}

float *
avatar_mel_samples (AvatarTensor input)
{
  return avatar_tensor_f32 (input) + WINDOW / 2;
}

/* Mirrors the signal at its first and last sample, because frames are centred. */
static void
reflect_ends (float *samples, gint64 n)
{
  for (gint64 i = 1; i <= WINDOW / 2; i++) {
    samples[-i] = samples[i];
    samples[n - 1 + i] = samples[n - 1 - i];
  }
}

/* Takes the logarithm of @n values and limits and scales them. */
static void
compress (float *mel, gint64 n)
{
  float max = -INFINITY;

  for (gint64 i = 0; i < n; i++) {
    mel[i] = log10f (MAX (mel[i], 1e-10f));
    max = MAX (max, mel[i]);
  }
  for (gint64 i = 0; i < n; i++)
    mel[i] = (MAX (mel[i], max - 8.f) + 4.f) / 4.f;
}

void
avatar_mel_run (const AvatarMel *self, AvatarOps *ops, AvatarTensor mel, AvatarTensor input)
{
  gint64 frames = mel.shape[0], chunk = MIN (frames, CHUNK);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor rows = avatar_ops_alloc (ops, 2, chunk, (gint64) WINDOW);
  AvatarTensor spectrum = avatar_ops_alloc (ops, 2, chunk, (gint64) 2 * BINS);
  AvatarTensor power = avatar_ops_alloc (ops, 2, chunk, (gint64) BINS);
  /* view of the input as overlapping rows, [frames, 400] */
  AvatarTensor overlapping = avatar_tensor (AVATAR_F32, input.data, 2, frames, (gint64) WINDOW);

  g_assert (input.shape[0] == frames * AVATAR_MEL_HOP + WINDOW);
  overlapping.stride[0] = AVATAR_MEL_HOP;
  if (avatar_ops_running (ops))
    reflect_ends (avatar_mel_samples (input), frames * AVATAR_MEL_HOP);
  for (gint64 at = 0; at < frames; at += chunk) {
    gint64 n = MIN (chunk, frames - at);
    AvatarTensor r = avatar_tensor_rows (rows, 0, n), s = avatar_tensor_rows (spectrum, 0, n);
    AvatarTensor p = avatar_tensor_rows (power, 0, n);

    avatar_op_copy (ops, r, avatar_tensor_rows (overlapping, at, n));
    avatar_op_linear (ops, s, r, self->basis, AVATAR_NO_TENSOR, AVATAR_ACT_NONE);
    avatar_op_power (ops, p, s);
    avatar_op_linear (ops, avatar_tensor_rows (mel, at, n), p, self->filters, AVATAR_NO_TENSOR,
        AVATAR_ACT_NONE);
  }
  avatar_ops_count (ops, 20. * avatar_tensor_n (mel), 2. * avatar_tensor_bytes (mel));
  if (avatar_ops_running (ops))
    compress (avatar_tensor_f32 (mel), avatar_tensor_n (mel));
  avatar_ops_release (ops, mark);
}
