/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The conditions of a denoiser, made of its settings and of the portrait: reference.c (reference
 * latent, face mask) and prompts.c (text states). */
#pragma once

#include "engine/denoise/device-memory.h"
#include "engine/denoise/latent-stream.h"
#include "engine/denoise/noise-file.h"
#include "engine/denoise/window.h"
#include "engine/text/encoder.h"

G_BEGIN_DECLS

/* A run of the denoiser, or a dry run for a plan, without data and device memory. */
typedef enum
{
  AVATAR_DENOISER_RUN,
  AVATAR_DENOISER_PLAN,
} AvatarDenoiserUse;

typedef struct
{
  AvatarProgressFunc func; /* nullable */
  gpointer data;
} AvatarDenoiserProgress;

/**
 * AvatarConditioning:
 * @model, @device, @settings: the denoiser's
 * @shape: latents of a window
 * @conditions: results, for the windows
 * @text: (nullable): encoder of the prompts; %NULL if their states are known from the start
 * @cuts: tokens of the positive and of the negative prompt that are not used
 * @texts_given: text states are in the settings, in place of prompts
 * @image: (nullable): the portrait, fitted
 * @moments: (nullable): moments of the portrait's posterior, [2 channels, h8, w8]
 * @posterior: noise of the posterior from a file
 * @seeded_posterior: noise of the posterior is drawn from the seed
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
  AvatarPromptTruncation cuts[2];
  gboolean texts_given;
  AvatarImage *image;
  float *moments;
  AvatarNoiseFile posterior;
  gboolean seeded_posterior;
} AvatarConditioning;

void avatar_conditioning_clear (AvatarConditioning *self);

/* Checks that @image is a fitted portrait. */
gboolean avatar_conditioning_check_image (const AvatarConditioning *self, const AvatarImage *image,
    GError **error);
/* Sets how the posterior is sampled, and loads its noise from a file. */
gboolean avatar_conditioning_init_posterior (AvatarConditioning *self,
    const AvatarDenoiseSettings *settings, GError **error);
/* Set a copy of @image and the moments of its posterior, the reference latent, and the mask of the
 * face. None of these frees the old value. The first one takes device memory. */
gboolean
avatar_conditioning_take_image (AvatarConditioning *self, const AvatarImage *image, GError **error);
void avatar_conditioning_sample_reference (AvatarConditioning *self);
void avatar_conditioning_make_face_mask (AvatarConditioning *self);

/* Sets the text states to @texts [2] or, if it is %NULL, to those of the settings' prompts. If the
 * encoder sees the portrait only their number of rows is set. A plan needs no encoder. */
gboolean avatar_conditioning_take_texts (AvatarConditioning *self, const AvatarTextStates *texts,
    GError **error);
/* Runs the encoder, if there is one, on the prompts and @image. Frees precomputed step conditioning
 * and the weights on the device. */
gboolean avatar_conditioning_encode_texts (AvatarConditioning *self, AvatarDenoiserMemory *memory,
    const AvatarImage *image, const AvatarDenoiserProgress *progress, GError **error);
/* Device memory of the encoder with @room bytes for weights; zeros if there is none. */
void avatar_conditioning_plan_texts (AvatarConditioning *self, guint64 room,
    AvatarTextEncoderRequirements *needs);

G_END_DECLS
