/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/guard.h"

#include "tools/server/reply.h"

#include <string.h>

/* Interval (s) at which connections are looked at. */
#define TICK 1
/* Longest time (s) without a byte of the answer being taken. */
#define ANSWER_TIME 60
/* A body may take BODY_TIME (s), and after that must have arrived at BODY_RATE (bytes/s). */
#define BODY_TIME 20
#define BODY_RATE 32768
/* Body (bytes) of a request that takes none, which is read and dropped. */
#define REFUSED_BODY 65536
#define WATCH "avatar-watch"
#define COOKIE "avatar-token"
/* Time (s) that a browser keeps the cookie. */
#define COOKIE_AGE (30 * 24 * 3600)
#define POLICY                                                                                   \
  "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; " \
  "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

typedef enum
{
  PHASE_HEADERS,
  PHASE_BODY,
  PHASE_WORK, /* the server has the request */
  PHASE_ANSWER,
} Phase;

/* A request, from the moment that its connection waits for it. */
typedef struct
{
  AvatarGuard *guard;
  SoupServerMessage *msg;
  Phase phase;
  gint64 since; /* monotonic (us): begin of the phase, or newest byte of the answer */
  guint64 n_body, most_body;
  gboolean dropped;
} Watch;

struct _AvatarGuard
{
  const AvatarServerConfig *config;
  SoupServer *server;
  GHashTable *watches; /* SoupServerMessage: Watch */
  char *cookie;        /* value of the cookie of who knows the token */
  guint tick;
};

/* --------------------------------------------------------------------------------- connections */

static void
drop (Watch *watch)
{
  GSocket *socket = soup_server_message_get_socket (watch->msg);

  watch->dropped = TRUE;
  if (socket)
    g_socket_shutdown (socket, TRUE, TRUE, NULL);
}

static void
enter (Watch *watch, Phase phase)
{
  watch->phase = phase;
  watch->since = g_get_monotonic_time ();
}

static gboolean
is_late (const Watch *watch)
{
  double seconds = (g_get_monotonic_time () - watch->since) / (double) G_TIME_SPAN_SECOND;

  switch (watch->phase) {
    case PHASE_HEADERS:
      return seconds > watch->guard->config->header_seconds;
    case PHASE_BODY:
      return seconds > BODY_TIME && watch->n_body < (seconds - BODY_TIME) * BODY_RATE;
    case PHASE_ANSWER:
      return seconds > ANSWER_TIME;
    default:
      return FALSE;
  }
}

static gboolean
on_tick (gpointer data)
{
  AvatarGuard *self = data;
  GHashTableIter iter;
  gpointer watch;

  g_hash_table_iter_init (&iter, self->watches);
  while (g_hash_table_iter_next (&iter, NULL, &watch))
    if (is_late (watch))
      drop (watch);
  return G_SOURCE_CONTINUE;
}

static void
on_headers (SoupServerMessage *msg, gpointer data)
{
  enter (data, PHASE_BODY);
}

/* A body without a length in its headers may become too long at any time. The answer is written at
 * once, because libsoup would read the body to its end first. */
static void
on_chunk (SoupServerMessage *msg, GBytes *chunk, gpointer data)
{
  static const char answer[] = "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\n"
                               "Content-Type: application/json\r\n\r\n"
                               "{\"error\":{\"message\":\"the body is too large\"}}\n";
  Watch *watch = data;
  GSocket *socket = soup_server_message_get_socket (msg);

  watch->n_body += g_bytes_get_size (chunk);
  if (watch->n_body <= watch->most_body || !socket)
    return;
  soup_message_body_set_accumulate (soup_server_message_get_request_body (msg), FALSE);
  soup_message_body_truncate (soup_server_message_get_request_body (msg));
  /* The rest of the body may be here already, and is then complete: it is handled no more. */
  if (soup_server_message_get_status (msg) == 0)
    soup_server_message_set_status (msg, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, NULL);
  g_socket_send (socket, answer, strlen (answer), NULL, NULL);
  drop (watch);
}

static void
on_body (SoupServerMessage *msg, gpointer data)
{
  enter (data, PHASE_WORK);
}

static void
on_wrote (SoupServerMessage *msg, gpointer data)
{
  enter (data, PHASE_ANSWER);
}

static void
on_wrote_data (SoupServerMessage *msg, guint n, gpointer data)
{
  enter (data, PHASE_ANSWER);
}

/* Drops the connection that has waited longest for the headers of a request, since a client with a
 * request sends it at once. */
static void
make_room (AvatarGuard *self, Watch *newest)
{
  guint n = g_hash_table_size (self->watches);
  Watch *oldest = newest;
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init (&iter, self->watches);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    Watch *watch = value;

    if (watch->phase == PHASE_HEADERS && !watch->dropped && watch->since < oldest->since)
      oldest = watch;
  }
  /* Dropped ones may not have gone yet. */
  drop (n > 2 * self->config->most_connections ? newest : oldest);
}

static void
watch_free (gpointer data)
{
  Watch *watch = data;

  g_hash_table_remove (watch->guard->watches, watch->msg);
  g_free (watch);
}

/* The message owns the watch: libsoup tells of the end of most requests only. */
static void
on_started (SoupServer *server, SoupServerMessage *msg, gpointer data)
{
  AvatarGuard *self = data;
  Watch *watch = g_new0 (Watch, 1);

  watch->guard = self;
  watch->msg = msg;
  watch->most_body = REFUSED_BODY;
  enter (watch, PHASE_HEADERS);
  g_hash_table_insert (self->watches, msg, watch);
  g_object_set_data_full (G_OBJECT (msg), WATCH, watch, watch_free);
  g_signal_connect (msg, "got-headers", G_CALLBACK (on_headers), watch);
  g_signal_connect (msg, "got-chunk", G_CALLBACK (on_chunk), watch);
  g_signal_connect (msg, "got-body", G_CALLBACK (on_body), watch);
  g_signal_connect (msg, "wrote-headers", G_CALLBACK (on_wrote), watch);
  g_signal_connect (msg, "wrote-body-data", G_CALLBACK (on_wrote_data), watch);
  if (g_hash_table_size (self->watches) > self->config->most_connections)
    make_room (self, watch);
}

void
avatar_guard_forget (AvatarGuard *self, SoupServerMessage *msg)
{
  Watch *watch = g_hash_table_lookup (self->watches, msg);

  if (!watch)
    return;
  g_signal_handlers_disconnect_by_data (msg, watch);
  g_object_set_data (G_OBJECT (msg), WATCH, NULL);
}

static void
on_ended (SoupServer *server, SoupServerMessage *msg, gpointer data)
{
  avatar_guard_forget (data, msg);
}

/* --------------------------------------------------------------------------------------- origin */

/* Splits off the port. Returns the name in lower case, without brackets. */
static char *
host_name (const char *host)
{
  const char *end = *host == '[' ? strchr (host, ']') : strchr (host, ':');
  gsize n = end ? (gsize) (end - host) : strlen (host);
  g_autofree char *name
      = *host == '[' ? g_strndup (host + 1, n > 0 ? n - 1 : 0) : g_strndup (host, n);

  return g_ascii_strdown (name, -1);
}

gboolean
avatar_guard_is_own_host (const AvatarServerConfig *config, const char *host)
{
  static const char *const own[] = { "localhost", "127.0.0.1", "::1", NULL };
  g_autofree char *name = host ? host_name (host) : NULL;

  if (!name)
    return FALSE;
  if (g_strv_contains (own, name)
      || (config->hosts && g_strv_contains ((const char *const *) config->hosts, name)))
    return TRUE;
  /* Others may use names that are not known here; they need the token. */
  return !config->loopback && !config->hosts;
}

gboolean
avatar_guard_is_same_origin (const char *origin, const char *host)
{
  const char *rest = strstr (origin, "://");

  return host && rest && g_ascii_strcasecmp (rest + 3, host) == 0;
}

/* Browsers say with every request that changes something, and with every WebSocket, which page
 * has made it. Programs send no such headers. */
static gboolean
is_of_own_page (SoupServerMessage *msg)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (msg);
  const char *origin = soup_message_headers_get_one (headers, "Origin");
  const char *site = soup_message_headers_get_one (headers, "Sec-Fetch-Site");
  gboolean reads = strcmp (soup_server_message_get_method (msg), "GET") == 0
      && !soup_message_headers_get_one (headers, "Upgrade");

  if (reads)
    return TRUE;
  if (origin
      && !avatar_guard_is_same_origin (origin, soup_message_headers_get_one (headers, "Host")))
    return FALSE;
  return !site || strcmp (site, "same-origin") == 0 || strcmp (site, "none") == 0;
}

/* ---------------------------------------------------------------------------------------- token */

/* Compares in a time that does not depend on where the texts differ. */
static gboolean
is_equal (const char *a, const char *b)
{
  g_autofree char *hash_a = g_compute_checksum_for_string (G_CHECKSUM_SHA256, a, -1);
  g_autofree char *hash_b = g_compute_checksum_for_string (G_CHECKSUM_SHA256, b, -1);
  guint difference = 0;

  for (guint i = 0; hash_a[i]; i++)
    difference |= hash_a[i] ^ hash_b[i];
  return difference == 0;
}

static gboolean
has_cookie (AvatarGuard *self, SoupMessageHeaders *headers)
{
  const char *all = soup_message_headers_get_list (headers, "Cookie");
  g_auto (GStrv) cookies = all ? g_strsplit (all, ";", 32) : NULL;

  for (guint i = 0; cookies && cookies[i]; i++) {
    const char *cookie = g_strstrip (cookies[i]);

    if (g_str_has_prefix (cookie, COOKIE "=")
        && is_equal (cookie + strlen (COOKIE "="), self->cookie))
      return TRUE;
  }
  return FALSE;
}

static gboolean
is_known (AvatarGuard *self, SoupServerMessage *msg)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (msg);
  const char *authorization = soup_message_headers_get_one (headers, "Authorization");

  if (authorization && g_ascii_strncasecmp (authorization, "Bearer ", 7) == 0)
    return is_equal (authorization + 7, self->config->token);
  return has_cookie (self, headers);
}

void
avatar_guard_log_in (AvatarGuard *self, SoupServerMessage *msg, const char *token)
{
  g_autofree char *cookie
      = g_strdup_printf (COOKIE "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict", self->cookie,
          COOKIE_AGE);
  gboolean good = self->config->token && token && is_equal (token, self->config->token);

  if (good)
    soup_message_headers_append (soup_server_message_get_response_headers (msg), "Set-Cookie",
        cookie);
  soup_server_message_set_redirect (msg, SOUP_STATUS_SEE_OTHER, good ? "/" : "/login?wrong");
}

/* ------------------------------------------------------------------------------------- requests */

void
avatar_guard_close_after (SoupServerMessage *msg)
{
  soup_message_headers_replace (soup_server_message_get_response_headers (msg), "Connection",
      "close");
}

static gboolean
refuse (AvatarGuard *self, SoupServerMessage *msg, AvatarProblem *problem)
{
  Watch *watch = g_hash_table_lookup (self->watches, msg);

  /* libsoup reads a body before it answers. What is refused is not kept. */
  if (watch)
    watch->most_body = self->config->most_bytes;
  soup_message_body_set_accumulate (soup_server_message_get_request_body (msg), FALSE);
  avatar_guard_close_after (msg);
  avatar_reply_problem (msg, problem);
  return FALSE;
}

void
avatar_guard_add_headers (SoupServerMessage *msg)
{
  SoupMessageHeaders *headers = soup_server_message_get_response_headers (msg);

  soup_message_headers_replace (headers, "Content-Security-Policy", POLICY);
  soup_message_headers_replace (headers, "X-Content-Type-Options", "nosniff");
  soup_message_headers_replace (headers, "Referrer-Policy", "no-referrer");
  soup_message_headers_replace (headers, "Cross-Origin-Resource-Policy", "same-origin");
  soup_message_headers_replace (headers, "Cache-Control", "no-store");
}

/* Pages that are shown before the token is known have nothing secret. */
static gboolean
is_open (const char *path)
{
  return strcmp (path, "/login") == 0 || strcmp (path, "/page.css") == 0
      || strcmp (path, "/health") == 0;
}

static gboolean
check_token (AvatarGuard *self, SoupServerMessage *msg, const char *path, AvatarProblem **problem)
{
  if (!self->config->token || is_open (path) || is_known (self, msg))
    return TRUE;
  return avatar_problem_set (problem, SOUP_STATUS_UNAUTHORIZED,
      "Authorization: Bearer TOKEN, or the cookie of /login", "log in with the server's token",
      "the request has no valid token");
}

static gboolean
check_method (SoupServerMessage *msg, AvatarProblem **problem)
{
  static const char *const methods[] = { "GET", "HEAD", "POST", "DELETE", NULL };

  if (g_strv_contains (methods, soup_server_message_get_method (msg)))
    return TRUE;
  return avatar_problem_set (problem, SOUP_STATUS_METHOD_NOT_ALLOWED, "GET, HEAD, POST or DELETE",
      NULL, "the method of the request is another");
}

gboolean
avatar_guard_check (AvatarGuard *self, SoupServerMessage *msg, const char *path)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (msg);
  AvatarProblem *problem = NULL;

  avatar_guard_add_headers (msg);
  if (!avatar_guard_is_own_host (self->config, soup_message_headers_get_one (headers, "Host"))) {
    avatar_problem_set (&problem, SOUP_STATUS_MISDIRECTED_REQUEST,
        "localhost, 127.0.0.1 or a name given by --host",
        "use such an address, or start the server with --host NAME",
        "the request is for another host");
  } else if (!is_of_own_page (msg)) {
    avatar_problem_set (&problem, SOUP_STATUS_FORBIDDEN, "a request of the server's own page", NULL,
        "the request comes from a page of another site");
  } else if (check_method (msg, &problem)) {
    check_token (self, msg, path, &problem);
  }
  if (!problem)
    return TRUE;
  if (problem->status == SOUP_STATUS_UNAUTHORIZED && strcmp (path, "/") == 0) {
    avatar_problem_free (problem);
    avatar_guard_close_after (msg);
    soup_server_message_set_redirect (msg, SOUP_STATUS_SEE_OTHER, "/login");
    return FALSE;
  }
  return refuse (self, msg, problem);
}

void
avatar_guard_limit_body (AvatarGuard *self, SoupServerMessage *msg, guint64 most)
{
  Watch *watch = g_hash_table_lookup (self->watches, msg);
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (msg);
  AvatarProblem *problem = NULL;
  goffset length = soup_message_headers_get_content_length (headers);

  if (watch)
    watch->most_body = most;
  if (length <= 0 || (guint64) length <= most)
    return;
  avatar_problem_set (&problem, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, NULL,
      "send less, or start the server with a larger --max-upload",
      "the body has %" G_GOFFSET_FORMAT " bytes, at most %" G_GUINT64_FORMAT " are taken", length,
      most);
  refuse (self, msg, problem);
}

/* --------------------------------------------------------------------------------------- object */

AvatarGuard *
avatar_guard_new (const AvatarServerConfig *config, SoupServer *server)
{
  AvatarGuard *self = g_new0 (AvatarGuard, 1);

  self->config = config;
  self->server = server;
  self->watches = g_hash_table_new (NULL, NULL);
  if (config->token)
    self->cookie = g_compute_hmac_for_string (G_CHECKSUM_SHA256, (const guchar *) config->token,
        strlen (config->token), "avatar-server cookie", -1);
  g_signal_connect (server, "request-started", G_CALLBACK (on_started), self);
  g_signal_connect (server, "request-finished", G_CALLBACK (on_ended), self);
  g_signal_connect (server, "request-aborted", G_CALLBACK (on_ended), self);
  self->tick = g_timeout_add_seconds (TICK, on_tick, self);
  return self;
}

void
avatar_guard_free (AvatarGuard *self)
{
  g_autoptr (GList) all = g_hash_table_get_keys (self->watches);

  g_source_remove (self->tick);
  g_signal_handlers_disconnect_by_data (self->server, self);
  for (GList *l = all; l; l = l->next) {
    g_signal_handlers_disconnect_by_data (l->data, g_hash_table_lookup (self->watches, l->data));
    g_object_set_data (l->data, WATCH, NULL);
  }
  g_hash_table_unref (self->watches);
  g_free (self->cookie);
  g_free (self);
}
