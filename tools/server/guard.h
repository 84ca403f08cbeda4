/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guards avatar-server against requests of foreign pages, of strangers, and of clients that are
 * slow, many or send too much. Runs in the thread of the server. */
#pragma once

#include "tools/server/server-config.h"

#include <libsoup/soup.h>

G_BEGIN_DECLS

typedef struct _AvatarGuard AvatarGuard;

/* Watches the connections of @server, which must outlive the guard. */
AvatarGuard *avatar_guard_new (const AvatarServerConfig *config, SoupServer *server);
void avatar_guard_free (AvatarGuard *self);
/* Checks a request when its headers are there. Returns FALSE if it has been refused. */
gboolean avatar_guard_check (AvatarGuard *self, SoupServerMessage *msg, const char *path);
/* Adds the headers of every answer; an answer 100 takes them away again. */
void avatar_guard_add_headers (SoupServerMessage *msg);
/* Ends the connection with the answer. libsoup 3.2 never closes one that is kept open, not even
 * when the client has closed it. */
void avatar_guard_close_after (SoupServerMessage *msg);
/* Bounds the body of a request by @most bytes. */
void avatar_guard_limit_body (AvatarGuard *self, SoupServerMessage *msg, guint64 most);
/* Stops watching a connection that has become a WebSocket. */
void avatar_guard_forget (AvatarGuard *self, SoupServerMessage *msg);
/* Answers the form of the page /login. */
void avatar_guard_log_in (AvatarGuard *self, SoupServerMessage *msg, const char *token);

/* Parts that are tested alone. Returns TRUE if the header Host names this server. */
gboolean avatar_guard_is_own_host (const AvatarServerConfig *config, const char *host);
/* Returns TRUE if @origin has the host and port of @host. */
gboolean avatar_guard_is_same_origin (const char *origin, const char *host);

G_END_DECLS
