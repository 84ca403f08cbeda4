/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avataraudioenc: 16 kHz mono audio in, one tensor of features per video frame out. */
#pragma once

#include <gst/base/gstbasetransform.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_AUDIO_ENC (gst_avatar_audio_enc_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarAudioEnc, gst_avatar_audio_enc, GST, AVATAR_AUDIO_ENC,
    GstBaseTransform)
GST_ELEMENT_REGISTER_DECLARE (avataraudioenc)

G_END_DECLS
