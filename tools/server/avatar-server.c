/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-server: a page and an API for jobs and live sessions. */
#include "tools/own-elements.h"
#include "tools/server/api.h"
#include "tools/server/job-run.h"
#ifdef HAVE_HIREDIS
#include "tools/server/redis-worker.h"
#endif

#include <avatar/avatar.h>

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PORT 7860
#define SHORTEST_TOKEN 16
#define MIB 1048576
/* Largest upload (MiB) that Redis takes as one value. */
#define MOST_UPLOAD_REDIS 512

static char *address, *data_folder, *token_file, *device, *portrait;
static char **models, **hosts, **push_to, **queues;
static gboolean is_worker;
static int port = PORT, queue_bound = 16, keep = 100, workers = 1, max_upload = 64,
           max_seconds = 600, max_sessions = 2, max_connections = 64, header_seconds = 15,
           queue_lease = 30, queue_hours = 24;
/* Address of Redis, or NULL: jobs run in this process. */
static const char *queue_address;

static const GOptionEntry entries[] = {
  { "listen", 0, 0, G_OPTION_ARG_STRING, &address,
      "Address to listen at (default 127.0.0.1). Any other than that of the loopback interface "
      "demands a token",
      "ADDRESS" },
  { "port", 0, 0, G_OPTION_ARG_INT, &port, "Port (default 7860; 0: any free one)", "N" },
  { "token-file", 0, 0, G_OPTION_ARG_FILENAME, &token_file,
      "File with the token that clients need, of at least 16 characters (default: the variable "
      "AVATAR_SERVER_TOKEN, or else one that is made and printed)",
      "FILE" },
  { "host", 0, 0, G_OPTION_ARG_STRING_ARRAY, &hosts,
      "Name by which clients reach the server; may be repeated", "NAME" },
  { "data", 0, 0, G_OPTION_ARG_FILENAME, &data_folder,
      "Folder of the jobs (default: gst-avatar/server in the user's folder for data)", "FOLDER" },
  { "model", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &models,
      "Folder of a model; may be repeated, the first is the default", "FOLDER" },
  { "device", 0, 0, G_OPTION_ARG_STRING, &device, "auto (default), cpu, cuda or cuda:N", "D" },
  { "portrait", 0, 0, G_OPTION_ARG_FILENAME, &portrait, "Portrait of live sessions that bring none",
      "FILE" },
  { "push-to", 0, 0, G_OPTION_ARG_STRING_ARRAY, &push_to,
      "Begin of the RTMP addresses that live sessions may push to; may be repeated (default: none)",
      "rtmp://HOST/" },
  { "workers", 0, 0, G_OPTION_ARG_INT, &workers, "Jobs that run at the same time (default 1)",
      "N" },
  { "queue", 0, 0, G_OPTION_ARG_STRING_ARRAY, &queues,
      "Most jobs that wait or run (default 16), or the address of Redis, "
      "redis://[:PASSWORD@]HOST[:PORT][/DATABASE], by which workers on other hosts run the jobs; "
      "may be given twice",
      "N|ADDRESS" },
  { "worker", 0, 0, G_OPTION_ARG_NONE, &is_worker,
      "Run jobs of other servers, by way of the Redis of --queue, and serve nothing", NULL },
  { "queue-lease", 0, 0, G_OPTION_ARG_INT, &queue_lease,
      "With Redis: silence of a worker after which another takes its job (default 30)", "S" },
  { "queue-hours", 0, 0, G_OPTION_ARG_INT, &queue_hours,
      "With Redis: age at which a job fails that no worker has done, and at which Redis forgets its "
      "files (default 24)",
      "H" },
  { "keep", 0, 0, G_OPTION_ARG_INT, &keep,
      "Jobs that have ended whose files are kept (default 100)", "N" },
  { "max-upload", 0, 0, G_OPTION_ARG_INT, &max_upload, "Largest upload (default 64)", "MIB" },
  { "max-seconds", 0, 0, G_OPTION_ARG_INT, &max_seconds, "Longest sound of a job (default 600)",
      "S" },
  { "max-sessions", 0, 0, G_OPTION_ARG_INT, &max_sessions, "Most live sessions (default 2)", "N" },
  { "max-connections", 0, 0, G_OPTION_ARG_INT, &max_connections, "Most connections (default 64)",
      "N" },
  { "header-seconds", 0, 0, G_OPTION_ARG_INT, &header_seconds,
      "Time that a connection may wait for the headers of a request (default 15)", "S" },
  G_OPTION_ENTRY_NULL,
};

static gboolean fail (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
fail (GError **error, const char *format, ...)
{
  va_list list;

  va_start (list, format);
  g_autofree char *text = g_strdup_vprintf (format, list);
  va_end (list);
  g_set_error_literal (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

/* -------------------------------------------------------------------------------------- options */

static gboolean
check_numbers (GError **error)
{
  const struct
  {
    const char *name;
    int value, min, max;
  } numbers[] = {
    { "--port", port, 0, 65535 },
    { "--workers", workers, 1, 64 },
    { "--queue", queue_bound, 1, 10000 },
    { "--keep", keep, 0, 1000000 },
    { "--max-upload", max_upload, 1, 1024 },
    { "--max-seconds", max_seconds, 1, 86400 },
    { "--max-sessions", max_sessions, 0, 1000 },
    { "--max-connections", max_connections, 4, 10000 },
    { "--header-seconds", header_seconds, 1, 3600 },
    { "--queue-lease", queue_lease, 2, 3600 },
    { "--queue-hours", queue_hours, 1, 720 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (numbers[i].value < numbers[i].min || numbers[i].value > numbers[i].max)
      return fail (error, "%s is %d, expected %d to %d", numbers[i].name, numbers[i].value,
          numbers[i].min, numbers[i].max);
  return TRUE;
}

/* Tells a number from an address. */
static gboolean
read_queues (GError **error)
{
  for (guint i = 0; queues && queues[i]; i++) {
    guint64 bound;

    if (g_ascii_string_to_unsigned (queues[i], 10, 0, G_MAXINT, &bound, NULL))
      queue_bound = bound;
    else if (strstr (queues[i], "://") && !queue_address)
      queue_address = queues[i];
    else
      return fail (error, "--queue is \"%s\", expected a number, or one address redis://HOST",
          queue_address ? "a second address" : queues[i]);
  }
  if (is_worker && !queue_address)
    return fail (error, "--worker needs the address of the jobs; add --queue redis://HOST");
  if (queue_address && max_upload > MOST_UPLOAD_REDIS)
    return fail (error, "--max-upload is %d, expected at most %d with Redis", max_upload,
        MOST_UPLOAD_REDIS);
  return TRUE;
}

/* Demands the end of the host, so that no other host begins as the address does. */
static gboolean
check_push_to (GError **error)
{
  for (guint i = 0; push_to && push_to[i]; i++) {
    const char *host = strstr (push_to[i], "://");

    if (!host || host[3] == '/' || !strchr (host + 3, '/'))
      return fail (error, "--push-to is \"%s\", expected rtmp://HOST/ or more of an address",
          push_to[i]);
  }
  return TRUE;
}

static void
add_model (AvatarServerConfig *config, const char *path)
{
  AvatarServerModel *model = g_new0 (AvatarServerModel, 1);

  model->path = g_strdup (path);
  model->name = g_path_get_basename (path);
  g_ptr_array_add (config->models, model);
}

static gboolean
read_token (AvatarServerConfig *config, GError **error)
{
  const char *variable = g_getenv ("AVATAR_SERVER_TOKEN");

  if (token_file) {
    if (!g_file_get_contents (token_file, &config->token, NULL, error))
      return FALSE;
    g_strstrip (config->token);
  } else if (variable && *variable) {
    config->token = g_strdup (variable);
  } else if (!config->loopback) {
    config->token = avatar_job_new_id ();
    g_print ("token: %s\n", config->token);
  }
  g_unsetenv ("AVATAR_SERVER_TOKEN");
  if (!config->token || strlen (config->token) >= SHORTEST_TOKEN)
    return TRUE;
  return fail (error,
      "the token has %zu characters, expected at least %d; make one by: "
      "openssl rand -hex 16",
      strlen (config->token), SHORTEST_TOKEN);
}

static gboolean
make_config (AvatarServerConfig *config, GSocketAddress **where, GError **error)
{
  g_autoptr (GInetAddress) inet = g_inet_address_new_from_string (address ? address : "127.0.0.1");
  g_autofree char *model = avatar_model_default_path ();

  if (!read_queues (error) || !check_numbers (error) || !check_push_to (error))
    return FALSE;
  if (!inet)
    return fail (error,
        "--listen is \"%s\", expected an IP address such as 127.0.0.1 or ::", address);
  *where = g_inet_socket_address_new (inet, port);
  config->loopback = g_inet_address_get_is_loopback (inet);
  config->models = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_server_model_free);
  for (guint i = 0; models && models[i]; i++)
    add_model (config, models[i]);
  if (config->models->len == 0)
    add_model (config, model);
  for (guint i = 0; hosts && hosts[i]; i++) {
    g_autofree char *host = hosts[i];
    hosts[i] = g_ascii_strdown (host, -1);
  }
  config->device = device;
  config->portrait = portrait;
  config->hosts = hosts;
  config->push_to = push_to;
  config->most_bytes = (guint64) max_upload * MIB;
  config->most_seconds = max_seconds;
  config->most_sessions = max_sessions;
  config->most_connections = max_connections;
  config->header_seconds = header_seconds;
  return is_worker || read_token (config, error);
}

/* -------------------------------------------------------------------------------------- server */

/* Elements of the same installation are found without GST_PLUGIN_PATH. */
static gboolean
find_elements (GError **error)
{
  if (own_elements_find ())
    return TRUE;
  return fail (error,
      "GStreamer has no element avatarbin; set GST_PLUGIN_PATH to the folder of "
      "libgstavatar.so");
}

/* Keeps files of clients from naming other files and addresses: demuxers of playlists and session
 * descriptions, which may also be inside another format, are not used by decodebin. */
static void
forbid_references (void)
{
  GList *all = gst_element_factory_list_get_elements (GST_ELEMENT_FACTORY_TYPE_DEMUXER
          | GST_ELEMENT_FACTORY_TYPE_PARSER | GST_ELEMENT_FACTORY_TYPE_DECODER
          | GST_ELEMENT_FACTORY_TYPE_DEPAYLOADER,
      GST_RANK_NONE);

  for (GList *l = all; l; l = l->next) {
    const char *klass = gst_element_factory_get_metadata (l->data, GST_ELEMENT_METADATA_KLASS);

    if (strstr (klass, "Adaptive") || strstr (klass, "Network"))
      gst_plugin_feature_set_rank (GST_PLUGIN_FEATURE (l->data), GST_RANK_NONE);
  }
  gst_plugin_feature_list_free (all);
}

static gboolean
on_signal (gpointer loop)
{
  g_main_loop_quit (loop);
  return G_SOURCE_CONTINUE;
}

static void
print_address (SoupServer *server)
{
  g_autoptr (GSList) uris = soup_server_get_uris (server);

  for (GSList *l = uris; l; l = l->next) {
    g_autofree char *text = g_uri_to_string (l->data);
    g_print ("avatar-server: listening at %s\n", text);
    g_uri_unref (l->data);
  }
  fflush (stdout);
}

static void
serve (SoupServer *server, const AvatarServerConfig *config, AvatarPlanner *planner,
    AvatarJobQueue *queue)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  AvatarGuard *guard = avatar_guard_new (config, server);
  g_autofree char *portraits = g_build_filename (data_folder, "portraits", NULL);
  AvatarLive *live = avatar_live_new (config, guard, planner, portraits);
  AvatarApi *api = avatar_api_new (server, config, guard, queue, planner, live);
  guint signals[] = { g_unix_signal_add (SIGINT, on_signal, loop),
    g_unix_signal_add (SIGTERM, on_signal, loop) };

  avatar_job_queue_start (queue);
  print_address (server);
  g_main_loop_run (loop);
  soup_server_disconnect (server);
  avatar_api_free (api);
  avatar_job_queue_close (queue);
  avatar_live_free (live);
  avatar_guard_free (guard);
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    g_source_remove (signals[i]);
}

#ifdef HAVE_HIREDIS
/* Reads the address, and the password of the environment, which "ps" does not show. */
static gboolean
read_address (AvatarRedisOptions *options, GError **error)
{
  const char *password = g_getenv ("AVATAR_QUEUE_PASSWORD");

  if (!avatar_redis_address_parse (queue_address, &options->address, error))
    return FALSE;
  if (password && *password && !options->address.password)
    options->address.password = g_strdup (password);
  g_unsetenv ("AVATAR_QUEUE_PASSWORD");
  options->lease_seconds = queue_lease;
  options->expiry_seconds = queue_hours * 3600;
  return TRUE;
}

/* Makes the runner of a server whose jobs workers run. @options must outlive it. */
static AvatarJobRunner *
make_redis_runner (AvatarRedisOptions *options, AvatarPlanner *planner, GError **error)
{
  return read_address (options, error) ? avatar_redis_front_new (options, planner) : NULL;
}

static gboolean
run_worker (const AvatarServerConfig *config, GError **error)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  guint signals[] = { g_unix_signal_add (SIGINT, on_signal, loop),
    g_unix_signal_add (SIGTERM, on_signal, loop) };
  AvatarRedisOptions options = { 0 };
  AvatarRedisWorker *worker = NULL;
  AvatarPlanner *planner;

  planner = avatar_planner_new (config);
  if (read_address (&options, error))
    worker = avatar_redis_worker_start (&options, config, planner, data_folder, workers, error);
  if (worker) {
    g_main_loop_run (loop);
    avatar_redis_worker_stop (worker);
  }
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    g_source_remove (signals[i]);
  avatar_planner_free (planner);
  avatar_redis_address_clear (&options.address);
  return worker != NULL;
}
#else
typedef struct
{
  int unused;
} AvatarRedisOptions;

static gboolean
refuse_redis (GError **error)
{
  return fail (error,
      "this avatar-server was built without hiredis, which --queue redis:// needs; "
      "install libhiredis-dev and build it again");
}

static AvatarJobRunner *
make_redis_runner (AvatarRedisOptions *options, AvatarPlanner *planner, GError **error)
{
  refuse_redis (error);
  return NULL;
}

static gboolean
run_worker (const AvatarServerConfig *config, GError **error)
{
  return refuse_redis (error);
}
#endif

/* Opens the queue and serves until a signal comes. */
static gboolean
run_server (const AvatarServerConfig *config, GSocketAddress *where, GError **error)
{
  g_autoptr (SoupServer) server = soup_server_new ("server-header", "avatar-server", NULL);
  AvatarPlanner *planner;
  AvatarJobRunContext context;
  AvatarRedisOptions redis = { 0 };
  AvatarJobQueueOptions options;
  AvatarJobQueue *queue;

  if (!soup_server_listen (server, where, 0, error))
    return FALSE;
  planner = avatar_planner_new (config);
  context = (AvatarJobRunContext){ .config = config, .planner = planner };
  options = (AvatarJobQueueOptions){ .folder = data_folder, .bound = queue_bound, .keep = keep };
  if (queue_address)
    options.runner = make_redis_runner (&redis, planner, error);
  else
    options.runner = avatar_job_threads_new (workers, avatar_job_run, &context);
  queue = options.runner ? avatar_job_queue_open (&options, error) : NULL;
  if (queue)
    serve (server, config, planner, queue);
  avatar_planner_free (planner);
  return queue != NULL;
}

static gboolean
run (int argc, char **argv, AvatarServerConfig *config, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GSocketAddress) where = NULL;

  g_option_context_set_summary (context,
      "Serves a page in which a portrait and a sound become a talking video, and an API for the\n"
      "same. Without options only this machine reaches it, at http://localhost:7860/.");
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc > 1)
    return fail (error, "found the argument \"%s\", expected options only; see --help", argv[1]);
  gst_init (NULL, NULL);
  if (!make_config (config, &where, error) || !find_elements (error))
    return FALSE;
  forbid_references ();
  if (!data_folder)
    data_folder = g_build_filename (g_get_user_data_dir (), "gst-avatar",
        is_worker ? "worker" : "server", NULL);
  /* A connection that Redis closes is an error of a write, not the end. */
  signal (SIGPIPE, SIG_IGN);
  return is_worker ? run_worker (config, error) : run_server (config, where, error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  AvatarServerConfig config = { 0 };
  gboolean good;

  umask (0077);
  good = run (argc, argv, &config, &error);
  if (!good)
    g_printerr ("avatar-server: %s\n", error->message);
  g_clear_pointer (&config.models, g_ptr_array_unref);
  g_free (config.token);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
