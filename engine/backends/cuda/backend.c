/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The function table of the CUDA back-end, and the entry point of its module. */
#include "engine/backends/cuda/conv3d.h"
#include "engine/backends/cuda/cuda-private.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

static gsize
linear_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return avatar_cuda_linear_workspace (y, x, w);
}

static gsize
linear_add_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return avatar_cuda_linear_add_workspace (y, x, w);
}

static gsize
attention_workspace (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
    gint64 causal_block, AvatarTensor valid)
{
  return avatar_cuda_attention_workspace (q, k, causal_block);
}

static void
layer_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue,
        avatar_kernel_layer_norm (queue->stream, y, x, scale, shift, factor, eps), "layer norm");
}

static void
rms_norm_rope (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor cos,
    AvatarTensor sin, double eps)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_rms_norm_rope (queue->stream, y, x, w, cos, sin, eps),
        "RMS norm with rotary embedding");
}

static void
rms_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_rms_norm (queue->stream, y, x, w, eps), "RMS norm");
}

static void
rope_half (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_rope_half (queue->stream, x, cos, sin),
        "rotary embedding");
}

static void
frame_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
    double scale)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_frame_attention (queue->stream, o, q, k, v, scale),
        "frame attention");
}

static void
act (AvatarQueue *queue, AvatarTensor x, AvatarAct a)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue,
        avatar_kernel_epilogue (queue->stream, x, NULL, NULL, AVATAR_NO_TENSOR, a), "activation");
}

static void
silu_product (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_silu_product (queue->stream, y, x), "SiLU product");
}

static void
axpby (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_axpby (queue->stream, y, a, x, b), "sum a x + b y");
}

static void
scale_round (AvatarQueue *queue, AvatarTensor x, double factor, AvatarDType dtype)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_scale_round (queue->stream, x, factor, dtype),
        "rounding to 16 bits");
}

static void
find_non_finite (AvatarQueue *queue, AvatarTensor flag, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_find_non_finite (queue->stream, flag, x),
        "a check for NaN");
}

static void
copy (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_copy (queue->stream, y, x), "copy");
}

static void
mean_rows (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_mean_rows (queue->stream, y, x, weight),
        "mean of rows");
}

static void
patchify (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_patchify (queue->stream, y, x, patch, direction),
        direction == AVATAR_UNPATCHIFY ? "unpatchify" : "patchify");
}

static void
unfold (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
    gint64 pad)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_unfold (queue->stream, y, x, kernel, stride, pad),
        "unfold");
}

static void
power (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_power (queue->stream, y, x), "power spectrum");
}

/* Tensor cores multiply e4m3 from Ada on. */
static gboolean
supports_8bit_linear (AvatarBackendDevice *device)
{
  return device->capability >= 89;
}

static void
quantise (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_quantise (queue->stream, y, x), "quantisation per row");
}

static void
quantise_all (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_quantise_all (queue->stream, y, x),
        "quantisation per tensor");
}

static void
norm_factor (AvatarQueue *queue, float *factor, AvatarTensor w, AvatarTensor w2)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_norm_factor (queue->stream, factor, w, w2),
        "factor of 8-bit RMS norm");
}

static void
expand (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_expand (queue->stream, y, x),
        "expanding 8-bit weights");
}

static void
blend (AvatarQueue *queue, AvatarTensor y, AvatarTensor before, guint dim)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_blend (queue->stream, y, before, dim),
        "blending tiles");
}

static void
group_norm (AvatarQueue *queue, AvatarNorm *norm, const AvatarChannelSums *sums, AvatarTensor gamma,
    AvatarTensor beta, guint groups, double eps)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue,
        avatar_kernel_group_norm (queue->stream, norm, sums, gamma, beta, groups, eps),
        "group norm statistics");
}

static void
apply_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_apply_norm (queue->stream, y, x, norm), "group norm");
}

static void
to_bytes (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
    const AvatarPixelMatrix *matrix, AvatarTensor bad)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_to_bytes (queue->stream, y, x, pixels, matrix, bad),
        "pixel conversion");
}

static const AvatarBackend backend = {
  .name = "cuda",
  .discrete = TRUE,
  .activation = AVATAR_BF16,
  .pixels = AVATAR_F16,
  .row_chunk = AVATAR_CUDA_ROW_CHUNK,
  .conv_pixels = AVATAR_CUDA_CONV_PIXELS,
  .max_head = AVATAR_CUDA_MAX_HEAD,
  .max_norm_8bit = AVATAR_CUDA_MAX_NORM_8BIT,
  .max_frame_width = AVATAR_CUDA_MAX_FRAME_WIDTH,
  .max_frame_keys = AVATAR_CUDA_MAX_FRAME_KEYS,
  .channel_multiple = AVATAR_CUDA_CHANNEL_MULTIPLE,
  .count = avatar_cuda_count,
  .open = avatar_cuda_open,
  .close = avatar_cuda_close,
  .describe = avatar_cuda_describe,
  .memory_new = avatar_cuda_memory_new,
  .memory_free = avatar_cuda_memory_free,
  .memory_info = avatar_cuda_memory_info,
  .overhead = avatar_cuda_overhead,
  .host_new = avatar_cuda_host_new,
  .host_free = avatar_cuda_host_free,
  .queue_new = avatar_cuda_queue_new,
  .queue_free = avatar_cuda_queue_free,
  .queue_check = avatar_cuda_queue_check,
  .queue_sync = avatar_cuda_queue_sync,
  .queue_throttle = avatar_cuda_queue_throttle,
  .fence_new = avatar_cuda_fence_new,
  .fence_free = avatar_cuda_fence_free,
  .fence_record = avatar_cuda_fence_record,
  .fence_wait = avatar_cuda_fence_wait,
  .fence_sync = avatar_cuda_fence_sync,
  .upload = avatar_cuda_upload,
  .download = avatar_cuda_download,
  .expand = expand,
  .linear_workspace = linear_workspace,
  .linear_add_workspace = linear_add_workspace,
  .attention_workspace = attention_workspace,
  .sparse_attention_workspace = avatar_cuda_sparse_attention_workspace,
  .linear = avatar_cuda_linear,
  .linear_add = avatar_cuda_linear_add,
  .layer_norm = layer_norm,
  .rms_norm_rope = rms_norm_rope,
  .rms_norm = rms_norm,
  .rope_half = rope_half,
  .attention = avatar_cuda_attention,
  .supports_sparse_attention = avatar_cuda_supports_sparse_attention,
  .key_blocks = avatar_cuda_key_blocks,
  .sparse_attention = avatar_cuda_sparse_attention,
  .frame_attention = frame_attention,
  .act = act,
  .silu_product = silu_product,
  .axpby = axpby,
  .scale_round = scale_round,
  .find_non_finite = find_non_finite,
  .copy = copy,
  .mean_rows = mean_rows,
  .patchify = patchify,
  .unfold = unfold,
  .power = power,
  .blend = blend,
  .conv3d_bytes = avatar_cuda_conv3d_bytes,
  .conv3d_pack = avatar_cuda_conv3d_pack,
  .conv3d_sizes = avatar_cuda_conv3d_sizes,
  .conv3d_seek = avatar_cuda_conv3d_seek,
  .conv3d_group = avatar_cuda_conv3d_group,
  .conv3d_end = avatar_cuda_conv3d_end,
  .channel_sums_workspace = avatar_cuda_channel_sums_workspace,
  .channel_sums = avatar_cuda_channel_sums,
  .group_norm = group_norm,
  .apply_norm = apply_norm,
  .to_bytes = to_bytes,
  .supports_8bit_linear = supports_8bit_linear,
  .quantise = quantise,
  .supports_8bit_attention = avatar_cuda_supports_8bit_attention,
  .quantise_all = quantise_all,
  .norm_factor = norm_factor,
};

AVATAR_API const AvatarBackend *avatar_backend_module (guint abi);

const AvatarBackend *
avatar_backend_module (guint abi)
{
  return abi == AVATAR_BACKEND_ABI ? &backend : NULL;
}
