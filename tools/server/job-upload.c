/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE /* memmem() */
#include "tools/server/job-upload.h"

#include <avatar/avatar.h>

#include <gst/base/gsttypefindhelper.h>
#include <gst/pbutils/pbutils.h>
#include <string.h>

/* Most parts of a form, and longest headers and longest value of a field (bytes). */
#define MOST_PARTS 32
#define LONGEST_HEADERS 16384
#define LONGEST_FIELD 16384
/* Longest time (ns) for finding the streams of a sound file. */
#define PROBE_TIME (20 * GST_SECOND)
#define FPS 25

/* ---------------------------------------------------------------------------------------- parts */

static gboolean
take_field (AvatarJobUpload *self, const char *name, GBytes *body, AvatarProblem **problem)
{
  gsize n;
  const char *data = g_bytes_get_data (body, &n);
  g_autofree char *value = NULL;

  if (n > LONGEST_FIELD || (n && memchr (data, 0, n)))
    return avatar_problem_set (problem, 400, "text of at most 16384 bytes", NULL,
        "the field \"%.40s\" has %zu bytes%s", name, n, n > LONGEST_FIELD ? "" : ", one of them 0");
  value = g_strndup (data, n);
  return avatar_job_settings_set (&self->settings, name, value, problem);
}

static gboolean
take_file (GBytes **file, const char *name, GBytes *body, AvatarProblem **problem)
{
  if (*file)
    return avatar_problem_set (problem, 400, "one", NULL, "the form has two files \"%s\"", name);
  if (g_bytes_get_size (body) == 0)
    return avatar_problem_set (problem, 400, NULL, "choose a file", "the file \"%s\" is empty",
        name);
  *file = g_bytes_ref (body);
  return TRUE;
}

static gboolean
take_part (AvatarJobUpload *self, SoupMessageHeaders *headers, GBytes *body,
    AvatarProblem **problem)
{
  g_autoptr (GHashTable) params = NULL;
  g_autofree char *disposition = NULL;
  const char *name = NULL;

  if (soup_message_headers_get_content_disposition (headers, &disposition, &params))
    name = g_hash_table_lookup (params, "name");
  if (!name || !g_utf8_validate (name, -1, NULL))
    return avatar_problem_set (problem, 400, "Content-Disposition: form-data; name=\"...\"", NULL,
        "a part of the form has no name");
  if (strcmp (name, "audio") == 0)
    return take_file (&self->audio, name, body, problem);
  if (strcmp (name, "image") == 0)
    return take_file (&self->image, name, body, problem);
  return take_field (self, name, body, problem);
}

/* Checks the part that begins with the delimiter at @at. libsoup 3.2 makes an object of each of its
 * headers, and takes a part that the next delimiter follows at once as one of 2^64 - 2 bytes. */
static gboolean
check_part (const char *at, const char *end, const char *delimiter, AvatarProblem **problem)
{
  gsize length = strlen (delimiter);
  const char *blank = memmem (at, MIN (end - at, LONGEST_HEADERS), "\r\n\r\n", 4);
  const char *content = blank ? blank + 4 : NULL;

  if (!content)
    return avatar_problem_set (problem, 400, "headers of at most 16384 bytes and an empty line",
        NULL, "a part of the form begins with something else");
  if ((gsize) (end - content) >= length && memcmp (content, delimiter, length) == 0)
    return avatar_problem_set (problem, 400, "a line break before each boundary", NULL,
        "a part of the form has none");
  return TRUE;
}

/* Checks the parts of the form before libsoup splits it into any number of them. */
static gboolean
check_form (GBytes *body, const char *boundary, AvatarProblem **problem)
{
  g_autofree char *delimiter = g_strconcat ("--", boundary, NULL);
  gsize n, length = strlen (delimiter);
  const char *data = g_bytes_get_data (body, &n), *end = data + n;
  guint n_parts = 0;

  for (const char *at = data; (at = memmem (at, end - at, delimiter, length)); at += length) {
    gboolean begins = at == data || (at - data >= 2 && at[-2] == '\r' && at[-1] == '\n');

    if (!begins || end - at < (gssize) length + 2 || memcmp (at + length, "\r\n", 2) != 0)
      continue;
    if (++n_parts > MOST_PARTS)
      return avatar_problem_set (problem, 400, "at most 32", NULL, "the form has more parts");
    if (!check_part (at, end, delimiter, problem))
      return FALSE;
  }
  return TRUE;
}

/* Returns NULL with a problem if the body is no form that is taken. */
static SoupMultipart *
split_form (SoupMessageHeaders *headers, GBytes *body, AvatarProblem **problem)
{
  g_autoptr (GHashTable) params = NULL;
  const char *type = soup_message_headers_get_content_type (headers, &params);
  const char *boundary = type ? g_hash_table_lookup (params, "boundary") : NULL;
  SoupMultipart *form = NULL;

  if (boundary && !check_form (body, boundary, problem))
    return NULL;
  form = soup_multipart_new_from_message (headers, body);
  if (!form)
    avatar_problem_set (problem, 400, "multipart/form-data with a boundary", NULL,
        "the body is not a form of several parts");
  return form;
}

gboolean
avatar_job_upload_parse (AvatarJobUpload *self, SoupMessageHeaders *headers, GBytes *body,
    AvatarProblem **problem)
{
  g_autoptr (SoupMultipart) form = split_form (headers, body, problem);

  *self = (AvatarJobUpload){ 0 };
  avatar_job_settings_init (&self->settings);
  for (int i = 0; form && i < soup_multipart_get_length (form); i++) {
    SoupMessageHeaders *part_headers;
    GBytes *part;

    if (!soup_multipart_get_part (form, i, &part_headers, &part)
        || !take_part (self, part_headers, part, problem))
      return FALSE;
  }
  return form != NULL;
}

void
avatar_job_upload_clear (AvatarJobUpload *self)
{
  g_clear_pointer (&self->audio, g_bytes_unref);
  g_clear_pointer (&self->image, g_bytes_unref);
  avatar_job_settings_clear (&self->settings);
}

/* --------------------------------------------------------------------------------------- checks */

gboolean
avatar_check_image (GBytes *image, AvatarProblem **problem)
{
  static const guint8 png[] = { 0x89, 'P', 'N', 'G' }, jpeg[] = { 0xff, 0xd8, 0xff };
  gsize n;
  const guint8 *data = g_bytes_get_data (image, &n);

  if ((n > sizeof png && memcmp (data, png, sizeof png) == 0)
      || (n > sizeof jpeg && memcmp (data, jpeg, sizeof jpeg) == 0))
    return TRUE;
  return avatar_problem_set (problem, 415, "a PNG or JPEG file", "convert the picture",
      "the image is of another type");
}

gboolean
avatar_check_image_file (const char *path, AvatarProblem **problem)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = avatar_image_load (path, &error);
  g_autoptr (AvatarProblem) reason = NULL;

  if (image)
    return TRUE;
  reason = avatar_server_problem_from_text (415, error->message);
  return avatar_problem_set (problem, 415,
      reason->expected ? reason->expected : "a PNG or JPEG file",
      reason->remedy ? reason->remedy : "save the picture again", "the image is refused: %s",
      reason->found);
}

/* Refuses bytes that begin as no medium. Playlists and texts, which name other files, are none. */
static gboolean
check_type (GBytes *audio, AvatarProblem **problem)
{
  gsize n;
  const guint8 *data = g_bytes_get_data (audio, &n);
  g_autoptr (GstCaps) caps = gst_type_find_helper_for_data (NULL, data, MIN (n, 1 << 20), NULL);
  const char *name = caps ? gst_structure_get_name (gst_caps_get_structure (caps, 0)) : "unknown";
  static const char *const others[] = { "application/ogg", "application/x-id3",
    "application/x-apetag", "application/vnd.rn-realmedia", "application/mxf", NULL };

  if (g_str_has_prefix (name, "audio/") || g_str_has_prefix (name, "video/")
      || g_strv_contains (others, name))
    return TRUE;
  return avatar_problem_set (problem, 415,
      "a sound file that GStreamer can decode (WAV, MP3, Ogg, FLAC, M4A, WebM)", NULL,
      "the content of the sound file is of the type %s", name);
}

static gboolean
check_length (const AvatarServerConfig *config, GstDiscovererInfo *info, guint *n_frames,
    AvatarProblem **problem)
{
  GstClockTime duration = gst_discoverer_info_get_duration (info);
  g_autolist (GstDiscovererStreamInfo) streams = gst_discoverer_info_get_audio_streams (info);

  if (!streams)
    return avatar_problem_set (problem, 415, "a file with speech", NULL,
        "the sound file has no audio stream that can be decoded");
  if (!GST_CLOCK_TIME_IS_VALID (duration))
    duration = 0;
  if (duration / GST_SECOND > config->most_seconds)
    return avatar_problem_set (problem, 413, NULL,
        "cut it, or start the server with a larger --max-seconds",
        "the sound lasts %.0f s, at most %u s are taken", duration / (double) GST_SECOND,
        config->most_seconds);
  *n_frames = gst_util_uint64_scale_ceil (duration, FPS, GST_SECOND);
  return TRUE;
}

static gboolean
check_sound (const AvatarServerConfig *config, const char *path, guint *n_frames,
    AvatarProblem **problem)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GstDiscoverer) discoverer = gst_discoverer_new (PROBE_TIME, &error);
  g_autofree char *uri = g_filename_to_uri (path, NULL, NULL);
  g_autoptr (GstDiscovererInfo) info
      = discoverer ? gst_discoverer_discover_uri (discoverer, uri, &error) : NULL;

  if (info && gst_discoverer_info_get_result (info) == GST_DISCOVERER_OK)
    return check_length (config, info, n_frames, problem);
  if (info && gst_discoverer_info_get_result (info) == GST_DISCOVERER_MISSING_PLUGINS)
    return avatar_problem_set (problem, 415, NULL,
        "convert the file to WAV, or install the GStreamer plugin on the server",
        "the sound file needs a decoder that is not installed");
  return avatar_problem_set (problem, 415, "a sound file that GStreamer can decode",
      "convert it to WAV", "the sound file cannot be read");
}

gboolean
avatar_check_sound_file (const AvatarServerConfig *config, const char *path, guint *n_frames,
    AvatarProblem **problem)
{
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, NULL);
  g_autoptr (GBytes) bytes = file ? g_mapped_file_get_bytes (file) : NULL;

  if (!bytes)
    return avatar_problem_set (problem, 500, NULL, "see to the disk of the server",
        "the sound file cannot be opened");
  return check_type (bytes, problem) && check_sound (config, path, n_frames, problem);
}

/* -------------------------------------------------------------------------------------- storing */

static gboolean
write_file (const char *folder, const char *name, GBytes *bytes, GError **error)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  gsize n;
  const char *data = g_bytes_get_data (bytes, &n);

  return g_file_set_contents_full (path, data, n,
      G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

static gboolean
check_parts (AvatarJobUpload *self, const AvatarServerConfig *config, AvatarProblem **problem)
{
  if (!self->audio || !self->image)
    return avatar_problem_set (problem, 400, "the files audio and image", NULL,
        "the form has no file \"%s\"", self->audio ? "image" : "audio");
  return avatar_server_config_find (config, self->settings.model, problem)
      && avatar_check_image (self->image, problem) && check_type (self->audio, problem);
}

AvatarJob *
avatar_job_upload_store (AvatarJobUpload *self, const AvatarServerConfig *config,
    AvatarJobQueue *queue, AvatarProblem **problem)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = NULL, *audio = NULL, *image = NULL;
  AvatarJob *job = NULL;
  guint n_frames = 0;

  if (!check_parts (self, config, problem))
    return NULL;
  folder = avatar_job_queue_new_folder (queue, &error);
  if (folder && write_file (folder, AVATAR_JOB_AUDIO, self->audio, &error)
      && write_file (folder, AVATAR_JOB_IMAGE, self->image, &error)) {
    audio = g_build_filename (folder, AVATAR_JOB_AUDIO, NULL);
    image = g_build_filename (folder, AVATAR_JOB_IMAGE, NULL);
    if (avatar_check_image_file (image, problem) && check_sound (config, audio, &n_frames, problem))
      job = avatar_job_queue_add (queue, folder, &self->settings, n_frames, &error);
  }
  if (folder && !job)
    avatar_remove_folder (folder);
  if (error) {
    g_printerr ("avatar-server: warning: an upload could not be stored: %s\n", error->message);
    avatar_problem_set (problem, 500, NULL, "see to the disk of the server",
        "the upload could not be stored");
  }
  return job;
}
