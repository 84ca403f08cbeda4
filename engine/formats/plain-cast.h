/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Detection of 8-bit floats that lack their scale factor, as opposed to floats that were cast from
 * 16 bits. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* Samples some thousand values of @t.
 * Returns: (transfer full) (nullable): reason why the values are not plausible without a factor,
 * for a message; %NULL if they are, or if @t is not an 8-bit float. */
char *avatar_plain_cast_check (const AvatarTensorSource *t);

G_END_DECLS
