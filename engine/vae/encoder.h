/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encodes the portrait to a latent. One frame is sufficient: a still picture repeated in time has
 * the same moments in every latent frame (docs/dev/spec/vae-text-face-formats.md 1.7). */
#pragma once

#include "engine/base/stage-cost.h"

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/* An encoder is used by one thread at a time. */
typedef struct _AvatarVaeEncoder AvatarVaeEncoder;

/* Makes an encoder of pictures of @width x @height pixels, multiples of the model's latent_scale,
 * and loads its weights. Idle stages of the device release memory for it. Its own memory is held
 * until avatar_vae_encoder_free(). Returns NULL with AVATAR_ERROR_SETTINGS, AVATAR_ERROR_MEMORY or
 * AVATAR_ERROR_READ. */
AvatarVaeEncoder *avatar_vae_encoder_new (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, GError **error);
/* Encodes a picture.
 * @rgb: [height, width, 3] from -1 to 1
 * @moments: [2, channels, height / 8, width / 8], the means of the posterior and the logarithms of
 *   its variances, as the network computes them
 * Returns FALSE with AVATAR_ERROR_DEVICE. */
gboolean avatar_vae_encode_moments (AvatarVaeEncoder *self, const float *rgb, float *moments,
    GError **error);
/* Encodes a picture as avatar_vae_encode_moments() does.
 * @mean: [channels, height / 8, width / 8], the means alone, shifted and scaled for the denoiser */
gboolean
avatar_vae_encode_image (AvatarVaeEncoder *self, const float *rgb, float *mean, GError **error);
void avatar_vae_encoder_free (AvatarVaeEncoder *self);
/* Measures the cost of encoding one picture by a dry run. Returns FALSE with
 * AVATAR_ERROR_SETTINGS. */
gboolean avatar_vae_encoder_plan (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, AvatarStageCost *cost, GError **error);
/* Gets the size of the arena and the largest part of it that was used, in bytes. */
void
avatar_vae_encoder_get_arena (AvatarVaeEncoder *self, gsize *predicted_bytes, gsize *peak_bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarVaeEncoder, avatar_vae_encoder_free)

G_END_DECLS
