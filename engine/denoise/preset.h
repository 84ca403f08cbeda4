/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of presets (include/avatar/preset.h). */
#pragma once

#include <avatar/preset.h>

G_BEGIN_DECLS

/* Reads a preset from memory.
 * @data: [length] JSON
 * @path: path of the file, for errors; its folder is that of the LoRAs
 * Returns: (transfer full): the preset, or %NULL with AVATAR_ERROR_FORMAT */
AvatarPreset *
avatar_preset_parse (const char *data, gsize length, const char *path, GError **error);

G_END_DECLS
