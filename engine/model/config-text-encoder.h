/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sizes of the text encoders, from the config.json that Hugging Face's libraries write. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/* @json: (nullable): the text of such a file, that beside @weights; what it does not say, or all of it,
 * is as in the release. FALSE with AVATAR_ERROR_MISMATCH or _FORMAT. */
gboolean avatar_config_read_llava (AvatarLlavaConfig *config, const char *json, const char *weights,
    GError **error);
gboolean avatar_config_read_clip (AvatarClipConfig *config, const char *json, const char *weights,
    GError **error);
/* Whether encoders and transformer belong together. @llava, @clip: (nullable): for messages; %NULL: it is
 * not there, and not compared. */
gboolean avatar_config_check_text (const AvatarConfig *config, const char *llava, const char *clip,
    GError **error);

G_END_DECLS
