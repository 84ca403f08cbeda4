/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditioning of one window and classifier-free guidance over it (Ho and Salimans 2022). */
#include "engine/denoise/window.h"
#include "engine/denoise/parity.h"
#include "engine/denoise/transformer-private.h"
#include "engine/denoise/sampler.h"

#include <string.h>

static gboolean
is_guided (const AvatarWindow *self)
{
  return self->cfg_scale > 1;
}

double
avatar_window_sigma (const AvatarWindow *self, guint i)
{
  return self->parity ? avatar_parity_sigma (i, self->steps, self->flow_shift)
                      : avatar_sigma (i, self->steps, self->flow_shift);
}

/* The time that the transformer is told. */
static double
time_of (const AvatarWindow *self, guint i)
{
  double t = 1000 * avatar_window_sigma (self, i);

  return self->parity ? (float) t : t;
}

/* The moment of step @i and of the negative prompt, if @negative. */
static AvatarStepConditioning *
moment_at (AvatarWindow *self, guint i, gboolean negative)
{
  return &self->moments[2 * i + (negative ? 1 : 0)];
}

static gboolean
needs_negative (const AvatarWindow *self, guint i)
{
  return is_guided (self) && avatar_guidance (i, self->steps, self->cfg_scale).negative;
}

/* All moments: times and prompts, and, for a run, room for what is computed of them. */
static void
init_moments (AvatarWindow *self, gboolean real)
{
  gint64 n = avatar_transformer_modulation_n (self->transformer->config);

  for (guint i = 0; i < self->steps; i++)
    for (guint b = 0; b < 2; b++)
      *moment_at (self, i, b) = (AvatarStepConditioning){
        .t = time_of (self, i),
        .prompt = &self->conditions->text[b],
        .motion_exp = self->motion_exp,
        .motion_pose = self->motion_pose,
        .fps = self->fps,
        .modulation = real && (b == 0 || needs_negative (self, i)) ? g_new0 (float, n) : NULL,
      };
}

/* Array of AvatarStepConditioning: those whose modulation is needed, or (@full) also their text. */
static GArray *
collect (AvatarWindow *self, AvatarOps *ops, gboolean full)
{
  gsize row = self->transformer->config->hidden * avatar_dtype_size (ops->dtype);
  GArray *needed = g_array_new (FALSE, FALSE, sizeof (AvatarStepConditioning));

  for (guint i = 0; i < self->steps; i++)
    for (guint b = 0; b < 2; b++) {
      AvatarStepConditioning *m = moment_at (self, i, b);

      if ((b && !needs_negative (self, i)) || (full && !self->full[i]))
        continue;
      if (full && !ops->dry_run)
        m->text = g_malloc0 (m->prompt->used * row);
      g_array_append_val (needed, *m);
    }
  return needed;
}

static void
schedule (AvatarWindow *self, gboolean dry_run)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  g_autofree const float **modulations = g_new (const float *, self->steps);

  for (guint i = 0; i < self->steps; i++)
    modulations[i] = moment_at (self, i, FALSE)->modulation;
  /* what the adaptive cache will skip is not known to a plan, which takes it for nothing */
  avatar_step_cache_schedule (self->full, self->steps,
      dry_run && self->cache == AVATAR_STEP_CACHE_ADAPTIVE ? AVATAR_STEP_CACHE_NONE : self->cache,
      self->cache_threshold, modulations, avatar_modulation_double (c, 1, FALSE));
}

gboolean
avatar_window_prepare (AvatarWindow *self, AvatarOps *ops, GError **error)
{
  g_autoptr (GArray) all = NULL;
  g_autoptr (GArray) full = NULL;

  avatar_window_clear (self);
  self->moments = g_new0 (AvatarStepConditioning, 2 * self->steps);
  self->full = g_new0 (gboolean, self->steps);
  init_moments (self, !ops->dry_run);
  all = collect (self, ops, FALSE);
  avatar_transformer_modulate (self->transformer, ops, (AvatarStepConditioning *) all->data,
      all->len);
  schedule (self, ops->dry_run);
  full = collect (self, ops, TRUE);
  avatar_transformer_refine (self->transformer, ops, (AvatarStepConditioning *) full->data,
      full->len);
  return ops->dry_run || avatar_ops_check (ops, error);
}

void
avatar_window_begin (AvatarWindow *self, AvatarOps *ops)
{
  const AvatarConditions *cond = self->conditions;
  const AvatarTransformerConfig *c = self->transformer->config;
  gint64 text = MAX (cond->text[0].used, cond->text[1].used), s;

  avatar_transformer_embed_reference (self->transformer, ops, cond->reference,
      MAX (cond->n_reference, 1), cond->face, self->frames, self->h8, self->w8, &self->scene);
  s = self->scene.h * self->scene.w;
  g_clear_pointer (&self->tokens, avatar_step_cache_free);
  if (self->cache != AVATAR_STEP_CACHE_NONE)
    self->tokens = avatar_step_cache_new (ops, self->storage, is_guided (self) ? 2 : 1, s,
        self->frames, text, c->hidden);
  self->fork = AVATAR_NO_TENSOR;
  if (is_guided (self)) {
    gint64 n = 4 * self->frames - 3;
    /* zero features, not the features of silence (docs/dev/spec/denoise.md 3.4) */
    g_autofree float *silence
        = g_new0 (float, n * c->audio_steps * c->audio_states * c->audio_channels);

    self->second = avatar_ops_alloc_as (ops, AVATAR_F32, 4, self->channels, self->frames, self->h8,
        self->w8);
    avatar_transformer_project_audio (self->transformer, ops, silence, n, &self->speech[1]);
    if (self->share)
      self->fork = avatar_ops_alloc (ops, 2, (self->frames + 1) * s + text, (gint64) c->hidden);
  }
}

void
avatar_window_set_audio (AvatarWindow *self, AvatarOps *ops, const float *audio)
{
  avatar_transformer_project_audio (self->transformer, ops, audio, 4 * self->frames - 3,
      &self->speech[0]);
}

/* One branch of a step: with (0) or without (1) audio.
 * @negative: of the negative prompt; @fork, @prefix_valid: see AvatarForwardReuse */
typedef struct
{
  AvatarWindow *window;
  guint branch;
  AvatarWindowPosition place;
  gboolean negative;
  double face_scale;
  AvatarTensor fork;
  gboolean prefix_valid;
} Branch;

static void
keep (AvatarOps *ops, AvatarTensor tokens, gpointer data)
{
  Branch *b = data;

  avatar_step_cache_store (b->window->tokens, ops, tokens, b->branch, b->place);
}

static void
fill (AvatarOps *ops, AvatarTensor tokens, gpointer data)
{
  Branch *b = data;

  avatar_step_cache_load (b->window->tokens, ops, tokens, b->branch, b->place);
}

/* Whether a later step will ask for the tokens of this one. */
static gboolean
is_wanted (const AvatarWindow *self, guint i)
{
  return self->full[i] && i + 1 < self->steps && !self->full[i + 1];
}

static void
forward (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    Branch *b)
{
  AvatarStepConditioning *moment = moment_at (self, i, b->negative);
  gint64 shared = (self->frames + 1) * self->scene.h * self->scene.w + moment->prompt->used;
  const AvatarForwardReuse reuse = {
    .fork = b->fork.rank ? avatar_tensor_rows (b->fork, 0, shared) : b->fork,
    .prefix_valid = b->prefix_valid,
    .keep = self->tokens && is_wanted (self, i) ? keep : NULL,
    .fill = self->full[i] ? NULL : fill,
    .data = b,
  };
  const AvatarForwardInput in = { .x = x,
    .moment = moment,
    .scene = &self->scene,
    .speech = &self->speech[b->branch],
    .face_scale = b->face_scale,
    .reuse = &reuse };

  avatar_transformer_forward (self->transformer, ops, velocity, &in);
}

gboolean
avatar_window_is_guided (const AvatarWindow *self, guint i, double *scale)
{
  *scale = avatar_guidance (i, self->steps, self->cfg_scale).scale;
  return is_guided (self);
}

guint
avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x,
    guint i, AvatarWindowPosition place)
{
  Branch with = { .window = self, .branch = 0, .place = place, .face_scale = 1 };
  Branch without = { .window = self, .branch = 1, .place = place };
  AvatarGuidance g;

  if (!is_guided (self)) {
    forward (self, ops, velocity, x, i, &with);
    return self->full[i] ? 1 : 0;
  }
  g = avatar_guidance (i, self->steps, self->cfg_scale);
  if (self->parity) { /* upstream's mask has the dtype of the tokens; its values are powers of two */
    float face_scale = g.face_scale;

    avatar_dtype_round (&face_scale, 1, AVATAR_BF16);
    g.face_scale = face_scale;
  }
  if (!g.negative && self->full[i]) /* the same text: alike up to the first adapter */
    with.fork = without.fork = self->fork;
  with.face_scale = without.face_scale = g.face_scale;
  without.negative = g.negative;
  with.prefix_valid = TRUE;
  forward (self, ops, self->second, x, i, &without);
  forward (self, ops, velocity, x, i, &with);
  return self->full[i] ? 2 : 0;
}

guint
avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x,
    guint i, AvatarWindowPosition place)
{
  guint forwards = avatar_window_branches (self, ops, velocity, x, i, place);
  double scale;

  /* v = vu + g (vc - vu) */
  if (avatar_window_is_guided (self, i, &scale))
    avatar_op_axpby (ops, velocity, 1 - scale, self->second, scale);
  return forwards;
}

guint
avatar_window_kind (const AvatarWindow *self, guint i)
{
  return (self->full[i] ? 1 : 0) | (is_wanted (self, i) ? 2 : 0)
      | (needs_negative (self, i) ? 4 : 0);
}

guint64
avatar_window_host_bytes (const AvatarWindow *self, AvatarDType dtype, guint latents, guint windows)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  guint64 row = c->hidden * avatar_dtype_size (dtype), s = self->scene.h * self->scene.w;
  guint64 modulation = avatar_transformer_modulation_n (c) * sizeof (float), bytes = 0;
  guint64 text = MAX (self->conditions->text[0].used, self->conditions->text[1].used);

  for (guint i = 0; i < self->steps; i++)
    for (guint b = 0; b < (needs_negative (self, i) ? 2 : 1); b++)
      bytes += modulation + (self->full[i] ? self->conditions->text[b].used * row : 0);
  if (self->tokens && self->storage == AVATAR_TOKEN_STORAGE_HOST)
    bytes += (is_guided (self) ? 2 : 1) * (latents * s + windows * (s + text)) * row;
  return bytes;
}

void
avatar_window_clear (AvatarWindow *self)
{
  for (guint i = 0; self->moments && i < 2 * self->steps; i++) {
    g_free (self->moments[i].modulation);
    g_free (self->moments[i].text);
  }
  g_clear_pointer (&self->moments, g_free);
  g_clear_pointer (&self->full, g_free);
  g_clear_pointer (&self->tokens, avatar_step_cache_free);
}
