/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One window of latent frames: conditioning of the transformer, and guidance. Functions with @ops
 * queue operations on the device; errors are kept in @ops. Not thread-safe. */
#pragma once

#include "engine/denoise/easy-cache.h"
#include "engine/denoise/step-cache.h"
#include "engine/denoise/transformer.h"
#include "engine/denoise/velocity-cache.h"
#include "engine/model/lora-list.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarConditions: conditions of all windows of a stream, on the host
 * @text: positive and negative prompt
 * @reference: reference latent, [C, max (n_reference, 1), h8, w8]
 * @n_reference: latent frames of @reference: 0 or 1: one for all frames, else one for each frame of
 *   a window
 * @faces: face masks, [n_speakers, h8, w8]
 */
typedef struct
{
  AvatarText text[2];
  float *reference;
  guint n_reference;
  float *faces;
} AvatarConditions;

/**
 * AvatarSchedule: steps of a window and what depends on them and on the prompts only
 * @steps: number of steps
 * @step_conditioning: [steps, 2]: positive, negative prompt; on the host
 * @is_full: [steps], FALSE for cached steps
 */
typedef struct
{
  guint steps;
  AvatarStepConditioning *step_conditioning;
  gboolean *is_full;
} AvatarSchedule;

/* Branches of guidance that a window computes. */
typedef enum
{
  AVATAR_BRANCHES_BOTH,
  AVATAR_BRANCHES_WITH_AUDIO,    /* the other one is computed on another device */
  AVATAR_BRANCHES_WITHOUT_AUDIO, /* becomes the velocity */
} AvatarWindowBranches;

/**
 * AvatarBranchPeer: computes the branch without audio on another device
 * @begin: starts it for step @i, with the latents @x
 * @end: waits for it, and fills @velocity, [C, T, h8, w8]; failures are errors of @ops
 */
typedef struct
{
  void (*begin) (gpointer data, AvatarOps *ops, AvatarTensor x, guint i,
      AvatarWindowPosition position);
  void (*end) (gpointer data, AvatarOps *ops, AvatarTensor velocity);
  gpointer data;
} AvatarBranchPeer;

/**
 * AvatarWindow:
 * @transformer, @conditions: not owned
 * @motion_exp, @motion_pose, @fps, @guidance_scale, @flow_shift, @steps: the settings
 * @guidance_border: sigma at which the phases of guidance change; 0: at upstream's step
 * @sigmas: (nullable): [n_sigmas] sigmas to use instead of those of @flow_shift; not owned
 * @loras: LoRAs of the transformer, of which some depend on the step; not owned
 * @upstream_rounding: rounds as upstream does (engine/denoise/upstream-rounding.h)
 * @step_cache_mode, @step_cache_threshold, @step_cache_steps: choice of the full steps
 * @is_sparse: attention is sparse, except in the first steps
 * @sparse: its settings
 * @dense_steps: share of the steps, from the first, whose attention is dense
 * @branches: branches that are computed here, if there is guidance
 * @peer: computes the other branch with AVATAR_BRANCHES_WITH_AUDIO; unset in a dry run
 * @share_prefix: computes the shared prefix of both branches of guidance once
 * @storage: storage of the step cache
 * @n_speakers: faces with a voice of their own, at most AVATAR_MAX_SPEAKERS
 * @frames, @channels, @h8, @w8: shape of the latents
 * @step_conditioning, @is_full: with @steps, the schedule in use
 * @schedules: (element-type AvatarSchedule): all schedules, which own that in use
 * @reference_tokens: reference of all windows, in the arena
 * @voices: audio of each speaker, in the arena; @no_audio: that of the branch of guidance without
 *   audio, the same for all speakers
 * @step_cache: (nullable): tokens of the last full step; %NULL: no step loads them
 * @velocity_cache: (nullable): velocities of the last full steps; %NULL: no step uses them
 * @easy_cache: (nullable): decides which steps use them; %NULL: the schedule does
 * @skips: the easy cache skips the running step
 * @velocity_without_audio: velocity of the branch without audio, in the arena
 * @shared_prefix: tokens that both branches share, in the arena
 */
typedef struct
{
  AvatarTransformer *transformer;
  const AvatarConditions *conditions;
  double motion_exp, motion_pose, fps, guidance_scale, guidance_border, flow_shift;
  const double *sigmas;
  guint n_sigmas;
  const AvatarLoraList *loras;
  gboolean upstream_rounding;
  guint steps;
  AvatarStepCacheMode step_cache_mode;
  double step_cache_threshold;
  guint step_cache_steps;
  gboolean is_sparse;
  AvatarSparseSettings sparse;
  double dense_steps;
  AvatarWindowBranches branches;
  AvatarBranchPeer peer;
  gboolean share_prefix;
  AvatarTokenStorage storage;
  guint n_speakers;

  gint64 frames, channels, h8, w8;
  AvatarStepConditioning *step_conditioning;
  gboolean *is_full;
  GArray *schedules;
  AvatarReferenceTokens reference_tokens;
  AvatarAudioKV voices[AVATAR_MAX_SPEAKERS], no_audio;
  AvatarStepCache *step_cache;
  AvatarVelocityCache *velocity_cache;
  AvatarEasyCache *easy_cache;
  gboolean skips;
  AvatarTensor velocity_without_audio, shared_prefix;
} AvatarWindow;

/* Sets the numbers of steps of all @n schedules, at least one, and uses the first one. Keeps what
 * was computed if they are the same as before. */
void avatar_window_set_steps (AvatarWindow *self, const guint *steps, guint n);
/* Removes all schedules, and clears the window. */
void avatar_window_remove_steps (AvatarWindow *self);
/* Takes the settings and the schedules of @leader, which keeps them, for the branch without audio.
 * To be called again after they have changed. */
void avatar_window_follow (AvatarWindow *self, const AvatarWindow *leader);
/* Uses the schedule of @steps steps from now on. Returns FALSE if there is none. */
gboolean avatar_window_use_steps (AvatarWindow *self, guint steps);
/* Computes the step conditioning of all steps of all schedules, which depends on settings and
 * prompts only, and stores it on the host. Uses the arena and releases it. Waits for the device.
 * Returns FALSE with @error if an operation failed or was cancelled. */
gboolean avatar_window_precompute (AvatarWindow *self, AvatarOps *ops, GError **error);
/* Computes the constants of all windows in the arena, after avatar_window_precompute(). */
void avatar_window_begin (AvatarWindow *self, AvatarOps *ops);
/* Computes the keys and values of all voices in the arena. @audio: features on the host,
 * [n_speakers, 4 frames - 3, n_features], not read in a dry run */
void avatar_window_set_audio (AvatarWindow *self, AvatarOps *ops, const float *audio);
/* Drops the caches of the steps, before the first step of a clip of @latents latent frames in
 * @windows windows. */
void avatar_window_reset_caches (AvatarWindow *self, guint latents, guint windows);
/* Returns TRUE if avatar_window_begin_step() needs the latents. */
gboolean avatar_window_needs_latents (const AvatarWindow *self);
/* Begins step @i of all windows of the clip, and decides whether it is cached. @x: latents of the
 * clip on the host, [C latents h8 w8] in the same order in each step; not read unless they are
 * needed. With a peer, the leader's decision holds for both. */
void avatar_window_begin_step (AvatarWindow *self, guint i, const float *x);
/* Computes the velocity of step @i, with guidance. @velocity: (out): [C, T, h8, w8] float32; @x:
 * latents of the same shape; @position: position of the window in the clip. Returns the number of
 * full forwards. */
guint avatar_window_velocity (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position);
/* Computes the velocities of both branches of guidance: with audio in @velocity, without audio in
 * velocity_without_audio of @self. Without guidance computes the first one only. Returns the number
 * of full forwards. */
guint avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position);
/* Returns TRUE if there are two branches. @scale: (out): guidance scale of step @i */
gboolean avatar_window_is_guided (const AvatarWindow *self, guint i, double *scale);
/* Returns sigma of step @i, 0 .. steps. */
double avatar_window_sigma (const AvatarWindow *self, guint i);
/* Returns the kind of step @i, 0 .. AVATAR_N_STEP_KINDS - 1, after avatar_window_precompute().
 * Steps of one kind do the same work. */
#define AVATAR_N_STEP_KINDS 16
guint avatar_window_kind (const AvatarWindow *self, guint i);
/* Returns the bytes on the host during the denoising of @latents latent frames in @windows windows.
 * @dtype: dtype of the tokens */
guint64 avatar_window_host_bytes (const AvatarWindow *self, AvatarDType dtype, guint latents,
    guint windows);
/* Frees the memory on the host. Tensors in the arena are not touched. */
void avatar_window_clear (AvatarWindow *self);
/* Frees the caches of the steps only. */
void avatar_window_free_caches (AvatarWindow *self);

G_END_DECLS
