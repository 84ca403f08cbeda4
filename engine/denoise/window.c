/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditioning of one window and classifier-free guidance over it (Ho and Salimans 2022). */
#include "engine/denoise/window.h"
#include "engine/denoise/upstream-rounding.h"
#include "engine/denoise/transformer-private.h"
#include "engine/denoise/sampler.h"

#include <string.h>

/* Steps in 100 that the easy cache runs in full at the start; of 50 steps as many as EasyCache. */
#define EASY_FIRST_PERCENT 10
/* Steps in 100 that step-cache=forecast runs in full by default, and their smallest number. */
#define FORECAST_PERCENT 30
#define FORECAST_MIN 8

static gboolean
is_guided (const AvatarWindow *self)
{
  return self->guidance_scale > 1;
}

/* Returns TRUE if @branch, 0 with audio or 1 without, is computed here. */
static gboolean
computes (const AvatarWindow *self, guint branch)
{
  return self->branches == AVATAR_BRANCHES_BOTH || branch == 0
      ? self->branches != AVATAR_BRANCHES_WITHOUT_AUDIO
      : self->branches == AVATAR_BRANCHES_WITHOUT_AUDIO;
}

/* Returns the number of branches that are computed here. */
static guint
n_branches (const AvatarWindow *self)
{
  return is_guided (self) && self->branches == AVATAR_BRANCHES_BOTH ? 2 : 1;
}

double
avatar_window_sigma (const AvatarWindow *self, guint i)
{
  if (self->n_sigmas > 0) {
    double sigma = avatar_sigma_listed (self->sigmas, self->n_sigmas, i, self->steps);

    return self->upstream_rounding ? (float) sigma : sigma;
  }
  return self->upstream_rounding ? avatar_upstream_sigma (i, self->steps, self->flow_shift)
                                 : avatar_sigma (i, self->steps, self->flow_shift);
}

/* Returns the time of step @i, which the transformer embeds. */
static double
step_time (const AvatarWindow *self, guint i)
{
  double t = 1000 * avatar_window_sigma (self, i);

  return self->upstream_rounding ? (float) t : t;
}

void
avatar_window_follow (AvatarWindow *self, const AvatarWindow *leader)
{
  AvatarWindow own = *self;

  *self = *leader;
  self->transformer = own.transformer;
  self->branches = AVATAR_BRANCHES_WITHOUT_AUDIO;
  self->peer = (AvatarBranchPeer){ 0 };
  self->share_prefix = FALSE;
  self->storage = own.storage;
  self->reference_tokens = own.reference_tokens;
  memcpy (self->voices, own.voices, sizeof own.voices);
  self->no_audio = own.no_audio;
  self->step_cache = own.step_cache;
  self->velocity_cache = own.velocity_cache;
  self->easy_cache = own.easy_cache;
  self->velocity_without_audio = self->shared_prefix = AVATAR_NO_TENSOR;
}

/* Returns the conditioning of step @i. @prompt: 0: positive, 1: negative */
static AvatarStepConditioning *
conditioning_at (AvatarWindow *self, guint i, guint prompt)
{
  return &self->step_conditioning[2 * i + prompt];
}

/* Returns the guidance of step @i. */
static AvatarGuidance
guidance_at (const AvatarWindow *self, guint i)
{
  if (self->guidance_border > 0)
    return avatar_guidance_by_sigma (i, self->steps, self->guidance_scale,
        avatar_window_sigma (self, i), self->guidance_border);
  return avatar_guidance (i, self->steps, self->guidance_scale);
}

static gboolean
needs_negative (const AvatarWindow *self, guint i)
{
  return is_guided (self) && guidance_at (self, i).negative;
}

static guint
n_schedules (const AvatarWindow *self)
{
  return self->schedules ? self->schedules->len : 0;
}

static AvatarSchedule *
schedule_at (const AvatarWindow *self, guint i)
{
  return &g_array_index (self->schedules, AvatarSchedule, i);
}

static void
use_schedule (AvatarWindow *self, const AvatarSchedule *schedule)
{
  self->steps = schedule->steps;
  self->step_conditioning = schedule->step_conditioning;
  self->is_full = schedule->is_full;
}

gboolean
avatar_window_use_steps (AvatarWindow *self, guint steps)
{
  for (guint i = 0; i < n_schedules (self); i++)
    if (schedule_at (self, i)->steps == steps) {
      use_schedule (self, schedule_at (self, i));
      return TRUE;
    }
  return FALSE;
}

/* Returns TRUE if there are schedules for @steps, in this order. */
static gboolean
has_steps (const AvatarWindow *self, const guint *steps, guint n)
{
  gboolean same = n_schedules (self) == n;

  for (guint i = 0; same && i < n; i++)
    same = schedule_at (self, i)->steps == steps[i];
  return same;
}

void
avatar_window_set_steps (AvatarWindow *self, const guint *steps, guint n)
{
  if (!has_steps (self, steps, n)) {
    avatar_window_remove_steps (self);
    self->schedules = g_array_new (FALSE, TRUE, sizeof (AvatarSchedule));
    g_array_set_size (self->schedules, n);
    for (guint i = 0; i < n; i++)
      schedule_at (self, i)->steps = steps[i];
  }
  use_schedule (self, schedule_at (self, 0));
}

/* Sets times and prompts of all steps. Allocates the modulation, except in a dry run. */
static void
init_step_conditioning (AvatarWindow *self, const AvatarOps *ops)
{
  gint64 n = avatar_transformer_modulation_n (self->transformer->config);

  for (guint i = 0; i < self->steps; i++)
    for (guint b = 0; b < 2; b++)
      *conditioning_at (self, i, b) = (AvatarStepConditioning){
        .t = step_time (self, i),
        .prompt = &self->conditions->text[b],
        .motion_exp = self->motion_exp,
        .motion_pose = self->motion_pose,
        .fps = self->fps,
        .modulation
        = !ops->dry_run && (b == 0 || needs_negative (self, i)) ? g_new0 (float, n) : NULL,
      };
}

static guint
n_scheduled_loras (const AvatarWindow *self)
{
  return self->loras && self->loras->scheduled ? self->loras->scheduled->len : 0;
}

/* Fills the multipliers of the scheduled LoRAs in step @i. */
static void
get_multipliers (const AvatarWindow *self, guint i, double *multipliers)
{
  avatar_lora_list_get_multipliers (self->loras, i, self->steps, avatar_window_sigma (self, i),
      multipliers);
}

/* Sets the strengths of LoRAs in step @i. */
static void
use_loras (AvatarWindow *self, AvatarOps *ops, guint i)
{
  g_autofree double *multipliers = g_new (double, n_scheduled_loras (self) + 1);

  if (n_scheduled_loras (self) == 0)
    return;
  get_multipliers (self, i, multipliers);
  avatar_weights_set_multipliers (self->transformer->weights, ops, multipliers);
}

/* Returns TRUE if all LoRAs have the same strengths in steps @i and @j. */
static gboolean
have_same_loras (const AvatarWindow *self, guint i, guint j)
{
  guint n = n_scheduled_loras (self);
  g_autofree double *a = g_new (double, n + 1), *b = g_new (double, n + 1);

  if (n == 0)
    return TRUE;
  get_multipliers (self, i, a);
  get_multipliers (self, j, b);
  return memcmp (a, b, n * sizeof *a) == 0;
}

/* Returns the end of the steps from @start on whose LoRAs have the same strengths. */
static guint
end_of_loras (const AvatarWindow *self, guint start)
{
  guint end = start + 1;

  while (end < self->steps && have_same_loras (self, start, end))
    end++;
  return end;
}

/* Returns an array of AvatarStepConditioning: steps @start .. @end and the prompts that forwards
 * use. */
static GArray *
collect_all (AvatarWindow *self, guint start, guint end)
{
  GArray *used = g_array_new (FALSE, FALSE, sizeof (AvatarStepConditioning));

  for (guint i = start; i < end; i++)
    for (guint b = 0; b < (needs_negative (self, i) ? 2 : 1); b++)
      g_array_append_val (used, *conditioning_at (self, i, b));
  return used;
}

/* Returns an array of the AvatarStepConditioning of full steps in @start .. @end, which use the
 * refined text. Allocates the text, except in a dry run. */
static GArray *
collect_full (AvatarWindow *self, const AvatarOps *ops, guint start, guint end)
{
  gsize row = self->transformer->config->hidden * avatar_dtype_size (ops->dtype);
  GArray *used = g_array_new (FALSE, FALSE, sizeof (AvatarStepConditioning));

  for (guint i = start; i < end; i++)
    for (guint b = 0; self->is_full[i] && b < (needs_negative (self, i) ? 2 : 1); b++) {
      AvatarStepConditioning *step = conditioning_at (self, i, b);

      if (!ops->dry_run)
        step->text = g_malloc0 (step->prompt->used * row);
      g_array_append_val (used, *step);
    }
  return used;
}

/* Returns TRUE if cached steps use tokens, and run the last block. */
static gboolean
caches_tokens (const AvatarWindow *self)
{
  return self->step_cache_mode == AVATAR_STEP_CACHE_UPSTREAM
      || self->step_cache_mode == AVATAR_STEP_CACHE_ADAPTIVE;
}

/* Returns TRUE if cached steps use velocities, and run no block. */
static gboolean
caches_velocities (const AvatarWindow *self)
{
  return self->step_cache_mode == AVATAR_STEP_CACHE_EASY
      || self->step_cache_mode == AVATAR_STEP_CACHE_FORECAST;
}

/* Returns TRUE if step @i has another text or other weights than the step before. What was stored
 * before it does not apply to it. */
static gboolean
is_border (const AvatarWindow *self, guint i)
{
  return i > 0
      && (needs_negative (self, i) != needs_negative (self, i - 1)
          || !have_same_loras (self, i - 1, i));
}

/* Returns the first step of those with the text and the weights of step @i. */
static guint
phase_start (const AvatarWindow *self, guint i)
{
  while (i > 0 && !is_border (self, i))
    i--;
  return i;
}

/* Chooses the full steps of a forecast. */
static void
choose_forecast (AvatarWindow *self)
{
  guint n = self->step_cache_steps;
  g_autofree double *sigmas = g_new (double, self->steps + 1);
  g_autofree gboolean *is_first = g_new (gboolean, self->steps);

  if (n == 0)
    n = MAX (FORECAST_MIN, (self->steps * FORECAST_PERCENT + 99) / 100);
  for (guint i = 0; i <= self->steps; i++)
    sigmas[i] = avatar_window_sigma (self, i);
  for (guint i = 0; i < self->steps; i++)
    is_first[i] = is_border (self, i);
  avatar_forecast_schedule (self->is_full, sigmas, is_first, self->steps, n);
}

/* Chooses the full steps. A dry run has no modulations, from which the adaptive cache chooses, and
 * counts all steps as full; so does the easy cache, which chooses while it runs. */
static void
choose_full_steps (AvatarWindow *self, const AvatarOps *ops)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  g_autofree const float **modulations = g_new (const float *, self->steps);
  AvatarStepCacheMode mode = self->step_cache_mode;

  if (mode == AVATAR_STEP_CACHE_FORECAST) {
    choose_forecast (self);
    return;
  }
  if (mode == AVATAR_STEP_CACHE_EASY || (mode == AVATAR_STEP_CACHE_ADAPTIVE && ops->dry_run))
    mode = AVATAR_STEP_CACHE_NONE;
  for (guint i = 0; i < self->steps; i++)
    modulations[i] = conditioning_at (self, i, 0)->modulation;
  avatar_step_cache_schedule (self->is_full, self->steps, mode, self->step_cache_threshold,
      modulations, avatar_modulation_double (c, 1, AVATAR_STREAM_IMAGE));
  for (guint i = 1; i < self->steps; i++)
    self->is_full[i] |= is_border (self, i);
}

/* Computes the step conditioning of @schedule, and uses it. */
static void
precompute_schedule (AvatarWindow *self, AvatarOps *ops, AvatarSchedule *schedule)
{
  schedule->step_conditioning = g_new0 (AvatarStepConditioning, 2 * schedule->steps);
  schedule->is_full = g_new0 (gboolean, schedule->steps);
  use_schedule (self, schedule);
  init_step_conditioning (self, ops);
  for (guint i = 0, end; i < self->steps; i = end) {
    g_autoptr (GArray) all = collect_all (self, i, end = end_of_loras (self, i));

    use_loras (self, ops, i);
    avatar_transformer_modulate (self->transformer, ops, (AvatarStepConditioning *) all->data,
        all->len);
  }
  choose_full_steps (self, ops);
  for (guint i = 0, end; i < self->steps; i = end) {
    g_autoptr (GArray) full = collect_full (self, ops, i, end = end_of_loras (self, i));

    use_loras (self, ops, i);
    avatar_transformer_refine (self->transformer, ops, (AvatarStepConditioning *) full->data,
        full->len);
  }
}

/* Each schedule is computed alone, so that its values do not depend on the others. */
gboolean
avatar_window_precompute (AvatarWindow *self, AvatarOps *ops, GError **error)
{
  guint steps = self->steps;

  avatar_window_clear (self);
  for (guint i = 0; i < n_schedules (self); i++)
    precompute_schedule (self, ops, schedule_at (self, i));
  avatar_window_use_steps (self, steps);
  return ops->dry_run || avatar_ops_check (ops, error);
}

void
avatar_window_free_caches (AvatarWindow *self)
{
  g_clear_pointer (&self->step_cache, avatar_step_cache_free);
  g_clear_pointer (&self->velocity_cache, avatar_velocity_cache_free);
  g_clear_pointer (&self->easy_cache, avatar_easy_cache_free);
}

/* Makes the caches of the steps. @s: tokens of a frame; @text: largest number of text tokens */
static void
make_caches (AvatarWindow *self, AvatarOps *ops, gint64 s, gint64 text)
{
  const AvatarVelocityShape shape = {
    .branches = n_branches (self),
    .history
    = self->step_cache_mode == AVATAR_STEP_CACHE_EASY ? 1 : avatar_forecast_default.history,
    .channels = self->channels,
    .frames = self->frames,
    .plane = self->h8 * self->w8,
  };

  avatar_window_free_caches (self);
  self->skips = FALSE;
  if (caches_tokens (self))
    self->step_cache = avatar_step_cache_new (ops, self->storage, shape.branches, s, self->frames,
        text, self->transformer->config->hidden);
  if (caches_velocities (self))
    self->velocity_cache = avatar_velocity_cache_new (ops, self->storage, &shape);
  if (self->step_cache_mode == AVATAR_STEP_CACHE_EASY && computes (self, 0))
    self->easy_cache = avatar_easy_cache_new (shape.channels, shape.plane);
}

void
avatar_window_reset_caches (AvatarWindow *self, guint latents, guint windows)
{
  self->skips = FALSE;
  if (self->step_cache)
    avatar_step_cache_reset (self->step_cache, latents, windows);
  if (self->velocity_cache)
    avatar_velocity_cache_reset (self->velocity_cache, latents);
  if (self->easy_cache)
    avatar_easy_cache_reset (self->easy_cache, latents);
}

gboolean
avatar_window_needs_latents (const AvatarWindow *self)
{
  return self->easy_cache != NULL;
}

void
avatar_window_begin_step (AvatarWindow *self, guint i, const float *x)
{
  guint first = (self->steps * EASY_FIRST_PERCENT + 99) / 100;

  if (!self->easy_cache)
    return;
  if (is_border (self, i))
    avatar_easy_cache_drop (self->easy_cache);
  self->skips = avatar_easy_cache_begin (self->easy_cache, x, self->step_cache_threshold,
      i >= first && i + 1 < self->steps);
}

void
avatar_window_begin (AvatarWindow *self, AvatarOps *ops)
{
  const AvatarConditions *cond = self->conditions;
  const AvatarTransformerConfig *c = self->transformer->config;
  gint64 text = MAX (cond->text[0].used, cond->text[1].used), s;
  const AvatarReferenceInput reference = { .latents = cond->reference,
    .faces = cond->faces,
    .n_latents = MAX (cond->n_reference, 1),
    .n_speakers = self->n_speakers,
    .frames = self->frames,
    .h8 = self->h8,
    .w8 = self->w8 };

  avatar_transformer_embed_reference (self->transformer, ops, &reference, &self->reference_tokens);
  s = self->reference_tokens.h * self->reference_tokens.w;
  make_caches (self, ops, s, text);
  self->shared_prefix = AVATAR_NO_TENSOR;
  if (is_guided (self)) {
    gint64 n = 4 * self->frames - 3;
    /* features of zeros, not the features of silence (docs/dev/spec/denoise.md 3.4) */
    g_autofree float *zeros
        = g_new0 (float, n * c->audio_steps * c->audio_states * c->audio_channels);

    if (computes (self, 0))
      self->velocity_without_audio = avatar_ops_alloc_as (ops, AVATAR_F32, 4, self->channels,
          self->frames, self->h8, self->w8);
    if (computes (self, 1))
      avatar_transformer_project_audio (self->transformer, ops, zeros, n, &self->no_audio);
    if (self->share_prefix)
      self->shared_prefix
          = avatar_ops_alloc (ops, 2, (self->frames + 1) * s + text, (gint64) c->hidden);
  }
}

void
avatar_window_set_audio (AvatarWindow *self, AvatarOps *ops, const float *audio)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  gint64 frames = 4 * self->frames - 3,
         n = frames * c->audio_steps * c->audio_states * c->audio_channels;

  for (guint k = 0; k < self->n_speakers; k++)
    avatar_transformer_project_audio (self->transformer, ops, audio ? audio + k * n : NULL, frames,
        &self->voices[k]);
}

/* Branch of guidance in one step.
 * @branch: 0: with audio, 1: without; @prompt: 0: positive, 1: negative
 * @shared_prefix, @prefix_valid: see AvatarForwardReuse */
typedef struct
{
  AvatarWindow *window;
  guint branch, prompt;
  AvatarWindowPosition position;
  double face_scale;
  AvatarTensor shared_prefix;
  gboolean prefix_valid;
} Branch;

/* Returns the index of the branch in the caches. */
static guint
cache_index (const Branch *b)
{
  return n_branches (b->window) > 1 ? b->branch : 0;
}

static void
store_tokens (AvatarOps *ops, AvatarTensor tokens, gpointer data)
{
  Branch *b = data;

  avatar_step_cache_store (b->window->step_cache, ops, tokens, cache_index (b), b->position);
}

static void
load_tokens (AvatarOps *ops, AvatarTensor tokens, gpointer data)
{
  Branch *b = data;

  avatar_step_cache_load (b->window->step_cache, ops, tokens, cache_index (b), b->position);
}

/* Returns TRUE if step @i runs all blocks. */
static gboolean
runs_forward (const AvatarWindow *self, guint i)
{
  return self->is_full[i] && !self->skips;
}

/* Returns TRUE if a later step may use the velocities of step @i. */
static gboolean
is_kept (const AvatarWindow *self, guint i)
{
  gboolean later = FALSE;

  for (guint k = i + 1; k < self->steps && !later && !is_border (self, k); k++)
    later = self->step_cache_mode == AVATAR_STEP_CACHE_EASY || !self->is_full[k];
  return self->is_full[i] && later;
}

/* Returns TRUE if step @i stores its tokens for the next one, or its velocities. */
static gboolean
is_stored (const AvatarWindow *self, guint i)
{
  if (caches_velocities (self))
    return is_kept (self, i);
  return self->is_full[i] && i + 1 < self->steps && !self->is_full[i + 1];
}

/* Returns TRUE if the attention of step @i is sparse. */
static gboolean
is_sparse (const AvatarWindow *self, guint i)
{
  return self->is_sparse && i >= self->dense_steps * self->steps;
}

static void
forward (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    Branch *b)
{
  AvatarStepConditioning *step = conditioning_at (self, i, b->prompt);
  gint64 rows = (self->frames + 1) * self->reference_tokens.h * self->reference_tokens.w
      + step->prompt->used;
  const AvatarForwardReuse reuse = {
    .shared_prefix
    = b->shared_prefix.rank ? avatar_tensor_rows (b->shared_prefix, 0, rows) : b->shared_prefix,
    .prefix_valid = b->prefix_valid,
    .store = self->step_cache && is_stored (self, i) ? store_tokens : NULL,
    .load = self->is_full[i] ? NULL : load_tokens,
    .data = b,
  };
  const AvatarForwardInput in = { .x = x,
    .step = step,
    .reference_tokens = &self->reference_tokens,
    .audio_kv = b->branch == 0 ? self->voices : &self->no_audio,
    .same_audio = b->branch == 1,
    .face_scale = b->face_scale,
    .reuse = &reuse,
    .sparse = is_sparse (self, i) ? &self->sparse : NULL };

  avatar_transformer_forward (self->transformer, ops, velocity, &in);
}

gboolean
avatar_window_is_guided (const AvatarWindow *self, guint i, double *scale)
{
  *scale = guidance_at (self, i).scale;
  return is_guided (self);
}

/* Stores what cached steps need of the @velocity of a branch at the latents @x. */
static void
keep_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    const Branch *b)
{
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor kept = velocity;

  if (self->step_cache_mode == AVATAR_STEP_CACHE_EASY) { /* takes v - x for constant */
    kept = avatar_ops_alloc_as (ops, AVATAR_F32, 4, self->channels, self->frames, self->h8,
        self->w8);
    avatar_op_axpby (ops, kept, 1, velocity, 0);
    avatar_op_axpby (ops, kept, -1, x, 1);
  }
  avatar_velocity_cache_begin (self->velocity_cache, i, phase_start (self, i));
  avatar_velocity_cache_store (self->velocity_cache, ops, kept, cache_index (b), b->position.start);
  avatar_ops_release (ops, mark);
  if (self->easy_cache && b->branch == 0 && avatar_ops_running (ops)) {
    g_autofree float *v = g_new (float, avatar_tensor_n (velocity));

    avatar_op_download (ops, v, velocity);
    avatar_easy_cache_store (self->easy_cache, v, self->frames, b->position.start);
  }
}

/* Computes the velocity of @branch from those of full steps. */
static void
recall_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    const Branch *b)
{
  guint steps[AVATAR_FORECAST_MAX_HISTORY],
      n = avatar_velocity_cache_steps (self->velocity_cache, steps);
  double times[AVATAR_FORECAST_MAX_HISTORY], weights[AVATAR_FORECAST_MAX_HISTORY] = { 1 };

  for (guint k = 0; k < n; k++)
    times[k] = avatar_forecast_time (steps[k], self->steps);
  if (self->step_cache_mode == AVATAR_STEP_CACHE_FORECAST && n > 0)
    avatar_forecast_weights (weights, times, n, avatar_forecast_time (i, self->steps),
        &avatar_forecast_default);
  avatar_velocity_cache_combine (self->velocity_cache, ops, velocity, cache_index (b),
      b->position.start, weights);
  if (self->step_cache_mode == AVATAR_STEP_CACHE_EASY)
    avatar_op_axpby (ops, velocity, 1, x, 1);
}

/* Computes @velocity of a branch in step @i by a forward or from the cache. */
static void
compute_branch (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    Branch *b)
{
  if (!self->velocity_cache) {
    forward (self, ops, velocity, x, i, b);
    return;
  }
  /* a dry run of the easy cache does the work of both kinds of step */
  if (!runs_forward (self, i) || (ops->dry_run && self->step_cache_mode == AVATAR_STEP_CACHE_EASY))
    recall_velocity (self, ops, velocity, x, i, b);
  if (!runs_forward (self, i))
    return;
  forward (self, ops, velocity, x, i, b);
  if (is_stored (self, i))
    keep_velocity (self, ops, velocity, x, i, b);
}

/* Computes the branches that are computed here, and waits for the other one. Returns the number of
 * forwards. */
static guint
run_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x, guint i,
    Branch *with, Branch *without)
{
  guint n = self->branches == AVATAR_BRANCHES_BOTH || self->peer.begin ? 2 : 1;

  if (self->peer.begin)
    self->peer.begin (self->peer.data, ops, x, i, with->position);
  if (computes (self, 1))
    compute_branch (self, ops, computes (self, 0) ? self->velocity_without_audio : velocity, x, i,
        without);
  if (computes (self, 0))
    compute_branch (self, ops, velocity, x, i, with);
  if (self->peer.begin)
    self->peer.end (self->peer.data, ops, self->velocity_without_audio);
  return runs_forward (self, i) ? n : 0;
}

guint
avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x,
    guint i, AvatarWindowPosition position)
{
  Branch with = { .window = self, .branch = 0, .position = position, .face_scale = 1 };
  Branch without = { .window = self, .branch = 1, .position = position };
  AvatarGuidance g;

  use_loras (self, ops, i);
  if (!is_guided (self)) {
    compute_branch (self, ops, velocity, x, i, &with);
    return runs_forward (self, i) ? 1 : 0;
  }
  g = guidance_at (self, i);
  /* upstream's mask has the dtype of the tokens; its values are powers of two */
  if (self->upstream_rounding) {
    float face_scale = g.face_scale;

    avatar_dtype_round (&face_scale, 1, AVATAR_BF16);
    g.face_scale = face_scale;
  }
  if (!g.negative && self->is_full[i]) /* with the same text, equal up to the first adapter */
    with.shared_prefix = without.shared_prefix = self->shared_prefix;
  with.face_scale = without.face_scale = g.face_scale;
  without.prompt = g.negative ? 1 : 0;
  with.prefix_valid = TRUE;
  return run_branches (self, ops, velocity, x, i, &with, &without);
}

guint
avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity, AvatarTensor x,
    guint i, AvatarWindowPosition position)
{
  guint forwards = avatar_window_branches (self, ops, velocity, x, i, position);
  double scale;

  /* v = v without audio + scale (v with audio - v without audio) */
  if (avatar_window_is_guided (self, i, &scale))
    avatar_op_axpby (ops, velocity, 1 - scale, self->velocity_without_audio, scale);
  return forwards;
}

guint
avatar_window_kind (const AvatarWindow *self, guint i)
{
  return (self->is_full[i] ? 1 : 0) | (is_stored (self, i) ? 2 : 0)
      | (needs_negative (self, i) ? 4 : 0) | (is_sparse (self, i) ? 8 : 0);
}

/* Returns the bytes of the schedules. @row: bytes of a token */
static guint64
schedules_bytes (AvatarWindow self, guint64 row)
{
  guint64 bytes = 0,
          modulation = avatar_transformer_modulation_n (self.transformer->config) * sizeof (float);

  for (guint k = 0; k < n_schedules (&self); k++) {
    use_schedule (&self, schedule_at (&self, k));
    for (guint i = 0; i < self.steps; i++)
      for (guint b = 0; b < (needs_negative (&self, i) ? 2 : 1); b++)
        bytes += modulation + (self.is_full[i] ? self.conditions->text[b].used * row : 0);
  }
  return bytes;
}

guint64
avatar_window_host_bytes (const AvatarWindow *self, AvatarDType dtype, guint latents, guint windows)
{
  const AvatarTransformerConfig *c = self->transformer->config;
  guint64 row = c->hidden * avatar_dtype_size (dtype),
          s = self->reference_tokens.h * self->reference_tokens.w;
  guint64 text = MAX (self->conditions->text[0].used, self->conditions->text[1].used), bytes;

  bytes = schedules_bytes (*self, row);
  if (self->step_cache && self->storage == AVATAR_TOKEN_STORAGE_HOST)
    bytes += n_branches (self) * (latents * s + windows * (s + text)) * row;
  if (self->velocity_cache)
    bytes += avatar_velocity_cache_host_bytes (self->velocity_cache, latents);
  if (self->easy_cache)
    bytes += avatar_easy_cache_host_bytes (self->easy_cache, latents);
  return bytes;
}

static void
clear_schedule (AvatarSchedule *self)
{
  for (guint i = 0; self->step_conditioning && i < 2 * self->steps; i++) {
    g_free (self->step_conditioning[i].modulation);
    g_free (self->step_conditioning[i].text);
  }
  g_clear_pointer (&self->step_conditioning, g_free);
  g_clear_pointer (&self->is_full, g_free);
}

void
avatar_window_clear (AvatarWindow *self)
{
  for (guint i = 0; i < n_schedules (self); i++)
    clear_schedule (schedule_at (self, i));
  self->step_conditioning = NULL;
  self->is_full = NULL;
  avatar_window_free_caches (self);
}

void
avatar_window_remove_steps (AvatarWindow *self)
{
  avatar_window_clear (self);
  g_clear_pointer (&self->schedules, g_array_unref);
  self->steps = 0;
}
