/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Discontinuities of tensor streams: see the header. */
#include "gst/gstavatarcontinuity.h"

/* Tolerance, as a fraction of a frame: rounded times may make a hole of one frame look smaller. */
#define ROUNDING 8

void
gst_avatar_continuity_reset (GstAvatarContinuity *self)
{
  self->offset = GST_BUFFER_OFFSET_NONE;
  self->pts = GST_CLOCK_TIME_NONE;
}

guint64
gst_avatar_continuity_get_offset (GstBuffer *buffer)
{
  guint64 offset = GST_BUFFER_OFFSET (buffer), end = GST_BUFFER_OFFSET_END (buffer);

  return end != GST_BUFFER_OFFSET_NONE && end == offset + 1 ? offset : GST_BUFFER_OFFSET_NONE;
}

gboolean
gst_avatar_continuity_jumps (const GstAvatarContinuity *self, GstBuffer *buffer, GstClockTime frame)
{
  guint64 offset = gst_avatar_continuity_get_offset (buffer);

  if (GST_BUFFER_IS_DISCONT (buffer))
    return TRUE;
  if (offset != GST_BUFFER_OFFSET_NONE && self->offset != GST_BUFFER_OFFSET_NONE
      && offset != self->offset)
    return TRUE;
  if (!GST_BUFFER_PTS_IS_VALID (buffer) || !GST_CLOCK_TIME_IS_VALID (self->pts))
    return FALSE;
  return ABS (GST_CLOCK_DIFF (self->pts, GST_BUFFER_PTS (buffer)))
      >= (GstClockTimeDiff) (frame - frame / ROUNDING);
}

void
gst_avatar_continuity_take (GstAvatarContinuity *self, GstBuffer *buffer, GstClockTime duration)
{
  guint64 offset = gst_avatar_continuity_get_offset (buffer);

  self->offset = offset == GST_BUFFER_OFFSET_NONE ? offset : offset + 1;
  if (GST_BUFFER_PTS_IS_VALID (buffer))
    self->pts = GST_BUFFER_PTS (buffer) + duration;
  else if (GST_CLOCK_TIME_IS_VALID (self->pts))
    self->pts += duration;
}

void
gst_avatar_continuity_skip_gap (GstAvatarContinuity *self, GstClockTime duration)
{
  self->offset = GST_BUFFER_OFFSET_NONE;
  if (GST_CLOCK_TIME_IS_VALID (self->pts))
    self->pts += duration;
}

void
gst_avatar_continuity_skip (GstAvatarContinuity *self, guint64 n, GstClockTime duration)
{
  if (self->offset != GST_BUFFER_OFFSET_NONE)
    self->offset += n;
  if (GST_CLOCK_TIME_IS_VALID (self->pts))
    self->pts += duration;
}
