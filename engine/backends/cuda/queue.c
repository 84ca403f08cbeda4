/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues (a stream with its library handles), fences (events), and copies between host and
 * device. */
#include "engine/backends/cuda/cuda-private.h"

#include <string.h>

static gboolean
queue_init (AvatarQueue *self)
{
  cublasStatus_t blas;
  cudnnStatus_t dnn;

  if (!avatar_cuda_check (self, cudaStreamCreateWithFlags (&self->stream, cudaStreamNonBlocking),
          "creating a stream"))
    return FALSE;
  for (guint i = 0; i < 2; i++)
    if (!avatar_cuda_check (self,
            cudaHostAlloc ((void **) &self->staging[i], AVATAR_CUDA_STAGING, cudaHostAllocDefault),
            "allocating pinned memory")
        || !avatar_cuda_check (self,
            cudaEventCreateWithFlags (&self->staged[i],
                cudaEventDisableTiming | cudaEventBlockingSync),
            "creating an event"))
      return FALSE;
  for (guint i = 0; i < AVATAR_CUDA_THROTTLE_EVENTS; i++)
    if (!avatar_cuda_check (self,
            cudaEventCreateWithFlags (&self->throttle_events[i],
                cudaEventDisableTiming | cudaEventBlockingSync),
            "creating an event"))
      return FALSE;
  blas = cublasLtCreate (&self->blas);
  if (blas != CUBLAS_STATUS_SUCCESS) {
    avatar_cuda_fail (self, AVATAR_ERROR_DEVICE,
        "cuBLASLt cannot be initialised on %s: %s; close other programs on it, or use device=cpu",
        self->device->name, cublasLtGetStatusString (blas));
    return FALSE;
  }
  dnn = cudnnCreate (&self->dnn);
  if (dnn == CUDNN_STATUS_SUCCESS)
    dnn = cudnnSetStream (self->dnn, self->stream);
  if (dnn != CUDNN_STATUS_SUCCESS) {
    avatar_cuda_fail (self, AVATAR_ERROR_DEVICE,
        "cuDNN cannot be initialised on %s: %s; close other programs on it, or use device=cpu",
        self->device->name, cudnnGetErrorString (dnn));
    return FALSE;
  }
  return TRUE;
}

AvatarQueue *
avatar_cuda_queue_new (AvatarBackendDevice *device, GError **error)
{
  AvatarQueue *self = g_new0 (AvatarQueue, 1);

  self->device = device;
  if (!avatar_cuda_begin (self) || !queue_init (self)) {
    g_propagate_error (error, g_steal_pointer (&self->error));
    avatar_cuda_queue_free (self);
    return NULL;
  }
  return self;
}

void
avatar_cuda_queue_free (AvatarQueue *self)
{
  if (!self)
    return;
  cudaSetDevice (self->device->index);
  if (self->stream)
    cudaStreamSynchronize (self->stream);
  for (guint i = 0; i < AVATAR_CUDA_N_PLANS; i++)
    g_clear_pointer (&self->plans[i], g_hash_table_unref);
  if (self->dnn)
    cudnnDestroy (self->dnn);
  if (self->blas)
    cublasLtDestroy (self->blas);
  for (guint i = 0; i < 2; i++) {
    if (self->staging[i])
      cudaFreeHost (self->staging[i]);
    if (self->staged[i])
      cudaEventDestroy (self->staged[i]);
  }
  for (guint i = 0; i < AVATAR_CUDA_THROTTLE_EVENTS; i++)
    if (self->throttle_events[i])
      cudaEventDestroy (self->throttle_events[i]);
  if (self->stream)
    cudaStreamDestroy (self->stream);
  g_clear_error (&self->error);
  g_free (self);
}

gboolean
avatar_cuda_queue_check (AvatarQueue *self, GError **error)
{
  if (avatar_cuda_begin (self)) {
    cudaError_t status = cudaStreamQuery (self->stream);

    if (status != cudaErrorNotReady)
      avatar_cuda_check (self, status, "an enqueued operation");
  }
  if (!self->error)
    return TRUE;
  g_propagate_error (error, g_error_copy (self->error));
  return FALSE;
}

gboolean
avatar_cuda_queue_sync (AvatarQueue *self, GError **error)
{
  if (avatar_cuda_begin (self))
    avatar_cuda_check (self, cudaStreamSynchronize (self->stream), "an enqueued operation");
  return avatar_cuda_queue_check (self, error);
}

void
avatar_cuda_queue_throttle (AvatarQueue *self)
{
  guint64 i = self->n_throttles;

  if (!avatar_cuda_begin (self))
    return;
  /* Waits for the oldest event, which is then recorded again. */
  if (i >= AVATAR_CUDA_THROTTLE_EVENTS
      && !avatar_cuda_check (self,
          cudaEventSynchronize (self->throttle_events[i % AVATAR_CUDA_THROTTLE_EVENTS]),
          "an enqueued operation"))
    return;
  if (avatar_cuda_check (self,
          cudaEventRecord (self->throttle_events[i % AVATAR_CUDA_THROTTLE_EVENTS], self->stream),
          "recording an event"))
    self->n_throttles++;
}

AvatarFence *
avatar_cuda_fence_new (AvatarBackendDevice *device)
{
  AvatarFence *self = g_new0 (AvatarFence, 1);

  self->device = device;
  cudaSetDevice (device->index);
  if (cudaEventCreateWithFlags (&self->event, cudaEventDisableTiming | cudaEventBlockingSync)
      != cudaSuccess)
    g_clear_pointer (&self, g_free);
  return self;
}

void
avatar_cuda_fence_free (AvatarFence *self)
{
  if (!self)
    return;
  cudaSetDevice (self->device->index);
  cudaEventDestroy (self->event);
  g_free (self);
}

void
avatar_cuda_fence_record (AvatarFence *self, AvatarQueue *queue)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, cudaEventRecord (self->event, queue->stream), "recording an event");
}

void
avatar_cuda_fence_wait (AvatarFence *self, AvatarQueue *queue)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, cudaStreamWaitEvent (queue->stream, self->event, 0),
        "waiting for an event");
}

void
avatar_cuda_fence_sync (AvatarFence *self)
{
  /* The queue of the event reports failures of the device. */
  cudaSetDevice (self->device->index);
  cudaEventSynchronize (self->event);
}

/* Copies through two alternating pinned buffers: the call returns while the last pieces are still
 * being copied. */
static void
upload_staged (AvatarQueue *queue, guint8 *dst, const guint8 *src, gsize bytes)
{
  while (bytes > 0) {
    guint i = queue->next_staging;
    gsize n = MIN (bytes, AVATAR_CUDA_STAGING);

    if (!avatar_cuda_check (queue, cudaEventSynchronize (queue->staged[i]), "copy to the device"))
      return;
    memcpy (queue->staging[i], src, n);
    if (!avatar_cuda_check (queue,
            cudaMemcpyAsync (dst, queue->staging[i], n, cudaMemcpyHostToDevice, queue->stream),
            "copy to the device")
        || !avatar_cuda_check (queue, cudaEventRecord (queue->staged[i], queue->stream),
            "recording an event"))
      return;
    queue->next_staging = 1 - i;
    dst += n;
    src += n;
    bytes -= n;
  }
}

void
avatar_cuda_upload (AvatarQueue *queue, void *dst, const void *src, gsize bytes,
    AvatarHostMemory kind)
{
  if (!avatar_cuda_begin (queue))
    return;
  if (kind == AVATAR_HOST_PINNED)
    avatar_cuda_check (queue,
        cudaMemcpyAsync (dst, src, bytes, cudaMemcpyHostToDevice, queue->stream),
        "copy to the device");
  else
    upload_staged (queue, dst, src, bytes);
}

void
avatar_cuda_download (AvatarQueue *queue, void *dst, const void *src, gsize bytes,
    AvatarHostMemory kind)
{
  if (!avatar_cuda_begin (queue)
      || !avatar_cuda_check (queue,
          cudaMemcpyAsync (dst, src, bytes, cudaMemcpyDeviceToHost, queue->stream),
          "copy from the device"))
    return;
  if (kind != AVATAR_HOST_PINNED)
    avatar_cuda_check (queue, cudaStreamSynchronize (queue->stream), "copy from the device");
}
