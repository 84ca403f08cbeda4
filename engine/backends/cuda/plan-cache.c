/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache of plans, which the libraries make for each shape of an operation. Each queue has its
 * own and keeps it as long as it lives. */
#include "engine/backends/cuda/cuda-private.h"

gconstpointer
avatar_cuda_plan_cache_get (AvatarQueue *queue, AvatarCudaPlanKind kind, gconstpointer key,
    gsize key_size, AvatarCudaPlanBuildFunc build, GDestroyNotify destroy)
{
  GHashTable **plans = &queue->plans[kind];
  g_autoptr (GBytes) lookup_key = g_bytes_new_static (key, key_size);
  gpointer plan;

  if (!*plans)
    *plans = g_hash_table_new_full (g_bytes_hash, g_bytes_equal, (GDestroyNotify) g_bytes_unref,
        destroy);
  plan = g_hash_table_lookup (*plans, lookup_key);
  if (!plan) {
    plan = build (queue, key);
    g_hash_table_insert (*plans, g_bytes_new (key, key_size), plan);
  }
  return plan;
}
