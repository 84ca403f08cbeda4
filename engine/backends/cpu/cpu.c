/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The function table, the memory and the description of the CPU back-end. */
#include "engine/backends/cpu/cpu.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <sys/mman.h>

/* Returns a dummy: the host is the only device of this back-end and has no state. */
static AvatarBackendDevice *
open_device (const char *name, GError **error)
{
  static char host;

  return (AvatarBackendDevice *) &host;
}

static void
close_device (AvatarBackendDevice *device)
{
}

static char *
describe (AvatarBackendDevice *device)
{
  const dnnl_version_t *v = dnnl_version ();
  const char *isa = "generic";

#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init ();
  isa = __builtin_cpu_supports ("avx512f") ? "avx512"
      : __builtin_cpu_supports ("avx2")    ? "avx2"
                                           : "sse2";
#endif
  return g_strdup_printf ("cpu: oneDNN %d.%d.%d, %s, %d threads", v->major, v->minor, v->patch, isa,
      omp_get_max_threads ());
}

/* Maps whole pages, so that freed memory is returned to the system at once. */
static void *
memory_new (AvatarBackendDevice *device, gsize bytes)
{
  void *memory = mmap (NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (memory == MAP_FAILED)
    return NULL;
#ifdef MADV_HUGEPAGE
  madvise (memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

static void
memory_free (AvatarBackendDevice *device, void *memory, gsize bytes)
{
  munmap (memory, bytes);
}

static gsize
linear_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return 0;
}

const AvatarBackend avatar_backend_cpu = {
  .name = "cpu",
  .activation = AVATAR_F32,
  .pixels = AVATAR_F32,
  .row_chunk = 1024,
  .conv_pixels = 1,
  .piece_flops = 4e9,
  .open = open_device,
  .close = close_device,
  .describe = describe,
  .memory_new = memory_new,
  .memory_free = memory_free,
  .linear_workspace = linear_workspace,
  .linear_add_workspace = avatar_cpu_linear_add_workspace,
  .attention_workspace = avatar_cpu_attention_workspace,
  .sparse_attention_workspace = avatar_cpu_sparse_attention_workspace,
  .linear = avatar_cpu_linear,
  .linear_add = avatar_cpu_linear_add,
  .layer_norm = avatar_cpu_layer_norm,
  .rms_norm_rope = avatar_cpu_rms_norm_rope,
  .rms_norm = avatar_cpu_rms_norm,
  .rope_half = avatar_cpu_rope_half,
  .attention = avatar_cpu_attention,
  .supports_sparse_attention = avatar_cpu_supports_sparse_attention,
  .key_blocks = avatar_cpu_key_blocks,
  .sparse_attention = avatar_cpu_sparse_attention,
  .frame_attention = avatar_cpu_frame_attention,
  .act = avatar_cpu_act,
  .silu_product = avatar_cpu_silu_product,
  .axpby = avatar_cpu_axpby,
  .scale_round = avatar_cpu_scale_round,
  .find_non_finite = avatar_cpu_find_non_finite,
  .copy = avatar_cpu_copy,
  .mean_rows = avatar_cpu_mean_rows,
  .patchify = avatar_cpu_patchify,
  .unfold = avatar_cpu_unfold,
  .power = avatar_cpu_power,
  .blend = avatar_cpu_blend,
  .conv3d_bytes = avatar_cpu_conv3d_bytes,
  .conv3d_pack = avatar_cpu_conv3d_pack,
  .conv3d_sizes = avatar_cpu_conv3d_sizes,
  .conv3d_begin = avatar_cpu_conv3d_begin,
  .conv3d_seek = avatar_cpu_conv3d_seek,
  .conv3d_group = avatar_cpu_conv3d_group,
  .conv3d_end = avatar_cpu_conv3d_end,
  .channel_sums_workspace = avatar_cpu_channel_sums_workspace,
  .channel_sums = avatar_cpu_channel_sums,
  .group_norm = avatar_cpu_group_norm,
  .apply_norm = avatar_cpu_apply_norm,
  .to_bytes = avatar_cpu_to_bytes,
};
