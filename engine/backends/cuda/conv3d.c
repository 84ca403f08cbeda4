/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* 3-D convolutions through cuDNN. A group of frames is normalised and padded into a ring buffer,
 * which also holds the two frames before it. cuDNN convolves the ring buffer without padding. An
 * epilogue kernel adds bias and residual, and collects the sums for the next group norm.
 *
 * An upsampling convolution has merged taps for each phase
 * (docs/dev/spec/vae-text-face-formats.md 1.5). All phases are output channels of one convolution
 * on the input grid; the epilogue writes them to their places in the output. */
#include "engine/ops/conv3d-backend.h"
#include "engine/backends/cuda/conv3d.h"
#include "engine/backends/cuda/graph.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

#include <string.h>

enum
{
  UID_X = 1,
  UID_W,
  UID_Y,
};

typedef struct
{
  gint64 in, out, d, h, w; /* channels, and the size of the padded input */
  gint64 taps_t, taps_s, stride_t, stride_s;
} Key;

/* Returns the descriptor of a tensor [n, c, t, h, w] with channels innermost. */
static cudnnBackendDescriptor_t
make_tensor (AvatarCudaGraph *g, gint64 uid, gint64 n, gint64 c, gint64 t, gint64 h, gint64 w)
{
  const gint64 dims[5] = { n, c, t, h, w };
  const gint64 strides[5] = { t * h * w * c, 1, h * w * c, w * c, c };

  return avatar_cuda_graph_tensor (g, uid, CUDNN_DATA_HALF, 5, dims, strides);
}

static gpointer
make_plan (AvatarQueue *queue, gconstpointer key)
{
  const Key *k = key;
  AvatarCudaGraph g = { .status = CUDNN_STATUS_SUCCESS };
  const gint64 stride[3] = { k->stride_t, k->stride_s, k->stride_s };
  cudnnBackendDescriptor_t x = make_tensor (&g, UID_X, 1, k->in, k->d, k->h, k->w);
  cudnnBackendDescriptor_t w
      = make_tensor (&g, UID_W, k->out, k->in, k->taps_t, k->taps_s, k->taps_s);
  cudnnBackendDescriptor_t y
      = make_tensor (&g, UID_Y, 1, k->out, (k->d - k->taps_t) / k->stride_t + 1,
          (k->h - k->taps_s) / k->stride_s + 1, (k->w - k->taps_s) / k->stride_s + 1);

  avatar_cuda_graph_convolution (&g, y, x, w, stride);
  return avatar_cuda_graph_plan (&g, queue->dnn, AVATAR_CUDA_CONV_WORKSPACE);
}

/* Adds the taps of output channel @o in @phase to @dst [taps t, taps y, taps x, in], which is
 * zeroed. */
static void
pack_channel (const AvatarConv3d *self, float *dst, const float *w, gint64 phase, gint64 o)
{
  const AvatarConvShape *s = &self->shape;
  gint64 in = avatar_cuda_channels (self->in);
  gint64 px = phase % s->up_s, py = phase / s->up_s % s->up_s, pt = phase / (s->up_s * s->up_s);

  for (gint64 k = 0; k < 27; k++) {
    gint64 t = avatar_conv_merged_tap (k / 9, s->up_t, pt, AVATAR_CONV_AXIS_TIME);
    gint64 y = avatar_conv_merged_tap (k / 3 % 3, s->up_s, py, AVATAR_CONV_AXIS_SPACE);
    gint64 x = avatar_conv_merged_tap (k % 3, s->up_s, px, AVATAR_CONV_AXIS_SPACE);
    float *tap = dst + ((t * self->taps_s + y) * self->taps_s + x) * in;

    for (gint64 i = 0; i < self->in; i++)
      tap[i] += w[(o * self->in + i) * 27 + k];
  }
}

/* Packs a narrow weight to @dst [taps, out, in]. */
static void
pack_narrow (const AvatarConv3d *self, guint16 *dst, const float *w)
{
  gint64 in = avatar_cuda_channels (self->in);

  for (gint64 k = 0; k < 27; k++)
    for (gint64 o = 0; o < self->out; o++)
      for (gint64 i = 0; i < self->in; i++)
        avatar_dtype_from_f32 (dst + (k * self->out + o) * in + i, AVATAR_F16,
            w + (o * self->in + i) * 27 + k, 1);
}

/* Packs another weight to @dst [phases, out, taps t, taps y, taps x, in]. */
static void
pack_wide (const AvatarConv3d *self, guint16 *dst, const float *weight)
{
  gint64 in = avatar_cuda_channels (self->in), out = avatar_cuda_channels (self->out);
  gint64 row = self->taps_t * self->taps_s * self->taps_s * in;

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < self->phases * self->out; i++) {
    gint64 phase = i / self->out, o = i % self->out;
    g_autofree float *taps = g_new0 (float, row);

    pack_channel (self, taps, weight, phase, o);
    avatar_dtype_from_f32 (dst + (phase * out + o) * row, AVATAR_F16, taps, row);
  }
}

void
avatar_cuda_conv3d_pack (const AvatarConv3d *self, void *packed, const float *weight,
    const float *bias)
{
  float *biases = (float *) ((guint8 *) packed + avatar_cuda_conv3d_bias_at (self));

  if (avatar_cuda_conv3d_is_narrow (self))
    pack_narrow (self, packed, weight);
  else
    pack_wide (self, packed, weight);
  for (gint64 o = 0; o < self->out; o++) {
    guint16 half;

    /* Rounds the bias to float16, as upstream does. */
    avatar_dtype_from_f32 (&half, AVATAR_F16, bias + o, 1);
    avatar_dtype_to_f32 (biases + o, &half, AVATAR_F16, 1);
  }
}

/* Returns padded frame @i of the ring buffer. */
static guint8 *
ring_frame (const AvatarConvStream *stream, gint64 i)
{
  return (guint8 *) stream->ring + i * avatar_cuda_ring_frame (stream);
}

/* Writes the @n frames @x, or a single frame @x @n times, to the ring buffer from frame @at on. */
static gboolean
fill_ring (AvatarQueue *queue, const AvatarConvStream *stream, gint64 at, AvatarTensor x, gint64 n)
{
  AvatarTensor to = avatar_tensor (AVATAR_F16, ring_frame (stream, at), 4, n, stream->h + 2,
      stream->w + 2, avatar_cuda_channels (stream->conv->in));

  return avatar_cuda_check (queue,
      avatar_kernel_fill (queue->stream, to, x,
          avatar_tensor_is_set (stream->norm.scale) ? &stream->norm : NULL),
      "padding of convolution input");
}

void
avatar_cuda_conv3d_seek (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context)
{
  if (avatar_cuda_begin (queue) && fill_ring (queue, stream, 0, context, 2))
    stream->ring_next = 2;
}

/* Appends the next frames to the ring buffer. */
static gboolean
append_frames (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor x)
{
  gint64 n = x.shape[0];

  if (stream->next == 0) {
    stream->ring_next = 3;
    return fill_ring (queue, stream, 0, x, 3);
  }
  if (stream->ring_next + n > stream->ring_frames) {
    if (!avatar_cuda_check (queue,
            cudaMemcpyAsync (stream->ring, ring_frame (stream, stream->ring_next - 2),
                2 * avatar_cuda_ring_frame (stream), cudaMemcpyDeviceToDevice, queue->stream),
            "copy within the convolution's ring buffer"))
      return FALSE;
    stream->ring_next = 2;
  }
  if (!fill_ring (queue, stream, stream->ring_next, x, n))
    return FALSE;
  stream->ring_next += n;
  return TRUE;
}

/* Returns the number of frames before the new ones that the outputs of the new ones read. */
static gint64
n_context_frames (const AvatarConvStream *stream)
{
  const AvatarConv3d *conv = stream->conv;

  if (stream->next == 0)
    return conv->taps_t - 1;
  /* Groups after frame 0 begin with an odd frame. With a stride of 2, the first output of a group
   * is at its second frame, so it reads one frame less before the group. */
  return conv->taps_t - (gint64) conv->shape.stride_t;
}

static gboolean
convolve (AvatarQueue *queue, const AvatarConvStream *stream, gint64 n)
{
  const AvatarConv3d *conv = stream->conv;
  gint64 before = n_context_frames (stream);
  gint64 first = stream->ring_next - (stream->next == 0 ? 1 : n) - before;
  Key key;
  const gint64 uids[] = { UID_X, UID_W, UID_Y };
  void *const pointers[] = { ring_frame (stream, first), conv->packed, stream->scratch };
  const AvatarCudaGraphPlan *plan;

  memset (&key, 0, sizeof key); /* the key is compared byte by byte */
  key.in = avatar_cuda_channels (conv->in);
  key.out = avatar_cuda_conv3d_row (conv);
  key.d = before + n;
  key.h = stream->h + 2;
  key.w = stream->w + 2;
  key.taps_t = avatar_cuda_conv3d_is_narrow (conv) ? 1 : conv->taps_t;
  key.taps_s = avatar_cuda_conv3d_is_narrow (conv) ? 1 : conv->taps_s;
  key.stride_t = conv->shape.stride_t;
  key.stride_s = conv->shape.stride_s;
  plan = avatar_cuda_plan_cache_get (queue, AVATAR_CUDA_PLAN_CONV3D, &key, sizeof key, make_plan,
      avatar_cuda_graph_plan_free);
  if (!plan->plan) {
    avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
        "cuDNN %zu has no convolution of %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
        " channels on %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
        " pixels in 16 bits for %s (%s); update cuDNN, or use device=cpu",
        cudnnGetVersion (), key.in, key.out, key.d, key.h, key.w, queue->device->name,
        plan->reason);
    return FALSE;
  }
  return avatar_cuda_graph_run (queue, plan, G_N_ELEMENTS (uids), uids, pointers,
      avatar_cuda_conv3d_workspace (stream), "convolution");
}

void
avatar_cuda_conv3d_group (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual)
{
  const AvatarConv3d *conv = stream->conv;
  AvatarConvEpilogue e = { .raw = stream->scratch,
    .bias = (const float *) ((const guint8 *) conv->packed + avatar_cuda_conv3d_bias_at (conv)),
    .row = avatar_cuda_conv3d_row (conv),
    .narrow = avatar_cuda_conv3d_is_narrow (conv),
    .phase = avatar_cuda_channels (conv->out),
    .up_t = conv->shape.up_t,
    .up_s = conv->shape.up_s,
    .first = stream->next == 0 && conv->shape.up_t == 2 };

  if (!avatar_cuda_begin (queue) || !append_frames (queue, stream, x) || y.shape[0] == 0
      || !convolve (queue, stream, x.shape[0]))
    return;
  if (stream->sums)
    e.partials
        = (float *) stream->partials + stream->n_partials * 2 * avatar_cuda_channels (conv->out);
  if (avatar_cuda_check (queue, avatar_kernel_conv_epilogue (queue->stream, y, &e, residual),
          "convolution epilogue"))
    stream->n_partials += avatar_cuda_partials (y.shape[0] * y.shape[1] * y.shape[2]);
}

void
avatar_cuda_conv3d_end (AvatarQueue *queue, AvatarConvStream *stream)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue,
        avatar_kernel_sum_partials (queue->stream, stream->sums, stream->partials,
            stream->n_partials),
        "sums of the convolution's output");
}

void
avatar_cuda_channel_sums (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws)
{
  if (avatar_cuda_begin (queue)
      && avatar_cuda_check (queue, avatar_kernel_channel_sums (queue->stream, ws, x),
          "partial channel sums"))
    avatar_cuda_check (queue,
        avatar_kernel_sum_partials (queue->stream, sums, ws, avatar_cuda_partials (sums->pixels)),
        "channel sums");
}
