/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/redis-report.h"

#include "engine/formats/json.h"

#include <string.h>

#define MOST_WARNINGS 10
#define LONGEST_WARNING 2000
#define MOST_FRAMES 100000000
/* Numbers in JSON are exact up to here. */
#define MOST_BYTES ((guint64) 1 << 50)

static const char *const states[] = { "queued", "running", "done", "failed" };
static const char *const stages[] = { "audio", "denoise", "decode" };

static gboolean
refuse (GError **error, const char *what)
{
  g_set_error (error, JSON_PARSER_ERROR, JSON_PARSER_ERROR_INVALID_DATA,
      "%s in Redis is not as avatar-server writes it", what);
  return FALSE;
}

/* Returns the object that @text is. Unref it with json_object_unref(). */
static JsonObject *
parse (const char *text, const char *what, GError **error)
{
  gsize n = strlen (text);
  JsonObject *object
      = n <= AVATAR_REDIS_LONGEST_TEXT ? avatar_json_parse (text, n, what, NULL) : NULL;

  if (!object)
    refuse (error, what);
  return object;
}

static double
number (JsonObject *object, const char *name, double most)
{
  return CLAMP (avatar_json_number (object, name, 0), 0, most);
}

static JsonObject *
member_object (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

/* ---------------------------------------------------------------------------------------- forms */

char *
avatar_redis_form_write (AvatarJob *job, guint64 audio_bytes, guint64 image_bytes)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "settings");
  avatar_job_settings_build (&job->settings, builder);
  avatar_json_add_int (builder, "frames_total", job->frames_total);
  avatar_json_add_int (builder, "audio_bytes", audio_bytes);
  avatar_json_add_int (builder, "image_bytes", image_bytes);
  json_builder_end_object (builder);
  return avatar_json_text (builder);
}

gboolean
avatar_redis_form_parse (const char *text, AvatarRedisForm *form, GError **error)
{
  g_autoptr (JsonObject) object = parse (text, "a job", error);
  JsonObject *settings = object ? member_object (object, "settings") : NULL;
  g_autoptr (AvatarProblem) problem = NULL;

  *form = (AvatarRedisForm){ 0 };
  avatar_job_settings_init (&form->settings);
  if (!object)
    return FALSE;
  if (!settings || !avatar_job_settings_set_json (&form->settings, settings, &problem))
    return refuse (error, problem ? problem->found : "a job");
  form->n_frames = number (object, "frames_total", MOST_FRAMES);
  form->audio_bytes = number (object, "audio_bytes", MOST_BYTES);
  form->image_bytes = number (object, "image_bytes", MOST_BYTES);
  return TRUE;
}

void
avatar_redis_form_clear (AvatarRedisForm *form)
{
  avatar_job_settings_clear (&form->settings);
}

/* -------------------------------------------------------------------------------------- reports */

char *
avatar_redis_report_write (AvatarJob *job, AvatarJobState state, guint64 video_bytes)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  g_mutex_lock (&job->lock);
  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "state", states[state]);
  avatar_json_add_int (builder, "attempts", job->attempts);
  avatar_json_add_int (builder, "frames_done", job->frames_done);
  avatar_json_add_double (builder, "frames_denoised", job->frames_denoised);
  avatar_json_add_int (builder, "pictures", job->n_pictures);
  avatar_json_add_string (builder, "phase", job->phase);
  avatar_json_add_int (builder, "video_bytes", video_bytes);
  for (guint i = 0; i < AVATAR_N_STAGES; i++)
    avatar_json_add_double (builder, stages[i], job->stage_seconds[i]);
  json_builder_set_member_name (builder, "warnings");
  json_builder_begin_array (builder);
  for (guint i = 0; i < job->warnings->len; i++)
    json_builder_add_string_value (builder, job->warnings->pdata[i]);
  json_builder_end_array (builder);
  if (job->problem) {
    json_builder_set_member_name (builder, "error");
    avatar_problem_build (job->problem, builder);
  }
  json_builder_end_object (builder);
  g_mutex_unlock (&job->lock);
  return avatar_json_text (builder);
}

static void
take_warnings (JsonObject *object, AvatarRedisReport *report)
{
  JsonNode *node = json_object_get_member (object, "warnings");
  JsonArray *array = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  guint n = array ? MIN (json_array_get_length (array), MOST_WARNINGS) : 0;

  for (guint i = 0; i < n; i++) {
    JsonNode *item = json_array_get_element (array, i);

    if (JSON_NODE_HOLDS_VALUE (item) && json_node_get_value_type (item) == G_TYPE_STRING)
      g_ptr_array_add (report->warnings,
          g_utf8_substring (json_node_get_string (item), 0,
              MIN (g_utf8_strlen (json_node_get_string (item), -1), LONGEST_WARNING)));
  }
}

gboolean
avatar_redis_report_parse (const char *text, AvatarRedisReport *report, GError **error)
{
  g_autoptr (JsonObject) object = parse (text, "the state of a job", error);
  const char *state = object ? avatar_json_string (object, "state") : NULL;

  *report = (AvatarRedisReport){ .state = G_N_ELEMENTS (states) };
  report->warnings = g_ptr_array_new_with_free_func (g_free);
  if (!object)
    return FALSE;
  for (guint i = 0; state && i < G_N_ELEMENTS (states); i++)
    if (strcmp (state, states[i]) == 0)
      report->state = i;
  if (report->state == G_N_ELEMENTS (states))
    return refuse (error, "the state of a job");
  report->attempts = number (object, "attempts", MOST_FRAMES);
  report->frames_done = number (object, "frames_done", MOST_FRAMES);
  report->frames_denoised = number (object, "frames_denoised", MOST_FRAMES);
  report->n_pictures = number (object, "pictures", MOST_FRAMES);
  report->video_bytes = number (object, "video_bytes", MOST_BYTES);
  for (guint i = 0; i < AVATAR_N_STAGES; i++)
    report->stage_seconds[i] = number (object, stages[i], MOST_FRAMES);
  report->phase = g_strdup (avatar_json_string (object, "phase"));
  take_warnings (object, report);
  report->problem = avatar_problem_from_json (member_object (object, "error"));
  return TRUE;
}

void
avatar_redis_report_apply (AvatarRedisReport *report, AvatarJob *job)
{
  GPtrArray *warnings;

  g_mutex_lock (&job->lock);
  job->attempts = report->attempts;
  job->frames_done = report->frames_done;
  job->frames_denoised = report->frames_denoised;
  memcpy (job->stage_seconds, report->stage_seconds, sizeof job->stage_seconds);
  g_free (job->phase);
  job->phase = g_steal_pointer (&report->phase);
  warnings = job->warnings;
  job->warnings = report->warnings;
  report->warnings = warnings;
  g_mutex_unlock (&job->lock);
}

void
avatar_redis_report_clear (AvatarRedisReport *report)
{
  g_clear_pointer (&report->warnings, g_ptr_array_unref);
  g_clear_pointer (&report->problem, avatar_problem_free);
  g_clear_pointer (&report->phase, g_free);
}
