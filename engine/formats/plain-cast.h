/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Distinguishes 8-bit floats that were cast from 16 bits and those without their scale factor. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* Samples some thousand values of @t. Returns %NULL if @t is not 8-bit, or its values are plausible
 * weights without a factor; else the reason, for a message. Free with g_free(). */
char *avatar_plain_cast_check (const AvatarTensorSource *t);

G_END_DECLS
