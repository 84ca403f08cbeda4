/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory layout of a 3-D convolution on a GPU. It depends on shapes alone and needs no CUDA
 * library, so that a plan can be made on a machine without a GPU.
 *
 * Channels are padded to multiples of 8 for the tensor cores. A packed weight is float16
 * [phases, out, taps t, taps y, taps x, in], followed by the bias in float32.
 *
 * A narrow convolution, with few output channels (the picture's three colours), would leave the
 * tensor cores idle. It is computed as a product at each padded pixel, whose outputs [taps, out]
 * are the contributions of the pixel to its neighbours; a second kernel adds them up. */
#pragma once

#include "engine/ops/conv3d-backend.h"

G_BEGIN_DECLS

/* Output pixels per convolution: two frames of the largest tile, in 512 blocks of 256 pixels. */
#define AVATAR_CUDA_CONV_PIXELS 131072
/* Maximum workspace of cuDNN in bytes. */
#define AVATAR_CUDA_CONV_WORKSPACE ((gsize) 16 << 20)
/* Groups of frames that the ring buffer holds. */
#define AVATAR_CUDA_RING_GROUPS 2
/* Output pixels per partial sum. */
#define AVATAR_CUDA_PARTIAL 256

/* Returns the padded number of channels. */
static inline gint64
avatar_cuda_channels (gint64 n)
{
  return (n + 7) / 8 * 8;
}

/* Returns the number of partial sums. */
static inline gint64
avatar_cuda_partials (gint64 pixels)
{
  return (pixels + AVATAR_CUDA_PARTIAL - 1) / AVATAR_CUDA_PARTIAL;
}

/* Maximum number of output channels of a narrow convolution. */
#define AVATAR_CUDA_NARROW 4

static inline gboolean
avatar_cuda_conv3d_is_narrow (const AvatarConv3d *conv)
{
  return conv->out <= AVATAR_CUDA_NARROW && conv->phases == 1 && conv->shape.stride_t == 1
      && conv->shape.stride_s == 1;
}

/* Returns the number of output channels of cuDNN's convolution. */
static inline gint64
avatar_cuda_conv3d_row (const AvatarConv3d *conv)
{
  return avatar_cuda_conv3d_is_narrow (conv) ? avatar_cuda_channels (27 * conv->out)
                                             : conv->phases * avatar_cuda_channels (conv->out);
}

/* Returns the offset of the bias in the packed weight, in bytes. */
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

/* Returns the bytes of a padded input frame. */
static inline gsize
avatar_cuda_ring_frame (const AvatarConvStream *stream)
{
  return (stream->h + 2) * (stream->w + 2) * avatar_cuda_channels (stream->conv->in) * 2;
}

/* Returns the bytes of cuDNN's output for the largest group. */
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

/* Returns cuDNN's workspace, which follows its output. */
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
