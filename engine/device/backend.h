/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a back-end implements. ops.c has checked the operands and found the workspace; `ws` is
 * memory of the size that the matching `_workspace` function gave, which depends on shapes and
 * dtypes only: that is why a plan is exact.
 *
 * Operations go to a queue and may still be running when the call returns; what fails is kept by
 * the queue and found by queue_check(). A back-end whose memory is the host's and whose operations
 * are done when they return ("cpu") has @discrete FALSE and no functions between the first two
 * rulers. */
#pragma once

#include "engine/base/activation.h"
#include "engine/base/tensor.h"

#include <avatar/decode.h>

G_BEGIN_DECLS

typedef struct _AvatarBackend AvatarBackend;
/* A device of a back-end, an order of work on it, and a point in such an order; the back-end's. */
typedef struct _AvatarBackendDevice AvatarBackendDevice;
typedef struct _AvatarQueue AvatarQueue;
typedef struct _AvatarFence AvatarFence;

/* Operands of convolutions and of conversions to bytes: engine/ops/conv3d.h, engine/ops/pixels.h. */
typedef struct _AvatarConv3d AvatarConv3d;
typedef struct _AvatarConvStream AvatarConvStream;
typedef struct _AvatarNorm AvatarNorm;
typedef struct _AvatarChannelSums AvatarChannelSums;
typedef struct _AvatarPixelMatrix AvatarPixelMatrix;

/* FLOPs of matrix products and of attention, in 16 and in 8 bits. */
typedef struct
{
  double linear, linear_8bit, attention, attention_8bit;
} AvatarFlopCounts;

struct _AvatarBackend
{
  const char *name;
  gboolean discrete;      /* memory of its own: a tensor's data are no host addresses */
  gboolean unshared;      /* each avatar_device_open() makes another device */
  AvatarDType activation; /* what avatar_ops_alloc() makes */
  AvatarDType pixels;     /* the same for networks of convolutions */
  gint64 row_chunk;       /* rows at a time that keep the device busy; results depend on it */
  gint64 conv_pixels;     /* the same for the output pixels of convolutions */
  /* Limits of the operations, which a model is checked against before a plan; 0: none. */
  gint64 max_head;         /* width of a head, unless there is one alone in @pixels */
  gint64 max_norm_8bit;    /* width of rows that are normalised to 8 bits */
  gint64 max_frame_width;  /* width of rows in attention to the keys of one frame */
  gint64 max_frame_keys;   /* number of these keys */
  gint64 channel_multiple; /* what the channels of 3D convolutions must be a multiple of */
  double piece_flops;      /* a linear layer is cut to pieces of no more, between which it can be
                             cancelled; 0: no need, calls return at once */

  /* @name: as given to avatar_device_open(), e.g. "cuda:1". %NULL with @error. */
  AvatarBackendDevice *(*open) (const char *name, GError **error);
  void (*close) (AvatarBackendDevice *device);
  char *(*describe) (AvatarBackendDevice *device); /* free with g_free() */
  /* 256-byte (cpu: 64) aligned, or %NULL if there is no such memory left. */
  void *(*memory_new) (AvatarBackendDevice *device, gsize bytes);
  void (*memory_free) (AvatarBackendDevice *device, void *memory, gsize bytes);

  /* ------------------------------------------------------------------ discrete devices only */
  /* What the driver says: bytes free and in all. Cheap enough to ask between blocks. */
  void (*memory_info) (AvatarBackendDevice *device, guint64 *free_bytes, guint64 *total_bytes);
  /* Bytes that the context, libraries and loaded modules hold, measured when it was opened. */
  guint64 (*overhead) (AvatarBackendDevice *device);
  /* Host memory that the device copies from without the host's help (pinned), or %NULL. */
  void *(*host_new) (AvatarBackendDevice *device, gsize bytes);
  void (*host_free) (AvatarBackendDevice *device, void *memory, gsize bytes);

  AvatarQueue *(*queue_new) (AvatarBackendDevice *device, GError **error);
  void (*queue_free) (AvatarQueue *queue); /* waits for what runs */
  /* FALSE: the first failure of what was given to the queue so far. Does not wait. */
  gboolean (*queue_check) (AvatarQueue *queue, GError **error);
  /* The same, when all of it is done. */
  gboolean (*queue_sync) (AvatarQueue *queue, GError **error);
  /* Waits until at most a few tens of milliseconds of work are ahead: see avatar_ops_throttle(). */
  void (*queue_throttle) (AvatarQueue *queue);

  AvatarFence *(*fence_new) (AvatarBackendDevice *device);
  void (*fence_free) (AvatarFence *fence);
  void (*fence_record) (AvatarFence *fence, AvatarQueue *queue);
  /* What is given to @queue from now on waits for @fence; the caller does not. */
  void (*fence_wait) (AvatarFence *fence, AvatarQueue *queue);
  void (*fence_sync) (AvatarFence *fence); /* the caller waits */

  /* Host to device. @pinned: @src is of host_new() and stays as it is until a later fence;
   * otherwise it may be reused when the call returns. */
  void (*upload) (AvatarQueue *queue, void *dst, const void *src, gsize bytes, gboolean pinned);
  /* Device to host; the bytes are there when it returns (@pinned: when a later fence is passed). */
  void (*download) (AvatarQueue *queue, void *dst, const void *src, gsize bytes, gboolean pinned);
  /* Raw bytes to @y [M, N] in the device's operand dtype, from @x in a storage dtype (F8_E4M3 or
   * I8 with x.scale, F16, F32): weights that are stored smaller than they compute. */
  void (*expand) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  /* ----------------------------------------------------------------------------- operations */
  gsize (*linear_workspace) (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
      AvatarTensor w);
  gsize (*linear_add_workspace) (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
      AvatarTensor w);
  gsize (*attention_workspace) (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
      gint64 causal_block, AvatarTensor valid);

  void (*linear) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor b, AvatarAct act, void *ws);
  void (*linear_add) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws);
  void (*layer_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
      AvatarTensor shift, gboolean plus_one, double eps);
  /* In place (y = x) unless y is 8-bit. */
  void (*rms_norm_rope) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor cos, AvatarTensor sin, double eps);
  void (*rms_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps);
  void (*rope_half) (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
  void (*attention) (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
      AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid,
      void *ws, const gint *cancelled);
  void (*frame_attention) (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
      AvatarTensor v, double scale);
  void (*act) (AvatarQueue *queue, AvatarTensor x, AvatarAct act);
  void (*silu_product) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*axpby) (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b);
  void (*copy) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*mean_rows) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
  void (*patchify) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
      gboolean back);
  void (*unfold) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
      gint64 pad);
  void (*power) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*blend) (AvatarQueue *queue, AvatarTensor y, AvatarTensor before, guint dim);

  /* Convolutions (engine/ops/conv3d-backend.h). A packed weight's size; the packing, into zeroed
   * host memory. */
  gsize (*conv3d_bytes) (const AvatarConv3d *conv);
  void (*conv3d_pack) (const AvatarConv3d *conv, void *packed, const float *weight,
      const float *bias);
  /* Bytes of stream->ring, scratch and partials, each 0 if it is not needed; fills ring_frames. Then
   * the preparation, optional. */
  void (*conv3d_sizes) (AvatarConvStream *stream, gsize sizes[3]);
  void (*conv3d_begin) (AvatarQueue *queue, AvatarConvStream *stream);
  void (*conv3d_seek) (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context);
  /* Input frames from stream->next; y and residual may have no frames. */
  void (*conv3d_group) (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
      AvatarTensor x, AvatarTensor residual);
  void (*conv3d_end) (AvatarQueue *queue, AvatarConvStream *stream);
  gsize (*channel_sums_workspace) (AvatarTensor x);
  void (*channel_sums) (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws);
  void (*group_norm) (AvatarQueue *queue, AvatarNorm *norm, const AvatarChannelSums *sums,
      AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
  void (*apply_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);
  void (*to_bytes) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
      const AvatarPixelMatrix *matrix, AvatarTensor bad);
  /* Optional: can it multiply e4m3 matrices? If so: */
  gboolean (*supports_8bit_linear) (AvatarBackendDevice *device);
  /* y = x in fewer bits, y.scale [M] written: one factor a row (y.dtype F8_E4M3). */
  void (*quantise) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  /* Optional: can it attend with q, k and v in e4m3, heads of @d? If so, quantise_all() makes them:
   * one factor for all, y.scale[0], with one more float behind it for its own use. */
  gboolean (*supports_8bit_attention) (AvatarBackendDevice *device, gint64 d);
  void (*quantise_all) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  /* *factor = what e4m3 must be multiplied with to hold RMS-normed heads of @d with the weights
   * w or w2 [d] (optional) */
  void (*norm_factor) (AvatarQueue *queue, float *factor, AvatarTensor w, AvatarTensor w2);
  /* Optional: work that was counted since the device was opened, in place of being done. */
  AvatarFlopCounts (*counts) (AvatarBackendDevice *device);
};

/* The back-end that the device @name ("cpu", "cuda:1") belongs to, or %NULL with @error. The one
 * function of this folder that is defined above it: engine/backends/registry.c. */
const AvatarBackend *avatar_backend_find (const char *name, GError **error);

/* A back-end that is a module, libavatar-<name>.so, exports this, named avatar_backend_module;
 * it returns %NULL if @abi is not its own. */
#define AVATAR_BACKEND_ABI 5
typedef const AvatarBackend *(*AvatarBackendModuleFunc) (guint abi);

G_END_DECLS
