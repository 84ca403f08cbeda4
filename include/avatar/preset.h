/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * SECTION:preset
 * @title: AvatarPreset
 * @short_description: settings of the denoiser in a small file
 *
 * A preset is a JSON file that belongs to weights for few steps, or to a LoRA: the number of steps
 * and their noise levels, guidance, step cache, and LoRAs with strengths. docs/guide/speed.md
 * describes it.
 *
 * A preset is constant, and may be used by any thread.
 */

/**
 * AvatarPreset:
 *
 * A preset, an opaque object with a reference count.
 *
 * Since: 0.1
 */
typedef struct _AvatarPreset AvatarPreset;

/**
 * avatar_preset_load:
 * @path: path of a JSON file
 * @error: return location for a #GError: #AVATAR_ERROR_NOT_FOUND, #AVATAR_ERROR_READ,
 *   #AVATAR_ERROR_FORMAT, also for unknown keys
 *
 * Reads a preset. Paths of LoRAs in it are relative to its folder. The files are not opened.
 *
 * Returns: (transfer full) (nullable): the preset, to be released with avatar_preset_unref(), or
 * %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarPreset *avatar_preset_load (const char *path, GError **error);

/**
 * avatar_preset_apply:
 * @self: a preset
 * @settings: settings of a denoiser, after avatar_denoise_settings_init()
 *
 * Writes the values of the preset to @settings and leaves all others as they are. Lists and strings
 * of @settings then belong to @self, which must outlive their use.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_preset_apply (const AvatarPreset *self, AvatarDenoiseSettings *settings);

/**
 * avatar_preset_ref:
 * @self: a preset
 *
 * Adds a reference. May be called from any thread.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
AVATAR_API AvatarPreset *avatar_preset_ref (AvatarPreset *self);

/**
 * avatar_preset_unref:
 * @self: (transfer full): a preset
 *
 * Releases a reference, and frees the preset with the last one. May be called from any thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_preset_unref (AvatarPreset *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarPreset, avatar_preset_unref)

G_END_DECLS
