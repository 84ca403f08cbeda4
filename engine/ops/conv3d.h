/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal 3-D convolution of the video VAE and what belongs to it: group norms that are folded
 * into a scale and a shift per channel and applied while the convolution reads its input.
 *
 * Activations are float32 [T, H, W, C]. Padding repeats the border: one pixel at each side, two
 * frames in front (spec vae 1.3); no padded or normalised copy of a whole tensor is ever made. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/**
 * AvatarConvShape: what happens around the 3 x 3 x 3 taps.
 * @stride_t, @stride_s: 1 or 2
 * @up_t, @up_s: 1 or 2: nearest upsampling in front (frame 0 stays single in time), merged into
 *   the taps (spec vae 1.5); not together with a stride
 */
typedef struct
{
  guint stride_t, stride_s;
  guint up_t, up_s;
} AvatarConvShape;

/* A weight that has been packed for the loops; its memory is entered in the ledger. */
typedef struct _AvatarConv3d AvatarConv3d;

/* @weight [out, in, 3, 3, 3], @bias [out]. @dry: only the sizes are kept, for a plan. */
AvatarConv3d *avatar_conv3d_new (AvatarDevice *device, AvatarTensor weight, AvatarTensor bias,
    AvatarConvShape shape, gboolean dry, GError **error);
void avatar_conv3d_free (AvatarConv3d *self);
guint64 avatar_conv3d_bytes (AvatarConv3d *self);
gint64 avatar_conv3d_channels_out (AvatarConv3d *self);
/* Sizes of the output for an input of t, h, w; in place. */
void avatar_conv3d_output (AvatarConv3d *self, gint64 *t, gint64 *h, gint64 *w);

/* A group norm whose statistics are known: x * scale + shift, then SiLU if @silu. */
typedef struct
{
  AvatarTensor scale, shift; /* [C] */
  gboolean silu;
} AvatarNorm;

/* Sums over all pixels of each channel, as double [2, C] (values, squares). */
typedef struct
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

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarConv3d, avatar_conv3d_free)

G_END_DECLS
