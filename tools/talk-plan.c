/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/talk-plan.h"

#include "gst/gstavatarloras.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define MIB 1048576.
/* Values of the enumeration GstAvatarTiling. */
#define TILING_FAST "fast"
#define TILING_OFF "off"

/* --------------------------------------------------------------------------------- the pipeline */

static GstElement *
find_element (GstBin *pipeline, const char *factory, GError **error)
{
  g_autoptr (GstIterator) elements
      = gst_bin_iterate_all_by_element_factory_name (pipeline, factory);
  g_auto (GValue) value = G_VALUE_INIT;

  if (gst_iterator_next (elements, &value) == GST_ITERATOR_OK)
    return g_value_dup_object (&value);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "the pipeline has no %s", factory);
  return NULL;
}

static char *
get_string (GstElement *element, const char *name)
{
  char *text;

  g_object_get (element, name, &text, NULL);
  return text;
}

static gboolean
has_tiling (GstElement *decoder, const char *nick)
{
  GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (decoder), "tiling");
  gint value;

  g_object_get (decoder, "tiling", &value, NULL);
  return strcmp (g_enum_get_value (G_PARAM_SPEC_ENUM (pspec)->enum_class, value)->value_nick, nick)
      == 0;
}

/* Returns the number of video frames, of which the last one may begin before the end only. */
static guint
count_frames (const TalkPlan *self)
{
  const AvatarModelInfo *info = avatar_model_get_info (self->model);

  return (guint) MAX (gst_util_uint64_scale_ceil (self->length, info->fps, GST_SECOND), 1);
}

/* Sets the size of the video that the model chooses for the portrait. */
static gboolean
fit_portrait (TalkPlan *self, GstElement *denoiser, GError **error)
{
  g_autofree char *path = get_string (denoiser, "reference");
  g_autoptr (AvatarImage) image = avatar_image_load (path, error);
  g_autoptr (AvatarImage) fitted = NULL;

  if (image)
    fitted = avatar_image_fit (image, self->model, 0, 0, NULL, error);
  if (!fitted)
    return FALSE;
  self->denoise.width = fitted->width;
  self->denoise.height = fitted->height;
  return TRUE;
}

/* Sets what a preset file and LoRAs say. The properties of the element replace the former. */
static gboolean
read_files (TalkPlan *self, GstElement *denoiser, GError **error)
{
  g_autofree char *preset = get_string (denoiser, "preset-file");
  g_autofree char *lora = get_string (denoiser, "lora");

  if (preset && *preset) {
    self->preset = avatar_preset_load (preset, error);
    if (!self->preset)
      return FALSE;
    avatar_preset_apply (self->preset, &self->denoise);
  }
  self->loras = gst_avatar_loras_parse (lora, error);
  if (!self->loras)
    return FALSE;
  if (self->loras->len > 0) {
    self->denoise.loras = (const AvatarLoraSetting *) self->loras->data;
    self->denoise.n_loras = self->loras->len;
  }
  return TRUE;
}

static void
read_properties (TalkPlan *self, GstElement *denoiser, GstElement *decoder)
{
  gint steps, mode, cache;
  double guidance;
  guint tile_frames;

  g_object_get (denoiser, "steps", &steps, "guidance-scale", &guidance, "mode", &mode, "step-cache",
      &cache, NULL);
  self->denoise.mode = (AvatarDenoiseMode) mode;
  if (steps > 0)
    self->denoise.steps = steps;
  if (guidance >= 0)
    self->denoise.guidance_scale = guidance;
  if (cache > 0)
    self->denoise.step_cache = (AvatarStepCacheMode) cache;
  self->decode.tiling = !has_tiling (decoder, TILING_OFF);
  if (has_tiling (decoder, TILING_FAST))
    avatar_decode_settings_fast (&self->decode, self->model, self->denoise.width,
        self->denoise.height);
  g_object_get (decoder, "tile-frames", &tile_frames, NULL);
  if (tile_frames)
    self->decode.tile_frames = tile_frames;
}

/* ------------------------------------------------------------------------------------- the plan */

static gboolean
check_budget (const TalkPlan *self, guint i, gboolean fits, GError **error)
{
  AvatarDevice *member = avatar_device_get_member (self->device, i);
  guint64 budget = g_array_index (self->budgets, guint64, i),
          least = g_array_index (self->minima, guint64, i);

  if (fits)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the memory budget of %.0f MiB for %s is too small: at least %.0f MiB are needed for %ux%u "
      "pixels; raise --budget, or choose a smaller --size",
      floor (budget / MIB), avatar_device_get_name (member), ceil (least / MIB),
      self->denoise.width, self->denoise.height);
  return FALSE;
}

/* Plans each device of a group, of which the first has most stages. */
static gboolean
plan_members (TalkPlan *self, const char *budget, GError **error)
{
  guint n = avatar_device_get_n_members (self->device);
  g_autofree guint64 *budgets = g_new0 (guint64, n);
  AvatarPlanOptions options;

  if (!avatar_device_parse_budgets (self->device, budget, budgets, error))
    return FALSE;
  self->budgets = g_array_new (FALSE, TRUE, sizeof (guint64));
  self->peaks = g_array_new (FALSE, TRUE, sizeof (guint64));
  self->minima = g_array_new (FALSE, TRUE, sizeof (guint64));
  avatar_plan_options_init (&options);
  for (guint i = 0; i < n; i++) {
    AvatarPlan plan;
    guint64 least;

    options.member = i;
    options.budget_bytes = budgets[i];
    if (!avatar_plan_make (self->model, avatar_device_get_name (self->device), &self->denoise,
            &self->decode, self->frames, &options, &plan, error))
      return FALSE;
    least = plan.gpu.min_bytes ? plan.gpu.min_bytes : plan.peak_bytes;
    g_array_append_val (self->budgets, budgets[i]);
    g_array_append_val (self->peaks, plan.peak_bytes);
    g_array_append_val (self->minima, least);
    self->host_bytes += plan.host_bytes;
    if (i == 0)
      self->plan = plan;
    if (!check_budget (self, i, plan.fits, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
plan_elements (TalkPlan *self, GstElement *denoiser, GstElement *decoder, guint width, guint height,
    GError **error)
{
  g_autofree char *path = get_string (denoiser, "model");
  g_autofree char *device = get_string (denoiser, "device");
  g_autofree char *budget = get_string (denoiser, "vram-budget");

  self->model = avatar_model_open (path, error);
  self->device = self->model ? avatar_device_open (device, error) : NULL;
  if (!self->device)
    return FALSE;
  self->frames = count_frames (self);
  avatar_denoise_settings_init (&self->denoise, self->model);
  avatar_decode_settings_init (&self->decode, self->model);
  avatar_parse_pinned_memory (NULL, &self->denoise.pinned_bytes, NULL);
  self->denoise.width = width;
  self->denoise.height = height;
  if ((!width && !fit_portrait (self, denoiser, error)) || !read_files (self, denoiser, error))
    return FALSE;
  read_properties (self, denoiser, decoder);
  return plan_members (self, budget, error);
}

gboolean
talk_plan_make (TalkPlan *self, GstBin *pipeline, GstClockTime length, guint width, guint height,
    GError **error)
{
  g_autoptr (GstElement) denoiser = find_element (pipeline, "avatardenoise", error);
  g_autoptr (GstElement) decoder
      = denoiser ? find_element (pipeline, "avatarvaedecode", error) : NULL;

  *self = (TalkPlan){ .length = length };
  return decoder && plan_elements (self, denoiser, decoder, width, height, error);
}

void
talk_plan_clear (TalkPlan *self)
{
  g_clear_pointer (&self->budgets, g_array_unref);
  g_clear_pointer (&self->peaks, g_array_unref);
  g_clear_pointer (&self->minima, g_array_unref);
  g_clear_pointer (&self->loras, g_array_unref);
  g_clear_pointer (&self->preset, avatar_preset_unref);
  g_clear_pointer (&self->device, avatar_device_unref);
  g_clear_pointer (&self->model, avatar_model_unref);
}

double
talk_plan_work (const TalkPlan *self)
{
  double flops = 0;

  for (guint i = 0; i < self->plan.n_stages; i++)
    flops += self->plan.stages[i].flops;
  return flops;
}

double
talk_plan_share (const TalkPlan *self, const char *stage)
{
  const AvatarPlan *plan = &self->plan;
  double flops = 0;

  for (guint i = 0; i < plan->n_stages; i++) {
    const char *name = plan->stages[i].name;
    const char *owner = strcmp (name, "audio encoder") == 0 ? "audio"
        : strcmp (name, "decoder") == 0                     ? "decode"
                                                            : "denoise";

    if (strcmp (owner, stage) == 0)
      flops += plan->stages[i].flops;
  }
  return flops / talk_plan_work (self);
}

/* ------------------------------------------------------------------------------------- printing */

static void
line (const char *what, guint64 bytes, const char *more)
{
  g_print ("  %-36s %8.0f MiB%s\n", what, ceil (bytes / MIB), more);
}

/* Returns the memory of the denoiser on the first GPU. */
static guint64
denoiser_bytes (const AvatarPlanGpu *gpu)
{
  return gpu->fixed_bytes + gpu->arena_bytes + gpu->slots_bytes + gpu->expand_bytes
      + gpu->resident_bytes;
}

/* Returns the highest memory of a GPU. If denoiser and decoder both fit, neither releases its
 * memory for the other. */
static guint64
highest_bytes (const TalkPlan *self, guint i)
{
  const AvatarPlanGpu *gpu = &self->plan.gpu;
  guint64 both = gpu->overhead_bytes + denoiser_bytes (gpu) + gpu->decoder_bytes;

  return i == 0 && both <= gpu->budget_bytes ? both : g_array_index (self->peaks, guint64, i);
}

/* Prints the memory of one GPU. */
static void
print_member (const TalkPlan *self, guint i)
{
  const char *name = avatar_device_get_name (avatar_device_get_member (self->device, i));
  g_autofree char *what = g_strdup_printf ("memory of %s", name);
  guint64 budget = g_array_index (self->budgets, guint64, i);
  g_autofree char *more = g_strdup_printf (" of %.0f MiB, at least %.0f MiB", budget / MIB,
      ceil (g_array_index (self->minima, guint64, i) / MIB));

  line (what, highest_bytes (self, i), more);
}

static void
print_gpu (const AvatarPlanGpu *gpu)
{
  g_autofree char *resident
      = g_strdup_printf (", %u of %u groups of weights resident", gpu->resident, gpu->groups);

  line ("  denoiser", denoiser_bytes (gpu), resident);
  line ("  portrait encoder", gpu->portrait_bytes, "");
  line ("  decoder", gpu->decoder_bytes, "");
  line ("  context, libraries, kernels", gpu->overhead_bytes, "");
}

void
talk_plan_print (const TalkPlan *self, const char *time)
{
  const AvatarPlan *plan = &self->plan;
  gboolean on_gpu = plan->gpu.budget_bytes > 0;
  guint64 computer = (guint64) sysconf (_SC_PHYS_PAGES) * (guint64) sysconf (_SC_PAGESIZE);
  g_autofree char *more = g_strdup_printf (" of %.0f MiB", computer / MIB);

  g_print ("Plan: %u frames of %ux%u pixels, %u step%s, on %s; %s\n", self->frames,
      self->denoise.width, self->denoise.height, self->denoise.steps,
      self->denoise.steps == 1 ? "" : "s", avatar_device_get_name (self->device), time);
  for (guint i = 0; on_gpu && i < self->peaks->len; i++) {
    print_member (self, i);
    if (i == 0)
      print_gpu (&plan->gpu);
  }
  line ("memory of the computer", on_gpu ? self->host_bytes : plan->peak_bytes, more);
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *stage = &plan->stages[i];
    g_autofree char *name = g_strdup_printf ("  %s", stage->name);

    if (!stage->on_gpu)
      line (name, stage->weight_bytes + stage->arena_bytes,
          stage->reuses_denoiser_memory ? ", in that of the denoiser" : "");
  }
  if ((on_gpu ? self->host_bytes : plan->peak_bytes) > computer)
    g_printerr (
        "warning: the run needs %.0f MiB of the computer's memory, which has %.0f MiB; choose "
        "a smaller --size or a lower --budget, or close other programs\n",
        ceil ((on_gpu ? self->host_bytes : plan->peak_bytes) / MIB), computer / MIB);
}
