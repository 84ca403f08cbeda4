/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which tensors the architecture needs, by checkpoint name and shape, derived from the sizes. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/model/config.h"

G_BEGIN_DECLS

typedef struct
{
  char *name;
  guint rank;
  gint64 shape[AVATAR_MAX_RANK];
} AvatarManifestEntry;

/* @part: "transformer", "vae", "whisper", "text", "llava", "clip". Array of AvatarManifestEntry, which owns the
 * names. */
GArray *avatar_manifest_new (const AvatarConfig *config, const char *part);

G_END_DECLS
