/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests of avatar-server: the page, jobs, plans, the state. Runs in the thread of the server;
 * what takes long runs in other threads. */
#pragma once

#include "tools/server/guard.h"
#include "tools/server/job-queue.h"
#include "tools/server/live.h"
#include "tools/server/planner.h"

G_BEGIN_DECLS

typedef struct _AvatarApi AvatarApi;

/* Adds the handlers to @server. The arguments must outlive the returned object. */
AvatarApi *avatar_api_new (SoupServer *server, const AvatarServerConfig *config, AvatarGuard *guard,
    AvatarJobQueue *queue, AvatarPlanner *planner, AvatarLive *live);
/* Waits for the threads that answer requests. Call it after soup_server_disconnect(). */
void avatar_api_free (AvatarApi *self);

G_END_DECLS
