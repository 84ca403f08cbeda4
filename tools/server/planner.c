/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/planner.h"

#include <avatar/avatar.h>

#define MIB 1048576.
#define FPS 25
/* Latents of a window and of its overlap, of the presets Live and Realtime. */
#define LIVE_WINDOW 7
#define LIVE_OVERLAP 2
#define REALTIME_WINDOW 4
#define REALTIME_OVERLAP 1

struct _AvatarPlanner
{
  const AvatarServerConfig *config;
  AvatarDevice *device; /* NULL: could not be opened */
  char *device_error;
  GMutex lock;
  double rate; /* operations per second of the last job; 0: not known */
  guint resident_groups, streamed_groups;
};

AvatarPlanner *
avatar_planner_new (const AvatarServerConfig *config)
{
  AvatarPlanner *self = g_new0 (AvatarPlanner, 1);
  g_autoptr (GError) error = NULL;

  self->config = config;
  g_mutex_init (&self->lock);
  self->device = avatar_device_open (config->device, &error);
  if (!self->device)
    self->device_error = g_strdup (error->message);
  return self;
}

void
avatar_planner_free (AvatarPlanner *self)
{
  g_clear_pointer (&self->device, avatar_device_unref);
  g_mutex_clear (&self->lock);
  g_free (self->device_error);
  g_free (self);
}

static void
set_windows (const char *profile, AvatarDenoiseSettings *denoise)
{
  if (g_strcmp0 (profile, "quality") == 0)
    return;
  denoise->window_latents = g_strcmp0 (profile, "realtime") == 0 ? REALTIME_WINDOW : LIVE_WINDOW;
  denoise->overlap = g_strcmp0 (profile, "realtime") == 0 ? REALTIME_OVERLAP : LIVE_OVERLAP;
}

/* Makes a plan. Returns the size of the video, and the steps, in @denoise. */
static gboolean
make_plan (AvatarPlanner *self, const AvatarJobSettings *settings, guint frames,
    AvatarDenoiseSettings *denoise, AvatarPlan *plan, AvatarProblem **problem)
{
  const AvatarServerModel *named
      = avatar_server_config_find (self->config, settings->model, problem);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = named ? avatar_model_open (named->path, &error) : NULL;
  const char *device = self->device ? avatar_device_get_name (self->device) : "cpu";
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;

  if (model) {
    avatar_denoise_settings_init (denoise, model);
    avatar_decode_settings_init (&decode, model);
    avatar_plan_options_init (&options);
    if (settings->width) {
      denoise->width = settings->width;
      denoise->height = settings->height;
    }
    if (settings->steps)
      denoise->steps = settings->steps;
    set_windows (settings->profile, denoise);
    if (avatar_device_parse_budget (self->device, settings->budget, &options.budget_bytes, &error)
        && avatar_plan_make (model, device, denoise, &decode, frames, &options, plan, &error))
      return TRUE;
  }
  if (error && problem && !*problem)
    *problem = avatar_problem_from_text (400, error->message);
  return FALSE;
}

static double
work_of (const AvatarPlan *plan)
{
  double flops = 0;

  for (guint i = 0; i < plan->n_stages; i++)
    flops += plan->stages[i].flops;
  return flops;
}

static void
build_stages (const AvatarPlan *plan, JsonBuilder *builder)
{
  json_builder_set_member_name (builder, "stages");
  json_builder_begin_array (builder);
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *stage = &plan->stages[i];

    json_builder_begin_object (builder);
    avatar_json_add_string (builder, "name", stage->name);
    avatar_json_add_string (builder, "place", stage->on_gpu ? "gpu" : "host");
    avatar_json_add_double (builder, "weights_mib", stage->weight_bytes / MIB);
    avatar_json_add_double (builder, "activations_mib", stage->arena_bytes / MIB);
    avatar_json_add_double (builder, "gflop", stage->flops * 1e-9);
    json_builder_end_object (builder);
  }
  json_builder_end_array (builder);
}

gboolean
avatar_planner_build (AvatarPlanner *self, const AvatarJobSettings *settings, double seconds,
    JsonBuilder *builder, AvatarProblem **problem)
{
  guint frames = MAX (seconds * FPS + 0.999, 1);
  AvatarDenoiseSettings denoise;
  AvatarPlan plan;
  double rate;

  if (!make_plan (self, settings, frames, &denoise, &plan, problem))
    return FALSE;
  g_mutex_lock (&self->lock);
  rate = self->rate;
  g_mutex_unlock (&self->lock);
  json_builder_begin_object (builder);
  avatar_json_add_int (builder, "width", denoise.width);
  avatar_json_add_int (builder, "height", denoise.height);
  avatar_json_add_int (builder, "steps", denoise.steps);
  avatar_json_add_int (builder, "frames", frames);
  json_builder_set_member_name (builder, "fits");
  json_builder_add_boolean_value (builder, plan.fits);
  avatar_json_add_double (builder, "device_mib", plan.peak_bytes / MIB);
  avatar_json_add_double (builder, "host_mib", plan.host_bytes / MIB);
  avatar_json_add_double (builder, "minimum_budget_mib", plan.gpu.min_bytes / MIB);
  avatar_json_add_double (builder, "gflop", work_of (&plan) * 1e-9);
  avatar_json_add_double (builder, "seconds", rate > 0 ? work_of (&plan) / rate : G_MAXDOUBLE * 2);
  build_stages (&plan, builder);
  json_builder_end_object (builder);
  return TRUE;
}

void
avatar_planner_learn (AvatarPlanner *self, AvatarJob *job)
{
  double seconds = (g_get_real_time () - job->started) / (double) G_USEC_PER_SEC;
  AvatarDenoiseSettings denoise;
  AvatarPlan plan;

  if (job->frames_done == 0 || seconds <= 0
      || !make_plan (self, &job->settings, job->frames_done, &denoise, &plan, NULL))
    return;
  g_mutex_lock (&self->lock);
  self->rate = work_of (&plan) / seconds;
  g_mutex_unlock (&self->lock);
}

void
avatar_planner_take_window (AvatarPlanner *self, const GstStructure *window)
{
  g_mutex_lock (&self->lock);
  gst_structure_get (window, "resident-groups", G_TYPE_UINT, &self->resident_groups,
      "streamed-groups", G_TYPE_UINT, &self->streamed_groups, NULL);
  g_mutex_unlock (&self->lock);
}

static void
build_model (const AvatarServerModel *named, JsonBuilder *builder)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (named->path, &error);

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "name", named->name);
  if (model) {
    const AvatarModelInfo *info = avatar_model_get_info (model);

    avatar_json_add_int (builder, "width", info->width);
    avatar_json_add_int (builder, "height", info->height);
    avatar_json_add_int (builder, "size_multiple", info->size_multiple);
    avatar_json_add_int (builder, "steps", info->steps);
  }
  avatar_json_add_string (builder, "missing", error ? error->message : NULL);
  json_builder_end_object (builder);
}

static void
build_device (AvatarPlanner *self, JsonBuilder *builder)
{
  AvatarMemory memory = { 0 };

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "name",
      self->device ? avatar_device_get_name (self->device) : self->config->device);
  avatar_json_add_string (builder, "missing", self->device_error);
  if (self->device) {
    avatar_device_get_memory (self->device, &memory);
    avatar_json_add_string (builder, "description", avatar_device_get_description (self->device));
  }
  avatar_json_add_double (builder, "memory_mib", memory.now / MIB);
  avatar_json_add_double (builder, "peak_mib", memory.peak / MIB);
  avatar_json_add_double (builder, "budget_mib", memory.budget / MIB);
  g_mutex_lock (&self->lock);
  avatar_json_add_int (builder, "resident_groups", self->resident_groups);
  avatar_json_add_int (builder, "streamed_groups", self->streamed_groups);
  g_mutex_unlock (&self->lock);
  json_builder_end_object (builder);
}

void
avatar_planner_build_state (AvatarPlanner *self, JsonBuilder *builder)
{
  json_builder_set_member_name (builder, "models");
  json_builder_begin_array (builder);
  for (guint i = 0; i < self->config->models->len; i++)
    build_model (self->config->models->pdata[i], builder);
  json_builder_end_array (builder);
  json_builder_set_member_name (builder, "devices");
  json_builder_begin_array (builder);
  build_device (self, builder);
  json_builder_end_array (builder);
}
