/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decides whether a tensor goes on from the one before it or begins a stream of its own. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* What the next buffer has if nothing is missing; NONE: not known. */
typedef struct
{
  guint64 offset;
  GstClockTime pts;
} GstAvatarContinuity;

void gst_avatar_continuity_reset (GstAvatarContinuity *self);
/* The offset of @buffer, if it counts buffers; else GST_BUFFER_OFFSET_NONE: sources of bytes count
 * those. */
guint64 gst_avatar_continuity_get_offset (GstBuffer *buffer);
/* Whether @buffer jumps: DISCONT, another number than the next, or a PTS that is off by @frame or more,
 * which is the duration of a video frame. */
gboolean gst_avatar_continuity_jumps (const GstAvatarContinuity *self, GstBuffer *buffer,
    GstClockTime frame);
/* @buffer has come; it lasts for @duration. */
void
gst_avatar_continuity_take (GstAvatarContinuity *self, GstBuffer *buffer, GstClockTime duration);
/* As many buffers as @n, of @duration together, have been made in the place of missing ones. */
void gst_avatar_continuity_skip (GstAvatarContinuity *self, guint64 n, GstClockTime duration);

G_END_DECLS
