/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode: latent frames in, video frames out. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_VAE_DECODE (gst_avatar_vae_decode_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarVaeDecode, gst_avatar_vae_decode, GST, AVATAR_VAE_DECODE, GstElement)
GST_ELEMENT_REGISTER_DECLARE (avatarvaedecode)

G_END_DECLS
