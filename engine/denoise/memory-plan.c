/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoiser's memory, decided by running its code without memory behind it: the same way for a
 * run, which then takes what was decided, and for a plan, which prints it. */
#include "engine/denoise/denoiser-private.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>

#define MIB 1048576.
/* Kinds of steps: see avatar_window_kind(). */
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

/* The first step of every kind stands for all of it. */
static void
run_steps (AvatarDenoiser *self, AvatarOps *ops, AvatarMemoryPlan *out)
{
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
      self->stats.forwards = 0;
      buffers = avatar_denoiser_buffers (self, ops);
      between = avatar_ops_mark (ops);
      avatar_denoiser_alloc_held (self, ops, self->frames - 1); /* at the end of a stream */
      avatar_ops_release (ops, between);
      avatar_denoiser_step (self, ops, i, (AvatarWindowPosition){ 0 }, &buffers);
      avatar_ops_release (ops, mark);
      forwards[kind] = self->stats.forwards;
      work[kind] = work_add (work[kind], 1, work_of (ops), before);
    }
    if (self->window.full[i])
      out->full = work_add (out->full, 1, work[kind], (AvatarCost){ 0 });
    else
      out->cached = work_add (out->cached, 1, work[kind], (AvatarCost){ 0 });
    out->n_full += forwards[kind];
    out->n_cached += self->window.full[i] ? 0 : self->settings.guidance_scale > 1 ? 2 : 1;
  }
  self->stats.forwards = 0;
}

/* One window and all steps. */
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
  out.arena = MAX (avatar_arena_peak (ops->arena), self->text_needs.arena);
  return out;
}

/* The other settings, and what they take, if that is not more than @room. */
static void
try (AvatarDenoiser *self, gboolean share, AvatarTokenStorage storage, guint64 room,
    AvatarMemoryPlan *best)
{
  AvatarWindow *w = &self->window;
  gboolean share_before = w->share;
  AvatarTokenStorage storage_before = w->storage;
  AvatarMemoryPlan more;

  w->share = share;
  w->storage = storage;
  more = run_dry (self);
  if (avatar_device_get_allocation_size (self->device, more.arena) <= room) {
    more.least = best->least;
    *best = more;
  } else {
    w->share = share_before;
    w->storage = storage_before;
  }
}

/* Bytes for @slots slots on the way ahead of forwards and on theirs, or for the text encoders, which
 * are gone by then: whichever is more. */
static guint64
slots_bytes (AvatarDenoiser *self, guint slots)
{
  GArray *units = avatar_weights_get_groups (self->weights);
  guint64 most = self->text_needs.least;

  for (guint ahead = 0; units && ahead < 2; ahead++) {
    g_autofree AvatarWeightSchedule *route
        = avatar_transformer_weight_schedule (self->transformer.config, ahead);

    most = MAX (most, avatar_placement_slots_bytes (self->device, units, route, slots));
  }
  return most;
}

/* What is worth its memory, in this order: slots that let the weights stream under the work, the
 * tokens that the branches of guidance share, and those of the step cache, which else go to the
 * host. */
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
    try (self, TRUE, AVATAR_TOKEN_STORAGE_HOST, for_arena, settled);
  if (self->settings.step_cache != AVATAR_STEP_CACHE_NONE && one_window)
    try (self, self->window.share, AVATAR_TOKEN_STORAGE_ARENA, for_arena, settled);
  if (!self->dry_run)
    avatar_window_clear (&self->window);
  return TRUE;
}

void
avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error)
{
  g_autoptr (AvatarDenoiser) dry_run = avatar_denoiser_open (model, device, settings, TRUE, NULL);
  guint64 least, room = G_MAXUINT64, total;
  AvatarMemoryPlan settled;
  AvatarMemory memory;

  if (!dry_run)
    return;
  avatar_denoiser_plan_memory (dry_run, 0, 0, &settled, NULL);
  least = avatar_weights_fixed_bytes (dry_run->weights) + settled.least;
  if (least <= avatar_device_get_available_bytes (device))
    return;
  avatar_device_get_memory_info (device, &room, &total);
  avatar_device_get_memory (device, &memory);
  g_clear_error (error);
  /* an automatic budget is as small as the device is */
  if (least <= room)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the memory budget of %s is %.0f MiB, but a video of %ux%u in windows of %u latent frames "
        "needs at least %.0f MiB; raise it to that, or choose a smaller video or chunk",
        avatar_device_get_name (device), memory.budget / MIB, settings->width, settings->height,
        (guint) dry_run->frames, ceil ((memory.now + least) / MIB));
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "a video of %ux%u in windows of %u latent frames needs at least %.0f MiB more of %s, but "
        "%.0f MiB are free; close other programs, or choose a smaller video or chunk",
        settings->width, settings->height, (guint) dry_run->frames, ceil (least / MIB),
        avatar_device_get_name (device), floor (room / MIB));
}

/* One full forward, as a step without guidance makes it. */
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
  buffers = avatar_denoiser_buffers (self, ops);
  before = work_of (ops);
  avatar_window_velocity (&self->window, ops, buffers.v, buffers.x, 0, (AvatarWindowPosition){ 0 });
  self->window.cfg_scale = cfg_scale;
  return work_add ((AvatarCost){ 0 }, 1, work_of (ops), before);
}

/* Bytes of the units of @route and its on_demand that do not keep a place: what is pinned, as far as
 * the cap allows. */
static guint64
pinned_bytes (GArray *units, const AvatarWeightSchedule *route, const AvatarPlacement *placing,
    guint64 cap)
{
  guint64 bytes = placing->streamed_bytes;

  for (guint i = 0; i < route->n_on_demand; i++)
    bytes += g_array_index (units, AvatarWeightGroup, route->on_demand[i]).bytes;
  return MIN (bytes, cap);
}

/* Where units lie on the host that are copied but not kept there: those of the way ahead at
 * least. */
static guint64
staging_bytes (GArray *units)
{
  guint64 largest = 0;

  for (guint i = 0; i + 1 < units->len; i++)
    largest = MAX (largest, g_array_index (units, AvatarWeightGroup, i).bytes);
  return AVATAR_STAGINGS * largest;
}

/* Where the weights go with @room bytes beside the arena. */
static gboolean
place_weights (AvatarDenoiser *self, guint64 room, AvatarDenoiserPlan *plan, GError **error)
{
  GArray *units = avatar_weights_get_groups (self->weights);
  guint64 most;

  avatar_denoiser_plan_texts (self, room, &plan->text);
  most = plan->text.weights;
  for (guint ahead = 0; units && ahead < 2; ahead++) {
    g_autofree AvatarWeightSchedule *route
        = avatar_transformer_weight_schedule (self->transformer.config, ahead);
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
    plan->host += MAX (staging_bytes (units), plan->text.host);
  }
  plan->peak = plan->fixed + plan->arena + most;
  return TRUE;
}

static guint
count_windows (AvatarDenoiser *self, guint frames)
{
  gint64 more, fresh = self->frames - self->settings.overlap;

  if (self->settings.mode == AVATAR_DENOISE_MODE_CLIP)
    return avatar_clip_plan (frames, self->frames).windows;
  more = ((gint64) frames + 2) / 4 + 1 - self->frames;
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
  plan->file = avatar_weights_file_bytes (self->weights);
  plan->n_full = (guint64) windows * settled->n_full;
  plan->n_cached = (guint64) windows * settled->n_cached;
  plan->once = settled->once;
  plan->full = work_add (nothing, windows, settled->full, nothing);
  plan->cached = work_add (nothing, windows, settled->cached, nothing);
  plan->host += avatar_window_host_bytes (&self->window,
      avatar_device_get_backend (self->device)->activation,
      clip ? avatar_clip_plan (frames, self->frames).latents : self->frames, clip ? windows : 1);
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

  if (avatar_text_encoder_is_for (model))
    any.prompt = NULL; /* as long as it may be; tokenizers need not be there */
  self = avatar_denoiser_open (model, device, &any, TRUE, error);
  if (!self)
    return FALSE;
  *plan = (AvatarDenoiserPlan){ .fixed = avatar_weights_fixed_bytes (self->weights) };
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
