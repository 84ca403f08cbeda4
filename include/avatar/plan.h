/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/decode.h>
#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * SECTION:plan
 * @title: Plans
 * @short_description: memory and time of a run, without running it
 *
 * A plan is found by running the code of the models without data and without memory for it, so its
 * figures are those of a real run. All functions may be called from any thread.
 */

/**
 * AvatarPlanStage:
 * @name: name of the stage
 * @on_gpu: %TRUE: its memory is on the GPU; %FALSE: on the host
 * @reuses_denoiser_memory: the stage ends before denoising starts, and uses the memory of the
 *   denoiser; do not add it to a total
 * @weight_bytes: memory for weights, without mapped files
 * @arena_bytes: highest memory for activations
 * @flops: floating-point operations of the whole run (a multiply-add counts 2)
 * @bytes: bytes that the operations of the whole run read and write
 *
 * Memory and work of one stage.
 *
 * Since: 0.1
 */
typedef struct _AvatarPlanStage AvatarPlanStage;
struct _AvatarPlanStage
{
  const char *name;
  gboolean on_gpu, reuses_denoiser_memory;
  guint64 weight_bytes, arena_bytes;
  double flops, bytes;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * AvatarPlanGpu:
 * @budget_bytes: the budget that was planned for
 * @min_bytes: the smallest sufficient budget. If it is above @budget_bytes, the other fields are
 *   the plan for @min_bytes
 * @peak_bytes: highest memory of the run
 * @overhead_bytes: memory of the context, of its libraries and kernels
 * @fixed_bytes: weights that are always resident
 * @arena_bytes: activations, and workspaces of the libraries
 * @slots_bytes: the slots for blocks that are streamed
 * @expand_bytes: memory to expand 8-bit weights in
 * @resident_bytes: the resident weight groups
 * @slots: number of slots
 * @resident: number of resident weight groups
 * @groups: number of weight groups of the transformer
 * @streamed_bytes: weights that are copied to the GPU in each full forward
 * @precompute_bytes: weights that are copied to the GPU once, before the first forward
 * @pinned_bytes: page-locked host memory that weights are copied from, included in host_bytes of
 *   #AvatarPlan
 * @shares_prefix: the common part of the two branches of guidance is computed once
 * @cache_on_device: %TRUE: the step cache is on the GPU; %FALSE: on the host
 * @decoder_bytes: memory of the decoder with its weights. If both do not fit, the
 *   denoiser releases all but @fixed_bytes while the decoder runs
 * @portrait_bytes: memory of the encoder of the portrait with its weights, likewise
 * @text_min_bytes: the smallest sufficient budget for the text encoders; 0: the model has none
 * @text_read_bytes: weights of the text encoders, each of which is copied once
 * @forwards: number of full forwards of the run
 * @cached_forwards: number of forwards of the run that the step cache shortens
 * @forward_flops: floating-point operations of a full forward
 * @forward_seconds: estimated time of a full forward, from matrix products, attention and copies
 *   alone, at the rates of #AvatarPlanOptions; 0 unless the device is a "plan:" device
 * @copy_seconds: estimated time of the copies of a forward, which overlap with computing if there
 *   are enough slots; 0 unless the device is a "plan:" device
 * @run_seconds: estimated time of all forwards; 0 unless the device is a "plan:" device
 *
 * Memory and time of a GPU. All zero in a plan for the CPU.
 *
 * Since: 0.1
 */
typedef struct _AvatarPlanGpu AvatarPlanGpu;
struct _AvatarPlanGpu
{
  guint64 budget_bytes, min_bytes, peak_bytes;
  guint64 overhead_bytes, fixed_bytes, arena_bytes, slots_bytes, expand_bytes, resident_bytes;
  guint slots, resident, groups;
  guint64 streamed_bytes, precompute_bytes, pinned_bytes;
  gboolean shares_prefix, cache_on_device;
  guint64 decoder_bytes, portrait_bytes;
  guint64 text_min_bytes, text_read_bytes;
  guint64 forwards, cached_forwards;
  double forward_flops;
  double forward_seconds, copy_seconds, run_seconds;
  /*< private >*/
  gpointer _reserved[8];
};

/**
 * AvatarPlan:
 * @n_stages: number of entries of @stages
 * @stages: the stages
 * @fits: %TRUE if there is no budget, or if it is sufficient
 * @peak_bytes: highest memory in use on the device when all stages run together, as
 *   avatar_device_get_memory() would show it
 * @host_bytes: highest memory in use on the host, without mapped files
 * @file_bytes: mapped weights of the denoiser
 * @gpu: details for a GPU
 * @n_members: devices of the group that the plan is for; 1 unless it is a group
 *
 * Memory and time of a run.
 *
 * Since: 0.1
 */
typedef struct _AvatarPlan AvatarPlan;
struct _AvatarPlan
{
  guint n_stages;
  AvatarPlanStage stages[8];
  gboolean fits;
  guint64 peak_bytes, host_bytes, file_bytes;
  AvatarPlanGpu gpu;
  guint n_members;
  /*< private >*/
  gpointer _reserved[7];
};

/**
 * AvatarPlanOptions:
 * @budget_bytes: memory budget of the device, or of the member; 0: its free memory less a reserve
 *   for others, or for the CPU no limit
 * @linear_tflops: rate of 16-bit matrix products (10^12 operations per second)
 * @linear_8bit_tflops: rate of 8-bit matrix products
 * @attention_tflops: rate of 16-bit attention
 * @attention_8bit_tflops: rate of 8-bit attention
 * @bus_gbps: rate of copies from page-locked host memory (10^9 bytes per second)
 * @member: number of the member of a group to plan for, from 0. The first one has all stages, the
 *   second one a branch of guidance; the others are not used
 *
 * Assumptions of a plan. Fill them with avatar_plan_options_init() first; the default rates were
 * measured on an H200 under load.
 *
 * Since: 0.1
 */
typedef struct _AvatarPlanOptions AvatarPlanOptions;
struct _AvatarPlanOptions
{
  guint64 budget_bytes;
  double linear_tflops, linear_8bit_tflops, attention_tflops, attention_8bit_tflops, bus_gbps;
  guint member;
  /*< private >*/
  gpointer _reserved[3];
};

/**
 * avatar_plan_options_init:
 * @options: (out caller-allocates): options to fill
 *
 * Fills @options with the defaults.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_plan_options_init (AvatarPlanOptions *options);

/**
 * avatar_plan_make:
 * @model: the model
 * @device_name: the device of denoiser and decoder: "cpu"; "cuda:N", an existing GPU; or
 *   "plan:cuda:MIB", a GPU with that much memory, which need not exist; or a group of these,
 *   "plan:cuda:MIB+MIB", whose members are planned one by one. The audio encoder is planned for the
 *   host
 * @denoise: settings of the denoiser
 * @decode: settings of the decoder
 * @frames: number of video frames to make
 * @options: (nullable): assumptions; %NULL: the defaults
 * @plan: (out caller-allocates): the plan
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_DEVICE
 *
 * Plans a run. A budget that is too small is not an error: see fits in #AvatarPlan.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_plan_make (AvatarModel *model, const char *device_name,
    const AvatarDenoiseSettings *denoise, const AvatarDecodeSettings *decode, guint frames,
    const AvatarPlanOptions *options, AvatarPlan *plan, GError **error);

G_END_DECLS
