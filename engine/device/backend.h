/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interface of a back-end: a table of functions that own memory and compute operations.
 *
 * The operations are called from engine/ops only, which has checked the operands. Their meaning,
 * shapes and dtypes are those of the functions of the same name in engine/ops/ops.h. `ws` is device
 * memory of the size that the matching `_workspace` function returned. That size depends on shapes
 * and dtypes alone, so a dry run finds it without a device.
 *
 * Operations are enqueued and may still be running when the call returns. A failure is kept by the
 * queue and returned by queue_check(). A back-end that works in host memory and has finished an
 * operation when the call returns ("cpu") sets @discrete to %FALSE and leaves the functions of the
 * section "discrete devices only" unset; its queue is %NULL.
 *
 * A queue is used by one thread at a time. Functions that take a device may be called from any
 * thread. */
#pragma once

#include "engine/base/operation-types.h"
#include "engine/base/tensor.h"

#include <avatar/decode.h>

G_BEGIN_DECLS

typedef struct _AvatarBackend AvatarBackend;
/* Opaque types that each back-end defines: a device, a queue of operations on it (a CUDA stream),
 * and a fence, which marks a point in a queue (a CUDA event). */
typedef struct _AvatarBackendDevice AvatarBackendDevice;
typedef struct _AvatarQueue AvatarQueue;
typedef struct _AvatarFence AvatarFence;

/* Operands of convolutions and of pixel conversion: engine/ops/conv3d.h, engine/ops/pixels.h. */
typedef struct _AvatarConv3d AvatarConv3d;
typedef struct _AvatarConvStream AvatarConvStream;
typedef struct _AvatarNorm AvatarNorm;
typedef struct _AvatarChannelSums AvatarChannelSums;
typedef struct _AvatarPixelMatrix AvatarPixelMatrix;

/* Floating-point operations of matrix products and of attention, with 16-bit and 8-bit operands. */
typedef struct
{
  double linear, linear_8bit, attention, attention_8bit;
} AvatarFlopCounts;

/* Kinds of host memory. */
typedef enum
{
  AVATAR_HOST_PAGEABLE, /* any memory */
  AVATAR_HOST_PINNED,   /* page-locked memory of host_new() */
} AvatarHostMemory;

struct _AvatarBackend
{
  const char *name;       /* static */
  gboolean discrete;      /* the device has memory of its own, which the host cannot address */
  gboolean unshared;      /* each avatar_device_open() creates a new device */
  AvatarDType activation; /* dtype of activations and matrices, as avatar_ops_alloc() makes them */
  AvatarDType pixels;     /* dtype of activations in convolution networks */
  gint64 row_chunk;       /* rows per operation that keep the device busy; results depend on it */
  gint64 conv_pixels;     /* output pixels per convolution that keep the device busy; likewise */
  /* Limits of the operations. Models are checked against them before a plan; 0 = no limit. */
  gint64 max_head;         /* width of an attention head, except a single head of dtype @pixels */
  gint64 max_norm_8bit;    /* width of rows in a layer norm with 8-bit output */
  gint64 max_frame_width;  /* width of rows in frame attention */
  gint64 max_frame_keys;   /* keys per frame in frame attention */
  gint64 channel_multiple; /* common divisor of the channel counts of 3-D convolutions */
  double piece_flops;      /* maximum FLOPs of one linear() call; longer products are split, and a
                              cancellation takes effect between the pieces. 0 = no limit, because
                              calls return before the work is done */

  /* Optional: returns the number of devices, which are named "NAME:0" and so on, or 0 with @error
   * set. */
  guint (*count) (GError **error);
  /* Opens the device @name, as passed to avatar_device_open(), for example "cuda:1".
   * Returns %NULL with @error set on failure. */
  AvatarBackendDevice *(*open) (const char *name, GError **error);
  void (*close) (AvatarBackendDevice *device);
  /* Returns one line for users; free with g_free(). */
  char *(*describe) (AvatarBackendDevice *device);
  /* Allocates device memory, aligned to at least 256 bytes. Returns %NULL if it is exhausted. */
  void *(*memory_new) (AvatarBackendDevice *device, gsize bytes);
  /* Frees @memory; @bytes is the size that it was allocated with. */
  void (*memory_free) (AvatarBackendDevice *device, void *memory, gsize bytes);

  /* ------------------------------------------------------------------ discrete devices only */
  /* Asks the driver for the free and the total memory in bytes, counting all processes. Cheap
   * enough to be called between blocks. */
  void (*memory_info) (AvatarBackendDevice *device, guint64 *free_bytes, guint64 *total_bytes);
  /* Returns the bytes held by the context, libraries and kernels, measured when it was opened. */
  guint64 (*overhead) (AvatarBackendDevice *device);
  /* Allocates page-locked (pinned) host memory, which the device can copy asynchronously.
   * Returns %NULL if there is not enough. */
  void *(*host_new) (AvatarBackendDevice *device, gsize bytes);
  void (*host_free) (AvatarBackendDevice *device, void *memory, gsize bytes);

  AvatarQueue *(*queue_new) (AvatarBackendDevice *device, GError **error);
  /* Waits for the enqueued work, then frees the queue. */
  void (*queue_free) (AvatarQueue *queue);
  /* Returns %FALSE with the first failure of the work enqueued so far, if it is known already.
   * Does not block. */
  gboolean (*queue_check) (AvatarQueue *queue, GError **error);
  /* Waits for the enqueued work, then does the same. */
  gboolean (*queue_sync) (AvatarQueue *queue, GError **error);
  /* Blocks while more than a few tens of milliseconds of work are pending; see
   * avatar_ops_throttle(). */
  void (*queue_throttle) (AvatarQueue *queue);

  AvatarFence *(*fence_new) (AvatarBackendDevice *device);
  void (*fence_free) (AvatarFence *fence);
  /* Marks the end of the work enqueued so far. A fence may be recorded again. */
  void (*fence_record) (AvatarFence *fence, AvatarQueue *queue);
  /* Makes work enqueued later in @queue wait for @fence. Does not block the caller. */
  void (*fence_wait) (AvatarFence *fence, AvatarQueue *queue);
  /* Blocks the caller until the work before @fence is done. */
  void (*fence_sync) (AvatarFence *fence);

  /* Copies @bytes from host to device. @kind is that of @src. Pinned memory must stay unchanged
   * until a fence recorded later has been passed; pageable memory may be reused when the call
   * returns. */
  void (
      *upload) (AvatarQueue *queue, void *dst, const void *src, gsize bytes, AvatarHostMemory kind);
  /* Copies @bytes from device to host. @kind is that of @dst. Pinned memory is valid when a fence
   * recorded later has been passed; for pageable memory the call blocks until the copy is done. */
  void (*download) (AvatarQueue *queue, void *dst, const void *src, gsize bytes,
      AvatarHostMemory kind);
  /* Converts weights @x [M, N] from their storage dtype (F8_E4M3 or I8 with x.scale, F16 or F32)
   * to @y [M, N] in the device's operand dtype. */
  void (*expand) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);

  /* ----------------------------------------------------------------------------- operations */
  gsize (*linear_workspace) (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
      AvatarTensor w);
  gsize (*linear_add_workspace) (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
      AvatarTensor w);
  gsize (*attention_workspace) (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
      gint64 causal_block, AvatarTensor valid);
  /* Optional: returns the workspace of sparse_attention(), for any memory of the operands. */
  gsize (*sparse_attention_workspace) (AvatarBackendDevice *device,
      const AvatarSparseAttention *attention);

  void (*linear) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor b, AvatarAct act, void *ws);
  void (*linear_add) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws);
  void (*layer_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
      AvatarTensor shift, AvatarNormScale factor, double eps);
  /* Works in place (y = x), unless y is 8-bit. */
  void (*rms_norm_rope) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
      AvatarTensor cos, AvatarTensor sin, double eps);
  void (*rms_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps);
  void (*rope_half) (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
  /* @cancelled: atomic; read while computing, where the call does not return at once */
  void (*attention) (AvatarQueue *queue, const AvatarAttention *attention, void *ws,
      const gint *cancelled);
  /* Optional: returns %TRUE if the device computes sparse attention for heads of width @d.
   * key_blocks(), sparse_attention() and its workspace must then be set. */
  gboolean (*supports_sparse_attention) (AvatarBackendDevice *device, gint64 d);
  /* Fills @blocks, whose tensors are allocated. */
  void (*key_blocks) (AvatarQueue *queue, const AvatarKeyBlocks *blocks, AvatarTensor k,
      AvatarTensor v);
  /* @cancelled: atomic; see attention() */
  void (*sparse_attention) (AvatarQueue *queue, const AvatarSparseAttention *attention, void *ws,
      const gint *cancelled);
  void (*frame_attention) (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
      AvatarTensor v, double scale);
  void (*act) (AvatarQueue *queue, AvatarTensor x, AvatarAct act);
  void (*silu_product) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*axpby) (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b);
  void (*scale_round) (AvatarQueue *queue, AvatarTensor x, double factor, AvatarDType dtype);
  void (*find_non_finite) (AvatarQueue *queue, AvatarTensor flag, AvatarTensor x);
  void (*copy) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*mean_rows) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
  void (*patchify) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
      AvatarPatchDirection direction);
  void (*unfold) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
      gint64 pad);
  void (*power) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  void (*blend) (AvatarQueue *queue, AvatarTensor y, AvatarTensor before, guint dim);

  /* Convolutions (engine/ops/conv3d-backend.h).
   * Returns the bytes of the packed weight and bias of @conv. */
  gsize (*conv3d_bytes) (const AvatarConv3d *conv);
  /* Packs @weight [out, in, 3, 3, 3] and @bias [out] into @packed, host memory that is zeroed. */
  void (*conv3d_pack) (const AvatarConv3d *conv, void *packed, const float *weight,
      const float *bias);
  /* Sets @sizes to the bytes of stream->ring, scratch and partials (0 = not needed), and
   * stream->ring_frames. */
  void (*conv3d_sizes) (AvatarConvStream *stream, gsize sizes[3]);
  /* Optional: prepares the workspace of @stream, for example by clearing sums. */
  void (*conv3d_begin) (AvatarQueue *queue, AvatarConvStream *stream);
  /* Puts the two frames @context, which precede frame stream->first, into the ring. */
  void (*conv3d_seek) (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context);
  /* Convolves one group of input frames @x, from frame stream->next on. @y and @residual may have
   * no frames. */
  void (*conv3d_group) (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
      AvatarTensor x, AvatarTensor residual);
  /* Completes stream->sums after the last group. */
  void (*conv3d_end) (AvatarQueue *queue, AvatarConvStream *stream);
  gsize (*channel_sums_workspace) (AvatarTensor x);
  void (*channel_sums) (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws);
  void (*group_norm) (AvatarQueue *queue, AvatarNorm *norm, const AvatarChannelSums *sums,
      AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
  void (*apply_norm) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);
  void (*to_bytes) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
      const AvatarPixelMatrix *matrix, AvatarTensor bad);
  /* Optional: returns %TRUE if the device multiplies e4m3 matrices. quantise() must then be set. */
  gboolean (*supports_8bit_linear) (AvatarBackendDevice *device);
  /* Quantises @x [M, K] to @y (F8_E4M3) with one factor per row; writes y.scale [M]. */
  void (*quantise) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  /* Optional: returns %TRUE if the device computes attention with q, k and v in e4m3 for heads of
   * width @d. quantise_all() and norm_factor() must then be set. */
  gboolean (*supports_8bit_attention) (AvatarBackendDevice *device, gint64 d);
  /* Quantises @x [M, N] to @y (F8_E4M3) with one factor for all, y.scale[0]. y.scale[1] is scratch
   * memory of the back-end. */
  void (*quantise_all) (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
  /* Writes to *@factor the scale with which e4m3 holds all RMS-normed heads with the weights @w or
   * @w2 [d] (optional). */
  void (*norm_factor) (AvatarQueue *queue, float *factor, AvatarTensor w, AvatarTensor w2);
  /* Optional: returns the operations counted since the device was opened, for a back-end that
   * counts instead of computing. */
  AvatarFlopCounts (*get_flop_counts) (AvatarBackendDevice *device);
};

/* The entry point of a back-end in a module libavatar-NAME.so, exported under the name
 * avatar_backend_module. Returns %NULL if @abi is not the version that the module was built for. */
#define AVATAR_BACKEND_ABI 8
typedef const AvatarBackend *(*AvatarBackendModuleFunc) (guint abi);

G_END_DECLS
