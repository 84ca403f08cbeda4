/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run will need, found by running the models' own code over memory that is not there. */
#pragma once

#include <avatar/decode.h>
#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarPlanStage:
 * @name: of the stage
 * @weight_bytes: memory for weights beyond the mapped files
 * @arena_bytes: high-water mark of the activations
 * @flops: of the whole run (a multiply-add counts 2); @bytes: read and written by its operations
 */
typedef struct
{
  const char *name;
  guint64 weight_bytes, arena_bytes;
  double flops, bytes;
} AvatarPlanStage;

typedef struct
{
  guint n_stages;
  AvatarPlanStage stages[8];
  guint64 peak_bytes; /* of all that is held at once when the three elements run together */
} AvatarPlan;

/**
 * avatar_plan_make:
 * @device_name: the device to plan for, "cpu"
 * @frames: video frames to make
 *
 * Returns: %TRUE and the plan, or %FALSE if the settings are impossible
 */
AVATAR_API gboolean avatar_plan_make (AvatarModel *model, const char *device_name,
    const AvatarDenoiseSettings *denoise, const AvatarDecodeSettings *decode, guint frames,
    AvatarPlan *plan, GError **error);

G_END_DECLS
