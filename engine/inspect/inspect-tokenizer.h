/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of the tokenizers of a downloaded folder. */
#pragma once

#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

/* Loads the tokenizers of the text encoders of @inspection, and adds a remark or a problem to each.
 * Missing files are reported by the inspection itself. */
void avatar_inspect_tokenizers (AvatarInspection *inspection);

G_END_DECLS
