/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditions of a denoiser, computed from its settings and from the portrait: reference.c
 * (reference latent, face mask) and prompts.c (text states). Callers hold the lock of the
 * denoiser's memory, so the functions are not thread-safe themselves. */
#pragma once

#include "engine/denoise/device-memory.h"
#include "engine/denoise/latent-stream.h"
#include "engine/denoise/noise-file.h"
#include "engine/denoise/window.h"
#include "engine/text/encoder.h"

G_BEGIN_DECLS

/**
 * AvatarDenoiserUse:
 * @AVATAR_DENOISER_RUN: computes
 * @AVATAR_DENOISER_PLAN: dry runs only; reads no weights and allocates no device memory
 */
typedef enum
{
  AVATAR_DENOISER_RUN,
  AVATAR_DENOISER_PLAN,
} AvatarDenoiserUse;

/* The progress function of the application. */
typedef struct
{
  AvatarProgressFunc func; /* nullable */
  gpointer data;
} AvatarDenoiserProgress;

/**
 * AvatarConditioning:
 * @model, @device, @settings: the denoiser's; not owned
 * @shape: latents of a window
 * @conditions: results, on the host, for the windows; owned
 * @text: (nullable): encoder of the prompts; %NULL if the text states are known from the start
 * @text_needs: memory of @text; zeros if it is %NULL
 * @truncations: unused tokens of the positive and of the negative prompt
 * @has_text_states: the settings have text states, which replace the prompts
 * @image: (nullable): the portrait, fitted; owned
 * @posterior_moments: (nullable): means and logarithms of variances of the portrait's posterior,
 *   [2 channels, h8, w8]; owned
 * @posterior_noise: noise for samples of the posterior, from a file
 * @seeded_posterior: noise for samples of the posterior is drawn from the seed
 */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarDenoiseSettings *settings;
  AvatarLatentShape shape;
  AvatarDenoiserUse use;

  AvatarConditions conditions;
  AvatarTextEncoder *text;
  AvatarTextEncoderRequirements text_needs;
  AvatarPromptTruncation truncations[2];
  gboolean has_text_states;
  AvatarImage *image;
  float *posterior_moments;
  AvatarNoiseFile posterior_noise;
  gboolean seeded_posterior;
} AvatarConditioning;

/* Frees the members that are owned. */
void avatar_conditioning_clear (AvatarConditioning *self);

/* Checks that @image has the size of the settings and 3 channels. Returns FALSE with
 * AVATAR_ERROR_DATA if it has not. */
gboolean avatar_conditioning_check_image (const AvatarConditioning *self, const AvatarImage *image,
    GError **error);
/* Sets how the posterior is sampled, and loads its noise if posterior_noise of @settings is a path.
 * A plan does not read the file. Returns FALSE with the errors of avatar_noise_file_load(). */
gboolean avatar_conditioning_init_posterior (AvatarConditioning *self,
    const AvatarDenoiseSettings *settings, GError **error);
/* Sets a copy of @image and the moments of its posterior. Allocates device memory for the VAE's
 * encoder and frees it. Does not free the old values. Returns FALSE with @error if the encoder
 * failed, and changes nothing then. */
gboolean
avatar_conditioning_set_image (AvatarConditioning *self, const AvatarImage *image, GError **error);
/* Sets the reference latent, from the moments. Does not free the old one. */
void avatar_conditioning_sample_reference (AvatarConditioning *self);
/* Sets the face masks of all speakers, from the settings. Does not free the old ones. */
void avatar_conditioning_make_face_masks (AvatarConditioning *self);

/* Sets the text states. @texts: (nullable): [2], copied; %NULL: those of the settings' prompts.
 * With a text encoder only the number of rows is set, and avatar_conditioning_encode_texts()
 * computes the states. A plan needs no encoder. Does not free the old values. Returns FALSE with
 * AVATAR_ERROR_SETTINGS for states of an impossible length, or with the errors of the
 * tokenizers. */
gboolean avatar_conditioning_set_texts (AvatarConditioning *self, const AvatarTextStates *texts,
    GError **error);
/* Runs the text encoder, if there is one, on the prompts and on @image; @memory must be acquired.
 * Frees the precomputed step conditioning and the transformer's weights on the device. Calls
 * @progress at the start and after each layer. Returns FALSE with @error if it failed or was
 * cancelled. */
gboolean avatar_conditioning_encode_texts (AvatarConditioning *self, AvatarDenoiserMemory *memory,
    const AvatarImage *image, const AvatarDenoiserProgress *progress, GError **error);
/* Plans the device memory of the text encoder. @available_bytes: device memory for its weights;
 * @needs: (out): zeros if there is no encoder. */
void avatar_conditioning_plan_texts (AvatarConditioning *self, guint64 available_bytes,
    AvatarTextEncoderRequirements *needs);

G_END_DECLS
