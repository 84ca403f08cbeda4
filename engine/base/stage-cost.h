/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory and work of one stage, as a dry run measures them. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarStageCost:
 * @weight_bytes: memory of the weights, in bytes
 * @arena_bytes: memory of activations and workspace, in bytes
 * @min_arena_bytes: the same with the options that need least memory
 * @flops: floating-point operations
 * @bytes: memory traffic, in bytes
 *
 * The cost of running one stage. @flops and @bytes are those of the whole video.
 */
typedef struct
{
  guint64 weight_bytes, arena_bytes, min_arena_bytes;
  double flops, bytes;
} AvatarStageCost;

G_END_DECLS
