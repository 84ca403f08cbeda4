/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoising stage's own state, shared by its files: state.c (settings, construction), step.c
 * (one step of a window), stream.c (one window after another), clip.c (upstream's windows over the
 * whole clip), memory-plan.c and device-memory.c (memory), reference.c and prompts.c (conditions),
 * change.c (settings while it runs), and above them denoiser.c, the public functions. */
#pragma once

#include "engine/denoise/denoiser.h"
#include "engine/denoise/noise-file.h"
#include "engine/denoise/sampler.h"
#include "engine/denoise/window.h"
#include "engine/device/memory-arbiter.h"
#include "engine/text/encoder.h"

G_BEGIN_DECLS

struct _AvatarDenoiser
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarDenoiseSettings settings;
  AvatarWeights *weights;
  AvatarTransformerWeights *params; /* bound to @weights */
  AvatarTransformer transformer;
  AvatarConditions conditions;
  AvatarTextEncoder *text; /* NULL: the texts are known from the start */
  AvatarTextEncoderNeeds text_needs;
  AvatarPromptTruncation cuts[2];
  GPtrArray *warnings; /* of char *, up to NULL */
  AvatarWindow window;
  AvatarOps *ops;
  GMutex turn; /* held at work; who has it may give the device's memory back */
  AvatarMemoryClient *memory_client; /* NULL: not of a discrete device */
  gboolean suspended;                /* it was given back */
  gsize predicted;                   /* bytes of the arena */
  gsize mark;                        /* of the arena, above the constants of all windows */
  gboolean dry_run;
  gboolean begun;
  gint64 frames; /* latent frames of a window */
  gint64 channels, h8, w8;
  gsize n_features; /* floats of a video frame's features */

  GArray *features; /* floats of the video frames from first_frame on */
  guint64 first_frame, pushed;
  gboolean drained;
  guint64 start;   /* first latent frame of the last window */
  guint64 emitted; /* latent frames made ready so far */
  guint n_windows;
  float *last; /* [C, frames, h8, w8] of the last window, or NULL */

  GArray *ready; /* latent frames [n, C, h8, w8] */
  gsize ready_next;

  AvatarNoiseFile noise, posterior; /* of files */
  gboolean seeded_posterior;
  gboolean texts_given; /* encoded, in place of prompts */
  AvatarImage *image;   /* the portrait; NULL: none so far */
  float *moments;       /* [2 C, h8, w8]: of its posterior */

  AvatarProgressFunc progress;
  gpointer progress_data;
  AvatarDenoiseStats stats;
};

/* A stage without an arena: what avatar_denoiser_plan_memory() needs. */
AvatarDenoiser *avatar_denoiser_open (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, gboolean dry_run, GError **error);

/**
 * AvatarMemoryPlan: what was decided about the device's memory, and what was found on the way.
 * @arena: bytes; @least: the fewest bytes for the arena and the weights that are not fixed
 * @once, @full, @cached: work ahead of the first window, of a window's full steps, of its cached
 * @n_full, @n_cached: forwards of a window
 */
typedef struct
{
  guint64 arena, least;
  AvatarCost once, full, cached;
  guint n_full, n_cached;
} AvatarMemoryPlan;

/* Decides what of that which is worth its memory there is room for. @room: bytes that are left on
 * the device; @comfortable: of these, what may go to more than the least. FALSE with
 * AVATAR_ERROR_MEMORY, and @settled all the same, if @room is less than the least. */
gboolean avatar_denoiser_plan_memory (AvatarDenoiser *self, guint64 room, guint64 comfortable,
    AvatarMemoryPlan *settled, GError **error);

/* Memory did not suffice for some part: @error becomes what all of it together needs. Other reasons
 * than budget and free memory stay as they are. */
void avatar_denoiser_explain_out_of_memory (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error);

gboolean
avatar_denoiser_check_settings (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error);
/* What the settings say to a window. */
void avatar_denoiser_init_window (AvatarDenoiser *self);
/* Whether @image is a fitted portrait. */
gboolean
avatar_denoiser_check_image (AvatarDenoiser *self, const AvatarImage *image, GError **error);
/* Parts of a reference, each in the place of what it was, which is not freed: a copy of @image and the
 * moments of its posterior; the reference latent; the mask of the face. Takes memory of the device. */
gboolean
avatar_denoiser_take_image (AvatarDenoiser *self, const AvatarImage *image, GError **error);
void avatar_denoiser_sample_reference (AvatarDenoiser *self);
void avatar_denoiser_make_face_mask (AvatarDenoiser *self);
/* To 16 bits, with parity. */
void avatar_denoiser_round_texts (AvatarDenoiser *self);

/* With the turn, between two windows: gives the device's memory back, but for what is always there. */
void avatar_denoiser_release_memory (AvatarDenoiser *self);
/* Takes it again, in the place of other stages at rest if need be. */
/* @for_texts: bytes for the weights of the text encoders, if they are about to run; else 0 */
gboolean avatar_denoiser_acquire_memory (AvatarDenoiser *self, guint64 for_texts, GError **error);
/* AvatarReclaimFunc */
AvatarReclaimResult avatar_denoiser_reclaim (gpointer denoiser, gboolean all);

/**
 * AvatarStepBuffers: tensors of a window in the arena
 * @x, @v: latents and velocity, [C, frames, h8, w8]
 * @non_finite: int32 [1], 1 after a step that gave NaN or infinity
 */
typedef struct
{
  AvatarTensor x, v, non_finite;
} AvatarStepBuffers;

/* Fills the conditions' texts: from @texts [2], or from the settings' prompts if it is %NULL. Of models
 * whose encoder sees the portrait only their rows are known then. A dry one needs no encoder. */
gboolean
avatar_denoiser_take_texts (AvatarDenoiser *self, const AvatarTextStates *texts, GError **error);
/* And the rest of them, when there is @image. Takes the device's memory from what was prepared so far. */
gboolean
avatar_denoiser_encode_texts (AvatarDenoiser *self, const AvatarImage *image, GError **error);
/* What that needs of the device's memory with @room bytes for weights; zeros if there is no encoder. */
void avatar_denoiser_plan_texts (AvatarDenoiser *self, guint64 room, AvatarTextEncoderNeeds *needs);
AvatarStepBuffers avatar_denoiser_buffers (AvatarDenoiser *self, AvatarOps *ops);
/* Memory between two steps for the first @known frames of x: [C, known h8 w8]. */
AvatarTensor avatar_denoiser_alloc_held (AvatarDenoiser *self, AvatarOps *ops, gint64 known);
/* One Euler step of @buffers' x, in place, and the check of it for NaN and infinity. */
void avatar_denoiser_step (AvatarDenoiser *self, AvatarOps *ops, guint i,
    AvatarWindowPosition place, const AvatarStepBuffers *buffers);
/* After step @i of @window: FALSE with @error if it failed or gave NaN or infinity. Waits for the
 * device. */
gboolean avatar_denoiser_check_step (AvatarDenoiser *self, const AvatarStepBuffers *buffers,
    guint window, guint i, GError **error);
/* Files of noise, and how many latent frames the reference has. */
gboolean
avatar_denoiser_take_noise (AvatarDenoiser *self, const AvatarDenoiseSettings *s, GError **error);
/* Noise of latent frame @frame at position @j of z [C, frames, h8, w8]. */
gboolean avatar_denoiser_noise (AvatarDenoiser *self, float *z, gint64 frames, gint64 j,
    guint64 frame, GError **error);
/* Latent frame @j of z [C, frames, h8, w8] joins what is ready. */
void avatar_denoiser_emit (AvatarDenoiser *self, const float *z, gint64 frames, gint64 j);
void avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step);
/* Latent frames that cover the video frames pushed. */
guint64 avatar_denoiser_total (AvatarDenoiser *self);
gboolean avatar_denoiser_wants_window (AvatarDenoiser *self);
AvatarPull avatar_denoiser_run_window (AvatarDenoiser *self, GError **error);
AvatarPull avatar_denoiser_run_clip (AvatarDenoiser *self, GError **error);

G_END_DECLS
