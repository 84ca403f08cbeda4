/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Table of the known folder layouts. Private to layout.c. */
#pragma once

#include "engine/model/layout.h"

G_BEGIN_DECLS

#define AVATAR_LAYOUT_FORMS 3

/* Layouts in search order: the tree of the release first. */
extern const AvatarLayoutForm avatar_layout_forms[AVATAR_LAYOUT_FORMS];

/* Returns: TRUE if @top has a transformer file, or the transformer folder, of @form. */
gboolean avatar_layout_has_transformer (const AvatarLayoutForm *form, const char *top);
/* Returns: TRUE if @top has any file that identifies @form, as in an incomplete download. */
gboolean avatar_layout_has_any_file (const AvatarLayoutForm *form, const char *top);

G_END_DECLS
