/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Speakers of a portrait with several faces: their settings, and the masks that divide the picture
 * between their voices. */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Returns a copy of the speakers of @settings; NULL if there are none. Free with
 * avatar_speakers_free(). */
AvatarSpeaker *avatar_speakers_copy (const AvatarDenoiseSettings *settings);
void avatar_speakers_free (AvatarSpeaker *speakers, guint n);
/* Returns TRUE if @a and @b have the same boxes and masks. */
gboolean avatar_speakers_equal (const AvatarDenoiseSettings *a, const AvatarDenoiseSettings *b);
/* Checks number, boxes and masks of the speakers. Returns FALSE with AVATAR_ERROR_SETTINGS if there
 * are too many, or if nothing is left of a mask. */
gboolean
avatar_speakers_check (const AvatarDenoiseSettings *settings, AvatarModel *model, GError **error);
/* Returns the masks of all speakers, [1 + n_speakers, height / scale, width / scale], of which each
 * cell has at most one that is not 0. Free with g_free(). */
float *avatar_speakers_make_masks (const AvatarDenoiseSettings *settings, AvatarModel *model);

G_END_DECLS
