/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-server: a page and an API for jobs and live sessions. */
#include "tools/own-elements.h"
#include "tools/server/api.h"
#include "tools/server/job-run.h"

#include <avatar/avatar.h>

#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PORT 7860
#define SHORTEST_TOKEN 16
#define MIB 1048576

static char *address, *data_folder, *token_file, *device, *portrait;
static char **models, **hosts, **push_to;
static int port = PORT, queue_bound = 16, keep = 100, workers = 1, max_upload = 64,
           max_seconds = 600, max_sessions = 2, max_connections = 64, header_seconds = 15;

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
  { "queue", 0, 0, G_OPTION_ARG_INT, &queue_bound, "Most jobs that wait or run (default 16)", "N" },
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
  };

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (numbers[i].value < numbers[i].min || numbers[i].value > numbers[i].max)
      return fail (error, "%s is %d, expected %d to %d", numbers[i].name, numbers[i].value,
          numbers[i].min, numbers[i].max);
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

  if (!check_numbers (error))
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
  return read_token (config, error);
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
  avatar_job_queue_close (queue);
  avatar_live_free (live);
  avatar_api_free (api);
  avatar_guard_free (guard);
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    g_source_remove (signals[i]);
}

/* Opens the queue and serves until a signal comes. */
static gboolean
run_server (const AvatarServerConfig *config, GSocketAddress *where, GError **error)
{
  g_autoptr (SoupServer) server = soup_server_new ("server-header", "avatar-server", NULL);
  AvatarPlanner *planner;
  AvatarJobRunContext context;
  AvatarJobQueueOptions options;
  AvatarJobQueue *queue;

  if (!soup_server_listen (server, where, 0, error))
    return FALSE;
  planner = avatar_planner_new (config);
  context = (AvatarJobRunContext){ .config = config, .planner = planner };
  options = (AvatarJobQueueOptions){ .folder = data_folder,
    .bound = queue_bound,
    .keep = keep,
    .runner = avatar_job_threads_new (workers, avatar_job_run, &context) };
  queue = avatar_job_queue_open (&options, error);
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
    data_folder = g_build_filename (g_get_user_data_dir (), "gst-avatar", "server", NULL);
  return run_server (config, where, error);
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
