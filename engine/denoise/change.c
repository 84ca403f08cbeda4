/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of settings between two windows. Old conditions are kept until all new ones are there, so
 * that a change that fails has no effect. */
#include "engine/denoise/denoiser-private.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.

/* Everything that a change may replace. */
typedef struct
{
  AvatarDenoiseSettings settings;
  AvatarConditioning conditioning;
  gboolean share;
  AvatarTokenStorage storage;
  gsize predicted;
} Before;

/* Parts that a change computes again. @memory: the memory plan */
typedef struct
{
  gboolean portrait, latent, face, prompts, texts, moments, memory;
} Anew;

static Before
save (const AvatarDenoiser *self)
{
  return (Before){
    .settings = self->settings,
    .conditioning = self->conditioning,
    .share = self->window.share,
    .storage = self->window.storage,
    .predicted = self->memory.predicted,
  };
}

/* Restores @before; @taken: (out): the values that it replaces. */
static void
restore (AvatarDenoiser *self, const Before *before, Before *taken)
{
  *taken = save (self);
  self->settings = before->settings;
  self->conditioning = before->conditioning;
  self->window.share = before->share;
  self->window.storage = before->storage;
  self->memory.predicted = before->predicted;
}

static void
free_unless (gconstpointer mine, gconstpointer kept)
{
  if (mine != kept)
    g_free ((gpointer) mine);
}

/* Frees values of @old that the denoiser does not use. */
static void
forget (Before *old, const AvatarDenoiser *self)
{
  const AvatarConditioning *was = &old->conditioning, *is = &self->conditioning;

  free_unless (old->settings.prompt, self->settings.prompt);
  free_unless (old->settings.negative_prompt, self->settings.negative_prompt);
  for (guint i = 0; i < 2; i++) {
    const AvatarText *text = &was->conditions.text[i], *kept = &is->conditions.text[i];

    free_unless (text->states, kept->states);
    free_unless (text->pooled, kept->pooled);
    free_unless (text->mask, kept->mask);
  }
  free_unless (was->conditions.reference, is->conditions.reference);
  free_unless (was->conditions.face, is->conditions.face);
  free_unless (was->moments, is->moments);
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
      || s->overlap != now->overlap)
    what = "mode, chunk or overlap";
  else if (s->step_cache != now->step_cache || s->step_cache_threshold != now->step_cache_threshold)
    what = "the step cache";
  else if (s->precision != now->precision || s->weight_format != now->weight_format)
    what = "precision or weight-format";
  else if (s->upstream_rounding != now->upstream_rounding || s->exact_rope != now->exact_rope)
    what = "parity or exact-rope";
  if (!what)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s cannot change between two windows; make a new denoiser for it", what);
  return FALSE;
}

static Anew
compare (const AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image)
{
  const AvatarDenoiseSettings *now = &self->settings;
  gboolean guided = s->guidance_scale > 1, was_guided = now->guidance_scale > 1;
  Anew a = { .portrait = image != NULL };

  a.prompts = g_strcmp0 (s->prompt, now->prompt) != 0
      || g_strcmp0 (s->negative_prompt, now->negative_prompt) != 0 || guided != was_guided;
  a.prompts = a.prompts && !self->conditioning.texts_given;
  a.latent = a.portrait || (self->conditioning.seeded_posterior && s->seed != now->seed);
  a.face = a.portrait || memcmp (&s->face_box, &now->face_box, sizeof s->face_box) != 0;
  a.texts = a.prompts || (a.portrait && self->conditioning.text);
  a.memory = a.texts || s->steps != now->steps || guided != was_guided;
  a.moments = a.memory || s->motion_pose != now->motion_pose || s->motion_exp != now->motion_exp
      || s->flow_shift != now->flow_shift || s->guidance_scale != now->guidance_scale;
  return a;
}

static void
take_settings (AvatarDenoiser *self, const AvatarDenoiseSettings *s)
{
  self->settings.prompt = g_strdup (s->prompt);
  self->settings.negative_prompt = g_strdup (s->negative_prompt);
  self->settings.steps = s->steps;
  self->settings.guidance_scale = s->guidance_scale;
  self->settings.flow_shift = s->flow_shift;
  self->settings.seed = s->seed;
  self->settings.motion_pose = s->motion_pose;
  self->settings.motion_exp = s->motion_exp;
  self->settings.face_box = s->face_box;
  avatar_denoiser_init_window (self);
}

/* Sets the number of rows of the texts, and their states if these do not depend on the portrait. */
static gboolean
take_prompts (AvatarConditioning *self, const Anew *anew, GError **error)
{
  if (anew->prompts) {
    self->text = NULL;
    memset (self->cuts, 0, sizeof self->cuts);
    memset (self->conditions.text, 0, sizeof self->conditions.text);
    if (!avatar_conditioning_take_texts (self, NULL, error))
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

/* Releases device memory and the precomputed step conditioning. */
static void
empty (AvatarDenoiser *self)
{
  avatar_denoiser_memory_release (&self->memory);
  avatar_window_clear (&self->window);
}

/* Plans the memory for the new settings. */
static gboolean
settle (AvatarDenoiser *self, GError **error)
{
  guint64 least, room;
  AvatarMemoryPlan settled;
  AvatarMemory memory;

  avatar_denoiser_plan_memory (self, 0, 0, &settled, NULL);
  avatar_window_clear (&self->window); /* filled by the dry run */
  least = settled.least;
  if (self->memory.client)
    avatar_memory_client_request (self->memory.client,
        least + avatar_weights_file_bytes (self->memory.weights), least,
        &self->memory.ops->cancelled);
  if (!avatar_ops_check (self->memory.ops, error))
    return FALSE;
  room = avatar_device_get_available_bytes (self->device);
  if (!avatar_denoiser_plan_memory (self, room, avatar_placement_available_bytes (self->device),
          &settled, NULL)) {
    avatar_device_get_memory (self->device, &memory);
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s has no room for these settings: they need at least %.0f MiB, and the budget is %.0f MiB; "
        "raise it, or choose a shorter prompt, fewer steps or no guidance",
        avatar_device_get_name (self->device), ceil ((memory.now + least) / MIB),
        memory.budget / MIB);
    return FALSE;
  }
  self->memory.predicted = settled.arena;
  avatar_arena_resize (self->memory.ops->arena, self->memory.predicted);
  return TRUE;
}

static gboolean
encode_texts (AvatarDenoiser *self, GError **error)
{
  AvatarConditioning *c = &self->conditioning;

  return avatar_denoiser_memory_acquire (&self->memory, c->text_needs.min_weight_bytes, error)
      && avatar_conditioning_encode_texts (c, &self->memory, c->image, &self->progress, error);
}

/* Makes new conditions that need device memory. */
static gboolean
make_anew (AvatarDenoiser *self, const Anew *anew, const AvatarImage *image, GError **error)
{
  if (anew->texts && !take_prompts (&self->conditioning, anew, error))
    return FALSE;
  if (anew->memory && !settle (self, error))
    return FALSE;
  if (anew->portrait && !avatar_conditioning_take_image (&self->conditioning, image, error))
    return FALSE;
  return !anew->texts || encode_texts (self, error);
}

static gboolean
needs_device (const Anew *anew)
{
  return anew->moments || anew->portrait;
}

/* Every failure of a change happens in this function. */
static gboolean
change (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    GError **error)
{
  const Anew anew = compare (self, s, image);

  if (needs_device (&anew))
    empty (self); /* while the number of steps is still the old one */
  take_settings (self, s);
  if (needs_device (&anew) && !make_anew (self, &anew, image, error))
    return FALSE;
  if (anew.latent)
    avatar_conditioning_sample_reference (&self->conditioning);
  if (anew.face)
    avatar_conditioning_make_face_mask (&self->conditioning);
  if (anew.latent || anew.face || needs_device (&anew))
    self->memory.begun = FALSE;
  return TRUE;
}

/* Restores the settings and conditions of before. */
static void
go_back (AvatarDenoiser *self, const Before *before)
{
  Before failed;

  empty (self);
  restore (self, before, &failed);
  forget (&failed, self);
  avatar_denoiser_init_window (self);
  avatar_arena_resize (self->memory.ops->arena, self->memory.predicted);
  self->memory.begun = FALSE;
  g_clear_error (&self->memory.ops->error); /* a cancel is kept in another field */
}

/* With the lock held. */
static gboolean
try_change (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    GError **error)
{
  Before before = save (self);
  gboolean done = change (self, s, image, error);

  if (done)
    forget (&before, self);
  else
    go_back (self, &before);
  /* the next window acquires its memory, and waits for other stages if necessary */
  if (!self->memory.begun)
    avatar_denoiser_memory_release (&self->memory);
  return done;
}

gboolean
avatar_denoiser_change (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    const AvatarImage *image, GError **error)
{
  gboolean ok = FALSE;

  if (!avatar_denoiser_check_settings (settings, self->model, error)
      || !check_fixed (self, settings, error)
      || (image && !avatar_conditioning_check_image (&self->conditioning, image, error)))
    return FALSE;
  if (!self->conditioning.conditions.reference) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the settings change before there is a portrait; set the reference first");
    return FALSE;
  }
  g_mutex_lock (&self->memory.exec_lock);
  ok = try_change (self, settings, image, error);
  g_mutex_unlock (&self->memory.exec_lock);
  return ok;
}
