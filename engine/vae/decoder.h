/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the plan and the tests ask of the decoding stage beyond its public verbs. */
#pragma once

#include <avatar/decode.h>

G_BEGIN_DECLS

/* What decoding @frames video frames will take of @room bytes (G_MAXUINT64: any); @least: for the
 * arena, the fewest bytes that do. */
gboolean avatar_decoder_plan (AvatarModel *model, AvatarDevice *device, guint width, guint height,
    const AvatarDecodeSettings *settings, guint frames, guint64 room, guint64 *weight_bytes,
    guint64 *arena_bytes, guint64 *least, double *flops, double *bytes, GError **error);
/* Before the first tile of a stream that is decoded whole, both are 0. */
void avatar_decoder_get_arena (AvatarDecoder *self, gsize *predicted, gsize *peak);

G_END_DECLS
