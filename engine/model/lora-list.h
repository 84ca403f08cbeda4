/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The LoRAs of a stage: opened files, and the settings that name them, to find out whether other
 * settings name the same. */
#pragma once

#include "engine/model/lora.h"

G_BEGIN_DECLS

/**
 * AvatarLoraList:
 * @settings: (owned): [n] paths, strengths and schedules
 * @files: (owned): array of AvatarLora, in the same order; %NULL: the list is unset
 * @constant, @scheduled: (owned): array of AvatarLora, not owned: those of @files without and with
 *   a schedule
 * @warnings: (owned): (element-type utf8): warnings of all files, with a %NULL at the end
 */
typedef struct
{
  AvatarLoraSetting *settings;
  guint n;
  GPtrArray *files, *constant, *scheduled, *warnings;
} AvatarLoraList;

/* Opens the files of @settings [n]. @self: (out): unset on failure. Returns FALSE with the errors
 * of avatar_lora_open(). */
gboolean avatar_lora_list_open (AvatarLoraList *self, const AvatarLoraSetting *settings, guint n,
    const AvatarConfig *config, GError **error);
/* Fills @multipliers with the factors of the scheduled LoRAs, in order, in step @i of @steps, which
 * has noise level @sigma. Returns: their number. */
guint avatar_lora_list_get_multipliers (const AvatarLoraList *self, guint i, guint steps,
    double sigma, double *multipliers);
/* Returns: TRUE if the list was opened from these settings, in this order. */
gboolean
avatar_lora_list_equals (const AvatarLoraList *self, const AvatarLoraSetting *settings, guint n);
void avatar_lora_list_clear (AvatarLoraList *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarLoraList, avatar_lora_list_clear)

G_END_DECLS
