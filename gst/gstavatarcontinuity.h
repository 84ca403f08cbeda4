/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Detects discontinuities in a stream of tensors. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* Expected offset and PTS of the next buffer; NONE if not known. */
typedef struct
{
  guint64 offset;
  GstClockTime pts;
} GstAvatarContinuity;

void gst_avatar_continuity_reset (GstAvatarContinuity *self);
/* Returns the offset of @buffer if it counts buffers, else GST_BUFFER_OFFSET_NONE: file sources
 * count bytes. */
guint64 gst_avatar_continuity_get_offset (GstBuffer *buffer);
/* Returns %TRUE if @buffer has the flag DISCONT, another offset than expected, or a PTS that
 * differs from the expected one by @frame, the duration of a video frame, or more. */
gboolean gst_avatar_continuity_jumps (const GstAvatarContinuity *self, GstBuffer *buffer,
    GstClockTime frame);
/* Takes note of @buffer, which lasts for @duration. */
void
gst_avatar_continuity_take (GstAvatarContinuity *self, GstBuffer *buffer, GstClockTime duration);
/* Takes note of @n buffers that were inserted for missing ones; they last for @duration in all. */
void gst_avatar_continuity_skip (GstAvatarContinuity *self, guint64 n, GstClockTime duration);
/* Takes note of a gap that lasts for @duration. The buffers in it may have been numbered or not. */
void gst_avatar_continuity_skip_gap (GstAvatarContinuity *self, GstClockTime duration);

G_END_DECLS
