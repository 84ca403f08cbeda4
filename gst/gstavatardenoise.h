/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatardenoise: audio features and a portrait in, latent frames out. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_DENOISE (gst_avatar_denoise_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarDenoise, gst_avatar_denoise, GST, AVATAR_DENOISE, GstElement)
GST_ELEMENT_REGISTER_DECLARE (avatardenoise)

G_END_DECLS
