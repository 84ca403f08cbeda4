/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latent caps <-> video caps: see the header. */
#include "gst/gstavatarvideocaps.h"

#include "gst/gstavatarcaps.h"

static GstCaps *
latents_of_video (const GstStructure *video, const AvatarModelInfo *info)
{
  GstAvatarLatentInfo latent = { 0 };
  GstCaps *caps;
  gint width, height;

  if (!info || !gst_structure_get_int (video, "width", &width)
      || !gst_structure_get_int (video, "height", &height))
    return gst_caps_from_string (GST_AVATAR_TENSOR_CAPS);
  gst_structure_get_fraction (video, "framerate", &latent.fps_n, &latent.fps_d);
  latent.channels = info->latent_channels;
  latent.width = (width + info->latent_scale - 1) / info->latent_scale;
  latent.height = (height + info->latent_scale - 1) / info->latent_scale;
  caps = gst_avatar_caps_new_latents (&latent, NULL);
  /* No latents make this size. Say which it was, so that avatardenoise can tell the user instead
   * of a bare "not negotiated". */
  if (width % info->latent_scale || height % info->latent_scale)
    gst_avatar_caps_set_video_size (caps, width, height);
  return caps;
}

GstCaps *
gst_avatar_video_caps_to_latents (GstCaps *caps, const AvatarModelInfo *info)
{
  GstCaps *ret = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++)
    ret = gst_caps_merge (ret, latents_of_video (gst_caps_get_structure (caps, i), info));
  return ret;
}

GstCaps *
gst_avatar_video_caps_from_latents (GstCaps *caps, const AvatarModelInfo *info)
{
  GstCaps *ret = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    g_autoptr (GstCaps) one = gst_caps_copy_nth (caps, i);
    GstCaps *video = gst_caps_from_string (GST_AVATAR_VIDEO_CAPS);
    GstAvatarLatentInfo latent;

    if (info && gst_avatar_caps_parse_latents (one, NULL, &latent, NULL)) {
      gst_caps_set_simple (video, "width", G_TYPE_INT, (gint) (latent.width * info->latent_scale),
          "height", G_TYPE_INT, (gint) (latent.height * info->latent_scale), "pixel-aspect-ratio",
          GST_TYPE_FRACTION, 1, 1, NULL);
      if (latent.fps_n > 0 && latent.fps_d > 0)
        gst_caps_set_simple (video, "framerate", GST_TYPE_FRACTION, latent.fps_n, latent.fps_d,
            NULL);
      else
        gst_caps_set_simple (video, "framerate", GST_TYPE_FRACTION, (gint) info->fps, 1, NULL);
    }
    ret = gst_caps_merge (ret, video);
  }
  return ret;
}
