/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/live.h"

#include "engine/formats/json.h"
#include "tools/server/job-upload.h"
#include "tools/server/live-session.h"
#include "tools/server/reply.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

/* Largest message of a client (bytes). */
#define MOST_MESSAGE (1 << 20)
/* Interval (s) of pings, and bytes that may be sent without an answer to one. */
#define PING_INTERVAL 5
#define MOST_UNANSWERED (16 << 20)
/* Time (s) without a message after which a connection is closed, before and after its start. */
#define START_TIME 15
#define IDLE_TIME 900
#define LOOK 5
#define MOST_PORTRAITS 32
#define PATH_END "/whep"

struct _AvatarLive
{
  const AvatarServerConfig *config;
  AvatarGuard *guard;
  AvatarPlanner *planner;
  char *folder;
  GHashTable *clients; /* id: Client */
  GQueue portraits;    /* ids, the oldest first */
};

typedef struct
{
  AvatarLive *live;
  char *id;
  SoupWebsocketConnection *connection;
  AvatarLiveSession *session; /* NULL before the message "start" */
  gint64 heard;               /* monotonic (us) */
  guint64 n_unanswered;       /* bytes sent since the last pong */
  guint timer;
} Client;

/* --------------------------------------------------------------------------------------- client */

static void
client_free (gpointer data)
{
  Client *client = data;

  g_signal_handlers_disconnect_by_data (client->connection, client);
  g_clear_pointer (&client->session, avatar_live_session_free);
  g_source_remove (client->timer);
  g_object_unref (client->connection);
  g_free (client->id);
  g_free (client);
}

/* Closes the connection and forgets the client. */
static void
end_client (Client *client, gushort code, const char *reason)
{
  if (soup_websocket_connection_get_state (client->connection) == SOUP_WEBSOCKET_STATE_OPEN)
    soup_websocket_connection_close (client->connection, code, reason);
  g_hash_table_remove (client->live->clients, client->id);
}

/* Counts @n bytes for the client. What a slow one does not take would fill the memory. */
static gboolean
may_send (Client *client, gsize n)
{
  client->n_unanswered += n;
  return client->n_unanswered <= MOST_UNANSWERED
      && soup_websocket_connection_get_state (client->connection) == SOUP_WEBSOCKET_STATE_OPEN;
}

static void
send_text (Client *client, const char *text)
{
  if (may_send (client, strlen (text)))
    soup_websocket_connection_send_text (client->connection, text);
}

static void
send_problem (Client *client, AvatarProblem *problem)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree char *text = NULL;

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "type", "error");
  json_builder_set_member_name (builder, "error");
  avatar_problem_build (problem, builder);
  json_builder_end_object (builder);
  text = avatar_json_text (builder);
  send_text (client, text);
  avatar_problem_free (problem);
}

static void
on_session_event (const char *json, gpointer data)
{
  send_text (data, json);
}

static void
on_session_media (GBytes *bytes, gpointer data)
{
  Client *client = data;
  gsize n = g_bytes_get_size (bytes);

  if (may_send (client, n))
    soup_websocket_connection_send_binary (client->connection, g_bytes_get_data (bytes, NULL), n);
}

static void
on_session_ended (gpointer data)
{
  end_client (data, SOUP_WEBSOCKET_CLOSE_SERVER_ERROR, "the session has ended");
}

static void
on_pong (SoupWebsocketConnection *connection, GBytes *message, gpointer data)
{
  ((Client *) data)->n_unanswered = 0;
}

static gboolean
on_look (gpointer data)
{
  Client *client = data;
  gint64 idle = (g_get_monotonic_time () - client->heard) / G_TIME_SPAN_SECOND;

  if (client->n_unanswered > MOST_UNANSWERED || idle > (client->session ? IDLE_TIME : START_TIME)) {
    GIOStream *stream = soup_websocket_connection_get_io_stream (client->connection);

    end_client (client, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION, "too slow, or no message");
    g_io_stream_close (stream, NULL, NULL);
  }
  return G_SOURCE_CONTINUE;
}

/* ------------------------------------------------------------------------------------- messages */

static gboolean
find_portrait (AvatarLive *self, const char *id, AvatarLiveOptions *options,
    AvatarProblem **problem)
{
  if (!id && self->config->portrait) {
    options->portrait = g_strdup (self->config->portrait);
    return TRUE;
  }
  for (GList *l = self->portraits.head; id && l; l = l->next)
    if (strcmp (l->data, id) == 0) {
      options->portrait = g_build_filename (self->folder, l->data, NULL);
      return TRUE;
    }
  return avatar_problem_set (problem, 400, "an id that POST " AVATAR_PORTRAITS_PATH " has given",
      "post the portrait first", id ? "no portrait has this id" : "the session has no portrait");
}

static void
send_ready (Client *client, AvatarLiveOutputKind output)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree char *whep = g_strconcat (AVATAR_SESSIONS_PATH, client->id, PATH_END, NULL);
  g_autofree char *text = NULL;

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "type", "ready");
  avatar_json_add_string (builder, "session", client->id);
  if (output == AVATAR_LIVE_WEBRTC)
    avatar_json_add_string (builder, "whep", whep);
  if (output == AVATAR_LIVE_MP4)
    avatar_json_add_string (builder, "mime", "video/mp4; codecs=\"avc1.42c01f,mp4a.40.2\"");
  json_builder_end_object (builder);
  text = avatar_json_text (builder);
  send_text (client, text);
}

static gboolean
start_session (Client *client, JsonObject *message, AvatarProblem **problem)
{
  static const AvatarLiveCallbacks callbacks
      = { on_session_event, on_session_media, on_session_ended };
  AvatarLive *self = client->live;
  AvatarLiveOutputKind output;
  AvatarLiveOptions options;
  const char *portrait;

  if (client->session)
    return avatar_problem_set (problem, 400, NULL, "open another connection",
        "the session has started already");
  if (avatar_live_options_parse (&options, self->config, message, &portrait, problem)
      && find_portrait (self, portrait, &options, problem)) {
    output = options.output;
    client->session = avatar_live_session_new (self->config, self->planner, &options, &callbacks,
        client, problem);
    if (client->session)
      send_ready (client, output);
  }
  avatar_live_options_clear (&options);
  return client->session != NULL;
}

static gboolean
speak_text (Client *client, JsonObject *message, AvatarProblem **problem)
{
  const char *audio = avatar_json_string (message, "audio");
  g_autoptr (GBytes) bytes = NULL;
  guchar *data;
  gsize n;

  if (!audio)
    return avatar_problem_set (problem, 400, "samples in base64", NULL, "speak has no audio");
  data = g_base64_decode (audio, &n);
  bytes = g_bytes_new_take (data, n);
  return avatar_live_session_speak (client->session, bytes, problem);
}

/* Agents of several makers prefix the names of their messages. */
static const char *
plain_type (JsonObject *message)
{
  const char *type = avatar_json_string (message, "type");

  return !type ? "" : g_str_has_prefix (type, "agent.") ? type + strlen ("agent.") : type;
}

static gboolean
take_message (Client *client, JsonObject *message, AvatarProblem **problem)
{
  const char *type = plain_type (message);

  if (strcmp (type, "start") == 0)
    return start_session (client, message, problem);
  if (strcmp (type, "keep_alive") == 0)
    return TRUE;
  if (!client->session)
    return avatar_problem_set (problem, 400, "the message start first", NULL,
        "the session has not started");
  if (strcmp (type, "speak") == 0)
    return speak_text (client, message, problem);
  if (strcmp (type, "change") == 0)
    return avatar_live_session_change (client->session, message, problem);
  if (strcmp (type, "speak_end") == 0)
    avatar_live_session_speak_end (client->session);
  else if (strcmp (type, "interrupt") == 0)
    avatar_live_session_interrupt (client->session);
  else
    return avatar_problem_set (problem, 400,
        "start, speak, speak_end, interrupt, change or keep_alive", NULL,
        "unknown type of message \"%.40s\"", type);
  return TRUE;
}

static gboolean
take_text (Client *client, GBytes *text, AvatarProblem **problem)
{
  gsize n;
  const char *data = g_bytes_get_data (text, &n);
  g_autoptr (JsonObject) message = avatar_json_parse (data, n, "a message", NULL);

  if (!message)
    return avatar_problem_set (problem, 400, "an object of JSON", NULL,
        "a message of text is something else");
  return take_message (client, message, problem);
}

static void
on_message (SoupWebsocketConnection *connection, SoupWebsocketDataType type, GBytes *message,
    gpointer data)
{
  Client *client = data;
  AvatarProblem *problem = NULL;

  client->heard = g_get_monotonic_time ();
  if (type == SOUP_WEBSOCKET_DATA_TEXT)
    take_text (client, message, &problem);
  else if (client->session)
    avatar_live_session_speak (client->session, message, &problem);
  else
    avatar_problem_set (&problem, 400, "the message start first", NULL,
        "audio came before the session has started");
  if (problem)
    send_problem (client, problem);
}

static void
on_closed (SoupWebsocketConnection *connection, gpointer data)
{
  Client *client = data;

  g_hash_table_remove (client->live->clients, client->id);
}

void
avatar_live_connect (AvatarLive *self, SoupServerMessage *msg, SoupWebsocketConnection *connection)
{
  Client *client;

  if (g_hash_table_size (self->clients) >= self->config->most_sessions) {
    soup_websocket_connection_close (connection, SOUP_WEBSOCKET_CLOSE_SERVER_ERROR,
        "all live sessions are taken; try again later");
    return;
  }
  client = g_new0 (Client, 1);
  client->live = self;
  client->id = avatar_job_new_id ();
  client->connection = g_object_ref (connection);
  client->heard = g_get_monotonic_time ();
  client->timer = g_timeout_add_seconds (LOOK, on_look, client);
  soup_websocket_connection_set_max_incoming_payload_size (connection, MOST_MESSAGE);
  soup_websocket_connection_set_keepalive_interval (connection, PING_INTERVAL);
  g_signal_connect (connection, "message", G_CALLBACK (on_message), client);
  g_signal_connect (connection, "pong", G_CALLBACK (on_pong), client);
  g_signal_connect (connection, "closed", G_CALLBACK (on_closed), client);
  g_hash_table_insert (self->clients, client->id, client);
}

/* ------------------------------------------------------------------------------------- requests */

/* A request that waits for the answer to its offer. */
typedef struct
{
  SoupServerMessage *msg;
  gboolean gone;
  char *location;
} Offer;

static void
on_gone (SoupServerMessage *msg, gpointer data)
{
  ((Offer *) data)->gone = TRUE;
}

static void
on_answer (const char *sdp, AvatarProblem *problem, gpointer data)
{
  Offer *offer = data;

  g_signal_handlers_disconnect_by_data (offer->msg, offer);
  if (offer->gone) {
    avatar_problem_free (problem);
  } else {
    soup_server_message_unpause (offer->msg);
    if (problem) {
      avatar_reply_problem (offer->msg, problem);
    } else {
      soup_server_message_set_status (offer->msg, SOUP_STATUS_CREATED, NULL);
      soup_message_headers_replace (soup_server_message_get_response_headers (offer->msg),
          "Location", offer->location);
      soup_server_message_set_response (offer->msg, "application/sdp", SOUP_MEMORY_COPY, sdp,
          strlen (sdp));
    }
  }
  g_object_unref (offer->msg);
  g_free (offer->location);
  g_free (offer);
}

static void
post_offer (Client *client, SoupServerMessage *msg, const char *path)
{
  g_autoptr (GBytes) body = soup_message_body_flatten (soup_server_message_get_request_body (msg));
  gsize n;
  const char *data = g_bytes_get_data (body, &n);
  g_autofree char *sdp = g_strndup (data, n);
  Offer *offer = g_new0 (Offer, 1);

  offer->msg = g_object_ref (msg);
  offer->location = g_strdup (path);
  g_signal_connect (msg, "finished", G_CALLBACK (on_gone), offer);
  soup_server_message_pause (msg);
  avatar_live_session_offer (client->session, sdp, on_answer, offer);
}

static gboolean
request_session (AvatarLive *self, SoupServerMessage *msg, const char *path)
{
  const char *rest = path + strlen (AVATAR_SESSIONS_PATH);
  g_autofree char *id = g_str_has_suffix (rest, PATH_END)
      ? g_strndup (rest, strlen (rest) - strlen (PATH_END))
      : NULL;
  Client *client = id ? g_hash_table_lookup (self->clients, id) : NULL;
  const char *method = soup_server_message_get_method (msg);

  if (!client || !client->session)
    return FALSE;
  if (strcmp (method, "POST") == 0) {
    post_offer (client, msg, path);
  } else if (strcmp (method, "DELETE") == 0) {
    end_client (client, SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
    avatar_reply_text (msg, "ended\n");
  } else {
    return FALSE;
  }
  return TRUE;
}

static void
forget_portrait (AvatarLive *self)
{
  g_autofree char *id = g_queue_pop_head (&self->portraits);
  g_autofree char *path = g_build_filename (self->folder, id, NULL);

  g_unlink (path);
}

char *
avatar_live_store_portrait (AvatarLive *self, GBytes *image, AvatarProblem **problem)
{
  g_autofree char *id = avatar_job_new_id ();
  g_autofree char *path = g_build_filename (self->folder, id, NULL);
  gsize n;
  const char *data = g_bytes_get_data (image, &n);

  if (!avatar_check_image (image, problem))
    return NULL;
  if (!g_file_set_contents_full (path, data, n, G_FILE_SET_CONTENTS_NONE, 0600, NULL))
    avatar_problem_set (problem, 500, NULL, "see to the disk of the server",
        "the portrait could not be stored");
  else if (avatar_check_image_file (path, problem))
    return g_steal_pointer (&id);
  g_unlink (path);
  return NULL;
}

void
avatar_live_add_portrait (AvatarLive *self, const char *id)
{
  g_queue_push_tail (&self->portraits, g_strdup (id));
  if (g_queue_get_length (&self->portraits) > MOST_PORTRAITS)
    forget_portrait (self);
}

gboolean
avatar_live_request (AvatarLive *self, SoupServerMessage *msg, const char *path)
{
  return g_str_has_prefix (path, AVATAR_SESSIONS_PATH) && request_session (self, msg, path);
}

/* --------------------------------------------------------------------------------------- object */

AvatarLive *
avatar_live_new (const AvatarServerConfig *config, AvatarGuard *guard, AvatarPlanner *planner,
    const char *folder)
{
  AvatarLive *self = g_new0 (AvatarLive, 1);

  self->config = config;
  self->guard = guard;
  self->planner = planner;
  self->folder = g_strdup (folder);
  self->clients = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, client_free);
  g_queue_init (&self->portraits);
  avatar_remove_folder (folder);
  if (g_mkdir_with_parents (folder, 0700) != 0)
    g_printerr ("avatar-server: warning: %s: %s\n", folder, g_strerror (errno));
  return self;
}

void
avatar_live_free (AvatarLive *self)
{
  g_hash_table_unref (self->clients);
  avatar_live_session_wait_all ();
  while (!g_queue_is_empty (&self->portraits))
    forget_portrait (self);
  g_free (self->folder);
  g_free (self);
}

guint
avatar_live_get_n_sessions (AvatarLive *self)
{
  return g_hash_table_size (self->clients);
}
