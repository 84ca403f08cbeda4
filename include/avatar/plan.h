/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run will need, found by running the models' own code over memory that is not there. */
#pragma once

#include <avatar/decode.h>
#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarPlanStage:
 * @name: of the stage
 * @on_gpu: its memory is the GPU's; else the host's
 * @reuses_denoiser_memory: it is over before the denoiser begins, in memory that is the denoiser's then: it is no more
 * @weight_bytes: memory for weights beyond the mapped files
 * @arena_bytes: high-water mark of the activations
 * @flops: of the whole run (a multiply-add counts 2); @bytes: read and written by its operations
 */
typedef struct
{
  const char *name;
  gboolean on_gpu, reuses_denoiser_memory;
  guint64 weight_bytes, arena_bytes;
  double flops, bytes;
} AvatarPlanStage;

/**
 * AvatarPlanGpu: the GPU's memory and time; all zero in a plan for the CPU.
 * @budget_bytes: planned for; @min_bytes: the smallest budget that would do; @peak_bytes: of
 *   this run. If @min_bytes is above the budget, what follows is the plan for @min_bytes
 * @overhead_bytes: the context, its libraries and kernels
 * @decoder_bytes, @portrait_bytes: what the decoder and the portrait's encoder take, with their weights,
 *   in turns with the denoiser, which then gives back all but @fixed_bytes if there is no room for both
 * @fixed_bytes: weights that are always there; @arena_bytes: activations and the workspaces of the
 *   vendor's libraries
 * @slots_bytes: @slots places for blocks that come and go; @expand_bytes: memory to expand 8-bit
 *   ones in
 * @resident_bytes: @resident of @groups parts of the transformer that keep their places
 * @streamed_bytes: weights copied to the GPU in every full forward; @precompute_bytes: once, before the
 *   first
 * @pinned_bytes: page-locked host memory that these copies come from; part of the plan's host_bytes
 * @shares_tokens: what both branches of guidance have in common is computed once
 * @keeps_tokens: the step cache is on the GPU, else on the host
 * @text_min_bytes: the smallest budget that would do for the text encoders; @text_read_bytes: of their
 *   weights, each of which is copied once; 0: there are none
 * @forwards, @cached_forwards: of the whole run
 * @forward_flops: of one full forward
 * @forward_seconds, @run_seconds: estimates, of matrix products, attention and copies at the rates
 *   of AvatarPlanOptions and of nothing else: of a full forward, of all forwards. @copy_seconds: of
 *   the copies of a forward, which run under its work if there are slots enough. Only for a
 *   "plan:" device, else 0
 */
typedef struct
{
  guint64 budget_bytes, min_bytes, peak_bytes;
  guint64 overhead_bytes, fixed_bytes, arena_bytes, slots_bytes, expand_bytes, resident_bytes;
  guint slots, resident, groups;
  guint64 streamed_bytes, precompute_bytes, pinned_bytes;
  gboolean shares_tokens, keeps_tokens;
  guint64 decoder_bytes, portrait_bytes;
  guint64 text_min_bytes, text_read_bytes;
  guint64 forwards, cached_forwards;
  double forward_flops;
  double forward_seconds, copy_seconds, run_seconds;
} AvatarPlanGpu;

/**
 * AvatarPlan:
 * @fits: whether the budget, if there is one, does
 * @peak_bytes: what the device's ledger will show at most, when the three elements run together
 * @host_bytes: of the host, likewise, and what is no device's; mapped files, of which there are
 *   @file_bytes for the denoiser, are not counted
 */
typedef struct
{
  guint n_stages;
  AvatarPlanStage stages[8];
  gboolean fits;
  guint64 peak_bytes, host_bytes, file_bytes;
  AvatarPlanGpu gpu;
} AvatarPlan;

/**
 * AvatarPlanOptions: fill with avatar_plan_options_init() first.
 * @budget_bytes: for the device; 0: what there is, less what is left to others
 * @linear_tflops, @linear_8bit_tflops, @attention_tflops, @attention_8bit_tflops: what the GPU
 *   reaches under load in matrix products and in attention of 16 and of 8 bits; @bus_gbps: and in
 *   copies from page-locked host memory. The defaults were measured on an H200
 *   (docs/measurements/performance.md)
 */
typedef struct
{
  guint64 budget_bytes;
  double linear_tflops, linear_8bit_tflops, attention_tflops, attention_8bit_tflops, bus_gbps;
} AvatarPlanOptions;

AVATAR_API void avatar_plan_options_init (AvatarPlanOptions *options);

/**
 * avatar_plan_make:
 * @device_name: the device to plan for: "cpu"; "cuda:N", a GPU that is there; or "plan:cuda:MIB",
 *   a card with so much memory that need not be. The audio encoder is planned for the
 *   host
 * @frames: video frames to make
 * @options: (nullable): %NULL for the defaults
 *
 * Returns: %TRUE and the plan, also if it does not fit the budget, or %FALSE if the settings are
 * impossible
 */
AVATAR_API gboolean avatar_plan_make (AvatarModel *model, const char *device_name,
    const AvatarDenoiseSettings *denoise, const AvatarDecodeSettings *decode, guint frames,
    const AvatarPlanOptions *options, AvatarPlan *plan, GError **error);

G_END_DECLS
