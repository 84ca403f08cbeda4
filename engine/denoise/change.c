/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of settings between two windows. Old conditions are freed after all new ones have been
 * computed, so that a change that fails has no effect. Only the weights are freed before others are
 * loaded (denoiser-weights.c). */
#include "engine/denoise/denoiser-private.h"

#include "engine/denoise/speakers.h"
#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.

/* Values that a change may replace. */
typedef struct
{
  AvatarDenoiseSettings settings;
  AvatarConditioning conditioning;
  gboolean share_prefix;
  AvatarTokenStorage storage, peer_storage;
  gsize planned_bytes, peer_bytes;
} Saved;

/* Parts that a change computes again.
 * @portrait: moments of the posterior; @latent: reference latent; @face: face mask
 * @prompts: prompts are tokenized; @texts: text states
 * @weights: the weights of the transformer; @memory: the memory plan */
typedef struct
{
  gboolean weights, portrait, latent, face, prompts, texts, step_conditioning, memory;
} Recompute;

static Saved
save (const AvatarDenoiser *self)
{
  return (Saved){
    .settings = self->settings,
    .conditioning = self->conditioning,
    .share_prefix = self->window.share_prefix,
    .storage = self->window.storage,
    .planned_bytes = self->memory.planned_bytes,
    .peer_storage = self->peer ? self->peer->window.storage : AVATAR_TOKEN_STORAGE_HOST,
    .peer_bytes = self->peer ? self->peer->memory.planned_bytes : 0,
  };
}

/* Restores @before. @replaced: (out): the values that it replaces */
static void
restore (AvatarDenoiser *self, const Saved *before, Saved *replaced)
{
  *replaced = save (self);
  self->settings = before->settings;
  self->conditioning = before->conditioning;
  self->window.share_prefix = before->share_prefix;
  self->window.storage = before->storage;
  self->memory.planned_bytes = before->planned_bytes;
}

/* Frees @old unless it is @current. */
static void
free_unless (gconstpointer old, gconstpointer current)
{
  if (old != current)
    g_free ((gpointer) old);
}

/* Frees the values of @old that @self does not use. */
static void
free_replaced (Saved *old, const AvatarDenoiser *self)
{
  const AvatarConditioning *was = &old->conditioning, *is = &self->conditioning;

  free_unless (old->settings.prompt, self->settings.prompt);
  free_unless (old->settings.negative_prompt, self->settings.negative_prompt);
  free_unless (old->settings.sigmas, self->settings.sigmas);
  if (old->settings.speakers != self->settings.speakers)
    avatar_speakers_free ((AvatarSpeaker *) old->settings.speakers, old->settings.n_speakers);
  for (guint i = 0; i < 2; i++) {
    const AvatarText *text = &was->conditions.text[i], *current = &is->conditions.text[i];

    free_unless (text->states, current->states);
    free_unless (text->pooled, current->pooled);
    free_unless (text->mask, current->mask);
  }
  free_unless (was->conditions.reference, is->conditions.reference);
  free_unless (was->conditions.faces, is->conditions.faces);
  free_unless (was->posterior_moments, is->posterior_moments);
  if (was->text != is->text)
    avatar_text_encoder_free (was->text);
  if (was->image != is->image)
    avatar_image_free (was->image);
}

/* Refuses changes of settings that are fixed. */
static gboolean
check_fixed (const AvatarDenoiser *self, const AvatarDenoiseSettings *s, GError **error)
{
  const AvatarDenoiseSettings *now = &self->settings;
  const char *what = NULL;

  if (s->width != now->width || s->height != now->height)
    what = "the size of the video";
  else if (s->mode != now->mode || s->window_latents != now->window_latents
      || s->overlap != now->overlap || s->continuation != now->continuation)
    what = "mode, window-latents, overlap or continuation";
  else if (s->step_cache != now->step_cache || s->step_cache_threshold != now->step_cache_threshold
      || s->step_cache_steps != now->step_cache_steps)
    what = "the step cache";
  else if (s->attention != now->attention || s->attention_tau != now->attention_tau
      || s->attention_dense_steps != now->attention_dense_steps
      || s->attention_dense_layers != now->attention_dense_layers)
    what = "attention";
  else if (s->precision != now->precision || s->weight_format != now->weight_format)
    what = "precision or weight-format";
  else if (s->upstream_rounding != now->upstream_rounding || s->exact_rope != now->exact_rope)
    what = "upstream-rounding or exact-rope";
  else if (s->n_speakers != now->n_speakers)
    what = "the number of speakers";
  if (!what)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s cannot change between two windows; make a new denoiser instead", what);
  return FALSE;
}

static gboolean
have_same_sigmas (const AvatarDenoiseSettings *a, const AvatarDenoiseSettings *b)
{
  return a->n_sigmas == b->n_sigmas
      && (a->n_sigmas == 0 || memcmp (a->sigmas, b->sigmas, a->n_sigmas * sizeof *a->sigmas) == 0);
}

/* Returns the parts that depend on what differs between the settings of @self and @s. @loras: new
 * LoRAs; unset if the present ones stay */
static Recompute
compare (const AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    const AvatarLoraList *loras)
{
  const AvatarDenoiseSettings *now = &self->settings;
  gboolean guided = s->guidance_scale > 1, was_guided = now->guidance_scale > 1;
  Recompute a = { .weights = loras->files != NULL, .portrait = image != NULL };

  a.prompts = g_strcmp0 (s->prompt, now->prompt) != 0
      || g_strcmp0 (s->negative_prompt, now->negative_prompt) != 0 || guided != was_guided;
  a.prompts = a.prompts && !self->conditioning.has_text_states;
  a.latent = a.portrait || (self->conditioning.seeded_posterior && s->seed != now->seed);
  a.face = a.portrait || memcmp (&s->face_box, &now->face_box, sizeof s->face_box) != 0
      || !avatar_speakers_equal (s, now);
  a.texts = a.prompts || (a.portrait && self->conditioning.text);
  a.memory = a.weights || a.texts || s->steps != now->steps || s->idle_steps != now->idle_steps
      || s->min_steps != now->min_steps || guided != was_guided
      || s->guidance_border != now->guidance_border;
  a.step_conditioning = a.memory || s->motion_pose != now->motion_pose
      || s->motion_exp != now->motion_exp || s->flow_shift != now->flow_shift
      || s->guidance_scale != now->guidance_scale || !have_same_sigmas (s, now);
  return a;
}

static void
set_settings (AvatarDenoiser *self, const AvatarDenoiseSettings *s)
{
  self->settings.prompt = g_strdup (s->prompt);
  self->settings.negative_prompt = g_strdup (s->negative_prompt);
  self->settings.steps = s->steps;
  self->settings.idle_steps = s->idle_steps;
  self->settings.min_steps = s->min_steps;
  self->settings.guidance_scale = s->guidance_scale;
  self->settings.guidance_border = s->guidance_border;
  self->settings.flow_shift = s->flow_shift;
  self->settings.sigmas = g_memdup2 (s->sigmas, s->n_sigmas * sizeof *s->sigmas);
  self->settings.n_sigmas = s->n_sigmas;
  self->settings.seed = s->seed;
  self->settings.motion_pose = s->motion_pose;
  self->settings.motion_exp = s->motion_exp;
  self->settings.face_box = s->face_box;
  self->settings.speakers = avatar_speakers_copy (s);
  avatar_denoiser_init_window (self);
}

/* Sets the number of rows of the texts, and their states if no encoder computes them. */
static gboolean
set_prompts (AvatarConditioning *self, const Recompute *recompute, GError **error)
{
  if (recompute->prompts) {
    self->text = NULL;
    memset (self->truncations, 0, sizeof self->truncations);
    memset (self->conditions.text, 0, sizeof self->conditions.text);
    if (!avatar_conditioning_set_texts (self, NULL, error))
      return FALSE;
  } else {
    for (guint i = 0; i < 2; i++) {
      AvatarText *text = &self->conditions.text[i];

      *text = (AvatarText){ .mask = g_memdup2 (text->mask, text->n), text->n, text->used };
    }
  }
  avatar_conditioning_plan_texts (self, G_MAXUINT64, &self->text_needs);
  return TRUE;
}

/* Exchanges the LoRAs of @self and @other, and replaces the weights by a plan of those with the new
 * LoRAs, which has been made before and reads nothing. */
static void
swap_loras (AvatarDenoiser *self, AvatarLoraList *other)
{
  AvatarLoraList before = self->loras;
  gboolean ok;

  self->loras = *other;
  *other = before;
  ok = avatar_denoiser_plan_weights (self, NULL) && avatar_denoiser_plan_peer_weights (self, NULL);
  g_assert (ok);
}

/* Releases device memory and the precomputed step conditioning. */
static void
release_all (AvatarDenoiser *self)
{
  if (self->peer)
    avatar_denoiser_memory_lock_and_release (&self->peer->memory);
  avatar_denoiser_memory_release (&self->memory);
  avatar_window_clear (&self->window);
}

/* Plans the memory for the new settings. */
static gboolean
plan_memory (AvatarDenoiser *self, GError **error)
{
  guint64 min_bytes, available_bytes;
  AvatarMemoryPlan plan;
  AvatarMemory memory;

  avatar_denoiser_plan_memory (self, 0, 0, &plan, NULL);
  avatar_window_clear (&self->window); /* filled by the dry run */
  min_bytes = plan.min_bytes;
  if (self->memory.client)
    avatar_memory_client_request (self->memory.client,
        min_bytes + avatar_weights_file_bytes (self->memory.weights), min_bytes,
        &self->memory.ops->cancelled);
  if (!avatar_ops_check (self->memory.ops, error))
    return FALSE;
  available_bytes = avatar_device_get_available_bytes (self->device);
  if (!avatar_denoiser_plan_memory (self, available_bytes,
          avatar_placement_available_bytes (self->device), &plan, NULL)) {
    avatar_device_get_memory (self->device, &memory);
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "these settings need at least %.0f MiB on %s, but the memory budget is %.0f MiB; raise the "
        "budget, or choose a shorter prompt, fewer steps or no guidance",
        ceil ((memory.now + min_bytes) / MIB), avatar_device_get_name (self->device),
        memory.budget / MIB);
    return FALSE;
  }
  avatar_denoiser_resize (self, plan.arena_bytes);
  return avatar_denoiser_plan_peer (self, error);
}

/* Computes the text states of the new prompts. */
static gboolean
encode_texts (AvatarDenoiser *self, GError **error)
{
  AvatarConditioning *c = &self->conditioning;

  return avatar_denoiser_memory_acquire (&self->memory, c->text_needs.min_weight_bytes, error)
      && avatar_conditioning_encode_texts (c, &self->memory, c->image, &self->progress, error);
}

/* Computes the new conditions that need device memory. */
static gboolean
recompute_conditions (AvatarDenoiser *self, const Recompute *recompute, const AvatarImage *image,
    GError **error)
{
  if (!avatar_denoiser_load_weights (self, error))
    return FALSE;
  if (recompute->texts && !set_prompts (&self->conditioning, recompute, error))
    return FALSE;
  if (recompute->memory && !plan_memory (self, error))
    return FALSE;
  if (recompute->portrait && !avatar_conditioning_set_image (&self->conditioning, image, error))
    return FALSE;
  return !recompute->texts || encode_texts (self, error);
}

static gboolean
needs_device (const Recompute *recompute)
{
  return recompute->step_conditioning || recompute->portrait;
}

/* Makes the change. All its failures happen here. @loras: (inout): new LoRAs, exchanged for
 * the present ones; unset if these stay */
static gboolean
change (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    AvatarLoraList *loras, GError **error)
{
  const Recompute recompute = compare (self, s, image, loras);

  if (needs_device (&recompute))
    release_all (self); /* before the number of steps changes */
  if (recompute.weights)
    swap_loras (self, loras);
  set_settings (self, s);
  if (needs_device (&recompute) && !recompute_conditions (self, &recompute, image, error))
    return FALSE;
  if (recompute.latent)
    avatar_conditioning_sample_reference (&self->conditioning);
  if (recompute.face)
    avatar_conditioning_make_face_masks (&self->conditioning);
  if (recompute.latent || recompute.face || needs_device (&recompute))
    self->memory.has_constants = FALSE;
  return TRUE;
}

/* Restores the settings and conditions before the change. Weights that it has replaced are loaded
 * again before the next window. */
static void
roll_back (AvatarDenoiser *self, const Saved *before, AvatarLoraList *loras)
{
  Saved failed;

  release_all (self);
  if (loras->files)
    swap_loras (self, loras);
  restore (self, before, &failed);
  free_replaced (&failed, self);
  avatar_denoiser_init_window (self);
  avatar_denoiser_resize (self, self->memory.planned_bytes);
  if (self->peer && before->peer_bytes) {
    self->peer->window.storage = before->peer_storage;
    avatar_denoiser_resize (self->peer, before->peer_bytes);
  }
  self->memory.has_constants = FALSE;
  g_clear_error (&self->memory.ops->error); /* a cancel request is in another field */
}

/* Makes the change or rolls it back. Called with the lock held. */
static gboolean
try_change (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    AvatarLoraList *loras, GError **error)
{
  Saved before = save (self);
  gboolean done = change (self, s, image, loras, error);

  if (done) {
    free_replaced (&before, self);
    self->stream.is_cut |= image != NULL;
  } else {
    roll_back (self, &before, loras);
  }
  /* the next window acquires its memory, and waits for other stages if necessary */
  if (!self->memory.has_constants) {
    avatar_denoiser_memory_release (&self->memory);
    if (self->peer)
      avatar_denoiser_memory_lock_and_release (&self->peer->memory);
  }
  return done;
}

gboolean
avatar_denoiser_change (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    const AvatarImage *image, GError **error)
{
  g_auto (AvatarLoraList) loras = { 0 };
  gboolean ok = FALSE;

  if (!avatar_denoiser_check_settings (settings, self->model, error)
      || !check_fixed (self, settings, error)
      || (image && !avatar_conditioning_check_image (&self->conditioning, image, error)))
    return FALSE;
  if (!self->conditioning.conditions.reference) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found no reference portrait; set one before the settings change");
    return FALSE;
  }
  if (!avatar_lora_list_equals (&self->loras, settings->loras, settings->n_loras)
      && !avatar_denoiser_open_loras (self, settings, &loras, error))
    return FALSE;
  g_mutex_lock (&self->memory.exec_lock);
  avatar_window_use_steps (&self->window, self->settings.steps);
  ok = try_change (self, settings, image, &loras, error);
  g_mutex_unlock (&self->memory.exec_lock);
  return ok;
}
