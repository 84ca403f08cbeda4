/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cache of encoded prompts on disk, for further runs with the same prompt and portrait. Several
 * processes may use a folder at the same time. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Default size limit in bytes: about 25 prompts of the release. */
#define AVATAR_PROMPT_CACHE_BYTES ((guint64) 256 << 20)

/**
 * AvatarPromptCache:
 * @folder: (nullable): the folder, created when the first entry is stored; %NULL: no cache
 * @limit: maximum size of all entries in bytes
 */
typedef struct
{
  const char *folder;
  guint64 limit;
} AvatarPromptCache;

/* Returns: (transfer full): $XDG_CACHE_HOME/gst-avatar/text */
char *avatar_prompt_cache_get_default_folder (void);
/* Loads the entry @key into @states and @pooled. Returns FALSE if it does not exist or is
 * damaged. */
gboolean avatar_prompt_cache_load (const AvatarPromptCache *self, const char *key, float *states,
    gsize n_states, float *pooled, gsize n_pooled);
/* Stores the entry @key and removes the oldest entries beyond the limit. A failure is logged as a
 * warning. */
void avatar_prompt_cache_store (const AvatarPromptCache *self, const char *key, const float *states,
    gsize n_states, const float *pooled, gsize n_pooled);

G_END_DECLS
