/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The counting back-end. It returns the workspace sizes of the CUDA back-end, which depend on
 * shapes alone. It cannot make a queue, so nothing can be computed on it. */
#include "engine/backends/estimate/estimate.h"

#include "engine/backends/cuda/conv3d.h"
#include "engine/backends/cuda/overhead.h"
#include "engine/backends/cuda/workspace.h"
#include "engine/ops/sparse-attention.h"

#include <string.h>

#define PREFIX "plan:cuda:"
/* Largest memory that is accepted, 16 TiB: more than any card has, and sums cannot overflow. */
#define MAX_MIB ((guint64) 1 << 24)

struct _AvatarBackendDevice
{
  guint64 total;
  AvatarFlopCounts counts;
};

static AvatarBackendDevice *
open_device (const char *name, GError **error)
{
  guint64 mib;
  AvatarBackendDevice *self;

  if (!g_str_has_prefix (name, PREFIX)
      || !g_ascii_string_to_unsigned (name + strlen (PREFIX), 10, 1, MAX_MIB, &mib, NULL)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" is unknown; expected \"" PREFIX "\" followed by the memory of the card in "
        "MiB, 1 to %" G_GUINT64_FORMAT,
        name, MAX_MIB);
    return NULL;
  }
  self = g_new0 (AvatarBackendDevice, 1);
  self->total = mib << 20;
  return self;
}

static void
close_device (AvatarBackendDevice *self)
{
  g_free (self);
}

static char *
describe (AvatarBackendDevice *self)
{
  return g_strdup_printf ("plan: an estimate for a CUDA card with %" G_GUINT64_FORMAT " MiB",
      self->total >> 20);
}

static guint64
overhead (AvatarBackendDevice *self)
{
  return AVATAR_CUDA_CONTEXT + AVATAR_CUDA_LATER;
}

static void
memory_info (AvatarBackendDevice *self, guint64 *free_bytes, guint64 *total_bytes)
{
  *total_bytes = self->total;
  *free_bytes = self->total - MIN (self->total, overhead (self));
}

static void *
memory_new (AvatarBackendDevice *self, gsize bytes)
{
  return NULL;
}

static void
memory_free (AvatarBackendDevice *self, void *memory, gsize bytes)
{
}

static AvatarQueue *
queue_new (AvatarBackendDevice *self, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
      "a \"" PREFIX "MIB\" device is for plans only and cannot compute; to run, choose \"cuda\" "
      "or \"cpu\"");
  return NULL;
}

static void
count_linear (AvatarBackendDevice *self, AvatarTensor y, AvatarTensor x)
{
  double flops = 2. * y.shape[0] * y.shape[1] * x.shape[1];

  if (avatar_dtype_size (x.dtype) == 1)
    self->counts.linear_8bit += flops;
  else
    self->counts.linear += flops;
}

static gsize
linear_workspace (AvatarBackendDevice *self, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  count_linear (self, y, x);
  return avatar_cuda_linear_workspace (y, x, w);
}

static gsize
linear_add_workspace (AvatarBackendDevice *self, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  count_linear (self, y, x);
  return avatar_cuda_linear_add_workspace (y, x, w);
}

static gsize
attention_workspace (AvatarBackendDevice *self, AvatarTensor q, AvatarTensor k, gint64 causal_block,
    AvatarTensor valid)
{
  double flops = 4. * avatar_tensor_n (q) * k.shape[0];

  if (avatar_dtype_size (q.dtype) == 1)
    self->counts.attention_8bit += flops;
  else
    self->counts.attention += flops;
  return avatar_cuda_attention_workspace (q, k, causal_block);
}

static gsize
sparse_attention_workspace (AvatarBackendDevice *self, const AvatarSparseAttention *attention)
{
  const AvatarTensor q = attention->q, k = attention->k;

  self->counts.attention += 4. * avatar_tensor_n (q) * k.shape[0]
      * avatar_sparse_density (attention) * AVATAR_CUDA_SPARSE_COST;
  return avatar_cuda_sparse_workspace (q, k);
}

static gboolean
supports_sparse_attention (AvatarBackendDevice *self, gint64 d)
{
  return d == AVATAR_CUDA_SPARSE_HEAD;
}

/* Assumes a card that supports it, since the name of the device says nothing about the card. */
static gboolean
supports_8bit_attention (AvatarBackendDevice *self, gint64 d)
{
  return d == 128;
}

static AvatarFlopCounts
get_flop_counts (AvatarBackendDevice *self)
{
  return self->counts;
}

static gboolean
supports_8bit_linear (AvatarBackendDevice *self)
{
  return TRUE;
}

const AvatarBackend avatar_backend_estimate = {
  .name = "plan",
  .discrete = TRUE,
  .unshared = TRUE, /* counts belong to one caller */
  .activation = AVATAR_BF16,
  .pixels = AVATAR_F16,
  .row_chunk = AVATAR_CUDA_ROW_CHUNK,
  .conv_pixels = AVATAR_CUDA_CONV_PIXELS,
  .max_head = AVATAR_CUDA_MAX_HEAD,
  .max_norm_8bit = AVATAR_CUDA_MAX_NORM_8BIT,
  .max_frame_width = AVATAR_CUDA_MAX_FRAME_WIDTH,
  .max_frame_keys = AVATAR_CUDA_MAX_FRAME_KEYS,
  .channel_multiple = AVATAR_CUDA_CHANNEL_MULTIPLE,
  .open = open_device,
  .close = close_device,
  .describe = describe,
  .memory_new = memory_new,
  .memory_free = memory_free,
  .memory_info = memory_info,
  .overhead = overhead,
  .queue_new = queue_new,
  .linear_workspace = linear_workspace,
  .linear_add_workspace = linear_add_workspace,
  .attention_workspace = attention_workspace,
  .sparse_attention_workspace = sparse_attention_workspace,
  .conv3d_bytes = avatar_cuda_conv3d_bytes,
  .conv3d_sizes = avatar_cuda_conv3d_sizes,
  .channel_sums_workspace = avatar_cuda_channel_sums_workspace,
  .supports_8bit_linear = supports_8bit_linear,
  .supports_8bit_attention = supports_8bit_attention,
  .supports_sparse_attention = supports_sparse_attention,
  .get_flop_counts = get_flop_counts,
};
