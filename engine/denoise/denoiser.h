/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other rooms of the engine may ask of the denoiser. */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* What a run over @frames video frames needs: see AvatarPlanStage. */
gboolean avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 *weight_bytes,
    guint64 *arena_bytes, double *flops, double *bytes, GError **error);
/* For tests: prediction and reality of the arena. */
void avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *predicted, gsize *peak);

G_END_DECLS
