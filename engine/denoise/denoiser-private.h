/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of the denoiser, and the functions that its files share: state.c (construction),
 * denoiser-weights.c (weights), step.c
 * (one step of a window), stream.c (one window after the other), clip.c (upstream's windows over
 * the whole clip), memory-plan.c (planning of memory), change.c (changes of settings) and
 * denoiser.c (public functions). */
#pragma once

#include "engine/denoise/conditioning.h"
#include "engine/denoise/denoiser.h"
#include "engine/denoise/device-memory.h"
#include "engine/denoise/latent-stream.h"
#include "engine/denoise/noise-file.h"
#include "engine/denoise/window.h"
#include "engine/model/lora-list.h"

G_BEGIN_DECLS

/**
 * AvatarBranchRun: a step of the branch without audio, on another member of the group
 * @thread: (nullable): computes the step
 * @i, @position: the step
 * @host: (nullable) (owned): latents, then velocity, on their way between the members
 * @x, @v: the same on the device, in the arena
 */
typedef struct
{
  GThread *thread;
  guint i;
  AvatarWindowPosition position;
  float *host;
  AvatarTensor x, v;
} AvatarBranchRun;

/**
 * AvatarDenoiser:
 * @device: device of this denoiser; @group: device that it was made with, whose member that is
 * @peer: (nullable) (owned): computes the branch without audio on the second member of @group
 * @leader: (nullable): in a peer, the denoiser that it belongs to; not owned
 * @run: in a peer, the step that it computes
 * @settings: copied, without LoRAs; files that they name were read
 * @loras: LoRAs of the weights
 * @noise: initial noise from a file
 * @deadline: see avatar_denoiser_set_deadline()
 * @abandoned: atomic: the running window is to end without latents
 */
struct _AvatarDenoiser
{
  AvatarModel *model;
  AvatarDevice *device, *group;
  AvatarDenoiser *peer, *leader;
  AvatarBranchRun run;
  AvatarDenoiseSettings settings;
  AvatarDenoiserUse use;
  AvatarTransformer transformer;
  AvatarConditioning conditioning;
  AvatarLatentStream stream;
  AvatarWindow window;
  AvatarDenoiserMemory memory;
  AvatarLoraList loras;
  AvatarNoiseFile noise;
  AvatarDenoiserProgress progress;
  AvatarDenoiseStats stats;
  gint64 deadline;
  gint abandoned;
};

/* Makes a denoiser without an arena, for avatar_denoiser_plan_memory(). Returns %NULL with the
 * errors of avatar_denoiser_new(). Free with avatar_denoiser_free(). */
AvatarDenoiser *avatar_denoiser_open (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, AvatarDenoiserUse use, GError **error);

/* Makes the denoiser that computes the branch without audio for @leader, on the second member of
 * its group, without an arena. Returns %NULL with @error. Free with avatar_denoiser_free(). */
AvatarDenoiser *avatar_denoiser_open_peer (AvatarDenoiser *leader, GError **error);
/* Returns TRUE if another member of the group computes a branch of guidance. */
gboolean avatar_denoiser_is_split (const AvatarDenoiser *self);
/* Plans the memory of @self, and allocates its arena. */
gboolean avatar_denoiser_allocate (AvatarDenoiser *self, GError **error);
/* Sets the size of the arena, whose memory is released. */
void avatar_denoiser_resize (AvatarDenoiser *self, gsize bytes);

/* Branch of guidance on another member: see branch.c. @self: its leader; all functions are called
 * with the lock of the leader, and do nothing unless avatar_denoiser_is_split().
 * Makes the denoiser of the branch, unless it exists. */
gboolean avatar_denoiser_ensure_peer (AvatarDenoiser *self, GError **error);
/* Prepares the branch for windows: loads its weights, computes its constants. Its memory is in use
 * until avatar_denoiser_end_peer(). */
gboolean avatar_denoiser_begin_peer (AvatarDenoiser *self, GError **error);
void avatar_denoiser_end_peer (AvatarDenoiser *self);
/* Plans the memory of the branch for new settings, and makes its denoiser if it does not exist. */
gboolean avatar_denoiser_plan_peer (AvatarDenoiser *self, GError **error);
/* Replaces the weights of the branch by a plan of those with the LoRAs of @self. */
gboolean avatar_denoiser_plan_peer_weights (AvatarDenoiser *self, GError **error);
/* Empties the step cache of all branches for @latents latent frames in @windows windows. */
void avatar_denoiser_reset_cache (AvatarDenoiser *self, guint latents, guint windows);

/**
 * AvatarMemoryPlan: a plan of the device memory, and the work counted for it
 * @arena_bytes: size of the arena
 * @min_bytes: minimum for the arena and for weights that are not always on the device
 * @precompute: work before the first window
 * @full, @cached: work of a window's full steps and of its cached steps
 * @n_full, @n_cached: forwards of a window
 */
typedef struct
{
  guint64 arena_bytes, min_bytes;
  AvatarCost precompute, full, cached;
  guint n_full, n_cached;
} AvatarMemoryPlan;

/* Chooses the memory-for-speed options that fit. @available_bytes: memory on the device;
 * @preferred_bytes: limit for arena and slots with options that are not necessary; @plan: (out). If
 * @available_bytes is less than the minimum, returns FALSE with AVATAR_ERROR_MEMORY and fills @plan
 * all the same. */
gboolean avatar_denoiser_plan_memory (AvatarDenoiser *self, guint64 available_bytes,
    guint64 preferred_bytes, AvatarMemoryPlan *plan, GError **error);
/* Rewrites an out-of-memory error to report the total requirement. Other errors are left
 * unchanged. */
void avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error);

/* Opens the LoRAs of @settings. @loras: (out): cleared by the caller, also on failure. Returns
 * FALSE with AVATAR_ERROR_SETTINGS if a schedule is impossible, or with the errors of
 * avatar_lora_open(). */
gboolean avatar_denoiser_open_lora_list (AvatarDenoiser *self,
    const AvatarDenoiseSettings *settings, AvatarLoraList *loras, GError **error);
/* Opens the LoRAs of @settings, and checks that they can be added to the weights. @loras: (out):
 * cleared by the caller, also on failure. Returns FALSE with the errors of avatar_weights_new(). */
gboolean avatar_denoiser_open_loras (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    AvatarLoraList *loras, GError **error);
/* Puts a plan of the weights with the LoRAs of @self in place of the weights, which are freed.
 * Operations that read them must be complete. */
gboolean avatar_denoiser_plan_weights (AvatarDenoiser *self, GError **error);
/* Loads the weights of the plan, unless they are loaded. The arena has no memory meanwhile. Returns
 * FALSE with the errors of avatar_weights_new() or with AVATAR_ERROR_CANCELLED; the plan stays. */
gboolean avatar_denoiser_load_weights (AvatarDenoiser *self, GError **error);

/* Checks the range of each setting. Returns FALSE with AVATAR_ERROR_SETTINGS. */
gboolean
avatar_denoiser_check_settings (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error);
/* Copies to the window the settings that it uses. */
void avatar_denoiser_init_window (AvatarDenoiser *self);
/* Calls the progress function, if there is one. @step: number of completed steps */
void avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step);

/**
 * AvatarStepBuffers: tensors of a window in the arena
 * @x, @v: latents and velocity, [C, frames, h8, w8], float32
 * @non_finite: int32 [1], 1 after a step whose result has NaN or infinity
 */
typedef struct
{
  AvatarTensor x, v, non_finite;
} AvatarStepBuffers;

/* Allocates the buffers in the arena, which owns them. */
AvatarStepBuffers avatar_step_buffers_new (AvatarOps *ops, const AvatarLatentShape *shape);
/* Allocates memory between two steps for the overlap, the first @frames frames of x:
 * [C, frames h8 w8], float32. */
AvatarTensor
avatar_step_alloc_overlap (AvatarOps *ops, const AvatarLatentShape *shape, gint64 frames);
/* Computes Euler step @i of x of @buffers, in place, and checks it for NaN and infinity. Returns
 * the number of forwards. Errors are kept in @ops. */
guint avatar_step_run (AvatarWindow *window, AvatarOps *ops, guint i, AvatarWindowPosition position,
    const AvatarStepBuffers *buffers);
/* Waits for a turn on each device that computes the step, which the caller ends with
 * avatar_step_end_turn() after it. Denoisers of groups in different orders do not wait for each
 * other. A window holds its memory meanwhile. Returns FALSE with AVATAR_ERROR_CANCELLED. */
gboolean avatar_step_begin_turn (AvatarDenoiser *self, GError **error);
void avatar_step_end_turn (AvatarDenoiser *self);
/* Waits for the device. Returns FALSE with @error if step @i of window @window failed, or if its
 * result has NaN or infinity; the error names the origin. */
gboolean avatar_step_check (AvatarModel *model, AvatarOps *ops, const AvatarStepBuffers *buffers,
    guint i, guint steps, guint window, GError **error);

/* Fills frame @j of z [C, frames, h8, w8] with the initial noise of latent frame @frame of the
 * stream: from memory of @s, from @file, or from the seed. Returns FALSE with
 * AVATAR_ERROR_SETTINGS if the noise is too short. */
gboolean avatar_step_noise (const AvatarDenoiseSettings *s, const AvatarNoiseFile *file,
    const AvatarLatentShape *shape, float *z, gint64 j, guint64 frame, GError **error);

/* Denoise the next window, or all windows of the clip, and add the latent frames to the stream's
 * ready ones. Return AVATAR_PULL_OK, AVATAR_PULL_EMPTY if the window was abandoned, or
 * AVATAR_PULL_ERROR with @error. */
AvatarPull avatar_denoiser_run_window (AvatarDenoiser *self, GError **error);
AvatarPull avatar_denoiser_run_clip (AvatarDenoiser *self, GError **error);

G_END_DECLS
