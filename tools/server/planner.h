/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory and time of a job before it runs, and the state of models and device. Functions may be
 * called from any thread. */
#pragma once

#include "tools/server/job.h"
#include "tools/server/server-config.h"

G_BEGIN_DECLS

typedef struct _AvatarPlanner AvatarPlanner;

AvatarPlanner *avatar_planner_new (const AvatarServerConfig *config);
void avatar_planner_free (AvatarPlanner *self);
/* Appends the plan of a job of @seconds of sound. Takes as long as a dry run, which is short. */
gboolean avatar_planner_build (AvatarPlanner *self, const AvatarJobSettings *settings,
    double seconds, JsonBuilder *builder, AvatarProblem **problem);
/* Learns the speed of the machine from a job that is done. */
void avatar_planner_learn (AvatarPlanner *self, AvatarJob *job);
/* Keeps the newest message avatar-window, whose numbers of weight groups are shown. */
void avatar_planner_take_window (AvatarPlanner *self, const GstStructure *window);
/* Appends the members "models" and "devices". */
void avatar_planner_build_state (AvatarPlanner *self, JsonBuilder *builder);

G_END_DECLS
