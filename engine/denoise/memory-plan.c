/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans the memory of the denoiser by dry runs of its code, which need no data and no device
 * memory. A run allocates the planned memory; avatar-plan prints the plan. */
#include "engine/denoise/denoiser-private.h"

#include "engine/denoise/sampler.h"
#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>

#define MIB 1048576.

/* Returns the work that was counted by @ops since it was made. */
static AvatarCost
get_cost (const AvatarOps *ops)
{
  return (AvatarCost){ ops->flops, ops->bytes, avatar_device_get_flop_counts (ops->device) };
}

/* Returns cost + n (b - a). */
static AvatarCost
cost_add (AvatarCost cost, double n, AvatarCost b, AvatarCost a)
{
  cost.flops += n * (b.flops - a.flops);
  cost.bytes += n * (b.bytes - a.bytes);
  cost.counts.linear += n * (b.counts.linear - a.counts.linear);
  cost.counts.linear_8bit += n * (b.counts.linear_8bit - a.counts.linear_8bit);
  cost.counts.attention += n * (b.counts.attention - a.counts.attention);
  cost.counts.attention_8bit += n * (b.counts.attention_8bit - a.counts.attention_8bit);
  return cost;
}

/* Steps that were run dry, by their kind.
 * @seen: bits of the kinds; @costs, @forwards: work of a step of each kind */
typedef struct
{
  guint seen;
  AvatarCost costs[AVATAR_N_STEP_KINDS];
  guint forwards[AVATAR_N_STEP_KINDS];
} Kinds;

/* Returns the kind of step @i, which runs dry unless a step of its kind did. */
static guint
run_kind (AvatarDenoiser *self, AvatarOps *ops, guint i, Kinds *kinds)
{
  const AvatarLatentShape *shape = &self->stream.shape;
  guint kind = avatar_window_kind (&self->window, i);
  gsize mark = avatar_ops_mark (ops), between;
  AvatarCost before = get_cost (ops), zero = { 0 };
  AvatarStepBuffers buffers;

  if (kinds->seen & 1 << kind)
    return kind;
  kinds->seen |= 1 << kind;
  buffers = avatar_step_buffers_new (ops, shape);
  between = avatar_ops_mark (ops);
  avatar_step_alloc_overlap (ops, shape, shape->frames - 1); /* the longest possible one */
  avatar_ops_release (ops, between);
  kinds->forwards[kind] = self->leader
      ? avatar_window_branches (&self->window, ops, buffers.v, buffers.x, i,
          (AvatarWindowPosition){ 0 })
      : avatar_step_run (&self->window, ops, i, (AvatarWindowPosition){ 0 }, &buffers);
  avatar_ops_release (ops, mark);
  kinds->costs[kind] = cost_add (zero, 1, get_cost (ops), before);
  return kind;
}

/* Counts the work of all steps of a window. Windows with other numbers of steps may have steps of
 * other kinds, for which the arena needs memory. */
static void
count_steps (AvatarDenoiser *self, AvatarOps *ops, AvatarMemoryPlan *out)
{
  AvatarWindow *w = &self->window;
  gboolean both = w->branches == AVATAR_BRANCHES_BOTH && self->settings.guidance_scale > 1;
  AvatarCost zero = { 0 };
  guint steps = w->steps;
  Kinds kinds = { 0 };

  for (guint i = 0; i < steps; i++) {
    guint kind = run_kind (self, ops, i, &kinds);

    if (w->is_full[i])
      out->full = cost_add (out->full, 1, kinds.costs[kind], zero);
    else
      out->cached = cost_add (out->cached, 1, kinds.costs[kind], zero);
    out->n_full += kinds.forwards[kind];
    if (!w->is_full[i])
      out->n_cached += both ? 2 : 1;
  }
  for (guint k = 0; k < w->schedules->len; k++) {
    avatar_window_use_steps (w, g_array_index (w->schedules, AvatarSchedule, k).steps);
    for (guint i = 0; i < w->steps; i++)
      run_kind (self, ops, i, &kinds);
  }
  avatar_window_use_steps (w, steps);
}

/* Precomputes in a dry run. The leader of a peer does so on its own device. */
static void
precompute (AvatarDenoiser *self, AvatarOps *ops)
{
  g_autoptr (AvatarOps) other = NULL;

  if (!self->leader) {
    avatar_window_precompute (&self->window, ops, NULL);
    return;
  }
  other = avatar_ops_new (self->leader->device, avatar_arena_new_dry_run (), NULL);
  avatar_window_precompute (&self->leader->window, other, NULL);
  avatar_window_follow (&self->window, &self->leader->window);
}

/* Clears the window after a dry run. The schedules of a peer are those of its leader. */
static void
clear_window (AvatarDenoiser *self)
{
  avatar_window_clear (self->leader ? &self->leader->window : &self->window);
  if (self->leader) {
    avatar_window_free_caches (&self->window);
    avatar_window_follow (&self->window, &self->leader->window);
  }
}

/* Counts memory and work of one window by a dry run. */
static AvatarMemoryPlan
dry_run_window (AvatarDenoiser *self)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarCost before = get_cost (ops);
  AvatarMemoryPlan out = { 0 };

  precompute (self, ops);
  avatar_window_begin (&self->window, ops);
  out.precompute = cost_add (out.precompute, 1, get_cost (ops), before);
  before = get_cost (ops);
  if (!self->leader)
    avatar_window_set_audio (&self->window, ops, NULL);
  out.full = cost_add (out.full, 1, get_cost (ops), before);
  count_steps (self, ops, &out);
  out.arena_bytes = MAX (avatar_arena_peak (ops->arena), self->conditioning.text_needs.arena_bytes);
  return out;
}

/* Memory-for-speed options of the window.
 * @share_prefix: the branches of guidance share their common prefix */
typedef struct
{
  gboolean share_prefix;
  AvatarTokenStorage storage;
} Options;

/* Plans with @options. Keeps them, and replaces @plan, if the arena fits in @max_bytes. */
static void
try_options (AvatarDenoiser *self, Options options, guint64 max_bytes, AvatarMemoryPlan *plan)
{
  AvatarWindow *w = &self->window;
  Options old = { w->share_prefix, w->storage };
  AvatarMemoryPlan candidate;

  w->share_prefix = options.share_prefix;
  w->storage = options.storage;
  candidate = dry_run_window (self);
  if (avatar_device_get_allocation_size (self->device, candidate.arena_bytes) <= max_bytes) {
    candidate.min_bytes = plan->min_bytes;
    *plan = candidate;
  } else {
    w->share_prefix = old.share_prefix;
    w->storage = old.storage;
  }
}

/* Returns the bytes for weights: @slots slots, or the text encoders' minimum if that is larger. The
 * text encoders run before the first window and share the memory. */
static guint64
slots_bytes (AvatarDenoiser *self, guint slots)
{
  return MAX (self->conditioning.text_needs.min_weight_bytes,
      avatar_denoiser_memory_slots_bytes (&self->memory, slots));
}

/* Prefers slots, with which weights are copied during computation, to the shared prefix of both
 * branches of guidance, and this to the tokens of the step cache, which are on the host
 * otherwise. */
gboolean
avatar_denoiser_plan_memory (AvatarDenoiser *self, guint64 available_bytes, guint64 preferred_bytes,
    AvatarMemoryPlan *plan, GError **error)
{
  guint64 slots = slots_bytes (self, AVATAR_MAX_SLOTS);
  guint64 max_arena_bytes = preferred_bytes - MIN (preferred_bytes, slots);
  gboolean one_window = self->settings.mode != AVATAR_DENOISE_MODE_CLIP;

  self->window.share_prefix = FALSE;
  self->window.storage = AVATAR_TOKEN_STORAGE_HOST;
  *plan = dry_run_window (self);
  plan->min_bytes = avatar_device_get_allocation_size (self->device, plan->arena_bytes)
      + slots_bytes (self, AVATAR_MIN_SLOTS);
  if (plan->min_bytes > available_bytes) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s has %.0f MiB for the denoiser's activations and streamed weights, but at least %.0f MiB "
        "are needed; raise the memory budget",
        avatar_device_get_name (self->device), floor (available_bytes / MIB),
        ceil (plan->min_bytes / MIB));
    return FALSE;
  }
  if (self->window.branches == AVATAR_BRANCHES_BOTH && self->settings.guidance_scale > 1)
    try_options (self, (Options){ .share_prefix = TRUE, .storage = AVATAR_TOKEN_STORAGE_HOST },
        max_arena_bytes, plan);
  if (self->settings.step_cache != AVATAR_STEP_CACHE_NONE && one_window)
    try_options (self,
        (Options){ .share_prefix = self->window.share_prefix,
            .storage = AVATAR_TOKEN_STORAGE_DEVICE },
        max_arena_bytes, plan);
  if (self->use == AVATAR_DENOISER_RUN)
    clear_window (self);
  return TRUE;
}

void
avatar_denoiser_resize (AvatarDenoiser *self, gsize bytes)
{
  self->memory.planned_bytes = bytes;
  avatar_arena_resize (self->memory.ops->arena, bytes);
}

gboolean
avatar_denoiser_allocate (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiserMemory *memory = &self->memory;
  AvatarDevice *device = self->device;
  AvatarMemoryPlan plan;
  AvatarArena *arena;

  if (!avatar_denoiser_plan_memory (self, avatar_device_get_available_bytes (device),
          avatar_placement_available_bytes (device), &plan, error))
    return FALSE;
  memory->planned_bytes = plan.arena_bytes;
  arena = avatar_arena_new (device, memory->planned_bytes, "the denoiser", error);
  if (!arena)
    return FALSE;
  memory->ops = avatar_ops_new (device, arena, error);
  if (!memory->ops)
    return FALSE;
  if (avatar_device_get_backend (device)->discrete) {
    memory->client = avatar_memory_client_new (device, avatar_denoiser_memory_reclaim, memory);
    avatar_memory_client_set_reclaimable (memory->client, TRUE);
  }
  return TRUE;
}

/* Replaces @error if the device of @self, which is opened for a plan, has too little memory. */
static void
explain (AvatarDenoiser *self, GError **error)
{
  const AvatarDenoiseSettings *settings = &self->settings;
  guint64 min_bytes, free_bytes = G_MAXUINT64, total;
  AvatarDevice *device = self->device;
  AvatarMemoryPlan plan;
  AvatarMemory memory;

  avatar_denoiser_plan_memory (self, 0, 0, &plan, NULL);
  min_bytes = avatar_weights_fixed_bytes (self->memory.weights) + plan.min_bytes;
  if (min_bytes <= avatar_device_get_available_bytes (device))
    return;
  avatar_device_get_memory_info (device, &free_bytes, &total);
  avatar_device_get_memory (device, &memory);
  g_clear_error (error);
  /* an automatic budget is limited by free memory */
  if (min_bytes <= free_bytes)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the memory budget of %s is %.0f MiB, but a video of %ux%u in windows of %u latent frames "
        "needs at least %.0f MiB; raise the budget, or choose a smaller video or window-latents",
        avatar_device_get_name (device), memory.budget / MIB, settings->width, settings->height,
        (guint) self->stream.shape.frames, ceil ((memory.now + min_bytes) / MIB));
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "a video of %ux%u in windows of %u latent frames needs at least %.0f MiB more on %s, but "
        "%.0f MiB are free; close other programs, or choose a smaller video or window-latents",
        settings->width, settings->height, (guint) self->stream.shape.frames,
        ceil (min_bytes / MIB), avatar_device_get_name (device), floor (free_bytes / MIB));
}

void
avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error)
{
  g_autoptr (AvatarDenoiser) dry_run
      = avatar_denoiser_open (model, device, settings, AVATAR_DENOISER_PLAN, NULL);

  if (!dry_run)
    return;
  if (avatar_denoiser_is_split (dry_run))
    dry_run->peer = avatar_denoiser_open_peer (dry_run, NULL);
  if (dry_run->peer)
    explain (dry_run->peer, error);
  explain (dry_run, error);
}

/* Counts the work of one full forward, without guidance. */
static AvatarCost
count_forward (AvatarDenoiser *self)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  double guidance_scale = self->window.guidance_scale;
  AvatarStepBuffers buffers;
  AvatarCost before;

  self->window.guidance_scale = 1;
  avatar_window_precompute (&self->window, ops, NULL);
  avatar_window_begin (&self->window, ops);
  avatar_window_set_audio (&self->window, ops, NULL);
  buffers = avatar_step_buffers_new (ops, &self->stream.shape);
  before = get_cost (ops);
  avatar_window_velocity (&self->window, ops, buffers.v, buffers.x, 0, (AvatarWindowPosition){ 0 });
  self->window.guidance_scale = guidance_scale;
  return cost_add ((AvatarCost){ 0 }, 1, get_cost (ops), before);
}

/* Returns the page-locked bytes: groups of @schedule that are not resident and on-demand groups, at
 * most @max_bytes. */
static guint64
count_pinned_bytes (GArray *groups, const AvatarWeightSchedule *schedule,
    const AvatarPlacement *placement, guint64 max_bytes)
{
  guint64 bytes = placement->streamed_bytes;

  for (guint i = 0; i < schedule->n_on_demand; i++)
    bytes += g_array_index (groups, AvatarWeightGroup, schedule->on_demand[i]).bytes;
  return MIN (bytes, max_bytes);
}

/* Returns the bytes of host buffers for groups that are copied once. */
static guint64
count_staging_bytes (GArray *groups)
{
  guint64 largest = 0;

  for (guint i = 0; i + 1 < groups->len; i++)
    largest = MAX (largest, g_array_index (groups, AvatarWeightGroup, i).bytes);
  return AVATAR_STAGINGS * largest;
}

/* Returns the bytes of the groups of @schedule, without on-demand groups. */
static guint64
count_schedule_bytes (GArray *groups, const AvatarWeightSchedule *schedule)
{
  guint64 bytes = 0;

  for (guint i = 0; i < schedule->n; i++)
    bytes += g_array_index (groups, AvatarWeightGroup, schedule->groups[i]).bytes;
  return bytes;
}

/* Fills the placement of the weights in forwards in @plan. */
static void
fill_forward (AvatarDenoiser *self, const AvatarPlacement *placement, AvatarDenoiserPlan *plan)
{
  GArray *groups = avatar_weights_get_groups (self->memory.weights);
  const AvatarWeightSchedule *schedule = self->memory.forward;

  plan->expand_bytes = placement->scratches
      * avatar_device_get_allocation_size (self->device, placement->scratch_bytes);
  plan->slots_bytes = placement->slots_bytes - plan->expand_bytes;
  plan->resident_bytes = placement->resident_bytes;
  plan->streamed_bytes = placement->streamed_bytes;
  plan->n_slots = placement->slots;
  plan->n_resident = placement->n_residents;
  plan->n_groups = schedule->n;
  plan->pinned_bytes = count_pinned_bytes (groups, schedule, placement,
      self->settings.pinned_bytes / MIN (avatar_device_get_n_members (self->group), 2));
  if (self->memory.precompute)
    plan->precompute_bytes = count_schedule_bytes (groups, self->memory.precompute);
  plan->precompute_bytes += count_schedule_bytes (groups, schedule) - placement->streamed_bytes;
  plan->host_bytes += MAX (count_staging_bytes (groups), plan->text.host_bytes);
}

/* Places the weights of both schedules in @available_bytes, without the arena. On a device that is
 * not discrete there are no groups to place. */
static gboolean
place_weights (AvatarDenoiser *self, guint64 available_bytes, AvatarDenoiserPlan *plan,
    GError **error)
{
  GArray *groups = avatar_weights_get_groups (self->memory.weights);
  g_auto (AvatarPlacement) precompute = { 0 };
  g_auto (AvatarPlacement) forward = { 0 };
  guint64 bytes;

  avatar_conditioning_plan_texts (&self->conditioning, available_bytes, &plan->text);
  bytes = plan->text.weight_bytes;
  if (groups) {
    if (!avatar_placement_init (&forward, self->device, groups, self->memory.forward,
            available_bytes, error)
        || (self->memory.precompute
            && !avatar_placement_init (&precompute, self->device, groups, self->memory.precompute,
                available_bytes, error)))
      return FALSE;
    bytes = MAX (bytes, forward.slots_bytes + forward.resident_bytes);
    bytes = MAX (bytes, precompute.slots_bytes + precompute.resident_bytes);
    fill_forward (self, &forward, plan);
  }
  plan->peak_bytes = plan->fixed_bytes + plan->arena_bytes + bytes;
  return TRUE;
}

/* Returns the number of windows for @frames video frames. */
static guint
count_windows (AvatarDenoiser *self, guint frames)
{
  gint64 remaining, step = self->stream.shape.frames - self->settings.overlap;

  if (self->settings.mode == AVATAR_DENOISE_MODE_CLIP)
    return avatar_clip_plan (frames, self->stream.shape.frames).windows;
  /* latent frames after the first window; each further window adds @step of them */
  remaining = ((gint64) frames + 2) / 4 + 1 - self->stream.shape.frames;
  return remaining > 0 ? 1 + (remaining + step - 1) / step : 1;
}

/* Fills work and host memory of all windows in @plan. */
static void
fill_plan (AvatarDenoiser *self, const AvatarMemoryPlan *memory_plan, guint frames,
    AvatarDenoiserPlan *plan)
{
  guint windows = count_windows (self, frames);
  gboolean clip = self->settings.mode == AVATAR_DENOISE_MODE_CLIP;
  AvatarWindow window = self->window;
  AvatarCost zero = { 0 };

  plan->shares_prefix = self->window.share_prefix;
  plan->cache_on_device = self->window.storage == AVATAR_TOKEN_STORAGE_DEVICE;
  plan->file_bytes = avatar_weights_file_bytes (self->memory.weights);
  plan->n_full = (guint64) windows * memory_plan->n_full;
  plan->n_cached = (guint64) windows * memory_plan->n_cached;
  plan->precompute = memory_plan->precompute;
  plan->full = cost_add (zero, windows, memory_plan->full, zero);
  plan->cached = cost_add (zero, windows, memory_plan->cached, zero);
  if (self->leader)
    window.schedules = NULL; /* counted for the leader */
  plan->host_bytes
      += avatar_window_host_bytes (&window, avatar_device_get_backend (self->device)->activation,
          clip ? avatar_clip_plan (frames, self->stream.shape.frames).latents
               : self->stream.shape.frames,
          clip ? windows : 1);
  plan->forward = count_forward (self->leader ? self->leader : self);
}

/* Plans a run of @self, or, if it is a peer, its part of the run. */
static gboolean
plan_run (AvatarDenoiser *self, guint frames, guint64 available_bytes, AvatarDenoiserPlan *plan,
    GError **error)
{
  AvatarMemoryPlan memory_plan;

  *plan = (AvatarDenoiserPlan){
    .fixed_bytes = avatar_weights_fixed_bytes (self->memory.weights),
  };
  available_bytes -= MIN (available_bytes, plan->fixed_bytes);
  plan->fits
      = avatar_denoiser_plan_memory (self, available_bytes, available_bytes, &memory_plan, NULL);
  plan->min_bytes = plan->fixed_bytes + memory_plan.min_bytes;
  if (!plan->fits)
    available_bytes = memory_plan.min_bytes;
  plan->arena_bytes = avatar_device_get_allocation_size (self->device, memory_plan.arena_bytes);
  if (!place_weights (self, available_bytes - plan->arena_bytes, plan, error))
    return FALSE;
  fill_plan (self, &memory_plan, frames, plan);
  return TRUE;
}

/* Opens a denoiser for a plan. */
static AvatarDenoiser *
open_plan (AvatarModel *model, AvatarDevice *device, const AvatarDenoiseSettings *settings,
    GError **error)
{
  AvatarDenoiseSettings copy = *settings;

  if (avatar_model_has_text_encoder (model))
    copy.prompt = NULL; /* plans for the longest prompt, which needs no tokenizer */
  return avatar_denoiser_open (model, device, &copy, AVATAR_DENOISER_PLAN, error);
}

gboolean
avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 available_bytes,
    AvatarDenoiserPlan *plan, GError **error)
{
  g_autoptr (AvatarDenoiser) self = open_plan (model, device, settings, error);

  return self && plan_run (self, frames, available_bytes, plan, error);
}

gboolean
avatar_denoiser_plan_branch (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 available_bytes,
    AvatarDenoiserPlan *plan, GError **error)
{
  g_autoptr (AvatarDenoiser) self = open_plan (model, device, settings, error);

  if (!self)
    return FALSE;
  g_return_val_if_fail (avatar_denoiser_is_split (self), FALSE);
  self->peer = avatar_denoiser_open_peer (self, error);
  return self->peer && plan_run (self->peer, frames, available_bytes, plan, error);
}
