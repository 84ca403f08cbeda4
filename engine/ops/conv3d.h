/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal 3-D convolution of the video VAE, and the group norm in front of it, which is reduced
 * to a scale and a shift per channel and applied while the convolution reads its input.
 *
 * Activations are [T, H, W, C] of the context's dtype (float32 on the CPU, float16 on a GPU).
 * Padding replicates the border: one pixel on each side, two frames before the first
 * (docs/dev/spec/vae-text-face-formats.md 1.3). Only the frames that are being convolved are
 * copied, normalised and padded, never a whole tensor. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/**
 * AvatarConvShape:
 * @stride_t: the stride in time, 1 or 2
 * @stride_s: the stride in height and width, 1 or 2
 * @up_t: the factor of nearest-neighbour upsampling in time before the convolution, 1 or 2; frame 0
 *   is not doubled
 * @up_s: the same in height and width
 *
 * Stride and upsampling of a convolution with a kernel of 3 x 3 x 3. Upsampling is merged into the
 * taps (docs/dev/spec/vae-text-face-formats.md 1.5). It excludes a stride in the same axis. A GPU
 * does not support upsampling in time alone.
 */
typedef struct
{
  guint stride_t, stride_s;
  guint up_t, up_s;
} AvatarConvShape;

/* A convolution with its weight and bias packed for the back-end, in the arena of the context that
 * it was made with. */
typedef struct _AvatarConv3d AvatarConv3d;

/* Packs @weight [out, in, 3, 3, 3] and @bias [out], both float32 in host memory, into the arena of
 * @ops, which must outlive the convolution. In a dry run the weight is not read. */
AvatarConv3d *
avatar_conv3d_new (AvatarOps *ops, AvatarTensor weight, AvatarTensor bias, AvatarConvShape shape);
void avatar_conv3d_free (AvatarConv3d *self);
/* Returns the number of output channels. */
gint64 avatar_conv3d_channels_out (AvatarConv3d *self);
/* Replaces the size of an input, in frames and pixels, by the size of the output. */
void avatar_conv3d_get_output_size (AvatarConv3d *self, gint64 *t, gint64 *h, gint64 *w);

/**
 * AvatarNorm:
 * @scale: the factor of each channel, float32 [C]
 * @shift: the summand of each channel, float32 [C]
 * @silu: %TRUE to apply SiLU to the result
 *
 * A group norm with known statistics: x * scale + shift.
 */
typedef struct _AvatarNorm
{
  AvatarTensor scale, shift;
  gboolean silu;
} AvatarNorm;

/**
 * AvatarChannelSums:
 * @channels: the number of channels C
 * @pixels: the number of pixels that were summed
 * @sums: double [2, C] in device memory: the sums and the sums of squares of each channel
 */
typedef struct _AvatarChannelSums
{
  gint64 channels, pixels;
  double *sums;
} AvatarChannelSums;

/* Allocates sums from the arena. */
AvatarChannelSums avatar_ops_alloc_sums (AvatarOps *ops, gint64 channels);
/* Sums x [.., C] over all dimensions but the last. */
void avatar_op_channel_sums (AvatarOps *ops, AvatarChannelSums *sums, AvatarTensor x);
/* Computes norm->scale and norm->shift, which the caller has allocated, from @sums. A group is
 * channels / @groups adjacent channels; the variance is the biased one. gamma, beta [C]. */
void avatar_op_group_norm (AvatarOps *ops, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
/* y = norm (x) for x, y [.., C], contiguous; y may be x. */
void avatar_op_apply_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);

/* y = conv (norm (x)) + bias + residual. x [T, H, W, in], y [T', H', W', out]. @norm may be %NULL.
 * @residual is optional, has the shape of y, and may be y itself. @sums, if not %NULL, receives the
 * sums of y. */
void avatar_op_conv3d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarConv3d *conv,
    const AvatarNorm *norm, AvatarTensor residual, AvatarChannelSums *sums);

/**
 * AvatarConvStream:
 * @conv: (unowned): the convolution
 * @norm: the norm in front of it; no norm if its scale is absent
 * @sums: (nullable): the sums of the output
 * @frames: the frames of the whole input
 * @h: the input's height in pixels
 * @w: the input's width in pixels
 * @out_h: the output's height in pixels
 * @out_w: the output's width in pixels
 * @group: the input frames of a group
 * @first: the frame that the stream began with
 * @next: the next input frame
 * @unthrottled_flops: floating-point operations since the last call of avatar_ops_throttle()
 *
 * The same convolution, a few frames at a time, for an input that never exists as a whole. Frames
 * are processed in groups: frame 0 alone, then @group frames each; the last group has the rest.
 * A push is any number of whole groups, so the result does not depend on how frames are pushed. The
 * stream keeps copies of the input frames that later output frames need, so an output may overwrite
 * the input that it was computed from.
 */
typedef struct _AvatarConvStream
{
  AvatarConv3d *conv;
  AvatarNorm norm;
  AvatarChannelSums *sums;
  gint64 frames, h, w, out_h, out_w, group;
  gint64 first, next;
  double unthrottled_flops;
  /* Members of the back-end. */
  void *ring, *scratch, *partials;
  gint64 ring_frames, ring_next, n_partials;
} AvatarConvStream;

/* Returns the number of frames, an even one, that a group should have. @h and @w are the size of an
 * input frame in pixels; of an output frame if the convolution upsamples. */
gint64 avatar_conv_group (AvatarOps *ops, gint64 h, gint64 w);
/* Begins a stream of @frames input frames of @h x @w pixels. Takes its workspace from the arena,
 * which the caller releases after avatar_conv_stream_end(). @norm (nullable) is copied. @sums
 * (nullable) and @conv must outlive the stream. */
void avatar_conv_stream_begin (AvatarOps *ops, AvatarConvStream *self, AvatarConv3d *conv,
    const AvatarNorm *norm, gint64 frames, gint64 h, gint64 w, AvatarChannelSums *sums);
/* Makes the stream begin at frame @first, the first of a group, instead of 0. @context
 * [2, h, w, in] are the frames @first - 2 and @first - 1. Convolutions of stride 1 without sums
 * only. */
void avatar_conv_stream_seek (AvatarOps *ops, AvatarConvStream *self, AvatarTensor context,
    gint64 first);
/* Returns the number of output frames of the next @n input frames. */
gint64 avatar_conv_stream_outputs (const AvatarConvStream *self, gint64 n);
/* Convolves the next input frames x [n, h, w, in] to y [outputs, out_h, out_w, out], as
 * avatar_op_conv3d() does. */
void avatar_conv_stream_push (AvatarOps *ops, AvatarConvStream *self, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual);
/* Ends the stream after all frames have been pushed, and completes its sums. */
void avatar_conv_stream_end (AvatarOps *ops, AvatarConvStream *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarConv3d, avatar_conv3d_free)

G_END_DECLS
