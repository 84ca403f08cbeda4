/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The portrait as a latent. One frame is enough: a still repeated in time gives the same moments
 * in every latent frame (docs/dev/spec/vae-text-face-formats.md 1.7). */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

typedef struct _AvatarVaeEncoder AvatarVaeEncoder;

/* @width, @height: of the portrait in pixels, multiples of the model's latent_scale. All memory
 * is held until avatar_vae_encoder_free(). */
AvatarVaeEncoder *avatar_vae_encoder_new (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, GError **error);
/* @rgb: [height, width, 3] in -1..1; @moments: [2, channels, height / 8, width / 8], the posterior's
 * means and the logarithms of its variances, as the network gives them. */
gboolean avatar_vae_encode_moments (AvatarVaeEncoder *self, const float *rgb, float *moments,
    GError **error);
/* @mean: [channels, height / 8, width / 8], the mean alone times scaling_factor, as the denoiser takes
 * it. */
gboolean
avatar_vae_encode_image (AvatarVaeEncoder *self, const float *rgb, float *mean, GError **error);
void avatar_vae_encoder_free (AvatarVaeEncoder *self);
/* What one portrait will take. */
gboolean
avatar_vae_encoder_plan (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    guint64 *weight_bytes, guint64 *arena_bytes, double *flops, double *bytes, GError **error);
void avatar_vae_encoder_get_arena (AvatarVaeEncoder *self, gsize *predicted, gsize *peak);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarVaeEncoder, avatar_vae_encoder_free)

G_END_DECLS
