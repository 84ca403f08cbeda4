/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings for the storage of weights on a device, and the order of their use. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Quantisation of the blocks' matrices when they are loaded. */
typedef enum
{
  AVATAR_QUANTISE_NONE,
  AVATAR_QUANTISE_FP8,
  AVATAR_QUANTISE_INT8,
} AvatarQuantise;

/**
 * AvatarWeightSettings: storage of the weights of a stage
 * @quantise: quantisation of matrices that the file stores in 16 or 32 bits
 * @compute_fp8: the device computes with e4m3 matrices and their scale factors, instead of with
 *   expanded 16-bit copies of them
 * @pinned_bytes: limit of the page-locked host memory for packed buffers; G_MAXUINT64: no limit
 * @loras: (nullable): array of AvatarLora; a reference is kept. They are added in float32 before
 *   weights are rounded or quantised. On a discrete device, the LoRAs of a tensor that its file
 *   stores in 8 bits are added to its expanded copy each time its group is acquired
 * @scheduled_loras: (nullable): array of AvatarLora; a reference is kept. LoRAs whose multiplier
 *   changes. On a discrete device their factors are packed with a weight, and are added to a copy
 *   of it each time its group is acquired; in the host's memory the weights are made again
 * @one_shot: groups are used once, one after the other, and are streamed in the host's memory as
 *   well; excludes @loras
 * @half: matrices are float16 on a device that computes in bfloat16; see avatar_weights_dtype()
 */
typedef struct
{
  AvatarQuantise quantise;
  gboolean compute_fp8;
  guint64 pinned_bytes;
  GPtrArray *loras, *scheduled_loras;
  gboolean one_shot, half;
} AvatarWeightSettings;

/**
 * AvatarWeightSchedule: order in which a run uses weight groups
 * @groups: [n] groups in the order of their use, each once
 * @on_demand: [n_on_demand] other groups that may be acquired; they are not prefetched
 * @max_in_use: maximum number of groups in use at the same time
 * @one_shot: the schedule is used once; otherwise it repeats
 */
typedef struct
{
  const guint *groups, *on_demand;
  guint n, n_on_demand, max_in_use;
  gboolean one_shot;
} AvatarWeightSchedule;

/**
 * AvatarWeightStreamerStats: state of a device streamer, for messages and tests
 * @slots: streaming slots
 * @resident: groups of the schedule that are resident now
 * @groups: groups of the schedule
 * @evicted: evictions of resident groups since the schedule was set
 * @restored: groups that were made resident again
 * @prefetch_misses: groups that had no slot when they were acquired
 * @uploaded: bytes copied to the device
 */
typedef struct
{
  guint slots, resident, groups;
  guint evicted, restored;
  guint prefetch_misses;
  guint64 uploaded;
} AvatarWeightStreamerStats;

G_END_DECLS
