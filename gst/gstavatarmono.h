/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Converts audio of any number of channels to mono floats: with GStreamer's mixer if the
 * channels have positions, else as their average.
 *
 * If the channels cancel each other out, the loudest one is used instead. This is the case if
 * the power of the mix, averaged over about 50 ms, falls below the mean power of the channels by
 * 20 dB, until it is above -10 dB again. Audio below -50 dBFS does not change the decision. The
 * result does not depend on the sizes of the buffers. */
#pragma once

#include <gst/audio/audio.h>

G_BEGIN_DECLS

typedef struct _GstAvatarMono GstAvatarMono;

GstAvatarMono *gst_avatar_mono_new (void);
void gst_avatar_mono_free (GstAvatarMono *self);
/* @caps: raw audio, native S16 or F32, interleaved. More than two channels without a channel
 * mask have no positions. */
gboolean gst_avatar_mono_set_caps (GstAvatarMono *self, GstCaps *caps);
/* Returns the size of a frame, one sample of each channel, in bytes. */
gsize gst_avatar_mono_get_frame_size (const GstAvatarMono *self);
/* Returns the @n frames at @data as mono samples: at @data itself, or in @allocated, which the
 * caller frees. */
const float *
gst_avatar_mono_run (GstAvatarMono *self, gconstpointer data, gsize n, float **allocated);
/* Returns an error if the channels have cancelled each other out for @patience, not counting pauses
 * below -50 dBFS, else %NULL. */
GError *gst_avatar_mono_check (const GstAvatarMono *self, GstClockTime patience);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstAvatarMono, gst_avatar_mono_free)

G_END_DECLS
