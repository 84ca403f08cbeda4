/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is to blame when a stage computed NaN or infinity. */
#pragma once

#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * avatar_model_find_non_finite:
 * @parts: whose weights took part, ended by %NULL; they are read once, which for large files takes
 *   as long as their disk needs
 * @cancelled: ends the search when it is not 0 any more
 * @what: what was found not to be finite, a clause
 * @otherwise: what it must be if all weights are finite, a clause
 * @error: AVATAR_ERROR_FORMAT with the first tensor that is not finite, AVATAR_ERROR_READ with one
 *   that cannot be read, AVATAR_ERROR_CANCELLED, or else AVATAR_ERROR_DATA
 */
void avatar_model_find_non_finite (AvatarModel *model, const char *const *parts,
    const gint *cancelled, const char *what, const char *otherwise, GError **error);

G_END_DECLS
