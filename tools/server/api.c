/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/api.h"

#include "tools/server/job-upload.h"
#include "tools/server/reply.h"

#include <gio/gio.h>
#include <string.h>

/* Uploads that are received at the same time; each is held in memory. */
#define MOST_UPLOADS 4
/* Bytes of a body that is no upload. */
#define SMALL_BODY 65536
#define RESOURCES "/org/gst-avatar/server"
/* Sound of a plan that names no duration (s). */
#define PLAN_SECONDS 5
#define JOBS "/api/jobs"
/* Marks of a message whose place among the uploads, or in the queue, is still its own. */
#define UPLOAD "avatar-upload"
#define RESERVED "avatar-reserved"
#define GONE "avatar-gone"

struct _AvatarApi
{
  SoupServer *server;
  const AvatarServerConfig *config;
  AvatarGuard *guard;
  AvatarJobQueue *queue;
  AvatarPlanner *planner;
  AvatarLive *live;
  guint n_uploads;
  guint n_works; /* requests that threads answer */
  gboolean closing;
};

/* ------------------------------------------------------------------------------ work in threads */

/* A request that a thread answers. */
typedef struct
{
  AvatarApi *api;
  SoupServerMessage *msg;
  /* a job or a portrait */
  SoupMessageHeaders *headers;
  GBytes *body;
  /* a plan */
  AvatarJobSettings settings;
  double seconds;
  /* the state */
  guint n_sessions;
  /* a picture */
  GstSample *sample;
  GBytes *picture;
  /* the answer */
  AvatarProblem *problem;
  JsonBuilder *builder;
  AvatarJob *job;
  char *portrait;
} Work;

static void
work_free (Work *work)
{
  g_object_unref (work->msg);
  g_clear_pointer (&work->body, g_bytes_unref);
  g_clear_pointer (&work->sample, gst_sample_unref);
  g_clear_pointer (&work->picture, g_bytes_unref);
  g_clear_pointer (&work->problem, avatar_problem_free);
  g_clear_pointer (&work->job, avatar_job_unref);
  avatar_job_settings_clear (&work->settings);
  g_clear_object (&work->builder);
  g_free (work->portrait);
  g_free (work);
}

static void
on_gone (SoupServerMessage *msg, gpointer data)
{
  g_object_set_data (G_OBJECT (msg), GONE, GINT_TO_POINTER (1));
}

static Work *
work_new (AvatarApi *self, SoupServerMessage *msg)
{
  Work *work = g_new0 (Work, 1);

  work->api = self;
  work->msg = g_object_ref (msg);
  work->builder = json_builder_new ();
  avatar_job_settings_init (&work->settings);
  g_signal_connect (msg, "finished", G_CALLBACK (on_gone), NULL);
  return work;
}

/* Runs @func in a thread, then @done in this one, while the message waits. */
static void
work_start (Work *work, GTaskThreadFunc func, GAsyncReadyCallback done)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, done, NULL);

  work->api->n_works++;
  soup_server_message_pause (work->msg);
  g_task_set_task_data (task, work, (GDestroyNotify) work_free);
  g_task_run_in_thread (task, func);
}

/* Returns FALSE if the client or the server has gone meanwhile. */
static gboolean
work_resume (Work *work)
{
  work->api->n_works--;
  if (work->api->closing || g_object_get_data (G_OBJECT (work->msg), GONE))
    return FALSE;
  soup_server_message_unpause (work->msg);
  return TRUE;
}

/* ----------------------------------------------------------------------------------------- jobs */

static void
add_job_links (JsonBuilder *builder, AvatarJob *job)
{
  g_autofree char *self = g_strconcat (JOBS "/", job->id, NULL);
  g_autofree char *video = g_strconcat (self, "/video", NULL);
  g_autofree char *picture = g_strconcat (self, "/picture", NULL);

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "id", job->id);
  avatar_json_add_string (builder, "self", self);
  avatar_json_add_string (builder, "video", video);
  avatar_json_add_string (builder, "picture", picture);
  json_builder_end_object (builder);
}

static void
store_upload (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work *work = data;
  AvatarJobUpload upload;

  if (avatar_job_upload_parse (&upload, work->headers, work->body, &work->problem))
    work->job
        = avatar_job_upload_store (&upload, work->api->config, work->api->queue, &work->problem);
  avatar_job_upload_clear (&upload);
  if (!work->job)
    avatar_job_queue_release (work->api->queue);
  g_task_return_boolean (task, TRUE);
}

static void
on_stored (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = g_task_get_task_data (G_TASK (result));

  work->api->n_uploads--;
  if (!work_resume (work))
    return;
  if (work->problem) {
    avatar_reply_problem (work->msg, g_steal_pointer (&work->problem));
    return;
  }
  add_job_links (work->builder, work->job);
  avatar_reply_json (work->msg, SOUP_STATUS_CREATED, work->builder);
  g_autofree char *location = g_strconcat (JOBS "/", work->job->id, NULL);
  soup_message_headers_replace (soup_server_message_get_response_headers (work->msg), "Location",
      location);
}

static void
store_portrait (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work *work = data;

  work->portrait = avatar_live_store_portrait (work->api->live, work->body, &work->problem);
  g_task_return_boolean (task, TRUE);
}

static void
on_portrait_stored (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = g_task_get_task_data (G_TASK (result));

  work->api->n_uploads--;
  if (work->portrait)
    avatar_live_add_portrait (work->api->live, work->portrait);
  if (!work_resume (work))
    return;
  if (work->problem) {
    avatar_reply_problem (work->msg, g_steal_pointer (&work->problem));
    return;
  }
  json_builder_begin_object (work->builder);
  avatar_json_add_string (work->builder, "id", work->portrait);
  json_builder_end_object (work->builder);
  avatar_reply_json (work->msg, SOUP_STATUS_CREATED, work->builder);
}

static void
on_upload_ended (SoupServerMessage *msg, gpointer data)
{
  AvatarApi *self = data;

  if (g_object_get_data (G_OBJECT (msg), UPLOAD))
    self->n_uploads--;
  if (g_object_get_data (G_OBJECT (msg), RESERVED))
    avatar_job_queue_release (self->queue);
}

/* Refuses an upload before its body is received. */
static void
begin_upload (AvatarApi *self, SoupServerMessage *msg, gboolean is_job)
{
  g_autofree char *retry = g_strdup_printf ("%u", avatar_job_queue_retry_after (self->queue));
  AvatarProblem *problem = NULL;

  if (soup_server_message_get_status (msg) != 0)
    return;
  if (self->n_uploads >= MOST_UPLOADS)
    avatar_problem_set (&problem, SOUP_STATUS_SERVICE_UNAVAILABLE, NULL, "try again later",
        "the server receives %u uploads already", self->n_uploads);
  else if (is_job && !avatar_job_queue_reserve (self->queue))
    avatar_problem_set (&problem, SOUP_STATUS_SERVICE_UNAVAILABLE, NULL, "try again later",
        "the queue of jobs is full");
  if (problem) {
    soup_message_body_set_accumulate (soup_server_message_get_request_body (msg), FALSE);
    soup_message_headers_replace (soup_server_message_get_response_headers (msg), "Retry-After",
        retry);
    avatar_guard_close_after (msg);
    avatar_reply_problem (msg, problem);
    return;
  }
  self->n_uploads++;
  g_object_set_data (G_OBJECT (msg), UPLOAD, GINT_TO_POINTER (1));
  g_object_set_data (G_OBJECT (msg), RESERVED, GINT_TO_POINTER (is_job));
  g_signal_connect (msg, "finished", G_CALLBACK (on_upload_ended), self);
}

/* Takes the body and the places of an upload for a thread. */
static Work *
take_upload (AvatarApi *self, SoupServerMessage *msg)
{
  Work *work = work_new (self, msg);

  g_object_set_data (G_OBJECT (msg), UPLOAD, NULL);
  g_object_set_data (G_OBJECT (msg), RESERVED, NULL);
  work->headers = soup_server_message_get_request_headers (msg);
  work->body = soup_message_body_flatten (soup_server_message_get_request_body (msg));
  return work;
}

static void
list_jobs (AvatarApi *self, SoupServerMessage *msg)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "jobs");
  avatar_job_queue_build (self->queue, builder);
  json_builder_end_object (builder);
  avatar_reply_json (msg, SOUP_STATUS_OK, builder);
}

static void
get_job (AvatarApi *self, SoupServerMessage *msg, AvatarJob *job)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  avatar_job_queue_build_job (self->queue, job, builder);
  avatar_reply_json (msg, SOUP_STATUS_OK, builder);
}

/* The file is mapped, not copied: it does not change any more, and a removed one stays until it is
 * sent. libsoup answers requests for a range from the whole. */
static void
get_video (AvatarApi *self, SoupServerMessage *msg, AvatarJob *job, GHashTable *query)
{
  g_autofree char *path = avatar_job_path (job, AVATAR_JOB_VIDEO);
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, NULL);
  g_autoptr (GBytes) bytes = file ? g_mapped_file_get_bytes (file) : NULL;
  SoupMessageHeaders *headers = soup_server_message_get_response_headers (msg);
  g_autofree char *name = g_strdup_printf ("attachment; filename=\"avatar-%.8s.mp4\"", job->id);
  AvatarProblem *problem = NULL;

  if (!bytes) {
    avatar_problem_set (&problem, SOUP_STATUS_NOT_FOUND, "a job whose state is done",
        "wait until it is done", "the job has no video");
    avatar_reply_problem (msg, problem);
    return;
  }
  soup_message_headers_replace (headers, "Accept-Ranges", "bytes");
  if (query && g_hash_table_contains (query, "download"))
    soup_message_headers_replace (headers, "Content-Disposition", name);
  avatar_reply_bytes (msg, "video/mp4", bytes);
}

static void
code_picture (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work *work = data;

  work->picture = avatar_job_code_picture (work->sample);
  g_task_return_boolean (task, TRUE);
}

static void
on_picture (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = g_task_get_task_data (G_TASK (result));

  if (!work_resume (work))
    return;
  if (work->picture)
    avatar_reply_bytes (work->msg, "image/jpeg", work->picture);
  else
    soup_server_message_set_status (work->msg, SOUP_STATUS_INTERNAL_SERVER_ERROR, NULL);
}

static void
get_picture (AvatarApi *self, SoupServerMessage *msg, AvatarJob *job)
{
  AvatarProblem *problem = NULL;
  GstSample *sample;
  Work *work;

  g_mutex_lock (&job->lock);
  sample = job->picture ? gst_sample_ref (job->picture) : NULL;
  g_mutex_unlock (&job->lock);
  if (!sample) {
    avatar_problem_set (&problem, SOUP_STATUS_NOT_FOUND, "a running job with pictures", NULL,
        "the job has no picture now");
    avatar_reply_problem (msg, problem);
    return;
  }
  work = work_new (self, msg);
  work->sample = sample;
  work_start (work, code_picture, on_picture);
}

static void
delete_job (AvatarApi *self, SoupServerMessage *msg, AvatarJob *job)
{
  avatar_job_queue_delete (self->queue, job);
  get_job (self, msg, job);
}

/* ------------------------------------------------------------------------------ plans and state */

static void
make_plan (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work *work = data;

  avatar_planner_build (work->api->planner, &work->settings, work->seconds, work->builder,
      &work->problem);
  g_task_return_boolean (task, TRUE);
}

static void
on_built (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = g_task_get_task_data (G_TASK (result));

  if (!work_resume (work))
    return;
  if (work->problem)
    avatar_reply_problem (work->msg, g_steal_pointer (&work->problem));
  else
    avatar_reply_json (work->msg, SOUP_STATUS_OK, work->builder);
}

static gboolean
read_query (Work *work, GHashTable *query, AvatarProblem **problem)
{
  GHashTableIter iter;
  gpointer name, value;

  work->seconds = PLAN_SECONDS;
  g_hash_table_iter_init (&iter, query);
  while (g_hash_table_iter_next (&iter, &name, &value)) {
    if (strcmp (name, "seconds") != 0) {
      if (!avatar_job_settings_set (&work->settings, name, value, problem))
        return FALSE;
      continue;
    }
    work->seconds = g_ascii_strtod (value, NULL);
    if (!(work->seconds > 0 && work->seconds <= work->api->config->most_seconds))
      return avatar_problem_set (problem, 400, "the duration of the sound, as the server takes it",
          NULL, "seconds is \"%.20s\"", (char *) value);
  }
  return TRUE;
}

static void
get_plan (AvatarApi *self, SoupServerMessage *msg, GHashTable *query)
{
  Work *work = work_new (self, msg);
  g_autoptr (GHashTable) none = g_hash_table_new (g_str_hash, g_str_equal);
  AvatarProblem *problem = NULL;

  if (read_query (work, query ? query : none, &problem)) {
    work_start (work, make_plan, on_built);
    return;
  }
  avatar_reply_problem (msg, problem);
  work_free (work);
}

static void
build_state (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work *work = data;
  AvatarApi *self = work->api;
  guint waiting, running, bound;

  avatar_job_queue_get_load (self->queue, &waiting, &running, &bound);
  json_builder_begin_object (work->builder);
  avatar_json_add_string (work->builder, "version", VERSION);
  json_builder_set_member_name (work->builder, "queue");
  json_builder_begin_object (work->builder);
  avatar_json_add_int (work->builder, "waiting", waiting);
  avatar_json_add_int (work->builder, "running", running);
  avatar_json_add_int (work->builder, "bound", bound);
  avatar_json_add_string (work->builder, "runner", avatar_job_queue_get_runner (self->queue));
  json_builder_set_member_name (work->builder, "ready");
  json_builder_add_boolean_value (work->builder, avatar_job_queue_is_ready (self->queue));
  json_builder_end_object (work->builder);
  avatar_json_add_int (work->builder, "sessions", work->n_sessions);
  avatar_json_add_int (work->builder, "max_sessions", self->config->most_sessions);
  avatar_json_add_int (work->builder, "max_upload", self->config->most_bytes);
  avatar_json_add_int (work->builder, "max_seconds", self->config->most_seconds);
  avatar_planner_build_state (self->planner, work->builder);
  json_builder_end_object (work->builder);
  g_task_return_boolean (task, TRUE);
}

static void
get_state (AvatarApi *self, SoupServerMessage *msg)
{
  Work *work = work_new (self, msg);

  work->n_sessions = avatar_live_get_n_sessions (self->live);
  work_start (work, build_state, on_built);
}

/* -------------------------------------------------------------------------------------- routing */

static gboolean
is_method (SoupServerMessage *msg, const char *method)
{
  const char *found = soup_server_message_get_method (msg);

  return strcmp (found, method) == 0
      || (strcmp (method, "GET") == 0 && strcmp (found, "HEAD") == 0);
}

static void
not_found (SoupServerMessage *msg)
{
  AvatarProblem *problem = NULL;

  avatar_problem_set (&problem, SOUP_STATUS_NOT_FOUND, "an address of docs/guide/server.md", NULL,
      "there is nothing at this address for this method");
  avatar_reply_problem (msg, problem);
}

/* The id is looked up among those that the server has made. No part of it becomes a path. */
static void
route_job (AvatarApi *self, SoupServerMessage *msg, const char *rest, GHashTable *query)
{
  g_auto (GStrv) parts = g_strsplit (rest, "/", 3);
  guint n = g_strv_length (parts);
  g_autoptr (AvatarJob) job = n <= 2 ? avatar_job_queue_get (self->queue, parts[0]) : NULL;

  if (!job)
    not_found (msg);
  else if (n == 1 && is_method (msg, "GET"))
    get_job (self, msg, job);
  else if (n == 1 && is_method (msg, "DELETE"))
    delete_job (self, msg, job);
  else if (n == 2 && is_method (msg, "GET") && strcmp (parts[1], "video") == 0)
    get_video (self, msg, job, query);
  else if (n == 2 && is_method (msg, "GET") && strcmp (parts[1], "picture") == 0)
    get_picture (self, msg, job);
  else
    not_found (msg);
}

static gboolean
serve_page (SoupServerMessage *msg, const char *path)
{
  static const struct
  {
    const char *path, *resource, *type;
  } pages[] = {
    { "/", RESOURCES "/page.html", "text/html; charset=utf-8" },
    { "/login", RESOURCES "/login.html", "text/html; charset=utf-8" },
    { "/page.js", RESOURCES "/page.js", "text/javascript; charset=utf-8" },
    { "/live.js", RESOURCES "/live.js", "text/javascript; charset=utf-8" },
    { "/microphone.js", RESOURCES "/microphone.js", "text/javascript; charset=utf-8" },
    { "/page.css", RESOURCES "/page.css", "text/css; charset=utf-8" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (pages); i++)
    if (strcmp (path, pages[i].path) == 0) {
      g_autoptr (GBytes) bytes
          = g_resources_lookup_data (pages[i].resource, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
      avatar_reply_bytes (msg, pages[i].type, bytes);
      return TRUE;
    }
  return FALSE;
}

static void
post_login (AvatarApi *self, SoupServerMessage *msg)
{
  g_autoptr (GBytes) body = soup_message_body_flatten (soup_server_message_get_request_body (msg));
  gsize n;
  const char *data = g_bytes_get_data (body, &n);
  g_autofree char *text = g_strndup (data, n);
  g_autoptr (GHashTable) form = soup_form_decode (text);

  avatar_guard_log_in (self->guard, msg, g_hash_table_lookup (form, "token"));
}

static gboolean
is_upgrade (SoupServerMessage *msg)
{
  return soup_message_headers_header_contains (soup_server_message_get_request_headers (msg),
      "Upgrade", "websocket");
}

static void
on_websocket (SoupServer *server, SoupServerMessage *msg, const char *path,
    SoupWebsocketConnection *connection, gpointer data)
{
  AvatarApi *self = data;

  avatar_guard_forget (self->guard, msg);
  if (strcmp (path, AVATAR_LIVE_PATH) == 0)
    avatar_live_connect (self->live, msg, connection);
}

static void
on_request (SoupServer *server, SoupServerMessage *msg, const char *path, GHashTable *query,
    gpointer data)
{
  AvatarApi *self = data;
  gboolean get = is_method (msg, "GET");

  /* libsoup answers the handshake of a WebSocket if this handler does not. */
  if (soup_server_message_get_status (msg) != 0
      || (strcmp (path, AVATAR_LIVE_PATH) == 0 && is_upgrade (msg)))
    return;
  avatar_guard_add_headers (msg);
  avatar_guard_close_after (msg);
  if (g_str_has_prefix (path, JOBS "/"))
    route_job (self, msg, path + strlen (JOBS "/"), query);
  else if (strcmp (path, JOBS) == 0 && is_method (msg, "POST"))
    work_start (take_upload (self, msg), store_upload, on_stored);
  else if (strcmp (path, AVATAR_PORTRAITS_PATH) == 0 && is_method (msg, "POST"))
    work_start (take_upload (self, msg), store_portrait, on_portrait_stored);
  else if (strcmp (path, JOBS) == 0 && get)
    list_jobs (self, msg);
  else if (strcmp (path, "/api/plan") == 0 && get)
    get_plan (self, msg, query);
  else if (strcmp (path, "/api/state") == 0 && get)
    get_state (self, msg);
  else if (strcmp (path, "/login") == 0 && is_method (msg, "POST"))
    post_login (self, msg);
  else if (strcmp (path, "/health") == 0 && get)
    avatar_reply_text (msg, "ok\n");
  else if (!avatar_live_request (self->live, msg, path) && (!get || !serve_page (msg, path)))
    not_found (msg);
}

static void
on_early (SoupServer *server, SoupServerMessage *msg, const char *path, GHashTable *query,
    gpointer data)
{
  AvatarApi *self = data;
  gboolean post = is_method (msg, "POST"), is_job = post && strcmp (path, JOBS) == 0;
  gboolean upload = is_job || (post && strcmp (path, AVATAR_PORTRAITS_PATH) == 0);

  if (!avatar_guard_check (self->guard, msg, path))
    return;
  avatar_guard_limit_body (self->guard, msg, upload ? self->config->most_bytes : SMALL_BODY);
  if (upload)
    begin_upload (self, msg, is_job);
}

AvatarApi *
avatar_api_new (SoupServer *server, const AvatarServerConfig *config, AvatarGuard *guard,
    AvatarJobQueue *queue, AvatarPlanner *planner, AvatarLive *live)
{
  AvatarApi *self = g_new0 (AvatarApi, 1);

  *self = (AvatarApi){ .server = server,
    .config = config,
    .guard = guard,
    .queue = queue,
    .planner = planner,
    .live = live };
  soup_server_add_early_handler (server, NULL, on_early, self, NULL);
  soup_server_add_handler (server, NULL, on_request, self, NULL);
  soup_server_add_early_handler (server, AVATAR_LIVE_PATH, on_early, self, NULL);
  soup_server_add_handler (server, AVATAR_LIVE_PATH, on_request, self, NULL);
  soup_server_add_websocket_handler (server, AVATAR_LIVE_PATH, NULL, NULL, on_websocket, self,
      NULL);
  return self;
}

void
avatar_api_free (AvatarApi *self)
{
  self->closing = TRUE;
  soup_server_remove_handler (self->server, AVATAR_LIVE_PATH);
  soup_server_remove_handler (self->server, NULL);
  while (self->n_works > 0)
    g_main_context_iteration (NULL, TRUE);
  g_free (self);
}
