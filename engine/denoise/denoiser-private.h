/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of the denoiser, and the functions that its files share: state.c (construction), step.c
 * (one step of a window), stream.c (windows one after another), clip.c (upstream's windows over the
 * whole clip), memory-plan.c (planning of memory), change.c (changes of settings) and denoiser.c
 * (public functions). Conditions, stream and device memory are structs of their own. */
#pragma once

#include "engine/denoise/conditioning.h"
#include "engine/denoise/denoiser.h"
#include "engine/denoise/device-memory.h"
#include "engine/denoise/latent-stream.h"
#include "engine/denoise/noise-file.h"
#include "engine/denoise/window.h"

G_BEGIN_DECLS

/**
 * AvatarDenoiser:
 * @noise: initial noise from a file
 * @warnings: sentences (char *), ended by %NULL
 */
struct _AvatarDenoiser
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarDenoiseSettings settings;
  AvatarDenoiserUse use;
  AvatarTransformer transformer;
  AvatarConditioning conditioning;
  AvatarLatentStream stream;
  AvatarWindow window;
  AvatarDenoiserMemory memory;
  AvatarNoiseFile noise;
  GPtrArray *warnings;
  AvatarDenoiserProgress progress;
  AvatarDenoiseStats stats;
};

/* A denoiser without an arena, which is what avatar_denoiser_plan_memory() needs. */
AvatarDenoiser *avatar_denoiser_open (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, AvatarDenoiserUse use, GError **error);

/**
 * AvatarMemoryPlan: a plan of the device memory, and the work counted for it
 * @arena: bytes of the arena
 * @least: minimum bytes for the arena and for weights that do not stay on the device always
 * @once: work before the first window
 * @full, @cached: work of a window's full steps and of its cached steps
 * @n_full, @n_cached: forwards of a window
 */
typedef struct
{
  guint64 arena, least;
  AvatarCost once, full, cached;
  guint n_full, n_cached;
} AvatarMemoryPlan;

/* Chooses the memory-for-speed options that fit. @room: bytes available on the device;
 * @comfortable: the part of them that may be used beyond the minimum. If @room is less than the
 * minimum it returns FALSE with AVATAR_ERROR_MEMORY, and fills @settled all the same. */
gboolean avatar_denoiser_plan_memory (AvatarDenoiser *self, guint64 room, guint64 comfortable,
    AvatarMemoryPlan *settled, GError **error);
/* Rewrites an out-of-memory error to report the total requirement. Other errors are left
 * unchanged. */
void avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error);

gboolean
avatar_denoiser_check_settings (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error);
/* Copies to the window the settings that it uses. */
void avatar_denoiser_init_window (AvatarDenoiser *self);
/* Calls the progress function, if there is one. */
void avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step);

/**
 * AvatarStepBuffers: tensors of a window in the arena
 * @x, @v: latents and velocity, [C, frames, h8, w8]
 * @non_finite: int32 [1], 1 after a step that gave NaN or infinity
 */
typedef struct
{
  AvatarTensor x, v, non_finite;
} AvatarStepBuffers;

AvatarStepBuffers avatar_step_buffers_new (AvatarOps *ops, const AvatarLatentShape *shape);
/* Memory between two steps for the first @known frames of x: [C, known h8 w8]. */
AvatarTensor avatar_step_alloc_held (AvatarOps *ops, const AvatarLatentShape *shape, gint64 known);
/* One Euler step of @buffers' x, in place, and the check of it for NaN and infinity. Returns the
 * number of forwards. */
guint avatar_step_run (AvatarWindow *window, AvatarOps *ops, guint i, AvatarWindowPosition place,
    const AvatarStepBuffers *buffers);
/* Returns FALSE with @error if step @i of window @index failed or gave NaN or infinity. Waits for
 * the device. */
gboolean avatar_step_check (AvatarModel *model, AvatarOps *ops, const AvatarStepBuffers *buffers,
    guint i, guint steps, guint index, GError **error);

/* Fills position @j of z [@shape] with noise of latent frame @frame, by @s or from @file. */
gboolean avatar_step_noise (const AvatarDenoiseSettings *s, const AvatarNoiseFile *file,
    const AvatarLatentShape *shape, float *z, gint64 j, guint64 frame, GError **error);

AvatarPull avatar_denoiser_run_window (AvatarDenoiser *self, GError **error);
AvatarPull avatar_denoiser_run_clip (AvatarDenoiser *self, GError **error);

G_END_DECLS
