/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GPUs: opening, memory, and measurement of the memory that driver and libraries occupy. */
#include "engine/backends/cuda/cuda-private.h"
#include "engine/backends/cuda/overhead.h"
#include "engine/backends/cuda/workspace.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* The first compute capability with bfloat16 in tensor cores (Ampere). */
#define MIN_CAPABILITY 80

/* nvmlMemory_t. The NVML library is part of every driver, but its header is not. */
typedef struct
{
  unsigned long long total, free, used;
} NvmlMemory;

/* Returns the bytes that all processes use on the GPU, without creating a context; 0 if NVML is not
 * available. */
static guint64
bytes_used (int index)
{
  void *library = dlopen ("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  int (*init) (void), (*shutdown) (void), (*get_memory) (void *, NvmlMemory *);
  int (*get_handle) (const char *, void **);
  char bus[32] = "";
  NvmlMemory memory = { 0 };
  void *handle;

  if (!library)
    return 0;
  init = (int (*) (void)) dlsym (library, "nvmlInit_v2");
  shutdown = (int (*) (void)) dlsym (library, "nvmlShutdown");
  get_handle
      = (int (*) (const char *, void **)) dlsym (library, "nvmlDeviceGetHandleByPciBusId_v2");
  get_memory = (int (*) (void *, NvmlMemory *)) dlsym (library, "nvmlDeviceGetMemoryInfo");
  if (init && shutdown && get_handle && get_memory && init () == 0) {
    if (cudaDeviceGetPCIBusId (bus, sizeof bus, index) == cudaSuccess
        && get_handle (bus, &handle) == 0)
      get_memory (handle, &memory);
    shutdown ();
  }
  dlclose (library);
  return memory.used;
}

/* Returns the index in "cuda:N", or -1. */
static int
parse_index (const char *name)
{
  guint64 index;

  if (strcmp (name, "cuda") == 0)
    return 0;
  if (strncmp (name, "cuda:", 5) != 0
      || !g_ascii_string_to_unsigned (name + 5, 10, 0, 1023, &index, NULL))
    return -1;
  return (int) index;
}

static gboolean
check_driver (int *count, GError **error)
{
  int driver = 0;
  cudaError_t status = cudaDriverGetVersion (&driver);

  if (status != cudaSuccess || driver == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "no NVIDIA driver was found; install one for CUDA %d.%d or later, or use device=cpu",
        CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
    return FALSE;
  }
  status = cudaGetDeviceCount (count);
  if (status == cudaErrorInsufficientDriver)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "the NVIDIA driver supports CUDA %d.%d, but this build needs CUDA %d.%d; update the "
        "driver, or use device=cpu",
        driver / 1000, driver / 10 % 100, CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
  else if (status == cudaErrorNoDevice || (status == cudaSuccess && *count == 0))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "the NVIDIA driver found no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
        "device=cpu");
  else if (status != cudaSuccess)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "the NVIDIA driver reports an error: %s; check nvidia-smi, or use device=cpu",
        cudaGetErrorString (status));
  else
    return TRUE;
  return FALSE;
}

guint
avatar_cuda_count (GError **error)
{
  int count = 0;

  return check_driver (&count, error) ? (guint) count : 0;
}

static gboolean
check_libraries (GError **error)
{
  size_t dnn = cudnnGetVersion ();

  if (dnn < 90100 || dnn >= 100000) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "found cuDNN %" G_GSIZE_FORMAT ".%" G_GSIZE_FORMAT ", expected 9.1 or a later version 9; "
        "install it, or use device=cpu",
        dnn / 10000, dnn / 100 % 100);
    return FALSE;
  }
  return TRUE;
}

/* Loads the kernels that every run loads, so that their memory can be measured: computes one matrix
 * product and one attention. */
static gboolean
warm_up (AvatarBackendDevice *self, GError **error)
{
  const gint64 rows = 256, width = 256;
  gsize matrix = rows * width * 2, ws = AVATAR_CUDA_GEMM_WORKSPACE;
  AvatarQueue *queue = avatar_cuda_queue_new (self, error);
  guint8 *memory;
  AvatarAttention attention = { .scale = 1 };
  AvatarTensor x, w, y;
  gboolean done;

  if (!queue)
    return FALSE;
  memory = avatar_cuda_memory_new (self, 3 * matrix + ws);
  if (!memory) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s has less than %" G_GSIZE_FORMAT " MiB of free memory; close other programs", self->name,
        (3 * matrix + ws) >> 20);
    avatar_cuda_queue_free (queue);
    return FALSE;
  }
  x = avatar_tensor (AVATAR_BF16, memory, 2, rows, width);
  w = avatar_tensor (AVATAR_BF16, memory + matrix, 2, width, width);
  y = avatar_tensor (AVATAR_BF16, memory + 2 * matrix, 2, rows, width);
  avatar_cuda_check (queue, cudaMemsetAsync (memory, 0, 3 * matrix, queue->stream),
      "clearing memory");
  avatar_cuda_linear (queue, y, x, w, AVATAR_NO_TENSOR, AVATAR_ACT_NONE, memory + 3 * matrix);
  attention.o = avatar_tensor_split_last (y, 128);
  attention.q = avatar_tensor_split_last (x, 128);
  attention.k = attention.v = avatar_tensor_split_last (w, 128);
  avatar_cuda_attention (queue, &attention, memory + 3 * matrix, NULL);
  done = avatar_cuda_queue_sync (queue, error);
  avatar_cuda_memory_free (self, memory, 3 * matrix + ws);
  avatar_cuda_queue_free (queue);
  return done;
}

/* Measures the memory of the context, the libraries and the kernels, as the driver reports it. */
static gboolean
measure_overhead (AvatarBackendDevice *self, guint64 used_before, GError **error)
{
  guint64 free_before, free_after, total, used;

  if (cudaSetDevice (self->index) != cudaSuccess || cudaFree (NULL) != cudaSuccess) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "cannot create a CUDA context on %s: %s; if its memory is full, close other programs",
        self->name, cudaGetErrorString (cudaGetLastError ()));
    return FALSE;
  }
  avatar_cuda_memory_info (self, &free_before, &total);
  if (!warm_up (self, error))
    return FALSE;
  avatar_cuda_memory_info (self, &free_after, &total);
  used = bytes_used (self->index);
  /* Without NVML the context itself, about 300 MiB, cannot be measured. */
  self->overhead = used_before && used > used_before
      ? used - used_before
      : ((guint64) 300 << 20) + (free_before - MIN (free_before, free_after));
  self->overhead += AVATAR_CUDA_LATER;
  return TRUE;
}

AvatarBackendDevice *
avatar_cuda_open (const char *name, GError **error)
{
  AvatarBackendDevice *self;
  struct cudaDeviceProp properties;
  int index = parse_index (name), count = 0;
  guint64 used_before;

  if (index < 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" is unknown; expected \"cuda\" or \"cuda:N\" with the number of a GPU", name);
    return NULL;
  }
  if (!check_driver (&count, error) || !check_libraries (error))
    return NULL;
  if (index >= count) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" does not exist: found %d GPUs, numbered from 0; choose one of them, or use "
        "device=cpu",
        name, count);
    return NULL;
  }
  if (cudaGetDeviceProperties (&properties, index) != cudaSuccess
      || 10 * properties.major + properties.minor < MIN_CAPABILITY) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "%s has compute capability %d.%d, expected 8.0 or later (RTX 30 series, A100); choose "
        "another GPU, or use device=cpu",
        properties.name, properties.major, properties.minor);
    return NULL;
  }
  used_before = bytes_used (index);
  self = g_new0 (AvatarBackendDevice, 1);
  self->index = index;
  self->capability = 10 * properties.major + properties.minor;
  self->name = g_strdup (properties.name);
  if (!measure_overhead (self, used_before, error)) {
    avatar_cuda_close (self);
    return NULL;
  }
  return self;
}

void
avatar_cuda_close (AvatarBackendDevice *self)
{
  g_free (self->name);
  g_free (self);
}

char *
avatar_cuda_describe (AvatarBackendDevice *self)
{
  guint64 free_bytes, total;
  int driver = 0;
  size_t dnn = cudnnGetVersion ();

  avatar_cuda_memory_info (self, &free_bytes, &total);
  cudaDriverGetVersion (&driver);
  return g_strdup_printf ("cuda:%d: %s, compute capability %d.%d, %" G_GUINT64_FORMAT
                          " MiB (%" G_GUINT64_FORMAT " free), driver for CUDA %d.%d, cuDNN %d.%d",
      self->index, self->name, self->capability / 10, self->capability % 10, total >> 20,
      free_bytes >> 20, driver / 1000, driver / 10 % 100, (int) (dnn / 10000),
      (int) (dnn / 100 % 100));
}

void *
avatar_cuda_memory_new (AvatarBackendDevice *self, gsize bytes)
{
  void *memory = NULL;

  if (cudaSetDevice (self->index) != cudaSuccess || cudaMalloc (&memory, bytes) != cudaSuccess) {
    cudaGetLastError (); /* clears the error, which the caller reports */
    return NULL;
  }
  return memory;
}

void
avatar_cuda_memory_free (AvatarBackendDevice *self, void *memory, gsize bytes)
{
  cudaSetDevice (self->index);
  cudaFree (memory);
}

void
avatar_cuda_memory_info (AvatarBackendDevice *self, guint64 *free_bytes, guint64 *total_bytes)
{
  size_t now = 0, total = 0;

  if (cudaSetDevice (self->index) != cudaSuccess || cudaMemGetInfo (&now, &total) != cudaSuccess)
    cudaGetLastError ();
  *free_bytes = now;
  *total_bytes = total;
}

guint64
avatar_cuda_overhead (AvatarBackendDevice *self)
{
  return self->overhead;
}

void *
avatar_cuda_host_new (AvatarBackendDevice *self, gsize bytes)
{
  void *memory = NULL;

  if (cudaSetDevice (self->index) != cudaSuccess
      || cudaHostAlloc (&memory, bytes, cudaHostAllocPortable) != cudaSuccess) {
    cudaGetLastError ();
    return NULL;
  }
  return memory;
}

void
avatar_cuda_host_free (AvatarBackendDevice *self, void *memory, gsize bytes)
{
  cudaSetDevice (self->index);
  cudaFreeHost (memory);
}
