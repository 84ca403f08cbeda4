/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runner of jobs: workers on other hosts, to which Redis carries the jobs. */
#pragma once

#include "tools/server/job-runner.h"
#include "tools/server/planner.h"
#include "tools/server/redis.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarRedisAddress address;
  guint lease_seconds;  /* silence after which a worker's job is given to another */
  guint expiry_seconds; /* age at which a job fails, and its keys expire */
} AvatarRedisOptions;

/* The queue frees the runner. @options and @planner must outlive it. */
AvatarJobRunner *avatar_redis_front_new (const AvatarRedisOptions *options, AvatarPlanner *planner);

G_END_DECLS
