/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the tokenizers of a folder can be read, and belong to its configuration. */
#pragma once

#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

/* Adds to the text encoders of @inspection, a tree of the release, what their tokenizers are, or why they
 * cannot be used. Files that are not there have been told of. */
void avatar_inspect_tokenizers (AvatarInspection *inspection);

G_END_DECLS
