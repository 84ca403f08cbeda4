/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other settings between two windows. What is made of them takes the place of what was, which is kept
 * until all of it is there: a change that fails leaves no trace. */
#include "engine/denoise/denoiser-private.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.

/* What a change may replace, as it was before. */
typedef struct
{
  AvatarDenoiseSettings settings;
  AvatarConditions conditions;
  AvatarTextEncoder *text;
  AvatarTextEncoderNeeds text_needs;
  AvatarPromptTruncation cuts[2];
  AvatarImage *image;
  float *moments;
  gboolean share;
  AvatarTokenStorage storage;
  gsize predicted;
} Before;

/* What has to be made anew. */
typedef struct
{
  gboolean portrait, latent, face, prompts, texts, moments, memory;
} Anew;

static Before
save (const AvatarDenoiser *self)
{
  Before before = {
    .settings = self->settings,
    .conditions = self->conditions,
    .text = self->text,
    .text_needs = self->text_needs,
    .image = self->image,
    .moments = self->moments,
    .share = self->window.share,
    .storage = self->window.storage,
    .predicted = self->predicted,
  };

  memcpy (before.cuts, self->cuts, sizeof before.cuts);
  return before;
}

/* Puts back what was; @taken: (out): what it replaces. */
static void
restore (AvatarDenoiser *self, const Before *before, Before *taken)
{
  *taken = save (self);
  self->settings = before->settings;
  self->conditions = before->conditions;
  self->text = before->text;
  self->text_needs = before->text_needs;
  memcpy (self->cuts, before->cuts, sizeof before->cuts);
  self->image = before->image;
  self->moments = before->moments;
  self->window.share = before->share;
  self->window.storage = before->storage;
  self->predicted = before->predicted;
}

static void
free_unless (gconstpointer mine, gconstpointer kept)
{
  if (mine != kept)
    g_free ((gpointer) mine);
}

/* Frees what of @old the denoiser does not have. */
static void
forget (Before *old, const AvatarDenoiser *self)
{
  free_unless (old->settings.prompt, self->settings.prompt);
  free_unless (old->settings.negative_prompt, self->settings.negative_prompt);
  for (guint i = 0; i < 2; i++) {
    const AvatarText *text = &old->conditions.text[i], *kept = &self->conditions.text[i];

    free_unless (text->states, kept->states);
    free_unless (text->pooled, kept->pooled);
    free_unless (text->mask, kept->mask);
  }
  free_unless (old->conditions.reference, self->conditions.reference);
  free_unless (old->conditions.face, self->conditions.face);
  free_unless (old->moments, self->moments);
  if (old->text != self->text)
    avatar_text_encoder_free (old->text);
  if (old->image != self->image)
    avatar_image_free (old->image);
}

/* What is fixed while the stage lives. */
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
  a.prompts = a.prompts && !self->texts_given;
  a.latent = a.portrait || (self->seeded_posterior && s->seed != now->seed);
  a.face = a.portrait || memcmp (&s->face_box, &now->face_box, sizeof s->face_box) != 0;
  a.texts = a.prompts || (a.portrait && self->text);
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

/* The rows of the texts, and as much of them as is known without the portrait. */
static gboolean
take_prompts (AvatarDenoiser *self, const Anew *anew, GError **error)
{
  if (anew->prompts) {
    self->text = NULL;
    memset (self->cuts, 0, sizeof self->cuts);
    memset (self->conditions.text, 0, sizeof self->conditions.text);
    if (!avatar_denoiser_take_texts (self, NULL, error))
      return FALSE;
  } else {
    for (guint i = 0; i < 2; i++) {
      AvatarText *text = &self->conditions.text[i];

      *text = (AvatarText){ .mask = g_memdup2 (text->mask, text->n), text->n, text->used };
    }
  }
  avatar_denoiser_plan_texts (self, G_MAXUINT64, &self->text_needs);
  return TRUE;
}

/* Gives back all memory of the device but what is always there. */
static void
empty (AvatarDenoiser *self)
{
  avatar_denoiser_release_memory (self);
  avatar_window_clear (&self->window);
}

/* As much as the new settings need, if that is possible. */
static gboolean
settle (AvatarDenoiser *self, GError **error)
{
  guint64 least, room;
  AvatarMemoryPlan settled;
  AvatarMemory memory;

  avatar_denoiser_plan_memory (self, 0, 0, &settled, NULL);
  avatar_window_clear (&self->window); /* of the failure that it was meant to be */
  least = settled.least;
  if (self->memory_client)
    avatar_memory_client_request (self->memory_client,
        least + avatar_weights_file_bytes (self->weights), least, &self->ops->cancelled);
  if (!avatar_ops_check (self->ops, error))
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
  self->predicted = settled.arena;
  avatar_arena_resize (self->ops->arena, self->predicted);
  return TRUE;
}

static gboolean
encode_texts (AvatarDenoiser *self, GError **error)
{
  if (!avatar_denoiser_acquire_memory (self, self->text_needs.least, error)
      || !avatar_denoiser_encode_texts (self, self->image, error))
    return FALSE;
  avatar_denoiser_round_texts (self);
  return TRUE;
}

/* What takes the device's memory. */
static gboolean
make_anew (AvatarDenoiser *self, const Anew *anew, const AvatarImage *image, GError **error)
{
  if (anew->texts && !take_prompts (self, anew, error))
    return FALSE;
  if (anew->memory && !settle (self, error))
    return FALSE;
  if (anew->portrait && !avatar_denoiser_take_image (self, image, error))
    return FALSE;
  return !anew->texts || encode_texts (self, error);
}

static gboolean
needs_device (const Anew *anew)
{
  return anew->moments || anew->portrait;
}

/* Whatever can go wrong does so in here. */
static gboolean
change (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image,
    GError **error)
{
  const Anew anew = compare (self, s, image);

  if (needs_device (&anew))
    empty (self); /* of as many moments as there are steps: those of before */
  take_settings (self, s);
  if (needs_device (&anew) && !make_anew (self, &anew, image, error))
    return FALSE;
  if (anew.latent)
    avatar_denoiser_sample_reference (self);
  if (anew.face)
    avatar_denoiser_make_face_mask (self);
  if (anew.latent || anew.face || needs_device (&anew))
    self->begun = FALSE;
  return TRUE;
}

/* The settings of before. */
static void
go_back (AvatarDenoiser *self, const Before *before)
{
  Before failed;

  empty (self);
  restore (self, before, &failed);
  forget (&failed, self);
  avatar_denoiser_init_window (self);
  avatar_arena_resize (self->ops->arena, self->predicted);
  self->begun = FALSE;
  g_clear_error (&self->ops->error); /* a failed operation; a cancel is known all the same */
}

/* With the turn. */
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
  /* what the next window needs it takes as after a turn of another stage, waiting for it if need be */
  if (!self->begun)
    avatar_denoiser_release_memory (self);
  return done;
}

gboolean
avatar_denoiser_change (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    const AvatarImage *image, GError **error)
{
  gboolean ok = FALSE;

  if (!avatar_denoiser_check_settings (settings, self->model, error)
      || !check_fixed (self, settings, error)
      || (image && !avatar_denoiser_check_image (self, image, error)))
    return FALSE;
  if (!self->conditions.reference) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the settings change before there is a portrait; set the reference first");
    return FALSE;
  }
  g_mutex_lock (&self->turn);
  ok = try_change (self, settings, image, error);
  g_mutex_unlock (&self->turn);
  return ok;
}
