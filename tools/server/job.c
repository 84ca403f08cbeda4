/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/job.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <gst/video/video.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define ID_BYTES 16
/* Longest time (ns) for coding a picture. */
#define PICTURE_TIME (5 * GST_SECOND)

static const char *const states[] = { "queued", "running", "done", "failed", "cancelled" };
static const char *const stages[] = { "audio", "denoise", "decode" };

char *
avatar_job_new_id (void)
{
  guint8 bytes[ID_BYTES];
  GString *id = g_string_sized_new (2 * ID_BYTES);

  while (getrandom (bytes, sizeof bytes, 0) != sizeof bytes)
    ;
  for (guint i = 0; i < ID_BYTES; i++)
    g_string_append_printf (id, "%02x", bytes[i]);
  return g_string_free (id, FALSE);
}

gboolean
avatar_job_is_id (const char *text)
{
  return strspn (text, "0123456789abcdef") == 2 * ID_BYTES && !text[2 * ID_BYTES];
}

AvatarJob *
avatar_job_new (const char *id, const char *folder, AvatarJobSettings *settings)
{
  AvatarJob *self = g_new0 (AvatarJob, 1);

  g_atomic_ref_count_init (&self->refs);
  g_mutex_init (&self->lock);
  self->id = g_strdup (id);
  self->folder = g_strdup (folder);
  self->settings = *settings;
  avatar_job_settings_init (settings);
  self->warnings = g_ptr_array_new_with_free_func (g_free);
  self->created = g_get_real_time ();
  return self;
}

AvatarJob *
avatar_job_ref (AvatarJob *self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

void
avatar_job_unref (AvatarJob *self)
{
  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  avatar_job_settings_clear (&self->settings);
  avatar_problem_free (self->problem);
  g_clear_pointer (&self->picture, gst_sample_unref);
  g_ptr_array_unref (self->warnings);
  g_mutex_clear (&self->lock);
  g_free (self->phase);
  g_free (self->folder);
  g_free (self->id);
  g_free (self);
}

char *
avatar_job_path (const AvatarJob *self, const char *name)
{
  return g_build_filename (self->folder, name, NULL);
}

gboolean
avatar_job_has_ended (AvatarJob *self)
{
  gboolean ended;

  g_mutex_lock (&self->lock);
  ended = self->state >= AVATAR_JOB_DONE;
  g_mutex_unlock (&self->lock);
  return ended;
}

void
avatar_job_stop (AvatarJob *self)
{
  g_mutex_lock (&self->lock);
  self->stopped = TRUE;
  g_mutex_unlock (&self->lock);
}

gboolean
avatar_job_is_wanted (AvatarJob *self)
{
  gboolean wanted;

  g_mutex_lock (&self->lock);
  wanted = !self->cancelled && !self->stopped;
  g_mutex_unlock (&self->lock);
  return wanted;
}

/* ---------------------------------------------------------------------------------------- files */

gboolean
avatar_sync_path (const char *path, GError **error)
{
  int fd = g_open (path, O_RDONLY | O_CLOEXEC, 0);
  gboolean good = fd >= 0 && fsync (fd) == 0;
  int code = errno;

  if (fd >= 0)
    close (fd);
  if (!good)
    g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (code), "%s: %s", path,
        g_strerror (code));
  return good;
}

static void
set_file_error (GError **error, const char *path)
{
  int code = errno;

  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (code), "%s: %s", path,
      g_strerror (code));
}

int
avatar_lock_folder (const char *folder, GError **error)
{
  g_autofree char *path = g_build_filename (folder, "lock", NULL);
  int fd;

  if (g_mkdir_with_parents (folder, 0700) != 0) {
    set_file_error (error, folder);
    return -1;
  }
  fd = g_open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    set_file_error (error, path);
    return -1;
  }
  if (flock (fd, LOCK_EX | LOCK_NB) == 0)
    return fd;
  close (fd);
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
      "another avatar-server uses the folder %s; end it, or choose another folder with --data",
      folder);
  return -1;
}

void
avatar_empty_folder (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *folder = g_build_filename (path, name, NULL);
    avatar_remove_folder (folder);
  }
}

void
avatar_remove_folder (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *file = g_build_filename (path, name, NULL);
    g_unlink (file);
  }
  g_rmdir (path);
}

/* Appends what both clients and the file get. */
static void
build_common (AvatarJob *self, JsonBuilder *builder)
{
  avatar_json_add_string (builder, "id", self->id);
  avatar_json_add_string (builder, "state", states[self->state]);
  json_builder_set_member_name (builder, "settings");
  avatar_job_settings_build (&self->settings, builder);
  avatar_json_add_int (builder, "frames_total", self->frames_total);
  avatar_json_add_int (builder, "frames_done", self->frames_done);
  json_builder_set_member_name (builder, "stages");
  json_builder_begin_object (builder);
  for (guint i = 0; i < AVATAR_N_STAGES; i++)
    avatar_json_add_double (builder, stages[i], self->stage_seconds[i]);
  json_builder_end_object (builder);
  json_builder_set_member_name (builder, "warnings");
  json_builder_begin_array (builder);
  for (guint i = 0; i < self->warnings->len; i++)
    json_builder_add_string_value (builder, self->warnings->pdata[i]);
  json_builder_end_array (builder);
  json_builder_set_member_name (builder, "error");
  if (self->problem)
    avatar_problem_build (self->problem, builder);
  else
    json_builder_add_null_value (builder);
}

gboolean
avatar_job_save (AvatarJob *self, const char *folder, GError **error)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree char *path = g_build_filename (folder ? folder : self->folder, AVATAR_JOB_FILE, NULL);
  g_autofree char *text = NULL;
  gboolean good = TRUE;

  g_mutex_lock (&self->lock);
  json_builder_begin_object (builder);
  build_common (self, builder);
  avatar_json_add_int (builder, "created", self->created);
  avatar_json_add_int (builder, "started", self->started);
  avatar_json_add_int (builder, "finished", self->finished);
  avatar_json_add_int (builder, "first_picture", self->first_picture);
  avatar_json_add_int (builder, "attempts", self->attempts);
  json_builder_end_object (builder);
  text = avatar_json_text (builder);
  /* Within the lock, so that an older state never replaces a newer one. */
  if (!self->removed)
    good = g_file_set_contents_full (path, text, -1,
        G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
  g_mutex_unlock (&self->lock);
  return good;
}

static JsonObject *
member_object (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static void
read_state (AvatarJob *self, JsonObject *object)
{
  const char *state = avatar_json_string (object, "state");
  JsonObject *seconds = member_object (object, "stages");

  for (guint i = 0; state && i < G_N_ELEMENTS (states); i++)
    if (strcmp (state, states[i]) == 0)
      self->state = i;
  self->created = avatar_json_number (object, "created", 0);
  self->started = avatar_json_number (object, "started", 0);
  self->finished = avatar_json_number (object, "finished", 0);
  self->first_picture = avatar_json_number (object, "first_picture", 0);
  self->attempts = avatar_json_number (object, "attempts", 0);
  self->frames_total = avatar_json_number (object, "frames_total", 0);
  self->frames_done = avatar_json_number (object, "frames_done", 0);
  for (guint i = 0; seconds && i < AVATAR_N_STAGES; i++)
    self->stage_seconds[i] = avatar_json_number (seconds, stages[i], 0);
  self->problem = avatar_problem_from_json (member_object (object, "error"));
}

AvatarJob *
avatar_job_load (const char *id, const char *folder, GError **error)
{
  g_autofree char *path = g_build_filename (folder, AVATAR_JOB_FILE, NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  AvatarJobSettings settings;
  JsonObject *object, *given;
  AvatarJob *self;

  if (!json_parser_load_from_file (parser, path, error))
    return NULL;
  if (!json_parser_get_root (parser) || !JSON_NODE_HOLDS_OBJECT (json_parser_get_root (parser))) {
    g_set_error (error, JSON_PARSER_ERROR, JSON_PARSER_ERROR_PARSE, "%s: no JSON object", path);
    return NULL;
  }
  object = json_node_get_object (json_parser_get_root (parser));
  given = member_object (object, "settings");
  avatar_job_settings_init (&settings);
  if (given)
    avatar_job_settings_set_json (&settings, given, NULL);
  self = avatar_job_new (id, folder, &settings);
  read_state (self, object);
  return self;
}

/* -------------------------------------------------------------------------------------- clients */

static void
add_time (JsonBuilder *builder, const char *name, gint64 time)
{
  g_autoptr (GDateTime) date = time ? g_date_time_new_from_unix_utc (time / G_USEC_PER_SEC) : NULL;
  g_autofree char *text = date ? g_date_time_format_iso8601 (date) : NULL;

  avatar_json_add_string (builder, name, text);
}

static void
add_seconds (JsonBuilder *builder, const char *name, gint64 from, gint64 to)
{
  json_builder_set_member_name (builder, name);
  if (from && to)
    json_builder_add_double_value (builder, (to - from) / 1000 / 1000.);
  else
    json_builder_add_null_value (builder);
}

GBytes *
avatar_job_code_picture (GstSample *picture)
{
  g_autoptr (GstCaps) caps = gst_caps_new_empty_simple ("image/jpeg");
  GstCaps *found = gst_sample_get_caps (picture);
  g_autoptr (GstSample) jpeg = found && gst_caps_is_subset (found, caps)
      ? gst_sample_ref (picture)
      : gst_video_convert_sample (picture, caps, PICTURE_TIME, NULL);
  GBytes *bytes = NULL;
  GstMapInfo map;

  if (jpeg && gst_buffer_map (gst_sample_get_buffer (jpeg), &map, GST_MAP_READ)) {
    bytes = g_bytes_new (map.data, map.size);
    gst_buffer_unmap (gst_sample_get_buffer (jpeg), &map);
  }
  return bytes;
}

/* Share of the work that is done: a window of frames is denoised, then decoded. */
static double
progress (const AvatarJob *self)
{
  double total = MAX (self->frames_total, 1);

  if (self->state == AVATAR_JOB_DONE)
    return 1;
  return MIN ((self->frames_denoised + self->frames_done) / 2 / total, 0.99);
}

void
avatar_job_build (AvatarJob *self, guint position, JsonBuilder *builder)
{
  gint64 now = g_get_real_time ();

  g_mutex_lock (&self->lock);
  json_builder_begin_object (builder);
  build_common (self, builder);
  avatar_json_add_double (builder, "progress", progress (self));
  avatar_json_add_string (builder, "phase", self->phase);
  avatar_json_add_int (builder, "position", position);
  avatar_json_add_int (builder, "pictures", self->n_pictures);
  avatar_json_add_int (builder, "attempts", self->attempts);
  add_time (builder, "created", self->created);
  add_time (builder, "finished", self->finished);
  json_builder_set_member_name (builder, "timings");
  json_builder_begin_object (builder);
  add_seconds (builder, "queued", self->created, self->started ? self->started : now);
  add_seconds (builder, "run", self->started, self->finished ? self->finished : now);
  add_seconds (builder, "first_picture", self->created, self->first_picture);
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  g_mutex_unlock (&self->lock);
}
