/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Manifest: names and shapes of all tensors that a component needs, derived from its sizes. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/model/component.h"

G_BEGIN_DECLS

/**
 * AvatarManifestEntry: one tensor
 * @name: (owned): name in the published checkpoint
 * @rank: number of dimensions
 * @shape: sizes of the dimensions, outermost first
 */
typedef struct
{
  char *name;
  guint rank;
  gint64 shape[AVATAR_MAX_RANK];
} AvatarManifestEntry;

/* Returns: (transfer full): array of AvatarManifestEntry, which owns the names.
 * Empty if @config has no such component. */
GArray *avatar_manifest_new (const AvatarConfig *config, AvatarComponentKind component);

G_END_DECLS
