/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Live sessions over WebSockets, portraits for them, and offers of WebRTC. */
#pragma once

#include "tools/server/guard.h"
#include "tools/server/planner.h"

G_BEGIN_DECLS

#define AVATAR_LIVE_PATH "/api/live"
/* Not below the path of the WebSocket, whose handshake libsoup would expect there. */
#define AVATAR_SESSIONS_PATH "/api/sessions/"
#define AVATAR_PORTRAITS_PATH "/api/portraits"

typedef struct _AvatarLive AvatarLive;

/* Keeps portraits in @folder, which is emptied. */
AvatarLive *avatar_live_new (const AvatarServerConfig *config, AvatarGuard *guard,
    AvatarPlanner *planner, const char *folder);
void avatar_live_free (AvatarLive *self);
/* Takes a connection that has been upgraded. */
void
avatar_live_connect (AvatarLive *self, SoupServerMessage *msg, SoupWebsocketConnection *connection);
/* Writes a portrait to the disk and checks it. Returns its id; free it with g_free(). Blocks: call
 * it from a thread. */
char *avatar_live_store_portrait (AvatarLive *self, GBytes *image, AvatarProblem **problem);
/* Lets sessions use a portrait that was stored, instead of the oldest one beyond a bound. */
void avatar_live_add_portrait (AvatarLive *self, const char *id);
/* Answers a request below AVATAR_SESSIONS_PATH. Returns FALSE if there is nothing at @path. */
gboolean avatar_live_request (AvatarLive *self, SoupServerMessage *msg, const char *path);
guint avatar_live_get_n_sessions (AvatarLive *self);

G_END_DECLS
