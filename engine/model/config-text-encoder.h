/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes of the text encoders, read from the config.json that Hugging Face's libraries write. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/* Fills @config from @json. Members that are missing get the released values.
 * @json: (nullable): text of the config.json that belongs to the file @weights
 * Returns: FALSE with AVATAR_ERROR_MISMATCH or AVATAR_ERROR_FORMAT. */
gboolean avatar_config_read_llava (AvatarLlavaConfig *config, const char *json, const char *weights,
    GError **error);
gboolean avatar_config_read_clip (AvatarClipConfig *config, const char *json, const char *weights,
    GError **error);
/* Checks that the sizes of the encoders and of the transformer agree.
 * @llava, @clip: (nullable): file names for messages; %NULL if the encoder is missing, which skips
 * its checks */
gboolean avatar_config_check_text (const AvatarConfig *config, const char *llava, const char *clip,
    GError **error);

G_END_DECLS
