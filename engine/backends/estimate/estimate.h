/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A GPU that is not there, device "plan:cuda:MIB": it computes nothing and counts what would be
 * computed, so that a run on a card can be planned where there is no such card, driver or CUDA. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_plan;

/* FLOPs of matrix products and of attention, in 16 and in 8 bits. */
typedef struct
{
  double linear, linear_8bit, attention, attention_8bit;
} AvatarPlanCounts;

/* What was counted on @device since it was opened; zeros for a device that is no plan. */
AvatarPlanCounts avatar_plan_counts (AvatarDevice *device);

G_END_DECLS
