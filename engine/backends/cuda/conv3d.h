/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where things lie in the memory of a convolution on a GPU: by shapes alone and without the CUDA
 * libraries, so that a plan can be made where there is no GPU.
 *
 * Channels are padded to multiples of 8, which is what tensor cores take. A packed weight is float16
 * [phase, out, taps t, taps y, taps x, in], then the bias as float32.
 *
 * Few outputs (the picture's three colours) would leave tensor cores idle. Then every tap of every
 * output is an output of a product at each padded pixel, [taps, out] of them, and the last kernel adds
 * up the taps where they meet. */
#pragma once

#include "engine/ops/conv3d-backend.h"

G_BEGIN_DECLS

/* Output pixels at a time: two frames of the largest tile, 512 products of 256 x 128 rows. */
#define AVATAR_CUDA_CONV_PIXELS 131072
/* What an engine of cuDNN may want. */
#define AVATAR_CUDA_CONV_WORKSPACE ((gsize) 16 << 20)
/* Groups of frames that a ring holds before it begins again in front. */
#define AVATAR_CUDA_RING_GROUPS 2
/* Pixels whose sums are one partial. */
#define AVATAR_CUDA_PARTIAL 256

static inline gint64
avatar_cuda_channels (gint64 n)
{
  return (n + 7) / 8 * 8;
}

static inline gint64
avatar_cuda_partials (gint64 pixels)
{
  return (pixels + AVATAR_CUDA_PARTIAL - 1) / AVATAR_CUDA_PARTIAL;
}

/* At most this many outputs are computed tap by tap. */
#define AVATAR_CUDA_NARROW 4

static inline gboolean
avatar_cuda_conv3d_is_narrow (const AvatarConv3d *conv)
{
  return conv->out <= AVATAR_CUDA_NARROW && conv->phases == 1 && conv->shape.stride_t == 1
      && conv->shape.stride_s == 1;
}

/* Outputs of cuDNN's convolution. */
static inline gint64
avatar_cuda_conv3d_row (const AvatarConv3d *conv)
{
  return avatar_cuda_conv3d_is_narrow (conv) ? avatar_cuda_channels (27 * conv->out)
                                             : conv->phases * avatar_cuda_channels (conv->out);
}

static inline gsize
avatar_cuda_conv3d_bias_at (const AvatarConv3d *conv)
{
  gint64 taps
      = avatar_cuda_conv3d_is_narrow (conv) ? 1 : conv->taps_t * conv->taps_s * conv->taps_s;
  gsize n = avatar_cuda_conv3d_row (conv) * taps * avatar_cuda_channels (conv->in);

  return (n * 2 + 255) / 256 * 256;
}

static inline gsize
avatar_cuda_conv3d_bytes (const AvatarConv3d *conv)
{
  return avatar_cuda_conv3d_bias_at (conv) + avatar_cuda_channels (conv->out) * sizeof (float);
}

/* Bytes of a padded frame. */
static inline gsize
avatar_cuda_ring_frame (const AvatarConvStream *stream)
{
  return (stream->h + 2) * (stream->w + 2) * avatar_cuda_channels (stream->conv->in) * 2;
}

/* Bytes of what cuDNN makes of the largest group. */
static inline gsize
avatar_cuda_conv3d_raw (const AvatarConvStream *stream)
{
  const AvatarConv3d *conv = stream->conv;
  gint64 n = MIN (stream->frames, stream->group);
  gint64 row = avatar_cuda_conv3d_row (conv);
  gsize bytes = n * stream->out_h * stream->out_w * row * 2;

  if (avatar_cuda_conv3d_is_narrow (conv))
    bytes = (n + 2) * (stream->h + 2) * (stream->w + 2) * row * 2;
  else if (conv->shape.up_s == 2)
    bytes = n * (stream->h + 1) * (stream->w + 1) * row * 2;
  return (bytes + 255) / 256 * 256;
}

static inline void *
avatar_cuda_conv3d_workspace (const AvatarConvStream *stream)
{
  return (guint8 *) stream->scratch + avatar_cuda_conv3d_raw (stream);
}

static inline void
avatar_cuda_conv3d_sizes (AvatarConvStream *stream, gsize sizes[3])
{
  gint64 groups = 1 + (stream->frames - 1 + stream->group - 1) / stream->group;
  gint64 frames = MAX (1, MIN (stream->frames - 1, AVATAR_CUDA_RING_GROUPS * stream->group));

  g_assert (stream->conv->shape.up_t == 1 || stream->conv->shape.up_s == 2);
  stream->ring_frames = 2 + frames;
  sizes[0] = stream->ring_frames * avatar_cuda_ring_frame (stream);
  sizes[1] = avatar_cuda_conv3d_raw (stream) + AVATAR_CUDA_CONV_WORKSPACE;
  sizes[2] = 0;
  if (stream->sums)
    sizes[2] = (avatar_cuda_partials (stream->sums->pixels) + groups) * 2
        * avatar_cuda_channels (stream->conv->out) * sizeof (float);
}

static inline gsize
avatar_cuda_channel_sums_workspace (AvatarTensor x)
{
  gint64 channels = x.shape[x.rank - 1];

  return avatar_cuda_partials (avatar_tensor_n (x) / channels) * 2 * avatar_cuda_channels (channels)
      * sizeof (float);
}

G_END_DECLS
