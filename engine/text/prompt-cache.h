/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoded prompts on disk: they do not change between runs with other sound. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* What is kept, unless another limit is given: some twenty-five prompts of the released model. */
#define AVATAR_TEXT_CACHE_BYTES ((guint64) 256 << 20)

/* @folder: made when something is kept; @limit: bytes of all entries together */
typedef struct
{
  const char *folder;
  guint64 limit;
} AvatarPromptCache;

/* $XDG_CACHE_HOME/gst-avatar/text; free with g_free(). */
char *avatar_prompt_cache_default (void);
/* Fills both from the entry @key, a hexadecimal sum. FALSE: there is none, or it is not sound. */
gboolean avatar_prompt_cache_load (const AvatarPromptCache *self, const char *key, float *states,
    gsize n_states, float *pooled, gsize n_pooled);
/* Keeps both. What cannot be written is told of and no error: nothing depends on it. */
void avatar_prompt_cache_store (const AvatarPromptCache *self, const char *key, const float *states,
    gsize n_states, const float *pooled, gsize n_pooled);

G_END_DECLS
