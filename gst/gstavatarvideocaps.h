/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion of caps between latents and video, and negotiation of the video size. */
#pragma once

#include <avatar/model.h>
#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_VIDEO_CAPS                                                  \
  "video/x-raw, format=(string){ RGB, I420, NV12 }, width=(int)[ 1, 32768 ], " \
  "height=(int)[ 1, 32768 ], framerate=(fraction)[ 0/1, 2147483647/1 ]"

/* Returns caps of the latents that are decoded to a video of the sizes in @caps. A size that has no
 * dimension string (a range, or no multiple of a latent) is stored in the fields video-width and
 * video-height. @info: (nullable): description of the model, if it is open. */
GstCaps *gst_avatar_video_caps_to_latents (GstCaps *caps, const AvatarModelInfo *info);
/* Returns caps of the video that the latents in @caps are decoded to. */
GstCaps *gst_avatar_video_caps_from_latents (GstCaps *caps, const AvatarModelInfo *info);
/* Removes video-width and video-height. */
void gst_avatar_video_caps_clear_sizes (GstCaps *latents);

/**
 * gst_avatar_video_caps_choose_size:
 * @latents: (nullable): caps that downstream accepts; %NULL: any
 * @width, @height: (inout): the model's own size; on return, the chosen size in pixels
 * @demanded: (out): downstream fixes the size, or does not accept the model's own size
 *
 * Chooses the model's own size if @latents allow it, else the nearest size that they allow. Both
 * sides are multiples of the model's size_multiple.
 */
gboolean gst_avatar_video_caps_choose_size (const GstCaps *latents, const AvatarModelInfo *info,
    guint *width, guint *height, gboolean *demanded, GError **error);

/* Describes the fields in which @produced differs from @accepted: both values, and the element that
 * converts one to the other. */
gchar *gst_avatar_video_caps_explain (const GstCaps *produced, const GstCaps *accepted);

G_END_DECLS
