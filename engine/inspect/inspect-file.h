/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of the files and tensors of any component. */
#pragma once

#include "engine/formats/tensor-file.h"
#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

AvatarInspectedComponent *avatar_inspected_component_new (const char *name, const char *path);
void avatar_inspected_component_free (AvatarInspectedComponent *self);
/* Sets the state and the reason, unless the component already has a problem. AVATAR_INSPECT_MISSING
 * after its file was read becomes AVATAR_INSPECT_INCOMPLETE. */
void avatar_inspected_component_fail (AvatarInspectedComponent *self, AvatarInspectState state,
    const char *format, ...) G_GNUC_PRINTF (3, 4);
/* Opens the file of @self and counts its tensors. Returns %NULL if it cannot be read, after
 * recording the problem. */
AvatarTensorFile *avatar_inspected_component_open_file (AvatarInspectedComponent *self);
/* Adds a further file to the count. */
void avatar_inspected_component_add_file (AvatarInspectedComponent *self, const char *path);
void avatar_inspected_component_count (AvatarInspectedComponent *self, AvatarTensorFile *file);
void avatar_inspected_component_add_extra (AvatarInspectedComponent *self, const char *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarInspectedComponent, avatar_inspected_component_free)

G_END_DECLS
