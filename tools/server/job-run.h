/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a job: one pipeline from its audio and image to its video. */
#pragma once

#include "tools/server/job-threads.h"
#include "tools/server/planner.h"
#include "tools/server/server-config.h"

G_BEGIN_DECLS

typedef struct
{
  const AvatarServerConfig *config;
  AvatarPlanner *planner;
} AvatarJobRunContext;

/* AvatarJobFunc; @context is an AvatarJobRunContext. */
gboolean avatar_job_run (AvatarJob *job, gpointer context, AvatarProblem **problem);

G_END_DECLS
