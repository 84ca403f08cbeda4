/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sound of any number of channels as mono floats: GStreamer's own mix where it knows the channels'
 * positions, else their average.
 *
 * Where the channels cancel each other out, the loudest of them is taken instead. They do where the
 * power of the mix falls below -20 dB of the channels' mean, over some 50 ms, until it is above
 * -10 dB again; sound of less than -50 dBFS leaves that as it was. The result does not depend on
 * the pieces that the sound comes in. */
#pragma once

#include <gst/audio/audio.h>

G_BEGIN_DECLS

typedef struct _GstAvatarMono GstAvatarMono;

GstAvatarMono *gst_avatar_mono_new (void);
void gst_avatar_mono_free (GstAvatarMono *self);
/* @caps: of the sound to come: raw audio, native S16 or F32, interleaved; more than two channels
 * without a mask have no positions. */
gboolean gst_avatar_mono_set_caps (GstAvatarMono *self, GstCaps *caps);
/* Bytes of a frame, which is a sample of every channel. */
gsize gst_avatar_mono_get_frame_size (const GstAvatarMono *self);
/* The @n frames at @data as mono: there, or in @allocated, which is to be freed. */
const float *
gst_avatar_mono_run (GstAvatarMono *self, gconstpointer data, gsize n, float **allocated);
/* An error that tells that the channels have cancelled out for @patience, pauses of less than
 * -50 dBFS aside, or NULL. */
GError *gst_avatar_mono_check (const GstAvatarMono *self, GstClockTime patience);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstAvatarMono, gst_avatar_mono_free)

G_END_DECLS
