/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Storage of weights on a device, and the order of their use. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarWeightSettings:
 * @quantise: 8-bit storage made at load, of the blocks' matrices
 * @compute_fp8: the model gets e4m3 matrices with their scales, rather than 16-bit copies of them
 * @pinned_bytes: cap on host memory that the device copies from; G_MAXUINT64 = all weights
 * @loras: (nullable): of AvatarLora, added in float32 before weights are rounded, or quantised; on a
 *   discrete device, to the expanded copies of those that are 8-bit in the file, whenever their unit
 *   is entered. A reference is kept
 * @once: units are used once, one after the other: on the host, too, they come and go. No LoRAs
 * @half: matrices in float16 where the device computes in bfloat16: see avatar_weights_dtype()
 */
typedef enum
{
  AVATAR_QUANTISE_NONE,
  AVATAR_QUANTISE_FP8,
  AVATAR_QUANTISE_INT8,
} AvatarQuantise;

typedef struct
{
  AvatarQuantise quantise;
  gboolean compute_fp8;
  guint64 pinned_bytes;
  GPtrArray *loras;
  gboolean once, half;
} AvatarWeightSettings;

/**
 * AvatarWeightSchedule: where a run goes.
 * @units: in the order of their use, round and round, or @once
 * @on_demand: other units that may be entered as well, and are fetched when they are
 * @at_once: how many are in use at the same time
 */
typedef struct
{
  const guint *units, *on_demand;
  guint n, n_on_demand, at_once;
  gboolean once;
} AvatarWeightSchedule;

/* For messages and tests. */
typedef struct
{
  guint slots, resident, units; /* of the route */
  guint evicted, restored;      /* resident units, under pressure and after it */
  guint prefetch_misses;        /* units that were not on their way when they were entered */
  guint64 uploaded;             /* bytes copied to the device */
} AvatarWeightStreamerStats;

G_END_DECLS
