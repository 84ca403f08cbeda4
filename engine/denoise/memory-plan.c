/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans the memory of the denoiser by dry runs of its code, which need no data and no device
 * memory. A run allocates what was planned; avatar-plan prints it. */
#include "engine/denoise/denoiser-private.h"

#include "engine/denoise/sampler.h"
#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>

#define MIB 1048576.
/* Number of values of avatar_window_kind(). */
#define KINDS 8

static AvatarCost
work_of (const AvatarOps *ops)
{
  return (AvatarCost){ ops->flops, ops->bytes, avatar_device_get_flop_counts (ops->device) };
}

/* w + n (b - a) */
static AvatarCost
work_add (AvatarCost w, double n, AvatarCost b, AvatarCost a)
{
  w.flops += n * (b.flops - a.flops);
  w.bytes += n * (b.bytes - a.bytes);
  w.counts.linear += n * (b.counts.linear - a.counts.linear);
  w.counts.linear_8bit += n * (b.counts.linear_8bit - a.counts.linear_8bit);
  w.counts.attention += n * (b.counts.attention - a.counts.attention);
  w.counts.attention_8bit += n * (b.counts.attention_8bit - a.counts.attention_8bit);
  return w;
}

/* Counts all steps of a window. One dry step of each kind suffices. */
static void
run_steps (AvatarDenoiser *self, AvatarOps *ops, AvatarMemoryPlan *out)
{
  const AvatarLatentShape *shape = &self->stream.shape;
  gsize mark = avatar_ops_mark (ops);
  AvatarCost work[KINDS] = { 0 };
  guint forwards[KINDS] = { 0 }, seen = 0;

  for (guint i = 0; i < self->settings.steps; i++) {
    guint kind = avatar_window_kind (&self->window, i);

    if (!(seen & 1 << kind)) {
      AvatarCost before = work_of (ops);
      AvatarStepBuffers buffers;
      gsize between;

      seen |= 1 << kind;
      buffers = avatar_step_buffers_new (ops, shape);
      between = avatar_ops_mark (ops);
      avatar_step_alloc_held (ops, shape, shape->frames - 1); /* as for the last window */
      avatar_ops_release (ops, between);
      forwards[kind]
          = avatar_step_run (&self->window, ops, i, (AvatarWindowPosition){ 0 }, &buffers);
      avatar_ops_release (ops, mark);
      work[kind] = work_add (work[kind], 1, work_of (ops), before);
    }
    if (self->window.full[i])
      out->full = work_add (out->full, 1, work[kind], (AvatarCost){ 0 });
    else
      out->cached = work_add (out->cached, 1, work[kind], (AvatarCost){ 0 });
    out->n_full += forwards[kind];
    out->n_cached += self->window.full[i] ? 0 : self->settings.guidance_scale > 1 ? 2 : 1;
  }
}

/* Dry run of one window. */
static AvatarMemoryPlan
run_dry (AvatarDenoiser *self)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarCost before = work_of (ops);
  AvatarMemoryPlan out = { 0 };

  avatar_window_prepare (&self->window, ops, NULL);
  avatar_window_begin (&self->window, ops);
  out.once = work_add (out.once, 1, work_of (ops), before);
  before = work_of (ops);
  avatar_window_set_audio (&self->window, ops, NULL);
  out.full = work_add (out.full, 1, work_of (ops), before);
  run_steps (self, ops, &out);
  out.arena = MAX (avatar_arena_peak (ops->arena), self->conditioning.text_needs.arena_bytes);
  return out;
}

/* Memory-for-speed options of the window. */
typedef struct
{
  gboolean share; /* both branches of guidance share their common prefix */
  AvatarTokenStorage storage;
} Options;

/* Tries @options; keeps them if they fit in @room. */
static void
try (AvatarDenoiser *self, Options options, guint64 room, AvatarMemoryPlan *best)
{
  AvatarWindow *w = &self->window;
  Options before = { w->share, w->storage };
  AvatarMemoryPlan more;

  w->share = options.share;
  w->storage = options.storage;
  more = run_dry (self);
  if (avatar_device_get_allocation_size (self->device, more.arena) <= room) {
    more.least = best->least;
    *best = more;
  } else {
    w->share = before.share;
    w->storage = before.storage;
  }
}

/* The larger one of the bytes for @slots slots in either schedule and of those for the weights of
 * the text encoders, which are released before. */
static guint64
slots_bytes (AvatarDenoiser *self, guint slots)
{
  return MAX (self->conditioning.text_needs.min_weight_bytes,
      avatar_denoiser_memory_slots_bytes (&self->memory, slots));
}

/* Options in the order of their worth: slots in which weights are copied during computation, the
 * common prefix of both branches of guidance, and tokens of the step cache, which are on the host
 * otherwise. */
gboolean
avatar_denoiser_plan_memory (AvatarDenoiser *self, guint64 room, guint64 comfortable,
    AvatarMemoryPlan *settled, GError **error)
{
  guint64 slots = slots_bytes (self, AVATAR_MAX_SLOTS), arena;
  gboolean one_window = self->settings.mode != AVATAR_DENOISE_MODE_CLIP;
  guint64 for_arena = comfortable - MIN (comfortable, slots);

  self->window.share = FALSE;
  self->window.storage = AVATAR_TOKEN_STORAGE_HOST;
  *settled = run_dry (self);
  arena = avatar_device_get_allocation_size (self->device, settled->arena);
  settled->least = arena + slots_bytes (self, AVATAR_MIN_SLOTS);
  if (settled->least > room) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s has no room for the denoiser's activations and the weights that go through it",
        avatar_device_get_name (self->device));
    return FALSE;
  }
  if (self->settings.guidance_scale > 1)
    try (self, (Options){ TRUE, AVATAR_TOKEN_STORAGE_HOST }, for_arena, settled);
  if (self->settings.step_cache != AVATAR_STEP_CACHE_NONE && one_window)
    try (self, (Options){ self->window.share, AVATAR_TOKEN_STORAGE_ARENA }, for_arena, settled);
  if (self->use == AVATAR_DENOISER_RUN)
    avatar_window_clear (&self->window);
  return TRUE;
}

void
avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error)
{
  g_autoptr (AvatarDenoiser) dry_run
      = avatar_denoiser_open (model, device, settings, AVATAR_DENOISER_PLAN, NULL);
  guint64 least, room = G_MAXUINT64, total;
  AvatarMemoryPlan settled;
  AvatarMemory memory;

  if (!dry_run)
    return;
  avatar_denoiser_plan_memory (dry_run, 0, 0, &settled, NULL);
  least = avatar_weights_fixed_bytes (dry_run->memory.weights) + settled.least;
  if (least <= avatar_device_get_available_bytes (device))
    return;
  avatar_device_get_memory_info (device, &room, &total);
  avatar_device_get_memory (device, &memory);
  g_clear_error (error);
  /* an automatic budget is limited by free memory */
  if (least <= room)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the memory budget of %s is %.0f MiB, but a video of %ux%u in windows of %u latent frames "
        "needs at least %.0f MiB; raise it to that, or choose a smaller video or chunk",
        avatar_device_get_name (device), memory.budget / MIB, settings->width, settings->height,
        (guint) dry_run->stream.shape.frames, ceil ((memory.now + least) / MIB));
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "a video of %ux%u in windows of %u latent frames needs at least %.0f MiB more of %s, but "
        "%.0f MiB are free; close other programs, or choose a smaller video or chunk",
        settings->width, settings->height, (guint) dry_run->stream.shape.frames, ceil (least / MIB),
        avatar_device_get_name (device), floor (room / MIB));
}

/* Work of one full forward of a step without guidance. */
static AvatarCost
one_forward (AvatarDenoiser *self)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  double cfg_scale = self->window.cfg_scale;
  AvatarStepBuffers buffers;
  AvatarCost before;

  self->window.cfg_scale = 1;
  avatar_window_prepare (&self->window, ops, NULL);
  avatar_window_begin (&self->window, ops);
  avatar_window_set_audio (&self->window, ops, NULL);
  buffers = avatar_step_buffers_new (ops, &self->stream.shape);
  before = work_of (ops);
  avatar_window_velocity (&self->window, ops, buffers.v, buffers.x, 0, (AvatarWindowPosition){ 0 });
  self->window.cfg_scale = cfg_scale;
  return work_add ((AvatarCost){ 0 }, 1, work_of (ops), before);
}

/* Page-locked bytes: groups of @route that are not resident and on-demand groups, at most @cap. */
static guint64
pinned_bytes (GArray *units, const AvatarWeightSchedule *route, const AvatarPlacement *placing,
    guint64 cap)
{
  guint64 bytes = placing->streamed_bytes;

  for (guint i = 0; i < route->n_on_demand; i++)
    bytes += g_array_index (units, AvatarWeightGroup, route->on_demand[i]).bytes;
  return MIN (bytes, cap);
}

/* Host buffers for groups that are copied once, such as those of the precompute schedule. */
static guint64
staging_bytes (GArray *units)
{
  guint64 largest = 0;

  for (guint i = 0; i + 1 < units->len; i++)
    largest = MAX (largest, g_array_index (units, AvatarWeightGroup, i).bytes);
  return AVATAR_STAGINGS * largest;
}

/* Places the weights in @room bytes, the arena not counted. */
static gboolean
place_weights (AvatarDenoiser *self, guint64 room, AvatarDenoiserPlan *plan, GError **error)
{
  GArray *units = avatar_weights_get_groups (self->memory.weights);
  guint64 most;

  avatar_conditioning_plan_texts (&self->conditioning, room, &plan->text);
  most = plan->text.weight_bytes;
  for (guint ahead = 0; units && ahead < 2; ahead++) {
    const AvatarWeightSchedule *route = ahead ? self->memory.precompute : self->memory.forward;
    g_auto (AvatarPlacement) placing = { 0 };

    if (!avatar_placement_init (&placing, self->device, units, route, room, error))
      return FALSE;
    most = MAX (most, placing.slots_bytes + placing.resident_bytes);
    if (ahead) {
      for (guint i = 0; i < route->n; i++)
        plan->ahead += g_array_index (units, AvatarWeightGroup, route->units[i]).bytes;
      continue;
    }
    plan->expand = placing.scratches
        * avatar_device_get_allocation_size (self->device, placing.scratch_bytes);
    plan->slots = placing.slots_bytes - plan->expand;
    plan->resident = placing.resident_bytes;
    plan->streamed = placing.streamed_bytes;
    plan->n_slots = placing.slots;
    plan->n_resident = placing.n_residents;
    plan->n_units = route->n;
    plan->pinned = pinned_bytes (units, route, &placing, self->settings.pinned_bytes);
    for (guint i = 0; i < route->n; i++)
      plan->ahead += g_array_index (units, AvatarWeightGroup, route->units[i]).bytes;
    plan->ahead -= placing.streamed_bytes;
    plan->host += MAX (staging_bytes (units), plan->text.host_bytes);
  }
  plan->peak = plan->fixed + plan->arena + most;
  return TRUE;
}

static guint
count_windows (AvatarDenoiser *self, guint frames)
{
  gint64 more, fresh = self->stream.shape.frames - self->settings.overlap;

  if (self->settings.mode == AVATAR_DENOISE_MODE_CLIP)
    return avatar_clip_plan (frames, self->stream.shape.frames).windows;
  more = ((gint64) frames + 2) / 4 + 1 - self->stream.shape.frames;
  return more > 0 ? 1 + (more + fresh - 1) / fresh : 1;
}

static void
fill_plan (AvatarDenoiser *self, const AvatarMemoryPlan *settled, guint frames,
    AvatarDenoiserPlan *plan)
{
  guint windows = count_windows (self, frames);
  gboolean clip = self->settings.mode == AVATAR_DENOISE_MODE_CLIP;
  AvatarCost nothing = { 0 };

  plan->shares = self->window.share;
  plan->keeps = self->window.storage == AVATAR_TOKEN_STORAGE_ARENA;
  plan->file = avatar_weights_file_bytes (self->memory.weights);
  plan->n_full = (guint64) windows * settled->n_full;
  plan->n_cached = (guint64) windows * settled->n_cached;
  plan->once = settled->once;
  plan->full = work_add (nothing, windows, settled->full, nothing);
  plan->cached = work_add (nothing, windows, settled->cached, nothing);
  plan->host += avatar_window_host_bytes (&self->window,
      avatar_device_get_backend (self->device)->activation,
      clip ? avatar_clip_plan (frames, self->stream.shape.frames).latents
           : self->stream.shape.frames,
      clip ? windows : 1);
  plan->forward = one_forward (self);
}

gboolean
avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 room, AvatarDenoiserPlan *plan,
    GError **error)
{
  AvatarDenoiseSettings any = *settings;
  g_autoptr (AvatarDenoiser) self = NULL;
  AvatarMemoryPlan settled;

  if (avatar_model_has_text_encoder (model))
    any.prompt = NULL; /* the longest possible one, which needs no tokenizer */
  self = avatar_denoiser_open (model, device, &any, AVATAR_DENOISER_PLAN, error);
  if (!self)
    return FALSE;
  *plan = (AvatarDenoiserPlan){ .fixed = avatar_weights_fixed_bytes (self->memory.weights) };
  room -= MIN (room, plan->fixed);
  plan->fits = avatar_denoiser_plan_memory (self, room, room, &settled, NULL);
  plan->least = plan->fixed + settled.least;
  if (!plan->fits)
    room = settled.least;
  plan->arena = avatar_device_get_allocation_size (device, settled.arena);
  if (!place_weights (self, room - plan->arena, plan, error))
    return FALSE;
  fill_plan (self, &settled, frames, plan);
  return TRUE;
}
