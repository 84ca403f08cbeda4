/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* 8-bit floats without a factor: rounded from 16 bits as they were, or with a factor that is lost. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* %NULL if @t is not of 8 bits, or its values may be weights as they are; else why not, e.g. for a
 * message. Some thousand values of it are looked at. Free with g_free(). */
char *avatar_plain_cast_check (const AvatarTensorSource *t);

G_END_DECLS
