/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private types and functions of the CUDA back-end. The functions that implement the interface of a
 * back-end are described in engine/device/backend.h. */
#pragma once

#include "engine/device/backend.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/pixels.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

G_BEGIN_DECLS

/* Bytes of a staging buffer. */
#define AVATAR_CUDA_STAGING ((gsize) 4 << 20)
/* Calls of avatar_cuda_queue_throttle() whose work may be pending. */
#define AVATAR_CUDA_THROTTLE_EVENTS 4

struct _AvatarBackendDevice
{
  int index;
  int capability; /* compute capability, 10 * major + minor */
  char *name;
  guint64 overhead; /* bytes */
};

struct _AvatarFence
{
  AvatarBackendDevice *device;
  cudaEvent_t event;
};

/* Kinds of plans: the operations that the libraries plan for each shape. */
typedef enum
{
  AVATAR_CUDA_PLAN_LINEAR,
  AVATAR_CUDA_PLAN_ATTENTION,
  AVATAR_CUDA_PLAN_CONV3D,
} AvatarCudaPlanKind;

#define AVATAR_CUDA_N_PLANS (AVATAR_CUDA_PLAN_CONV3D + 1)

struct _AvatarQueue
{
  AvatarBackendDevice *device;
  cudaStream_t stream;
  cublasLtHandle_t blas;
  cudnnHandle_t dnn;
  GHashTable *plans[AVATAR_CUDA_N_PLANS]; /* see plan-cache.c; NULL if there are none */
  guint8 *staging[2];                     /* pinned buffers of AVATAR_CUDA_STAGING bytes */
  cudaEvent_t staged[2];                  /* the copies from them; passed = buffer is free */
  guint next_staging;
  cudaEvent_t throttle_events[AVATAR_CUDA_THROTTLE_EVENTS]; /* a ring */
  guint64 n_throttles;                                      /* events recorded so far */
  GError *error;                                            /* the first failure */
};

/* error.c */
/* Makes the device of @queue current for the calling thread. Returns FALSE if the queue has failed
 * before; nothing may be enqueued then. */
gboolean avatar_cuda_begin (AvatarQueue *queue);
/* Returns TRUE if @status is success; else sets the error of @queue. @what is the name of the
 * operation, for example "layer norm". */
gboolean avatar_cuda_check (AvatarQueue *queue, cudaError_t status, const char *what);
/* Sets the error of @queue, unless it has one. */
void avatar_cuda_fail (AvatarQueue *queue, AvatarError code, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* plan-cache.c */
/* Makes the plan for @key. Returns an object even if the library has no plan, so that it is not
 * asked again. */
typedef gpointer (*AvatarCudaPlanBuildFunc) (AvatarQueue *queue, gconstpointer key);
/* Returns: (transfer none): the queue's plan of @kind for @key, @key_size bytes that are compared
 * one by one. The first call makes it with @build; it is freed with @destroy. */
gconstpointer avatar_cuda_plan_cache_get (AvatarQueue *queue, AvatarCudaPlanKind kind,
    gconstpointer key, gsize key_size, AvatarCudaPlanBuildFunc build, GDestroyNotify destroy);
/* linear.c */
void avatar_cuda_linear (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act, void *ws);
void avatar_cuda_linear_add (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws);
/* attention.c */
void avatar_cuda_attention (AvatarQueue *queue, const AvatarAttention *attention, void *ws,
    const gint *cancelled);
gboolean avatar_cuda_supports_8bit_attention (AvatarBackendDevice *device, gint64 d);
/* sparse.c */
gboolean avatar_cuda_supports_sparse_attention (AvatarBackendDevice *device, gint64 d);
gsize avatar_cuda_sparse_attention_workspace (AvatarBackendDevice *device,
    const AvatarSparseAttention *attention);
void avatar_cuda_key_blocks (AvatarQueue *queue, const AvatarKeyBlocks *blocks, AvatarTensor k,
    AvatarTensor v);
void avatar_cuda_sparse_attention (AvatarQueue *queue, const AvatarSparseAttention *attention,
    void *ws, const gint *cancelled);
/* attention-wide.c */
/* Returns TRUE if avatar_cuda_attention_wide() should compute the attention of these operands. */
gboolean avatar_cuda_attention_is_wide (const AvatarAttention *attention);
/* Computes attention with one head in F16. */
void avatar_cuda_attention_wide (AvatarQueue *queue, const AvatarAttention *attention, guint8 *ws);
/* conv3d.c */
void avatar_cuda_conv3d_pack (const AvatarConv3d *conv, void *packed, const float *weight,
    const float *bias);
void avatar_cuda_conv3d_seek (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context);
void avatar_cuda_conv3d_group (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual);
void avatar_cuda_conv3d_end (AvatarQueue *queue, AvatarConvStream *stream);
void
avatar_cuda_channel_sums (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws);
/* device.c */
guint avatar_cuda_count (GError **error);
AvatarBackendDevice *avatar_cuda_open (const char *name, GError **error);
void avatar_cuda_close (AvatarBackendDevice *device);
char *avatar_cuda_describe (AvatarBackendDevice *device);
void *avatar_cuda_memory_new (AvatarBackendDevice *device, gsize bytes);
void avatar_cuda_memory_free (AvatarBackendDevice *device, void *memory, gsize bytes);
void
avatar_cuda_memory_info (AvatarBackendDevice *device, guint64 *free_bytes, guint64 *total_bytes);
guint64 avatar_cuda_overhead (AvatarBackendDevice *device);
void *avatar_cuda_host_new (AvatarBackendDevice *device, gsize bytes);
void avatar_cuda_host_free (AvatarBackendDevice *device, void *memory, gsize bytes);
/* queue.c */
AvatarQueue *avatar_cuda_queue_new (AvatarBackendDevice *device, GError **error);
void avatar_cuda_queue_free (AvatarQueue *queue);
gboolean avatar_cuda_queue_check (AvatarQueue *queue, GError **error);
gboolean avatar_cuda_queue_sync (AvatarQueue *queue, GError **error);
void avatar_cuda_queue_throttle (AvatarQueue *queue);
AvatarFence *avatar_cuda_fence_new (AvatarBackendDevice *device);
void avatar_cuda_fence_free (AvatarFence *fence);
void avatar_cuda_fence_record (AvatarFence *fence, AvatarQueue *queue);
void avatar_cuda_fence_wait (AvatarFence *fence, AvatarQueue *queue);
void avatar_cuda_fence_sync (AvatarFence *fence);
void avatar_cuda_upload (AvatarQueue *queue, void *dst, const void *src, gsize bytes,
    AvatarHostMemory kind);
void avatar_cuda_download (AvatarQueue *queue, void *dst, const void *src, gsize bytes,
    AvatarHostMemory kind);

G_END_DECLS
