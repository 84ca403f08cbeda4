/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions of the decoder for the planner and the tests. */
#pragma once

#include "engine/base/stage-cost.h"

#include <avatar/decode.h>

G_BEGIN_DECLS

/**
 * AvatarDecoderPlanParams:
 * @width, @height: size of the video in pixels
 * @frames: number of video frames
 * @settings: settings of the decoder
 * @available_bytes: memory that the decoder may use, in bytes; %G_MAXUINT64: no limit
 */
typedef struct
{
  guint width, height, frames;
  const AvatarDecodeSettings *settings;
  guint64 available_bytes;
} AvatarDecoderPlanParams;

/* Measures the cost of decoding a video by a dry run. cost->arena_bytes is what the decoder would
 * allocate of the available bytes, cost->min_arena_bytes the least that it needs. Returns FALSE
 * with AVATAR_ERROR_SETTINGS. */
gboolean avatar_decoder_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDecoderPlanParams *params, AvatarStageCost *cost, GError **error);
/* Gets the size of the arena and the largest part of it that was used, in bytes. Without tiling,
 * both are 0 until the stream is decoded. */
void avatar_decoder_get_arena (AvatarDecoder *self, gsize *predicted_bytes, gsize *peak_bytes);

G_END_DECLS
