/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The forms that are known; only layout.c looks at this list. */
#pragma once

#include "engine/model/layout.h"

G_BEGIN_DECLS

#define AVATAR_LAYOUT_FORMS 3

/* In the order in which they are tried: the released tree first. */
extern const AvatarLayoutForm avatar_layout_forms[AVATAR_LAYOUT_FORMS];

/* Whether @top, or a folder of that name, has a transformer of @form. */
gboolean avatar_layout_has_transformer (const AvatarLayoutForm *form, const char *top);
/* Whether it has anything of which @form can be told: a download that has only begun. */
gboolean avatar_layout_has_any_file (const AvatarLayoutForm *form, const char *top);

G_END_DECLS
