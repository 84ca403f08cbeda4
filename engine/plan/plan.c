/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plan of a whole run, combined from the plans of all stages. */
#include <avatar/plan.h>

#include "engine/audio/encoder.h"
#include "engine/base/reserved.h"
#include "engine/denoise/denoiser.h"
#include "engine/device/device.h"
#include "engine/vae/encoder.h"
#include "engine/vae/decoder.h"
#include "engine/weights/placement.h"

/* Limit of a plan: eleven hours of video. */
#define MAX_FRAMES 1000000

/* Stages of a plan. Only models with text encoders have the last one. */
enum
{
  STAGE_AUDIO,
  STAGE_PORTRAIT,
  STAGE_DENOISER,
  STAGE_DECODER,
  N_STAGES,
  STAGE_TEXT = N_STAGES,
};

void
avatar_plan_options_init (AvatarPlanOptions *options)
{
  *options = (AvatarPlanOptions){
    .linear_tflops = 680,
    .linear_8bit_tflops = 1290,
    .attention_tflops = 570,
    .attention_8bit_tflops = 830,
    .bus_gbps = 55,
  };
}

static gboolean
check_options (const AvatarPlanOptions *o, guint frames, GError **error)
{
  const double rates[] = { o->linear_tflops, o->linear_8bit_tflops, o->attention_tflops,
    o->attention_8bit_tflops, o->bus_gbps };

  if (!AVATAR_CHECK_RESERVED (o, "AvatarPlanOptions", error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (rates); i++)
    if (!(rates[i] > 0 && rates[i] < 1e6)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "found a rate of %g; expected TFLOP/s and GB/s above 0 and below 1000000", rates[i]);
      return FALSE;
    }
  if (frames >= 1 && frames <= MAX_FRAMES)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "found a video of %u frames; plans are possible for 1 to %u", frames, MAX_FRAMES);
  return FALSE;
}

/* Returns the time of @cost at the rates of @o. */
static double
compute_seconds (const AvatarCost *cost, const AvatarPlanOptions *o)
{
  const AvatarFlopCounts *c = &cost->counts;

  return c->linear / (o->linear_tflops * 1e12) + c->linear_8bit / (o->linear_8bit_tflops * 1e12)
      + c->attention / (o->attention_tflops * 1e12)
      + c->attention_8bit / (o->attention_8bit_tflops * 1e12);
}

/* Returns the time of computation and copies. They overlap if the two groups in use and the next
 * two have slots. */
static double
seconds_with_copies (double compute, double copies, guint slots)
{
  return slots >= AVATAR_MAX_SLOTS ? MAX (compute, copies) : compute + copies;
}

/* Fills the estimated times, on a "plan:" device. */
static void
fill_times (AvatarPlanGpu *gpu, const AvatarDenoiserPlan *d, const AvatarPlanOptions *o)
{
  double copy = gpu->streamed_bytes / (o->bus_gbps * 1e9);
  double precompute
      = gpu->precompute_bytes / (o->bus_gbps * 1e9) + compute_seconds (&d->precompute, o);

  gpu->forward_flops = d->forward.flops;
  if (d->forward.counts.linear + d->forward.counts.linear_8bit == 0)
    return;
  gpu->copy_seconds = copy;
  gpu->forward_seconds = seconds_with_copies (compute_seconds (&d->forward, o), copy, d->n_slots);
  gpu->run_seconds = precompute + compute_seconds (&d->cached, o)
      + seconds_with_copies (compute_seconds (&d->full, o), d->n_full * copy, d->n_slots);
}

/* Memory of the stages that use the GPU while the denoiser has released its memory, with weights.
 * @decoder_bytes, @decoder_min_bytes: preferred and minimum memory of the decoder
 * @portrait_bytes: memory of the portrait's encoder */
typedef struct
{
  guint64 decoder_bytes, decoder_min_bytes, portrait_bytes;
} SharedMemory;

/* Inputs and intermediate results of a plan.
 * @group: the device; @device: the member of it that is planned
 * @host_available_bytes: memory for the denoiser, in a plan for the host
 * @fixed_bytes: memory of the denoiser that remains on the device while it is suspended */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *group, *device;
  const AvatarDenoiseSettings *denoise;
  const AvatarDecodeSettings *decode;
  const AvatarPlanOptions *options;
  guint frames;
  guint64 host_available_bytes, fixed_bytes;
  SharedMemory shared;
} Job;

/* Fills the part of the plan for a GPU. */
static void
fill_gpu (AvatarPlan *plan, AvatarDevice *device, const AvatarDenoiserPlan *d,
    const SharedMemory *shared, const AvatarPlanOptions *o, guint64 budget)
{
  guint64 overhead
      = avatar_device_get_backend (device)->overhead (avatar_device_get_handle (device));
  guint64 suspended_min_bytes
      = d->fixed_bytes + MAX (shared->decoder_min_bytes, shared->portrait_bytes);
  guint64 suspended_bytes = d->fixed_bytes + MAX (shared->decoder_bytes, shared->portrait_bytes);

  plan->gpu = (AvatarPlanGpu){
    .budget_bytes = budget,
    .min_bytes = overhead + MAX (d->min_bytes, suspended_min_bytes),
    .peak_bytes = overhead + MAX (d->peak_bytes, suspended_bytes),
    .overhead_bytes = overhead,
    .decoder_bytes = shared->decoder_bytes,
    .portrait_bytes = shared->portrait_bytes,
    .fixed_bytes = d->fixed_bytes,
    .arena_bytes = d->arena_bytes,
    .slots_bytes = d->slots_bytes,
    .expand_bytes = d->expand_bytes,
    .resident_bytes = d->resident_bytes,
    .slots = d->n_slots,
    .resident = d->n_resident,
    .groups = d->n_groups,
    .streamed_bytes = d->streamed_bytes,
    .precompute_bytes = d->precompute_bytes,
    .pinned_bytes = d->pinned_bytes,
    .shares_prefix = d->shares_prefix,
    .cache_on_device = d->cache_on_device,
    .text_min_bytes = d->text.groups
        ? overhead + avatar_device_get_allocation_size (device, d->text.arena_bytes)
            + d->text.min_weight_bytes
        : 0,
    .text_read_bytes = d->text.read_bytes,
    .forwards = d->n_full,
    .cached_forwards = d->n_cached,
  };
  fill_times (&plan->gpu, d, o);
  plan->fits = d->fits && plan->gpu.min_bytes <= budget;
  plan->peak_bytes = plan->gpu.peak_bytes;
}

/* Returns the budget, or the limit of a run without one. */
static guint64
find_budget (AvatarDevice *device, const AvatarPlanOptions *o)
{
  const AvatarBackend *backend = avatar_device_get_backend (device);
  AvatarBackendDevice *handle = avatar_device_get_handle (device);
  guint64 free_bytes, total;

  if (o->budget_bytes || !backend->discrete)
    return o->budget_bytes;
  backend->memory_info (handle, &free_bytes, &total);
  free_bytes -= MIN (free_bytes, avatar_device_get_reserve_bytes (device));
  return MIN (backend->overhead (handle) + free_bytes, total);
}

static guint64
stage_bytes (const AvatarPlanStage *stage)
{
  return stage->weight_bytes + stage->arena_bytes;
}

/* Returns the bytes of the stages in the host's ledger. */
static guint64
host_bytes (const AvatarPlan *plan)
{
  guint64 bytes = 0;

  for (guint i = 0; i < plan->n_stages; i++)
    if (!plan->stages[i].on_gpu && !plan->stages[i].reuses_denoiser_memory)
      bytes += stage_bytes (&plan->stages[i]);
  return bytes;
}

/* Fills the stage of the text encoders, if the model has them. They run where the denoiser runs. */
static void
add_text (AvatarPlan *plan, const AvatarDenoiserPlan *d, const AvatarBackend *backend)
{
  if (d->text.groups == 0)
    return;
  plan->n_stages = STAGE_TEXT + 1;
  plan->stages[STAGE_TEXT] = (AvatarPlanStage){
    .name = "text encoders",
    .on_gpu = backend->discrete,
    .reuses_denoiser_memory = TRUE,
    .weight_bytes = d->text.weight_bytes,
    .arena_bytes = d->text.arena_bytes,
    .flops = d->text.flops,
    .bytes = d->text.bytes,
  };
}

/* Plans the denoiser. Called again when the memory of the other stages is known. */
static gboolean
plan_denoiser (Job *job, AvatarPlan *out, GError **error)
{
  gboolean (*plan) (AvatarModel *, AvatarDevice *, const AvatarDenoiseSettings *, guint, guint64,
      AvatarDenoiserPlan *, GError **)
      = job->options->member > 0 ? avatar_denoiser_plan_branch : avatar_denoiser_plan;
  const AvatarBackend *backend = avatar_device_get_backend (job->device);
  AvatarPlanStage *stage = &out->stages[STAGE_DENOISER];
  guint64 budget = find_budget (job->device, job->options),
          available_bytes = job->host_available_bytes;
  AvatarDenoiserPlan d;

  if (backend->discrete)
    available_bytes
        = budget - MIN (budget, backend->overhead (avatar_device_get_handle (job->device)));
  if (!plan (job->model, job->group, job->denoise, job->frames, available_bytes, &d, error))
    return FALSE;
  add_text (out, &d, backend);
  *stage = (AvatarPlanStage){
    .name = "denoiser",
    .on_gpu = backend->discrete,
    /* the text encoders' weights are freed before the blocks' are loaded */
    .weight_bytes
    = d.fixed_bytes + MAX (d.slots_bytes + d.expand_bytes + d.resident_bytes, d.text.weight_bytes),
    .arena_bytes = d.arena_bytes,
    .flops = d.precompute.flops + d.full.flops + d.cached.flops,
    .bytes = d.precompute.bytes + d.full.bytes + d.cached.bytes,
  };
  out->host_bytes = host_bytes (out) + d.host_bytes + d.pinned_bytes;
  out->file_bytes = d.file_bytes;
  job->fixed_bytes = d.fixed_bytes;
  if (backend->discrete)
    fill_gpu (out, job->device, &d, &job->shared, job->options, budget);
  return TRUE;
}

static void
set_cost (AvatarPlanStage *stage, const AvatarStageCost *cost)
{
  stage->weight_bytes = cost->weight_bytes;
  stage->arena_bytes = cost->arena_bytes;
  stage->flops = cost->flops;
  stage->bytes = cost->bytes;
}

/* Plans the portrait's encoder and the decoder. @available_bytes: memory for the decoder's arena */
static gboolean
plan_vae (Job *job, guint64 available_bytes, AvatarPlan *plan, GError **error)
{
  AvatarPlanStage *portrait = &plan->stages[STAGE_PORTRAIT],
                  *decoder = &plan->stages[STAGE_DECODER];
  guint width = job->denoise->width, height = job->denoise->height;
  AvatarDevice *device = job->device;
  gboolean on_gpu = avatar_device_get_backend (device)->discrete;
  const AvatarDecoderPlanParams params
      = { width, height, job->frames, job->decode, available_bytes };
  AvatarStageCost portrait_cost, decoder_cost;

  portrait->name = "portrait encoder";
  decoder->name = "decoder";
  portrait->on_gpu = decoder->on_gpu = on_gpu;
  if (!avatar_vae_encoder_plan (job->model, device, width, height, &portrait_cost, error)
      || !avatar_decoder_plan (job->model, device, &params, &decoder_cost, error))
    return FALSE;
  set_cost (portrait, &portrait_cost);
  set_cost (decoder, &decoder_cost);
  job->shared = (SharedMemory){ 0 };
  if (on_gpu)
    job->shared = (SharedMemory){
      .decoder_bytes = avatar_device_get_allocation_size (device, decoder->weight_bytes)
          + avatar_device_get_allocation_size (device, decoder->arena_bytes),
      .decoder_min_bytes = avatar_device_get_allocation_size (device, decoder->weight_bytes)
          + avatar_device_get_allocation_size (device, decoder_cost.min_arena_bytes),
      .portrait_bytes = avatar_device_get_allocation_size (device, portrait->weight_bytes)
          + avatar_device_get_allocation_size (device, portrait->arena_bytes),
    };
  return TRUE;
}

/* Plans the audio encoder, which runs on the host. */
static gboolean
plan_audio (AvatarModel *model, guint frames, AvatarPlan *plan, GError **error)
{
  AvatarPlanStage *audio = &plan->stages[STAGE_AUDIO];
  g_autoptr (AvatarDevice) host = avatar_device_open ("cpu", error);
  AvatarStageCost cost;

  audio->name = "audio encoder";
  if (!host || !avatar_audio_encoder_plan (model, host, frames, &cost, error))
    return FALSE;
  set_cost (audio, &cost);
  return TRUE;
}

/* Gives the decoder, or the denoiser on the host, the memory that the other stages leave, which the
 * first plan has determined, and plans again. */
static gboolean
plan_again (Job *job, AvatarPlan *plan, GError **error)
{
  guint64 budget = job->options->budget_bytes, others;

  if (plan->stages[STAGE_DENOISER].on_gpu) {
    others = plan->gpu.overhead_bytes + job->fixed_bytes;
    if (!plan_vae (job, plan->gpu.budget_bytes - MIN (plan->gpu.budget_bytes, others), plan, error))
      return FALSE;
  } else if (budget) {
    /* The portrait's encoder releases its memory before the first window, but another element may
     * start and encode at that time: plan for both. */
    others = host_bytes (plan) - stage_bytes (&plan->stages[STAGE_DENOISER]);
    job->host_available_bytes = budget - MIN (budget, others);
  }
  if (!plan_denoiser (job, plan, error))
    return FALSE;
  if (!plan->stages[STAGE_DENOISER].on_gpu) {
    plan->peak_bytes = host_bytes (plan);
    plan->fits = budget == 0 || plan->peak_bytes <= budget;
  }
  return TRUE;
}

static gboolean
check_member (AvatarDevice *group, guint member, GError **error)
{
  guint n = avatar_device_get_n_members (group);

  if (member < n)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "found member %u of %s, expected 0 to %u", member, avatar_device_get_name (group), n - 1);
  return FALSE;
}

/* Plans a member that has one branch of guidance, or that is not used. */
static gboolean
plan_other_member (Job *job, AvatarPlan *plan, GError **error)
{
  const AvatarDenoiserPlan none = { .fits = TRUE };

  plan->n_stages = STAGE_DENOISER + 1;
  plan->stages[STAGE_AUDIO].name = "audio encoder";
  plan->stages[STAGE_PORTRAIT].name = "portrait encoder";
  if (job->options->member == 1 && job->denoise->guidance_scale > 1)
    return plan_denoiser (job, plan, error);
  plan->stages[STAGE_DENOISER].name = "denoiser";
  fill_gpu (plan, job->device, &none, &job->shared, job->options,
      find_budget (job->device, job->options));
  return TRUE;
}

gboolean
avatar_plan_make (AvatarModel *model, const char *device_name, const AvatarDenoiseSettings *denoise,
    const AvatarDecodeSettings *decode, guint frames, const AvatarPlanOptions *options,
    AvatarPlan *plan, GError **error)
{
  AvatarPlanOptions defaults;
  Job job = { .model = model,
    .denoise = denoise,
    .decode = decode,
    .options = options ? options : &defaults,
    .frames = frames,
    .host_available_bytes = G_MAXUINT64 };
  g_autoptr (AvatarDevice) device = NULL;

  avatar_plan_options_init (&defaults);
  if (!check_options (job.options, frames, error))
    return FALSE;
  device = job.group = avatar_device_open (device_name, error);
  if (!device || !check_member (device, job.options->member, error))
    return FALSE;
  job.device = avatar_device_get_member (device, job.options->member);
  *plan = (AvatarPlan){ .n_stages = N_STAGES,
    .fits = TRUE,
    .n_members = avatar_device_get_n_members (device) };
  if (job.options->member > 0)
    return plan_other_member (&job, plan, error);
  return plan_denoiser (&job, plan, error) && plan_audio (model, frames, plan, error)
      && plan_vae (&job, G_MAXUINT64, plan, error) && plan_again (&job, plan, error);
}
