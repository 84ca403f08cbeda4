/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queries and seeks on avatarvaedecode's source pad, in units of the video. Upstream's units
 * (samples, bytes of audio) do not apply here. */
#include "gst/gstavatarquery.h"
#include "gst/gstavatarvaedecodeprivate.h"
#include "gst/gstavatarvideocaps.h"

#define GST_CAT_DEFAULT avatar_vae_decode_debug

/* Gets the format of the video, or only its frame rate before caps are negotiated. */
static gboolean
get_video (GstAvatarVaeDecode *self, GstVideoInfo *info)
{
  GST_OBJECT_LOCK (self);
  *info = self->shown;
  GST_OBJECT_UNLOCK (self);
  if (GST_VIDEO_INFO_FORMAT (info) != GST_VIDEO_FORMAT_UNKNOWN)
    return TRUE;
  if (!self->client.engine)
    return FALSE;
  info->fps_n = self->client.engine->info->fps;
  info->fps_d = 1;
  return TRUE;
}

/* Converts by way of whole frames. Bytes require that the size of a frame is known. */
static gboolean
convert (const GstVideoInfo *info, GstFormat from, gint64 value, GstFormat to, gint64 *result)
{
  gsize size = GST_VIDEO_INFO_SIZE (info);

  *result = value;
  if (value == -1 || from == to)
    return TRUE;
  if ((from == GST_FORMAT_BYTES || to == GST_FORMAT_BYTES) && size == 0)
    return FALSE;
  if (from == GST_FORMAT_BYTES)
    value /= size;
  else if (from == GST_FORMAT_TIME)
    value = gst_util_uint64_scale_round (value, info->fps_n, GST_SECOND * info->fps_d);
  else if (from != GST_FORMAT_DEFAULT)
    return FALSE;
  if (to == GST_FORMAT_BYTES)
    *result = value * size;
  else if (to == GST_FORMAT_TIME)
    *result = gst_util_uint64_scale (value, GST_SECOND * info->fps_d, info->fps_n);
  else
    *result = value;
  return to == GST_FORMAT_BYTES || to == GST_FORMAT_TIME || to == GST_FORMAT_DEFAULT;
}

/* Gets the end of the frame that was pushed last, in stream time. */
static gboolean
get_position (GstAvatarVaeDecode *self, gint64 *position)
{
  guint64 time = GST_CLOCK_TIME_NONE;

  GST_OBJECT_LOCK (self);
  if (self->segment.format == GST_FORMAT_TIME)
    time = gst_segment_to_stream_time (&self->segment, GST_FORMAT_TIME, self->segment.position);
  GST_OBJECT_UNLOCK (self);
  *position = (gint64) time;
  return GST_CLOCK_TIME_IS_VALID (time);
}

/* Gets the duration of the audio, rounded up to whole frames; or of the frames so far, if that is
 * longer, because resampling may lengthen the audio. */
static gboolean
get_duration (GstAvatarVaeDecode *self, const GstVideoInfo *info, gint64 *duration)
{
  gint64 made = 0, audio;
  guint64 frames;

  if (!gst_pad_peer_query_duration (self->sinkpad, GST_FORMAT_TIME, &audio) || audio < 0)
    return FALSE;
  /* Tolerates rounding errors of a few nanoseconds, which do not start a frame. */
  frames = gst_util_uint64_scale_ceil (MAX (audio, GST_USECOND) - GST_USECOND, info->fps_n,
      GST_SECOND * info->fps_d);
  *duration = gst_util_uint64_scale (frames, GST_SECOND * info->fps_d, info->fps_n);
  if (get_position (self, &made))
    *duration = MAX (*duration, made);
  return TRUE;
}

static gboolean
query_position (GstAvatarVaeDecode *self, const GstVideoInfo *info, GstQuery *query)
{
  GstFormat format;
  gint64 position;

  gst_query_parse_position (query, &format, NULL);
  if (!get_position (self, &position)
      || !convert (info, GST_FORMAT_TIME, position, format, &position))
    return FALSE;
  gst_query_set_position (query, format, position);
  return TRUE;
}

static gboolean
query_duration (GstAvatarVaeDecode *self, const GstVideoInfo *info, GstQuery *query)
{
  GstFormat format;
  gint64 duration;

  gst_query_parse_duration (query, &format, NULL);
  if (!get_duration (self, info, &duration)
      || !convert (info, GST_FORMAT_TIME, duration, format, &duration))
    return FALSE;
  gst_query_set_duration (query, format, duration);
  return TRUE;
}

static gboolean
query_convert (const GstVideoInfo *info, GstQuery *query)
{
  GstFormat from, to;
  gint64 value, result;

  gst_query_parse_convert (query, &from, &value, &to, NULL);
  if (!convert (info, from, value, to, &result))
    return FALSE;
  gst_query_set_convert (query, from, value, to, result);
  return TRUE;
}

static gboolean
query_seeking (GstAvatarVaeDecode *self, const GstVideoInfo *info, GstQuery *query)
{
  g_autoptr (GstQuery) in_time = gst_query_new_seeking (GST_FORMAT_TIME);
  GstFormat format;
  gboolean seekable;
  gint64 begin, end;

  gst_query_parse_seeking (query, &format, NULL, NULL, NULL);
  if (!gst_pad_peer_query (self->sinkpad, in_time))
    return FALSE;
  gst_query_parse_seeking (in_time, NULL, &seekable, &begin, &end);
  if (format != GST_FORMAT_TIME && format != GST_FORMAT_DEFAULT)
    seekable = FALSE;
  if (!seekable || !convert (info, GST_FORMAT_TIME, begin, format, &begin)
      || !convert (info, GST_FORMAT_TIME, end, format, &end)) {
    gst_query_set_seeking (query, format, FALSE, 0, -1);
    return TRUE;
  }
  gst_query_set_seeking (query, format, TRUE, begin, end);
  return TRUE;
}

/* Adds the time until the last latent of a tile arrives, and that for computing: the duration of a
 * further tile, unless it was measured. As much is also buffered: latents of a tile, and frames of
 * the previous one. The latents of a group arrive together, with a window of the denoiser: none of
 * them waits, and the group is not longer than the window. */
static void
add_latency (GstAvatarVaeDecode *self, GstQuery *query)
{
  const AvatarModelInfo *info = self->client.engine->info;
  GstClockTime min, max, own;
  guint tile, further;
  GstAvatarPortions windows;
  gboolean live, groups;

  gst_query_parse_latency (query, &live, &min, &max);
  gst_avatar_vae_decode_get_tile (self, &tile, &further);
  GST_OBJECT_LOCK (self);
  groups = self->tiling == GST_AVATAR_TILING_STREAM;
  GST_OBJECT_UNLOCK (self);
  if (groups && gst_avatar_query_portions (self->sinkpad, &windows))
    further = MIN (further, MAX (windows.first, windows.further));
  own = gst_util_uint64_scale_int (groups ? 0 : tile, GST_SECOND, info->fps)
      + gst_avatar_processing_element_get (&self->client.processing, GST_ELEMENT (self), query,
          gst_util_uint64_scale_int (further, GST_SECOND, info->fps));
  gst_query_set_latency (query, live, min + own,
      GST_CLOCK_TIME_IS_VALID (max) ? max + own : GST_CLOCK_TIME_NONE);
  gst_avatar_lateness_take_query (&self->lateness, GST_ELEMENT (self), query);
}

static GstCaps *
query_caps (GstAvatarVaeDecode *self, GstCaps *filter)
{
  g_autoptr (GstCaps) any = gst_pad_get_pad_template_caps (self->sinkpad);
  g_autoptr (GstCaps) latents = gst_pad_peer_query_caps (self->sinkpad, any);
  const AvatarModelInfo *info = self->client.engine ? self->client.engine->info : NULL;
  g_autoptr (GstCaps) video = gst_avatar_video_caps_from_latents (latents, info);

  if (!filter)
    return g_steal_pointer (&video);
  return gst_caps_intersect_full (filter, video, GST_CAPS_INTERSECT_FIRST);
}

static gboolean
answer_latency (GstAvatarVaeDecode *self, GstPad *pad, GstQuery *query)
{
  if (!gst_pad_query_default (pad, GST_OBJECT (self), query))
    return FALSE;
  if (self->client.engine)
    add_latency (self, query);
  return TRUE;
}

gboolean
gst_avatar_vae_decode_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);
  GstVideoInfo info;
  GstCaps *caps;

  if (self->failed && gst_avatar_query_answer_failed (query))
    return TRUE;
  if (gst_avatar_engine_client_query (&self->client, GST_ELEMENT (self), query))
    return TRUE;
  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_CAPS:
      gst_query_parse_caps (query, &caps);
      caps = query_caps (self, caps);
      gst_query_set_caps_result (query, caps);
      gst_caps_unref (caps);
      return TRUE;
    case GST_QUERY_POSITION:
      return get_video (self, &info) && query_position (self, &info, query);
    case GST_QUERY_DURATION:
      return get_video (self, &info) && query_duration (self, &info, query);
    case GST_QUERY_CONVERT:
      return get_video (self, &info) && query_convert (&info, query);
    case GST_QUERY_SEEKING:
      return get_video (self, &info) && query_seeking (self, &info, query);
    case GST_QUERY_LATENCY:
      return answer_latency (self, pad, query);
    default:
      return gst_pad_query_default (pad, parent, query);
  }
}

/* Converts a seek in frames to a seek in time. Returns %NULL for other units, which upstream would
 * misinterpret. */
static GstEvent *
seek_in_time (const GstVideoInfo *info, GstEvent *event)
{
  GstSeekType begin_type, end_type;
  GstSeekFlags flags;
  gint64 begin, end;
  GstFormat format;
  GstEvent *ret;
  gdouble rate;

  gst_event_parse_seek (event, &rate, &format, &flags, &begin_type, &begin, &end_type, &end);
  if (format != GST_FORMAT_DEFAULT
      || !convert (info, GST_FORMAT_DEFAULT, begin, GST_FORMAT_TIME, &begin)
      || !convert (info, GST_FORMAT_DEFAULT, end, GST_FORMAT_TIME, &end))
    return NULL;
  ret = gst_event_new_seek (rate, GST_FORMAT_TIME, flags, begin_type, begin, end_type, end);
  gst_event_set_seqnum (ret, gst_event_get_seqnum (event));
  return ret;
}

gboolean
gst_avatar_vae_decode_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);
  GstFormat format = GST_FORMAT_TIME;
  GstEvent *converted;
  GstVideoInfo info;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK)
    gst_event_parse_seek (event, NULL, &format, NULL, NULL, NULL, NULL, NULL);
  if (format == GST_FORMAT_TIME)
    return gst_pad_event_default (pad, parent, event);
  converted = get_video (self, &info) ? seek_in_time (&info, event) : NULL;
  gst_event_unref (event);
  return converted && gst_pad_event_default (pad, parent, converted);
}
