/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One part of an inspection: its files and tensors, whichever part it is. */
#pragma once

#include "engine/formats/tensor-file.h"
#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

AvatarInspectedComponent *avatar_inspected_component_new (const char *name, const char *path);
void avatar_inspected_component_free (AvatarInspectedComponent *self);
/* The part is not fine, for the reason of @format, unless it was found so before. What is missing
 * when the part's file has been looked at leaves it incomplete. */
void avatar_inspected_component_fail (AvatarInspectedComponent *self, AvatarInspectState state,
    const char *format, ...) G_GNUC_PRINTF (3, 4);
/* Looks at the file of @self and counts its tensors. %NULL: it cannot be read, which was noted. */
AvatarTensorFile *avatar_inspected_component_open_file (AvatarInspectedComponent *self);
/* Another file that belongs to it. */
void avatar_inspected_component_add_file (AvatarInspectedComponent *self, const char *path);
void avatar_inspected_component_count (AvatarInspectedComponent *self, AvatarTensorFile *file);
void avatar_inspected_component_add_extra (AvatarInspectedComponent *self, const char *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarInspectedComponent, avatar_inspected_component_free)

G_END_DECLS
