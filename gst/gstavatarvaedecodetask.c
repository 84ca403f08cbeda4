/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoding task of avatarvaedecode: takes latents and events from its queue in order, decodes
 * complete tiles, and queues frames and events for the task of the source pad. No lock is held
 * while it computes. */
#include <string.h>

#include "gst/gstavataroutput.h"
#include "gst/gstavatarquery.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarvaedecodeprivate.h"
#include "gst/gstavatarvideocaps.h"

#define GST_CAT_DEFAULT avatar_vae_decode_debug

/* Gaps that are longer or need more frames, since caps may tell any rate, are not filled. */
#define MAX_GAP (60 * GST_SECOND)
#define MAX_GAP_FRAMES 15000

static GstClockTime
frames_to_time (GstAvatarVaeDecode *self, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * self->latent.fps_d, self->latent.fps_n);
}

void
gst_avatar_vae_decode_task_restart (GstAvatarVaeDecode *self)
{
  if (self->decoder)
    avatar_decoder_reset (self->decoder);
  self->base = GST_CLOCK_TIME_NONE;
  self->n_latents = self->n_frames = self->frames_wanted = 0;
  gst_avatar_continuity_reset (&self->continuity);
  self->last_tile = G_MAXUINT;
  self->discont = TRUE;
  gst_clear_buffer (&self->shown_last);
}

static void
close_decoder (GstAvatarVaeDecode *self)
{
  AvatarDecoder *decoder;

  GST_OBJECT_LOCK (self);
  decoder = g_steal_pointer (&self->decoder);
  GST_OBJECT_UNLOCK (self);
  if (decoder)
    avatar_decoder_free (decoder);
}

void
gst_avatar_vae_decode_task_close (GstAvatarVaeDecode *self)
{
  close_decoder (self);
  gst_avatar_output_pool_close (&self->pool);
  gst_clear_caps (&self->caps);
  gst_clear_object (&self->stream);
  gst_clear_buffer (&self->shown_last);
}

void
gst_avatar_vae_decode_task_cancel (GstAvatarVaeDecode *self)
{
  GST_OBJECT_LOCK (self);
  if (self->decoder)
    avatar_decoder_cancel (self->decoder);
  GST_OBJECT_UNLOCK (self);
}

static void
report_tile (GstAvatarVaeDecode *self)
{
  AvatarDecodeStats stats;
  GstAvatarWindow window
      = { .stage = "decode", .computed_on = avatar_decoder_get_device (self->decoder) };

  avatar_decoder_get_stats (self->decoder, &stats);
  if (stats.index == self->last_tile)
    return;
  self->last_tile = stats.index;
  window.index = stats.index;
  window.frames = stats.frames;
  window.timestamp = self->base + frames_to_time (self, self->n_frames);
  window.duration = frames_to_time (self, stats.frames);
  window.compute_time = (GstClockTime) (stats.seconds * GST_SECOND);
  gst_avatar_engine_client_set_stats (&self->client, GST_ELEMENT (self),
      gst_avatar_report_window (GST_ELEMENT (self), self->client.engine->device, &window));
  gst_avatar_processing_element_add (&self->client.processing, GST_ELEMENT (self),
      window.compute_time, window.duration);
}

/* Pulls the next frame into @out. */
static AvatarPull
pull_planes (GstAvatarVaeDecode *self, GstBuffer *out, GError **error)
{
  guint8 *planes[GST_VIDEO_MAX_PLANES];
  gsize strides[GST_VIDEO_MAX_PLANES];
  GstVideoFrame frame;
  AvatarPull pull;

  if (!gst_video_frame_map (&frame, &self->out, out, GST_MAP_WRITE)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a buffer of downstream's pool cannot be mapped for writing; expected system memory: add "
        "\"identity drop-allocation=true\" after this element");
    return AVATAR_PULL_ERROR;
  }
  for (guint i = 0; i < GST_VIDEO_FRAME_N_PLANES (&frame); i++) {
    planes[i] = GST_VIDEO_FRAME_PLANE_DATA (&frame, i);
    strides[i] = GST_VIDEO_FRAME_PLANE_STRIDE (&frame, i);
  }
  pull = avatar_decoder_pull_planes (self->decoder, planes, strides, error);
  gst_video_frame_unmap (&frame);
  return pull;
}

/* Tells the decoder when the next frame has to leave. */
static void
set_deadline (GstAvatarVaeDecode *self)
{
  GstClockTime pts = self->base + frames_to_time (self, self->n_frames), running_time;

  GST_OBJECT_LOCK (self);
  running_time = self->segment.format == GST_FORMAT_TIME
      ? gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, pts)
      : GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
  avatar_decoder_set_deadline (self->decoder,
      gst_avatar_lateness_get_deadline (&self->lateness, GST_ELEMENT (self), running_time));
}

/* Pulls the next video frame; decodes a tile if one is due. */
static GstFlowReturn
pull_frame (GstAvatarVaeDecode *self, GstBuffer **frame)
{
  GstFlowReturn ret = gst_buffer_pool_acquire_buffer (self->pool, frame, NULL);
  GError *error = NULL;
  AvatarPull pull;

  if (ret != GST_FLOW_OK)
    return ret;
  if (avatar_decoder_is_due (self->decoder))
    set_deadline (self);
  pull = pull_planes (self, *frame, &error);
  if (pull == AVATAR_PULL_OK)
    return GST_FLOW_OK;
  gst_clear_buffer (frame);
  return pull == AVATAR_PULL_ERROR ? gst_avatar_report_failure (self, error, &self->failed)
                                   : GST_FLOW_OK;
}

/* Stamps @frame as the next video frame, and queues it. */
static GstFlowReturn
queue_frame (GstAvatarVaeDecode *self, GstBuffer *frame)
{
  gst_avatar_output_stamp (frame, self->n_frames,
      self->base + frames_to_time (self, self->n_frames),
      self->base + frames_to_time (self, self->n_frames + 1), &self->discont);
  self->n_frames++;
  /* No other frame is kept: downstream can write only to those that are not shared. */
  if (self->groups
      && (self->n_frames == self->frames_wanted || avatar_decoder_get_n_ready (self->decoder) == 0))
    gst_buffer_replace (&self->shown_last, frame);
  return gst_avatar_item_queue_push (&self->frames, GST_MINI_OBJECT (frame));
}

static GstFlowReturn
push_frame (GstAvatarVaeDecode *self)
{
  GstBuffer *frame = NULL;
  GstFlowReturn ret = pull_frame (self, &frame);

  if (!frame)
    return ret;
  report_tile (self);
  return queue_frame (self, frame);
}

/* Decodes complete tiles, and queues their frames; waits while the queue is full. */
static GstFlowReturn
push_ready (GstAvatarVaeDecode *self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  while (ret == GST_FLOW_OK && self->n_frames < self->frames_wanted
      && (avatar_decoder_get_n_ready (self->decoder) > 0 || avatar_decoder_is_due (self->decoder)))
    ret = push_frame (self);
  return ret;
}

static GstFlowReturn
drain (GstAvatarVaeDecode *self)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;

  if (!self->decoder || self->n_latents == 0 || self->failed)
    return ret;
  if (avatar_decoder_drain (self->decoder, &error))
    ret = push_ready (self);
  else
    ret = gst_avatar_report_failure (self, error, &self->failed);
  /* Not after a flush has begun: a reset would undo the cancel before FLUSH_STOP. */
  if (ret != GST_FLOW_FLUSHING)
    gst_avatar_vae_decode_task_restart (self);
  return ret;
}

/* Returns the number of video frames that a latent represents. At the end of a clip its duration is
 * shorter. */
static guint
frames_of_latent (GstAvatarVaeDecode *self, GstBuffer *latent)
{
  guint64 frames;

  if (!GST_BUFFER_DURATION_IS_VALID (latent))
    return self->n_latents ? 4 : 1;
  frames = gst_util_uint64_scale_round (GST_BUFFER_DURATION (latent), self->latent.fps_n,
      GST_SECOND * self->latent.fps_d);
  return CLAMP (frames, 1, 4);
}

/* Notes the frames of a latent that was pushed. The first latent of a stream gives one frame. If it
 * represents more, because the latents before it are lost, that is the last of them. */
static void
note_latent (GstAvatarVaeDecode *self, GstBuffer *latent)
{
  guint frames = frames_of_latent (self, latent), given = self->n_latents ? frames : 1;

  if (!GST_CLOCK_TIME_IS_VALID (self->base))
    self->base = (GST_BUFFER_PTS_IS_VALID (latent) ? GST_BUFFER_PTS (latent) : 0)
        + frames_to_time (self, frames - given);
  self->frames_wanted += given;
  self->n_latents++;
}

/* Some transports, such as GDP, lose the flag; the caps have the windows as well. */
static gboolean
ends_window (GstAvatarVaeDecode *self, GstBuffer *latent)
{
  guint64 k = gst_avatar_continuity_get_offset (latent);

  return GST_BUFFER_FLAG_IS_SET (latent, GST_BUFFER_FLAG_MARKER)
      || (k != GST_BUFFER_OFFSET_NONE && gst_avatar_latent_info_ends_window (&self->latent, k));
}

static GstFlowReturn
take_latent (GstAvatarVaeDecode *self, GstBuffer *latent)
{
  gsize expected = gst_avatar_latent_info_get_size (&self->latent);
  GError *error = NULL;
  GstMapInfo map;
  gboolean ok;

  if (gst_buffer_get_size (latent) != expected || !gst_buffer_map (latent, &map, GST_MAP_READ)) {
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a latent buffer has %" G_GSIZE_FORMAT " bytes: expected %" G_GSIZE_FORMAT
        ", as its caps say",
        gst_buffer_get_size (latent), expected);
    return gst_avatar_report_failure (self, error, &self->failed);
  }
  ok = avatar_decoder_push (self->decoder, (const float *) map.data, &error);
  if (ok && ends_window (self, latent))
    ok = avatar_decoder_end_group (self->decoder, &error);
  gst_buffer_unmap (latent, &map);
  if (!ok)
    return gst_avatar_report_failure (self, error, &self->failed);
  note_latent (self, latent);
  return GST_FLOW_OK;
}

/* Converts caps to the engine's pixel format. */
static AvatarPixels
pixels_of (const GstVideoInfo *info)
{
  AvatarPixels pixels = { .kr = 0.299, .kb = 0.114 }; /* BT.601 if not specified */

  switch (GST_VIDEO_INFO_FORMAT (info)) {
    case GST_VIDEO_FORMAT_I420:
      pixels.format = AVATAR_PIXEL_FORMAT_I420;
      break;
    case GST_VIDEO_FORMAT_NV12:
      pixels.format = AVATAR_PIXEL_FORMAT_NV12;
      break;
    default:
      pixels.format = AVATAR_PIXEL_FORMAT_RGB;
      break;
  }
  gst_video_color_matrix_get_Kr_Kb (info->colorimetry.matrix, &pixels.kr, &pixels.kb);
  pixels.full_range = info->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255;
  pixels.cosited = (GST_VIDEO_INFO_CHROMA_SITE (info) & GST_VIDEO_CHROMA_SITE_H_COSITED) != 0;
  return pixels;
}

void
gst_avatar_vae_decode_get_settings (GstAvatarVaeDecode *self, guint width, guint height,
    AvatarDecodeSettings *settings)
{
  avatar_decode_settings_init (settings, self->client.engine->model);
  GST_OBJECT_LOCK (self);
  /* Tiles are the default, because a whole stream needs memory in proportion to its length. A
   * stream shorter than a tile gives the same frames. */
  settings->tiling = self->tiling != GST_AVATAR_TILING_OFF;
  if (self->tiling == GST_AVATAR_TILING_FAST)
    avatar_decode_settings_fast (settings, self->client.engine->model, width, height);
  if (self->tiling == GST_AVATAR_TILING_STREAM) {
    avatar_decode_settings_stream (settings, self->client.engine->model, width, height);
    settings->context_latents = self->context_latents;
  }
  if (self->tile_size)
    settings->tile_size = self->tile_size;
  if (self->tile_frames)
    settings->tile_frames = self->tile_frames;
  settings->pixels.upstream_rounding = self->upstream_rounding;
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_vae_decode_get_tile (GstAvatarVaeDecode *self, guint *frames, guint *further)
{
  const AvatarModelInfo *info = self->client.engine->info;
  AvatarDecodeSettings settings;

  gst_avatar_vae_decode_get_settings (self, info->width, info->height, &settings);
  *frames = settings.tile_frames ?: info->tile_frames;
  *further = *frames;
  if (settings.temporal_tiles == AVATAR_TEMPORAL_TILES_OVERLAP)
    *further -= *frames / (settings.overlap ?: 4);
}

static AvatarDecoder *
create_decoder (GstAvatarVaeDecode *self, const GstAvatarLatentInfo *latent,
    const AvatarPixels *pixels, GError **error)
{
  const AvatarModelInfo *info = self->client.engine->info;
  guint width = latent->width * info->latent_scale, height = latent->height * info->latent_scale;
  AvatarDecodeSettings settings;
  gboolean rounding;

  if (latent->channels != info->latent_channels) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "the latents have %u channels: model %s expects %u; use latents of the same model",
        latent->channels, info->name, info->latent_channels);
    return NULL;
  }
  gst_avatar_vae_decode_get_settings (self, width, height, &settings);
  rounding = settings.pixels.upstream_rounding;
  settings.pixels = *pixels;
  settings.pixels.upstream_rounding = rounding;
  self->groups = settings.tiling && settings.temporal_tiles == AVATAR_TEMPORAL_TILES_GROUPS;
  return avatar_decoder_new (self->client.engine->model, self->client.engine->device, width, height,
      &settings, error);
}

/* Bounds the queues. The queue of frames holds those of a tile, which are shown while the next one
 * is decoded. In a live pipeline a queue of latents that come a window at a time would only add to
 * the delay of a decoder that is too slow: the denoiser computes the next window meanwhile, and
 * finds at once that it has to wait. */
static void
bound_queues (GstAvatarVaeDecode *self)
{
  guint tile, further;
  gboolean live;

  GST_OBJECT_LOCK (self);
  live = self->client.processing.live;
  GST_OBJECT_UNLOCK (self);
  gst_avatar_vae_decode_get_tile (self, &tile, &further);
  gst_avatar_item_queue_set_max_buffers (&self->frames, further);
  gst_avatar_item_queue_set_max_buffers (&self->latents,
      live && self->groups ? 1 : GST_AVATAR_MAX_QUEUED_LATENTS);
}

/* Creates a decoder, unless the present one has the same input and output. */
static GstFlowReturn
set_up_decoder (GstAvatarVaeDecode *self, const GstAvatarLatentInfo *latent,
    const AvatarPixels *pixels)
{
  AvatarDecoder *decoder;
  GError *error = NULL;

  if (self->decoder && latent->width == self->latent.width && latent->height == self->latent.height
      && latent->channels == self->latent.channels
      && memcmp (pixels, &self->pixels, sizeof *pixels) == 0)
    return GST_FLOW_OK;
  close_decoder (self);
  decoder = create_decoder (self, latent, pixels, &error);
  if (!decoder)
    return gst_avatar_report_failure (self, error, &self->failed);
  GST_INFO_OBJECT (self, "computes on %s",
      avatar_device_get_description (avatar_decoder_get_device (decoder)));
  GST_OBJECT_LOCK (self);
  self->decoder = decoder;
  GST_OBJECT_UNLOCK (self);
  gst_avatar_vae_decode_task_restart (self);
  bound_queues (self);
  return GST_FLOW_OK;
}

/* Posts the reason why downstream does not accept @produced. */
static GstFlowReturn
refuse (GstAvatarVaeDecode *self, const GstCaps *produced)
{
  g_autoptr (GstCaps) accepted = NULL;
  g_autofree gchar *why = NULL;

  if (GST_PAD_IS_FLUSHING (self->srcpad))
    return GST_FLOW_FLUSHING;
  accepted = gst_pad_peer_query_caps (self->srcpad, NULL);
  why = gst_avatar_video_caps_explain (produced, accepted);
  GST_ELEMENT_ERROR (self, CORE, NEGOTIATION, ("downstream does not accept the video: %s", why),
      ("produced: %" GST_PTR_FORMAT ", accepted: %" GST_PTR_FORMAT, produced, accepted));
  self->failed = TRUE;
  return GST_FLOW_ERROR;
}

/* Chooses downstream's preference among the caps that the latents can be decoded to. The caps of a
 * stream under way are kept if possible, because the frames of a tile have one format. */
static GstCaps *
choose_caps (GstAvatarVaeDecode *self, const GstCaps *produced)
{
  g_autoptr (GstCaps) accepted = gst_pad_peer_query_caps (self->srcpad, (GstCaps *) produced);
  g_autoptr (GstCaps) current = gst_pad_get_current_caps (self->srcpad);
  GstCaps *caps
      = gst_caps_intersect_full (accepted, (GstCaps *) produced, GST_CAPS_INTERSECT_FIRST);

  if (self->n_latents > 0 && current && gst_caps_can_intersect (current, caps)) {
    gst_caps_unref (caps);
    return g_steal_pointer (&current);
  }
  return gst_caps_is_empty (caps) ? caps : gst_caps_fixate (caps);
}

static GstFlowReturn
set_caps (GstAvatarVaeDecode *self, GstCaps *caps)
{
  g_autoptr (GstCaps) current = gst_pad_get_current_caps (self->srcpad);
  /* Frames with the old caps are pushed first. */
  GstFlowReturn ret = gst_avatar_item_queue_wait_idle (&self->frames);

  if (ret != GST_FLOW_OK)
    return ret;
  if (!(current && gst_caps_is_equal (current, caps)) && !gst_pad_set_caps (self->srcpad, caps))
    return refuse (self, caps);
  GST_OBJECT_LOCK (self);
  self->shown = self->out;
  GST_OBJECT_UNLOCK (self);
  if (self->stream)
    gst_stream_set_caps (self->stream, caps);
  gst_avatar_output_pool_close (&self->pool);
  self->pool
      = gst_avatar_output_pool_negotiate (self->srcpad, caps, GST_VIDEO_INFO_SIZE (&self->out));
  return GST_FLOW_OK;
}

/* Negotiates the video that the latents with @caps are decoded to. */
static GstFlowReturn
negotiate (GstAvatarVaeDecode *self, const GstAvatarLatentInfo *latent, GstCaps *caps)
{
  g_autoptr (GstCaps) produced
      = gst_avatar_video_caps_from_latents (caps, self->client.engine->info);
  g_autoptr (GstCaps) chosen = choose_caps (self, produced);
  GstVideoInfo out;
  AvatarPixels pixels;
  GstFlowReturn ret;

  if (gst_caps_is_empty (chosen) || !gst_video_info_from_caps (&out, chosen))
    return refuse (self, produced);
  pixels = pixels_of (&out);
  if (self->n_latents > 0 && memcmp (&pixels, &self->pixels, sizeof pixels) != 0) {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("downstream changed the format of the video in the middle of a stream: expected the same "
         "format until its end; add videoconvert after avatarvaedecode"),
        ("now: %" GST_PTR_FORMAT, chosen));
    self->failed = TRUE;
    return GST_FLOW_ERROR;
  }
  ret = set_up_decoder (self, latent, &pixels);
  if (ret != GST_FLOW_OK)
    return ret;
  self->latent = *latent;
  self->pixels = pixels;
  self->out = out;
  ret = set_caps (self, chosen);
  if (ret == GST_FLOW_OK)
    gst_caps_replace (&self->caps, caps);
  return ret;
}

/* Applies new caps. If the latents change, those before are decoded first. */
static GstFlowReturn
configure (GstAvatarVaeDecode *self, GstCaps *caps)
{
  const AvatarModelInfo *info = self->client.engine->info;
  GstAvatarLatentInfo latent;
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;

  if (!gst_avatar_caps_parse_latents (caps, info->hash, &latent, &error))
    return gst_avatar_report_failure (self, error, &self->failed);
  if (latent.fps_n <= 0 || latent.fps_d <= 0) {
    latent.fps_n = info->fps;
    latent.fps_d = 1;
  }
  if (memcmp (&latent, &self->latent, sizeof latent) != 0)
    ret = drain (self);
  if (ret != GST_FLOW_OK)
    return ret;
  gst_pad_check_reconfigure (self->srcpad);
  ret = negotiate (self, &latent, caps);
  if (ret == GST_FLOW_FLUSHING)
    gst_pad_mark_reconfigure (self->srcpad);
  return ret;
}

static GstFlowReturn
take_buffer (GstAvatarVaeDecode *self, GstBuffer *input)
{
  guint64 offset = gst_avatar_continuity_get_offset (input);
  GstFlowReturn ret = GST_FLOW_OK;

  if (!self->caps) {
    GError *error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "latents arrived before their caps: expected a CAPS event first");
    return gst_avatar_report_failure (self, error, &self->failed);
  }
  if (gst_pad_check_reconfigure (self->srcpad))
    ret = negotiate (self, &self->latent, self->caps);
  if (ret == GST_FLOW_OK && self->n_latents > 0
      && gst_avatar_continuity_jumps (&self->continuity, input, frames_to_time (self, 1)))
    ret = drain (self);
  if (ret != GST_FLOW_OK)
    return ret;
  if (self->n_latents == 0 && offset != GST_BUFFER_OFFSET_NONE && offset != 0)
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
        ("the stream begins with latent frame %" G_GUINT64_FORMAT ": expected 0; the first frames "
         "will be distorted",
            offset),
        (NULL));
  gst_avatar_continuity_take (&self->continuity, input,
      frames_to_time (self, frames_of_latent (self, input)));
  ret = take_latent (self, input);
  return ret == GST_FLOW_OK ? push_ready (self) : ret;
}

/* Queues the last frame again until the time @end. The copies share its memory. The number of
 * frames follows from times since the start, so that rounding does not add up. */
static GstFlowReturn
repeat_last (GstAvatarVaeDecode *self, GstClockTime end)
{
  g_autoptr (GstBuffer) last = gst_buffer_ref (self->shown_last);
  GstFlowReturn ret = GST_FLOW_OK;

  self->frames_wanted = MAX (self->frames_wanted,
      gst_util_uint64_scale_round (end - self->base, self->latent.fps_n,
          GST_SECOND * self->latent.fps_d));
  while (ret == GST_FLOW_OK && self->n_frames < self->frames_wanted) {
    GstBuffer *frame = gst_buffer_copy (last);

    GST_BUFFER_FLAG_UNSET (frame, GST_BUFFER_FLAG_DISCONT);
    ret = queue_frame (self, frame);
  }
  return ret;
}

/* Decodes the latents of a group that ends early. The last one may have fewer frames than were
 * decoded; the others are dropped. */
static GstFlowReturn
end_group (GstAvatarVaeDecode *self)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;

  if (!avatar_decoder_end_group (self->decoder, &error))
    return gst_avatar_report_failure (self, error, &self->failed);
  ret = push_ready (self);
  while (ret == GST_FLOW_OK && avatar_decoder_get_n_ready (self->decoder) > 0) {
    g_autoptr (GstBuffer) dropped = NULL;

    ret = pull_frame (self, &dropped);
  }
  return ret;
}

/* Returns %TRUE if the decoder can continue after a gap. */
static gboolean
bridges_gap (GstAvatarVaeDecode *self, GstClockTime pts, GstClockTime duration)
{
  GstClockTime end = self->base + frames_to_time (self, self->frames_wanted);

  return self->groups && duration <= MAX_GAP && duration < frames_to_time (self, MAX_GAP_FRAMES)
      && ABS (GST_CLOCK_DIFF (end, pts)) < (GstClockTimeDiff) frames_to_time (self, 1);
}

/* Shows the last frame during a gap between two latents. The decoder then continues as if there had
 * been none: the next latent need not be the first of a stream. A gap that is too long or elsewhere
 * ends the stream, as do all gaps with other tilings. */
static GstFlowReturn
take_gap (GstAvatarVaeDecode *self, GstEvent *event)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GstClockTime pts, duration;
  gboolean bridges;

  gst_event_parse_gap (event, &pts, &duration);
  if (self->n_latents == 0 || self->failed || !GST_CLOCK_TIME_IS_VALID (duration)
      || duration < frames_to_time (self, 1))
    return gst_avatar_item_queue_push (&self->frames, GST_MINI_OBJECT (event));
  bridges = bridges_gap (self, pts, duration);
  ret = bridges ? end_group (self) : drain (self);
  if (ret == GST_FLOW_OK && !bridges)
    return gst_avatar_item_queue_push (&self->frames, GST_MINI_OBJECT (event));
  gst_event_unref (event);
  if (ret != GST_FLOW_OK)
    return ret;
  gst_avatar_continuity_skip_gap (&self->continuity, duration);
  return repeat_last (self, pts + duration);
}

/* Creates the STREAM_START of the video, which is another stream than the audio. */
static GstEvent *
video_stream_start (GstAvatarVaeDecode *self, GstEvent *event)
{
  g_autofree gchar *id = NULL;
  const gchar *audio;
  GstStreamFlags flags;
  GstEvent *ret;
  guint group;

  gst_event_parse_stream_start (event, &audio);
  gst_event_parse_stream_flags (event, &flags);
  id = g_strdup_printf ("%s/video", audio);
  ret = gst_event_new_stream_start (id);
  gst_event_set_seqnum (ret, gst_event_get_seqnum (event));
  gst_event_set_stream_flags (ret, flags);
  if (gst_event_parse_group_id (event, &group))
    gst_event_set_group_id (ret, group);
  gst_clear_object (&self->stream);
  self->stream = gst_stream_new (id, NULL, GST_STREAM_TYPE_VIDEO, flags);
  gst_event_set_stream (ret, self->stream);
  gst_event_unref (event);
  return ret;
}

/* Removes tags that describe the audio. Returns %NULL if no tags are left. */
static GstEvent *
video_tags (GstEvent *event)
{
  static const gchar *const audio_tags[] = { GST_TAG_AUDIO_CODEC, GST_TAG_BITRATE,
    GST_TAG_NOMINAL_BITRATE, GST_TAG_MINIMUM_BITRATE, GST_TAG_MAXIMUM_BITRATE };
  GstTagList *tags;
  GstEvent *ret;

  gst_event_parse_tag (event, &tags);
  if (gst_tag_list_get_scope (tags) != GST_TAG_SCOPE_STREAM)
    return event;
  tags = gst_tag_list_copy (tags);
  for (guint i = 0; i < G_N_ELEMENTS (audio_tags); i++)
    gst_tag_list_remove_tag (tags, audio_tags[i]);
  if (gst_tag_list_is_empty (tags)) {
    gst_tag_list_unref (tags);
    gst_event_unref (event);
    return NULL;
  }
  ret = gst_event_new_tag (tags);
  gst_event_set_seqnum (ret, gst_event_get_seqnum (event));
  gst_event_unref (event);
  return ret;
}

static GstFlowReturn
check_segment (GstAvatarVaeDecode *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (segment->format == GST_FORMAT_TIME && segment->rate > 0)
    return GST_FLOW_OK;
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
      ("the latents have a segment in %s that runs %s: expected time, forward; set format=time on the "
       "source, or seek with a rate above 0",
          gst_format_get_name (segment->format), segment->rate < 0 ? "backward" : "forward"),
      (NULL));
  self->failed = TRUE;
  return GST_FLOW_ERROR;
}

/* Decodes the latents before an event, if the event ends their stream. */
static GstFlowReturn
prepare_event (GstAvatarVaeDecode *self, GstEvent *event)
{
  GstFlowReturn ret;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_SEGMENT:
      ret = check_segment (self, event);
      return ret == GST_FLOW_OK ? drain (self) : ret;
    case GST_EVENT_STREAM_START:
    case GST_EVENT_SEGMENT_DONE:
      return drain (self);
    case GST_EVENT_EOS:
      /* After an error upstream nothing more is computed. */
      return gst_avatar_query_upstream_failed (self->sinkpad) ? GST_FLOW_OK : drain (self);
    default:
      return GST_FLOW_OK;
  }
}

static GstFlowReturn
take_event (GstAvatarVaeDecode *self, GstEvent *event)
{
  GstFlowReturn ret = prepare_event (self, event);
  GstCaps *caps;

  if (ret == GST_FLOW_OK && GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
    gst_event_parse_caps (event, &caps);
    ret = configure (self, caps);
    gst_event_unref (event);
    return ret;
  }
  if (ret != GST_FLOW_OK) {
    gst_event_unref (event);
    return ret;
  }
  if (GST_EVENT_TYPE (event) == GST_EVENT_GAP)
    return take_gap (self, event);
  if (GST_EVENT_TYPE (event) == GST_EVENT_STREAM_START)
    event = video_stream_start (self, event);
  else if (GST_EVENT_TYPE (event) == GST_EVENT_TAG)
    event = video_tags (event);
  return event ? gst_avatar_item_queue_push (&self->frames, GST_MINI_OBJECT (event)) : GST_FLOW_OK;
}

/* Pauses the task, unless it is being stopped. */
static void
pause_task (GstAvatarVaeDecode *self)
{
  GST_OBJECT_LOCK (self);
  if (gst_task_get_state (self->task) == GST_TASK_STARTED)
    gst_task_pause (self->task);
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_vae_decode_task_loop (gpointer data)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (data);
  GstMiniObject *item = gst_avatar_item_queue_pop (&self->latents);
  GstFlowReturn ret = GST_FLOW_FLUSHING;

  if (item && GST_IS_BUFFER (item)) {
    ret = take_buffer (self, GST_BUFFER (item));
    gst_mini_object_unref (item);
  } else if (item) {
    ret = take_event (self, GST_EVENT (item));
  }
  if (ret == GST_FLOW_OK)
    return;
  GST_DEBUG_OBJECT (self, "pausing: %s", gst_flow_get_name (ret));
  pause_task (self);
  if (ret == GST_FLOW_FLUSHING)
    return;
  gst_avatar_item_queue_set_state (&self->latents, ret, NULL);
  /* Ends the stream downstream, so that sinks do not wait for ever. */
  gst_avatar_item_queue_push (&self->frames, GST_MINI_OBJECT (gst_event_new_eos ()));
}
