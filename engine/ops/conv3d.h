/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal 3-D convolution of the video VAE and what belongs to it: group norms that are folded
 * into a scale and a shift per channel and applied while the convolution reads its input.
 *
 * Activations are [T, H, W, C] of the context's dtype (float32 on the CPU, float16 on a GPU).
 * Padding repeats the border: one pixel at each side, two frames in front
 * (docs/dev/spec/vae-text-face-formats.md 1.3); no padded or normalised copy of a whole
 * tensor is ever made, only of the frames in work. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/**
 * AvatarConvShape: what happens around the 3 x 3 x 3 taps.
 * @stride_t, @stride_s: 1 or 2
 * @up_t, @up_s: 1 or 2: nearest upsampling in front (frame 0 stays single in time), merged into
 *   the taps (docs/dev/spec/vae-text-face-formats.md 1.5); not together with a stride, nor time
 *   alone on a GPU
 */
typedef struct
{
  guint stride_t, stride_s;
  guint up_t, up_s;
} AvatarConvShape;

/* A weight that has been packed as the back-end wants it; lies in the arena that it was made in. */
typedef struct _AvatarConv3d AvatarConv3d;

/* @weight [out, in, 3, 3, 3], @bias [out]: float32 of the host. @ops: of an arena that outlives the
 * weight; a dry one counts. */
AvatarConv3d *
avatar_conv3d_new (AvatarOps *ops, AvatarTensor weight, AvatarTensor bias, AvatarConvShape shape);
void avatar_conv3d_free (AvatarConv3d *self);
gint64 avatar_conv3d_channels_out (AvatarConv3d *self);
/* Sizes of the output for an input of t, h, w; in place. */
void avatar_conv3d_get_output_size (AvatarConv3d *self, gint64 *t, gint64 *h, gint64 *w);

/* A group norm whose statistics are known: x * scale + shift, then SiLU if @silu. */
typedef struct _AvatarNorm
{
  AvatarTensor scale, shift; /* [C] float32 */
  gboolean silu;
} AvatarNorm;

/* Sums over all pixels of each channel, as double [2, C] (values, squares). */
typedef struct _AvatarChannelSums
{
  gint64 channels, pixels;
  double *sums;
} AvatarChannelSums;

AvatarChannelSums avatar_ops_alloc_sums (AvatarOps *ops, gint64 channels);
/* Sums of x [.., C]. */
void avatar_op_channel_sums (AvatarOps *ops, AvatarChannelSums *sums, AvatarTensor x);
/* @norm->scale and shift (allocated by the caller) from @sums: groups of adjacent channels,
 * biased variance. gamma, beta [C]. */
void avatar_op_group_norm (AvatarOps *ops, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
/* y = norm (x), elementwise on [.., C]; y may be x. */
void avatar_op_apply_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);

/* y = conv (norm (x)) + bias + residual. x [T, H, W, in], y [T', H', W', out]; @norm and @sums
 * may be %NULL; @residual is optional, of y's shape, and may be y itself. @sums receives the sums
 * of y. */
void avatar_op_conv3d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarConv3d *conv,
    const AvatarNorm *norm, AvatarTensor residual, AvatarChannelSums *sums);

/**
 * AvatarConvStream: the same convolution a few frames at a time, for an input that is never there as
 * a whole. Frames come in groups: frame 0 alone, then @group each, the last as many as are left; a
 * push is any number of whole groups, so that results do not depend on how frames are pushed.
 * Padded and normalised copies are kept of the frames that later ones need, so that an output may
 * be written over the input that it was made of.
 * @frames, @h, @w: of the input; @out_h, @out_w: of the output
 * @next: the input frame that comes next; @first: the one that the stream began with
 * @unthrottled_flops: operations since avatar_ops_throttle() was last called
 */
typedef struct _AvatarConvStream
{
  AvatarConv3d *conv;
  AvatarNorm norm;
  AvatarChannelSums *sums; /* %NULL: not wanted */
  gint64 frames, h, w, out_h, out_w, group;
  gint64 first, next;
  double unthrottled_flops;
  /* the back-end's */
  void *ring, *scratch, *partials;
  gint64 ring_frames, ring_next, n_partials;
} AvatarConvStream;

/* Frames of @h x @w (of the output for an upsampling convolution) that are worked on at a time:
 * even. */
gint64 avatar_conv_group (AvatarOps *ops, gint64 h, gint64 w);
/* Takes its workspace from the arena: release it after the last push. @norm is copied, @sums must
 * live until the end. */
void avatar_conv_stream_begin (AvatarOps *ops, AvatarConvStream *self, AvatarConv3d *conv,
    const AvatarNorm *norm, gint64 frames, gint64 h, gint64 w, AvatarChannelSums *sums);
/* Begins at frame @first > 0 (where a group begins) instead of 0; @context: frames @first - 2 and
 * @first - 1. Only for convolutions of stride 1, without sums. */
void avatar_conv_stream_seek (AvatarOps *ops, AvatarConvStream *self, AvatarTensor context,
    gint64 first);
/* How many frames come out when the next @n are pushed. */
gint64 avatar_conv_stream_outputs (const AvatarConvStream *self, gint64 n);
/* x [n, h, w, in], y [outputs, out_h, out_w, out], as in avatar_op_conv3d(). */
void avatar_conv_stream_push (AvatarOps *ops, AvatarConvStream *self, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual);
/* All frames have been pushed: @sums are there. */
void avatar_conv_stream_end (AvatarOps *ops, AvatarConvStream *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarConv3d, avatar_conv3d_free)

G_END_DECLS
