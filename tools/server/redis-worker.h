/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Worker: takes jobs of servers on other hosts from Redis, runs them, and sends back what becomes
 * of them. */
#pragma once

#include "tools/server/planner.h"
#include "tools/server/redis-front.h"
#include "tools/server/server-config.h"

G_BEGIN_DECLS

typedef struct _AvatarRedisWorker AvatarRedisWorker;

/* Locks @folder, in which the files of running jobs are, and takes jobs in @n_slots threads. The
 * other arguments must outlive the worker. */
AvatarRedisWorker *
avatar_redis_worker_start (const AvatarRedisOptions *options, const AvatarServerConfig *config,
    AvatarPlanner *planner, const char *folder, guint n_slots, GError **error);
/* Leaves running jobs to other workers, and ends. */
void avatar_redis_worker_stop (AvatarRedisWorker *self);

G_END_DECLS
