/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of 3-D convolutions and group norms: asserts, counts, and the division of an
 * input into groups of frames. */
#include "engine/device/device.h"
#include "engine/device/backend.h"
#include "engine/ops/conv3d-backend.h"

#include <string.h>

AvatarConv3d *
avatar_conv3d_new (AvatarOps *ops, AvatarTensor weight, AvatarTensor bias, AvatarConvShape shape)
{
  AvatarConv3d *self = g_new0 (AvatarConv3d, 1);
  const AvatarBackend *backend = ops->backend;
  g_autofree void *host = NULL;
  void *packed;

  g_assert (weight.rank == 5 && weight.shape[2] == 3 && weight.shape[3] == 3 && weight.shape[4] == 3
      && avatar_tensor_is_contiguous (weight));
  g_assert (bias.rank == 1 && bias.shape[0] == weight.shape[0]);
  g_assert ((shape.up_t == 1 || shape.stride_t == 1) && (shape.up_s == 1 || shape.stride_s == 1));
  self->shape = shape;
  self->out = weight.shape[0];
  self->in = weight.shape[1];
  self->taps_t = shape.up_t == 2 ? 2 : 3;
  self->taps_s = shape.up_s == 2 ? 2 : 3;
  self->phases = shape.up_t * shape.up_s * shape.up_s;
  self->bytes = backend->conv3d_bytes (self);
  packed = avatar_arena_push (ops->arena, self->bytes);
  if (!avatar_ops_running (ops))
    return self;
  self->packed = packed;
  if (backend->discrete)
    host = g_malloc0 (self->bytes);
  else
    memset (packed, 0, self->bytes);
  backend->conv3d_pack (self, host ? host : packed, weight.data, bias.data);
  if (host)
    backend->upload (ops->queue, packed, host, self->bytes, AVATAR_HOST_PAGEABLE);
  return self;
}

void
avatar_conv3d_free (AvatarConv3d *self)
{
  g_free (self);
}

gint64
avatar_conv3d_channels_out (AvatarConv3d *self)
{
  return self->out;
}

void
avatar_conv3d_get_output_size (AvatarConv3d *self, gint64 *t, gint64 *h, gint64 *w)
{
  const AvatarConvShape *s = &self->shape;

  *t = avatar_conv_frames (self, *t);
  *h = s->up_s == 2 ? 2 * *h : (*h - 1) / s->stride_s + 1;
  *w = s->up_s == 2 ? 2 * *w : (*w - 1) / s->stride_s + 1;
}

gint64
avatar_conv_group (AvatarOps *ops, gint64 h, gint64 w)
{
  return 2 * MAX (1, ops->backend->conv_pixels / (2 * h * w));
}

static void
take_workspace (AvatarOps *ops, AvatarConvStream *self)
{
  void **places[3] = { &self->ring, &self->scratch, &self->partials };
  gsize sizes[3];

  ops->backend->conv3d_sizes (self, sizes);
  for (guint i = 0; i < 3; i++)
    if (sizes[i])
      *places[i] = avatar_arena_push (ops->arena, sizes[i]);
  if (avatar_ops_running (ops) && ops->backend->conv3d_begin)
    ops->backend->conv3d_begin (ops->queue, self);
}

void
avatar_conv_stream_begin (AvatarOps *ops, AvatarConvStream *self, AvatarConv3d *conv,
    const AvatarNorm *norm, gint64 frames, gint64 h, gint64 w, AvatarChannelSums *sums)
{
  const AvatarConvShape *s = &conv->shape;
  gint64 t = frames;

  *self = (AvatarConvStream){ .conv = conv, .sums = sums, .frames = frames, .h = h, .w = w };
  if (norm)
    self->norm = *norm;
  g_assert (!norm || (norm->scale.shape[0] == conv->in && norm->shift.shape[0] == conv->in));
  g_assert (!sums || sums->channels == conv->out);
  self->out_h = h;
  self->out_w = w;
  avatar_conv3d_get_output_size (conv, &t, &self->out_h, &self->out_w);
  self->group = avatar_conv_group (ops, s->up_s * h, s->up_s * w) / s->up_t;
  if (sums)
    sums->pixels = t * self->out_h * self->out_w;
  take_workspace (ops, self);
}

/* Returns the frames of the group that begins at @self->next if @n frames are left. */
static gint64
next_group (const AvatarConvStream *self, gint64 n)
{
  return MIN (n, self->next == 0 ? 1 : self->group);
}

void
avatar_conv_stream_seek (AvatarOps *ops, AvatarConvStream *self, AvatarTensor context, gint64 first)
{
  const AvatarConvShape *s = &self->conv->shape;

  g_assert (s->stride_t == 1 && s->up_t == 1 && !self->sums && self->next == 0);
  g_assert (first >= 2 && (first - 1) % self->group == 0);
  g_assert (context.rank == 4 && context.shape[0] == 2 && avatar_tensor_is_contiguous (context));
  self->first = self->next = first;
  if (avatar_ops_running (ops))
    ops->backend->conv3d_seek (ops->queue, self, context);
}

gint64
avatar_conv_stream_outputs (const AvatarConvStream *self, gint64 n)
{
  return avatar_conv_frames (self->conv, self->next + n)
      - avatar_conv_frames (self->conv, self->next);
}

static gboolean
is_frames (AvatarTensor x, gint64 n, gint64 h, gint64 w, gint64 c)
{
  return x.rank == 4 && x.shape[0] == n && x.shape[1] == h && x.shape[2] == w && x.shape[3] == c
      && avatar_tensor_is_contiguous (x);
}

/* Floating-point operations between two calls of avatar_ops_throttle(): some milliseconds on a
 * GPU. */
#define THROTTLE_FLOPS 3e12

/* Counts and convolves one group. */
static void
push_group (AvatarOps *ops, AvatarConvStream *self, AvatarTensor y, AvatarTensor x,
    AvatarTensor residual)
{
  const AvatarConv3d *conv = self->conv;
  double flops = 2. * conv->taps_t * conv->taps_s * conv->taps_s * conv->in * avatar_tensor_n (y);

  avatar_ops_count (ops, flops,
      (double) avatar_tensor_bytes (x)
          + avatar_tensor_bytes (y) * (avatar_tensor_is_set (residual) ? 2. : 1.));
  self->unthrottled_flops += flops;
  if (self->unthrottled_flops > THROTTLE_FLOPS) {
    avatar_ops_throttle (ops);
    self->unthrottled_flops = 0;
  }
  if (avatar_ops_running (ops))
    ops->backend->conv3d_group (ops->queue, self, y, x, residual);
  self->next += x.shape[0];
}

void
avatar_conv_stream_push (AvatarOps *ops, AvatarConvStream *self, AvatarTensor y, AvatarTensor x,
    AvatarTensor residual)
{
  gint64 n = x.shape[0], out = avatar_conv_stream_outputs (self, n);

  g_assert (is_frames (x, n, self->h, self->w, self->conv->in));
  g_assert (is_frames (y, out, self->out_h, self->out_w, self->conv->out));
  g_assert (!avatar_tensor_is_set (residual)
      || is_frames (residual, out, self->out_h, self->out_w, self->conv->out));
  g_assert (self->next + n <= self->frames);
  for (gint64 in = 0, done = 0, size; in < n; in += size) {
    size = next_group (self, n - in);
    out = avatar_conv_stream_outputs (self, size);
    /* If a push could cut a group short, the result would depend on the sizes of the pushes. */
    g_assert (size == next_group (self, G_MAXINT64) || self->next + size == self->frames);
    push_group (ops, self, avatar_tensor_rows (y, done, out), avatar_tensor_rows (x, in, size),
        avatar_tensor_is_set (residual) ? avatar_tensor_rows (residual, done, out)
                                        : AVATAR_NO_TENSOR);
    done += out;
  }
}

void
avatar_conv_stream_end (AvatarOps *ops, AvatarConvStream *self)
{
  g_assert (self->next == self->frames);
  avatar_ops_count (ops, 0, self->conv->bytes);
  if (self->sums && avatar_ops_running (ops))
    ops->backend->conv3d_end (ops->queue, self);
}

void
avatar_op_conv3d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarConv3d *conv,
    const AvatarNorm *norm, AvatarTensor residual, AvatarChannelSums *sums)
{
  gsize mark = avatar_ops_mark (ops);
  AvatarConvStream stream;

  avatar_conv_stream_begin (ops, &stream, conv, norm, x.shape[0], x.shape[1], x.shape[2], sums);
  avatar_conv_stream_push (ops, &stream, y, x, residual);
  avatar_conv_stream_end (ops, &stream);
  avatar_ops_release (ops, mark);
}

AvatarChannelSums
avatar_ops_alloc_sums (AvatarOps *ops, gint64 channels)
{
  AvatarChannelSums sums = { .channels = channels };

  sums.sums = avatar_arena_push (ops->arena, 2 * channels * sizeof (double));
  return sums;
}

void
avatar_op_channel_sums (AvatarOps *ops, AvatarChannelSums *sums, AvatarTensor x)
{
  gint64 channels = x.shape[x.rank - 1];
  gsize mark = avatar_ops_mark (ops);
  void *ws = avatar_arena_push (ops->arena, ops->backend->channel_sums_workspace (x));

  g_assert (avatar_tensor_is_contiguous (x) && sums->channels == channels);
  sums->pixels = avatar_tensor_n (x) / channels;
  avatar_ops_count (ops, 3. * avatar_tensor_n (x), avatar_tensor_bytes (x));
  if (avatar_ops_running (ops))
    ops->backend->channel_sums (ops->queue, sums, x, ws);
  avatar_ops_release (ops, mark);
}

void
avatar_op_group_norm (AvatarOps *ops, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps)
{
  gint64 channels = sums->channels;

  g_assert (channels % groups == 0 && norm->scale.shape[0] == channels
      && norm->shift.shape[0] == channels);
  g_assert (gamma.shape[0] == channels && beta.shape[0] == channels);
  g_assert (norm->scale.dtype == AVATAR_F32 && norm->shift.dtype == AVATAR_F32);
  if (avatar_ops_running (ops))
    ops->backend->group_norm (ops->queue, norm, sums, gamma, beta, groups, eps);
}

void
avatar_op_apply_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm)
{
  g_assert (avatar_tensor_is_contiguous (x) && avatar_tensor_is_contiguous (y));
  g_assert (
      avatar_tensor_n (x) == avatar_tensor_n (y) && norm->scale.shape[0] == x.shape[x.rank - 1]);
  avatar_ops_count (ops, 2. * avatar_tensor_n (x),
      (double) avatar_tensor_bytes (x) + avatar_tensor_bytes (y));
  if (avatar_ops_running (ops))
    ops->backend->apply_norm (ops->queue, y, x, norm);
}
