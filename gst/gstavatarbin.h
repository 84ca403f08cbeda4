/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarbin: audio in, video and the same audio out, with all three stages inside. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_BIN (gst_avatar_bin_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarBin, gst_avatar_bin, GST, AVATAR_BIN, GstBin)
GST_ELEMENT_REGISTER_DECLARE (avatarbin)

G_END_DECLS
