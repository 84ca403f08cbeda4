/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Search for the origin of NaN or infinity in the results of a stage. */
#pragma once

#include "engine/model/component.h"

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * avatar_model_find_non_finite:
 * @components: components to search, terminated by AVATAR_N_COMPONENTS; their files are read once,
 *   which takes as long as the disk needs
 * @cancelled: flag that ends the search when it is not 0
 * @result: clause that describes the non-finite result
 * @otherwise: clause that describes the cause if all weights are finite
 * @error: AVATAR_ERROR_FORMAT with the first non-finite tensor, AVATAR_ERROR_READ with an
 *   unreadable one, AVATAR_ERROR_CANCELLED, or else AVATAR_ERROR_DATA
 *
 * Sets @error to the origin of a non-finite result.
 */
void avatar_model_find_non_finite (AvatarModel *model, const AvatarComponentKind *components,
    const gint *cancelled, const char *result, const char *otherwise, GError **error);

G_END_DECLS
