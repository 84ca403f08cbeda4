/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode's caps both ways: latents <-> video, and the size that downstream leaves. */
#pragma once

#include <avatar/model.h>
#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_VIDEO_CAPS                                                  \
  "video/x-raw, format=(string){ RGB, I420, NV12 }, width=(int)[ 1, 32768 ], " \
  "height=(int)[ 1, 32768 ], framerate=(fraction)[ 0/1, 2147483647/1 ]"

/* @info: (nullable): of the model, once it is open. The latents that make a video of the sizes in
 * @caps. A size that one dimension string cannot tell (a range, or no whole latents) is noted in
 * the fields video-width and video-height. */
GstCaps *gst_avatar_video_caps_to_latents (GstCaps *caps, const AvatarModelInfo *info);
/* The video that comes from the latents in @caps. */
GstCaps *gst_avatar_video_caps_from_latents (GstCaps *caps, const AvatarModelInfo *info);
/* Takes these notes off. */
void gst_avatar_video_caps_clear_notes (GstCaps *latents);

/* The size of the video that downstream's @latents (nullable: anything) allow: the model's own,
 * @width x @height, if one of the structures does; else the nearest to it. Sides are multiples of
 * the model's size_multiple. @demanded: (out): downstream leaves no choice, or not that one. */
gboolean gst_avatar_video_caps_choose_size (const GstCaps *latents, const AvatarModelInfo *info,
    guint *width, guint *height, gboolean *demanded, GError **error);

/* Says which fields of @made do not fit @taken, what is there, what was asked for, and which
 * element converts it. */
gchar *gst_avatar_video_caps_explain (const GstCaps *made, const GstCaps *taken);

G_END_DECLS
