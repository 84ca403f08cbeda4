/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Construction of the denoiser from checked settings, without an arena, and its destruction. */
#include "engine/base/reserved.h"
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/speakers.h"
#include "engine/device/device.h"

#include <math.h>

static gboolean
check_reserved (const AvatarDenoiseSettings *s, GError **error)
{
  for (guint i = 0; i < s->n_loras; i++)
    if (!AVATAR_CHECK_RESERVED (&s->loras[i], "AvatarLoraSetting", error)
        || (s->loras[i].schedule
            && !AVATAR_CHECK_RESERVED (s->loras[i].schedule, "AvatarLoraSchedule", error)))
      return FALSE;
  for (guint i = 0; i < 2 && s->text_states; i++)
    if (!AVATAR_CHECK_RESERVED (&s->text_states[i], "AvatarTextStates", error))
      return FALSE;
  for (guint i = 0; i < MIN (s->n_speakers, AVATAR_MAX_SPEAKERS - 1) && s->speakers; i++)
    if (!AVATAR_CHECK_RESERVED (&s->speakers[i], "AvatarSpeaker", error))
      return FALSE;
  return AVATAR_CHECK_RESERVED (s, "AvatarDenoiseSettings", error);
}

/* Checks settings that the model's conditioning depends on, with the ranges of the properties. */
static gboolean
check_strengths (const AvatarDenoiseSettings *s, GError **error)
{
  const struct
  {
    const char *name;
    double value, max;
  } strengths[] = { { "motion-pose", s->motion_pose, 1000 }, { "motion-exp", s->motion_exp, 1000 },
    { "cache-threshold", s->step_cache_threshold, 100 },
    { "guidance-border", s->guidance_border, 1 }, { "attention-tau", s->attention_tau, 100 },
    { "attention-dense-steps", s->attention_dense_steps, 1 } };

  for (guint i = 0; i < G_N_ELEMENTS (strengths); i++)
    if (!(strengths[i].value >= 0 && strengths[i].value <= strengths[i].max)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "%s is %g; 0 to %g are possible",
          strengths[i].name, strengths[i].value, strengths[i].max);
      return FALSE;
    }
  return TRUE;
}

/* Checks the schedule that the settings list, if they have one. */
static gboolean
check_sigmas (const AvatarDenoiseSettings *s, const AvatarModelInfo *info, GError **error)
{
  if (s->n_sigmas == 0)
    return TRUE;
  if (s->n_sigmas != s->steps || !s->sigmas) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "sigmas has %u values, but steps is %u; expected one sigma for each step, without the 0 that "
        "follows the last one",
        s->sigmas ? s->n_sigmas : 0, s->steps);
    return FALSE;
  }
  if (s->flow_shift != info->flow_shift) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found sigmas and a flow-shift of %g, which exclude each other; leave out one of them",
        s->flow_shift);
    return FALSE;
  }
  for (guint i = 0; i < s->n_sigmas; i++)
    if (!(s->sigmas[i] > 0 && s->sigmas[i] <= (i ? s->sigmas[i - 1] : 1))
        || (i && s->sigmas[i] == s->sigmas[i - 1])) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "sigma %u of %u is %g; expected values above 0 and at most 1, each less than the one before "
          "it",
          i + 1, s->n_sigmas, s->sigmas[i]);
      return FALSE;
    }
  return TRUE;
}

static gboolean
has_finite_strengths (const AvatarLoraSchedule *schedule)
{
  for (guint i = 0; i < schedule->n_strengths; i++)
    if (!schedule->strengths || !isfinite (schedule->strengths[i]))
      return FALSE;
  return TRUE;
}

/* Checks the strengths of LoRAs that depend on the step. */
static gboolean
check_schedules (const AvatarDenoiseSettings *s, GError **error)
{
  for (guint i = 0; i < s->n_loras; i++) {
    const AvatarLoraSchedule *l = s->loras[i].schedule;
    gboolean ok = !l
        || (l->n_strengths > 0
                ? has_finite_strengths (l)
                : l->sigma_to >= 0 && l->sigma_to <= l->sigma_from && l->sigma_from <= 1);

    if (ok)
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "%s: its strength has a list with a value that is no number, or a range of noise levels from %g "
        "to %g; expected numbers, or levels of at most 1 and at least 0, the larger one first",
        s->loras[i].path, l->sigma_from, l->sigma_to);
    return FALSE;
  }
  return TRUE;
}

gboolean
avatar_denoiser_check_settings (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  guint multiple = info->size_multiple;

  if (!check_reserved (s, error))
    return FALSE;
  if (s->steps < 1 || s->steps > 1000)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "steps is %u; at least 1 and at most 1000 are possible (this model's default is %u)",
        s->steps, info->steps);
  else if (s->idle_steps > 1000)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "idle-steps is %u; at most 1000 are possible (0: as steps)", s->idle_steps);
  else if (s->min_steps > s->steps)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "min_steps is %u; at most steps, %u, are possible (0: as steps)", s->min_steps, s->steps);
  else if (s->width < multiple || s->height < multiple || s->width > 4096 || s->height > 4096
      || s->width % multiple || s->height % multiple)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the video size is %ux%u; both sides must be multiples of %u from %u to 4096 "
        "(this model was made for %ux%u)",
        s->width, s->height, multiple, multiple, info->width, info->height);
  else if (s->window_latents < 2 || s->window_latents > info->window_latents)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "window-latents is %u; 2 to %u latent frames are possible", s->window_latents,
        info->window_latents);
  else if (s->overlap < 1 || s->overlap >= s->window_latents)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "overlap is %u latent frames; it must be at least 1 and less than window-latents, which is %u",
        s->overlap, s->window_latents);
  else if ((guint) s->continuation > AVATAR_CONTINUATION_CORRECTED)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "continuation is %u; 0 (held) and 1 (corrected) are possible", (guint) s->continuation);
  else if ((guint) s->attention > AVATAR_ATTENTION_SPARSE)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "attention is %u; 0 (dense) and 1 (sparse) are possible", (guint) s->attention);
  else if (!(s->flow_shift > 0 && s->flow_shift <= 100))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "flow-shift is %g; it must be above 0 and at most 100 (this model's default is %g)",
        s->flow_shift, info->flow_shift);
  else if (!(s->guidance_scale >= 0 && s->guidance_scale <= 100))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "guidance-scale is %g; 0 to 100 are possible (1 or less: no guidance)", s->guidance_scale);
  else
    return check_strengths (s, error) && check_sigmas (s, info, error) && check_schedules (s, error)
        && avatar_speakers_check (s, model, error);
  return FALSE;
}

static gboolean
check_precision (const AvatarDenoiseSettings *s, AvatarDevice *device, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (device);

  if (s->precision != AVATAR_PRECISION_FP8
      || (backend->supports_8bit_linear
          && backend->supports_8bit_linear (avatar_device_get_handle (device))))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "precision is fp8, which %s does not support; choose auto, or a GPU of compute capability 8.9 or "
      "later",
      avatar_device_get_name (device));
  return FALSE;
}

static gboolean
check_attention (const AvatarDenoiseSettings *s, AvatarModel *model, AvatarDevice *device,
    GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (device);
  gint64 head = avatar_model_get_config (model)->transformer.head_dim;

  if (s->attention == AVATAR_ATTENTION_DENSE
      || (backend->supports_sparse_attention
          && backend->supports_sparse_attention (avatar_device_get_handle (device), head)))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "attention is sparse, which %s does not support for this model's heads of width %" G_GINT64_FORMAT
      "; choose dense, or a GPU of compute capability 8.0 or later and a model with heads of width 128",
      avatar_device_get_name (device), head);
  return FALSE;
}

/* Refuses a size over the limit of the device. @limit: largest supported value; 0: no limit */
static gboolean
check_limit (AvatarDevice *device, const char *what, gint64 found, gint64 limit, GError **error)
{
  if (limit == 0 || found <= limit)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "this model's transformer has %s of %" G_GINT64_FORMAT "; %s supports up to %" G_GINT64_FORMAT
      "; choose device=cpu",
      what, found, avatar_device_get_name (device), limit);
  return FALSE;
}

/* Refuses sizes that an operation of the device would refuse, in a plan as well as in a run. */
static gboolean
check_limits (const AvatarDenoiseSettings *s, AvatarModel *model, AvatarDevice *device,
    GError **error)
{
  const AvatarBackend *b = avatar_device_get_backend (device);
  const AvatarTransformerConfig *c = &avatar_model_get_config (model)->transformer;

  return check_attention (s, model, device, error)
      && check_limit (device, "heads", c->head_dim, b->max_head, error)
      && check_limit (device, "audio adapters", c->adapter_dim, b->max_frame_width, error)
      && check_limit (device, "audio tokens for a latent frame", 4 * c->audio_tokens,
          b->max_frame_keys, error)
      && (s->precision != AVATAR_PRECISION_FP8
          || check_limit (device, "rows in 8 bits", c->hidden, b->max_norm_8bit, error));
}

gboolean
avatar_denoiser_is_split (const AvatarDenoiser *self)
{
  return self->settings.guidance_scale > 1 && avatar_device_get_n_members (self->group) > 1;
}

/* Sets the numbers of steps that a window may have. */
static void
set_steps (AvatarDenoiser *self)
{
  const AvatarDenoiseSettings *s = &self->settings;
  guint first = s->min_steps ? s->min_steps : s->steps, n = 0;
  g_autofree guint *steps = g_new (guint, s->steps - first + 2);

  for (guint i = s->steps; i >= first; i--)
    steps[n++] = i;
  if (s->idle_steps > 0 && (s->idle_steps < first || s->idle_steps > s->steps))
    steps[n++] = s->idle_steps;
  avatar_window_set_steps (&self->window, steps, n);
}

void
avatar_denoiser_init_window (AvatarDenoiser *self)
{
  const AvatarDenoiseSettings *s = &self->settings;

  if (self->leader) {
    self->settings.steps = self->leader->settings.steps;
    avatar_window_follow (&self->window, &self->leader->window);
    self->window.transformer = &self->transformer;
    return;
  }
  self->window.transformer = &self->transformer;
  self->window.branches
      = avatar_denoiser_is_split (self) ? AVATAR_BRANCHES_WITH_AUDIO : AVATAR_BRANCHES_BOTH;
  self->window.conditions = &self->conditioning.conditions;
  self->window.motion_exp = s->motion_exp;
  self->window.motion_pose = s->motion_pose;
  self->window.fps = avatar_model_get_info (self->model)->fps;
  self->window.guidance_scale = s->guidance_scale;
  self->window.flow_shift = s->flow_shift;
  self->window.guidance_border = s->guidance_border;
  self->window.loras = &self->loras;
  self->window.sigmas = s->sigmas;
  self->window.n_sigmas = s->n_sigmas;
  self->window.upstream_rounding = s->upstream_rounding;
  set_steps (self);
  if (s->attention == AVATAR_ATTENTION_SPARSE)
    self->window.sparse = (AvatarSparseSettings){ s->attention_tau, s->attention_dense_layers };
  self->window.is_sparse = s->attention == AVATAR_ATTENTION_SPARSE;
  self->window.dense_steps = s->attention_dense_steps;
  self->window.step_cache_mode = s->step_cache;
  self->window.step_cache_threshold = s->step_cache_threshold;
  self->window.step_cache_steps = s->step_cache_steps;
  self->window.n_speakers = 1 + s->n_speakers;
  self->window.frames = self->stream.shape.frames;
  self->window.channels = self->stream.shape.channels;
  self->window.h8 = self->stream.shape.h8;
  self->window.w8 = self->stream.shape.w8;
}

/* Copies the settings, except those that only avatar_denoiser_open() uses. */
static void
copy_settings (AvatarDenoiseSettings *to, const AvatarDenoiseSettings *from)
{
  *to = *from;
  to->prompt = g_strdup (from->prompt);
  to->negative_prompt = g_strdup (from->negative_prompt);
  to->prompt_cache_dir = g_strdup (from->prompt_cache_dir);
  to->sigmas = g_memdup2 (from->sigmas, from->n_sigmas * sizeof *from->sigmas);
  to->speakers = avatar_speakers_copy (from);
  to->loras = NULL;
  to->n_loras = 0;
  to->text_states = NULL;
  to->noise_file = to->posterior_noise = NULL;
}

static void
init_stream (AvatarLatentStream *stream, const AvatarDenoiseSettings *s,
    const AvatarModelInfo *info)
{
  const AvatarLatentShape shape = {
    .channels = info->latent_channels,
    .frames = s->mode == AVATAR_DENOISE_MODE_CLIP ? info->window_latents : s->window_latents,
    .h8 = s->height / info->latent_scale,
    .w8 = s->width / info->latent_scale,
  };

  avatar_latent_stream_init (stream, &shape,
      (gsize) info->feature_steps * info->feature_states * info->feature_channels,
      1 + s->n_speakers);
}

/* Loads the initial noise, if it is in a file. */
static gboolean
load_noise (AvatarDenoiser *self, const AvatarDenoiseSettings *s, GError **error)
{
  const AvatarLatentShape *shape = &self->stream.shape;
  const gint64 sizes[4] = { shape->channels, shape->frames, shape->h8, shape->w8 };

  if (s->noise && s->noise_file) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found initial noise in memory and in the file %s; expected only one of them",
        s->noise_file);
    return FALSE;
  }
  return self->use == AVATAR_DENOISER_PLAN || !s->noise_file
      || avatar_noise_file_load (&self->noise, s->noise_file, "noise", sizes, error);
}

/* Allocates a denoiser with everything that needs no file. @group: its first member computes */
static AvatarDenoiser *
denoiser_alloc (AvatarModel *model, AvatarDevice *group, const AvatarDenoiseSettings *settings,
    AvatarDenoiserUse use)
{
  AvatarDenoiser *self = g_new0 (AvatarDenoiser, 1);
  AvatarDevice *device = avatar_device_get_member (group, 0);
  const AvatarTransformerConfig *c = &avatar_model_get_config (model)->transformer;

  self->model = avatar_model_ref (model);
  self->group = avatar_device_ref (group);
  self->device = avatar_device_ref (device);
  self->use = use;
  self->deadline = AVATAR_NO_DEADLINE;
  copy_settings (&self->settings, settings);
  init_stream (&self->stream, settings, avatar_model_get_info (model));
  self->conditioning = (AvatarConditioning){
    .model = model,
    .device = device,
    .settings = &self->settings,
    .shape = self->stream.shape,
    .use = use,
    .has_text_states = settings->text_states != NULL,
  };
  g_mutex_init (&self->memory.exec_lock);
  self->memory.device = device;
  self->memory.window = &self->window;
  self->memory.precompute = avatar_transformer_weight_schedule (c, AVATAR_PASS_PRECOMPUTE);
  self->memory.forward = avatar_transformer_weight_schedule (c, AVATAR_PASS_FORWARD);
  self->transformer.config = c;
  self->transformer.fp8 = settings->precision == AVATAR_PRECISION_FP8;
  return self;
}

AvatarDenoiser *
avatar_denoiser_open (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, AvatarDenoiserUse use, GError **error)
{
  g_autoptr (AvatarDenoiser) self = NULL;

  if (!avatar_denoiser_check_settings (settings, model, error)
      || !check_precision (settings, device, error)
      || !check_limits (settings, model, device, error))
    return NULL;
  self = denoiser_alloc (model, device, settings, use);
  if (!avatar_denoiser_open_lora_list (self, settings, &self->loras, error)
      || !avatar_conditioning_set_texts (&self->conditioning, settings->text_states, error)
      || !load_noise (self, settings, error)
      || !avatar_conditioning_init_posterior (&self->conditioning, settings, error))
    return NULL;
  avatar_conditioning_plan_texts (&self->conditioning, G_MAXUINT64, &self->conditioning.text_needs);
  if (!avatar_denoiser_plan_weights (self, error)
      || (use == AVATAR_DENOISER_RUN && !avatar_denoiser_load_weights (self, error)))
    return NULL;
  avatar_denoiser_init_window (self);
  return g_steal_pointer (&self);
}

AvatarDenoiser *
avatar_denoiser_open_peer (AvatarDenoiser *leader, GError **error)
{
  AvatarDevice *member = avatar_device_get_member (leader->group, 1);
  g_autoptr (AvatarDenoiser) self = NULL;

  if (!check_precision (&leader->settings, member, error)
      || !check_limits (&leader->settings, leader->model, member, error))
    return NULL;
  self = denoiser_alloc (leader->model, member, &leader->settings, leader->use);
  avatar_device_unref (self->group);
  self->group = avatar_device_ref (leader->group);
  self->leader = leader;
  g_clear_pointer (&self->memory.precompute, g_free);
  if (!avatar_denoiser_plan_weights (self, error)
      || (self->use == AVATAR_DENOISER_RUN && !avatar_denoiser_load_weights (self, error)))
    return NULL;
  avatar_denoiser_init_window (self);
  return g_steal_pointer (&self);
}

void
avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step)
{
  AvatarProgress progress = { AVATAR_PROGRESS_DENOISE, window, step, self->window.steps };

  if (self->progress.func)
    self->progress.func (&progress, self->progress.data);
}

void
avatar_denoiser_free (AvatarDenoiser *self)
{
  if (!self)
    return;
  avatar_denoiser_free (self->peer);
  avatar_memory_client_free (self->memory.client);
  if (self->leader)
    avatar_window_free_caches (&self->window);
  else
    avatar_window_remove_steps (&self->window);
  g_free (self->run.host);
  avatar_denoiser_memory_clear (&self->memory);
  avatar_conditioning_clear (&self->conditioning);
  avatar_latent_stream_clear (&self->stream);
  avatar_noise_file_clear (&self->noise);
  avatar_lora_list_clear (&self->loras);
  g_free ((char *) self->settings.prompt);
  g_free ((char *) self->settings.negative_prompt);
  g_free ((char *) self->settings.prompt_cache_dir);
  g_free ((double *) self->settings.sigmas);
  avatar_speakers_free ((AvatarSpeaker *) self->settings.speakers, self->settings.n_speakers);
  avatar_device_unref (self->device);
  avatar_device_unref (self->group);
  avatar_model_unref (self->model);
  g_free (self);
}
