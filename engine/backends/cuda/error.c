/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failures of the CUDA libraries. A queue keeps the first one and then accepts no more work. */
#include "engine/backends/cuda/cuda-private.h"

void
avatar_cuda_fail (AvatarQueue *queue, AvatarError code, const char *format, ...)
{
  va_list args;

  if (queue->error)
    return;
  va_start (args, format);
  queue->error = g_error_new_valist (AVATAR_ERROR, code, format, args);
  va_end (args);
}

gboolean
avatar_cuda_check (AvatarQueue *queue, cudaError_t status, const char *what)
{
  if (status == cudaSuccess)
    return TRUE;
  avatar_cuda_fail (queue,
      status == cudaErrorMemoryAllocation ? AVATAR_ERROR_MEMORY : AVATAR_ERROR_DEVICE,
      "%s on %s failed: %s (%s); the results computed so far are lost, start again", what,
      queue->device->name, cudaGetErrorString (status), cudaGetErrorName (status));
  return FALSE;
}

gboolean
avatar_cuda_begin (AvatarQueue *queue)
{
  return !queue->error
      && avatar_cuda_check (queue, cudaSetDevice (queue->device->index), "selecting the device");
}
