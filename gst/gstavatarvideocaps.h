/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode's caps both ways: latents <-> video. */
#pragma once

#include <avatar/model.h>
#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_VIDEO_CAPS                                                  \
  "video/x-raw, format=(string){ RGB, I420, NV12 }, width=(int)[ 1, 32768 ], " \
  "height=(int)[ 1, 32768 ], framerate=(fraction)[ 0/1, 2147483647/1 ]"

/* @info: (nullable): of the model, once it is open. The latents that make the video in @caps; where
 * its size is open, so are the dimensions. */
GstCaps *gst_avatar_video_caps_to_latents (GstCaps *caps, const AvatarModelInfo *info);
/* The video that comes from the latents in @caps. */
GstCaps *gst_avatar_video_caps_from_latents (GstCaps *caps, const AvatarModelInfo *info);

G_END_DECLS
