/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avatarvaedecode
 * @title: avatarvaedecode
 * @short_description: latent video frames to video
 *
 * Decodes the latent frames of avatardenoise: one video frame from the first, four from each
 * further one, as many as the durations of the latents say. Frames leave as soon as a temporal
 * tile is done. Caps behind it choose the size of the video that avatardenoise makes.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=hello.latents ! gdpdepay ! avatarvaedecode ! video/x-raw,width=128,height=128 ! videoconvert ! autovideosink
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavatarvaedecode.h"

#include <avatar/decode.h>
#include <string.h>
#include <gst/video/video.h>

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarcontinuity.h"
#include "gst/gstavatarengine.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarvideocaps.h"

GST_DEBUG_CATEGORY_STATIC (avatar_vae_decode_debug);
#define GST_CAT_DEFAULT avatar_vae_decode_debug

typedef enum
{
  TILING_EXACT,
  TILING_FAST,
  TILING_OFF,
} Tiling;

enum
{
  PROP_TILING = GST_AVATAR_PROP_LAST,
  PROP_TILE_SIZE,
  PROP_TILE_FRAMES,
  PROP_PARITY,
};

struct _GstAvatarVaeDecode
{
  GstBaseTransform parent;

  GstAvatarEngineUser user;
  Tiling tiling;                /* object lock, as the three below */
  guint tile_size, tile_frames; /* 0: the model's */
  gboolean parity;

  AvatarDecoder *decoder; /* set and freed under the object lock, for cancel */
  GstAvatarLatentInfo latent;
  GstVideoInfo out;
  AvatarPixels pixels; /* of out */
  GstClockTime base;   /* PTS of the first frame */
  guint64 n_latents, n_frames, frames_wanted;
  GstAvatarContinuity continuity;
  guint last_tile;
  gboolean discont;
  gboolean failed; /* an error has been posted */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_VIDEO_CAPS));

#define gst_avatar_vae_decode_parent_class parent_class
G_DEFINE_TYPE (GstAvatarVaeDecode, gst_avatar_vae_decode, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (avatarvaedecode, "avatarvaedecode", GST_RANK_NONE,
    GST_TYPE_AVATAR_VAE_DECODE)

static GType
tiling_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { TILING_EXACT, "The model's tiles; what is smaller is decoded whole", "exact" },
    { TILING_FAST, "Fewer, larger tiles that overlap less; not the picture of the model", "fast" },
    { TILING_OFF, "The whole stream at once, after it has ended", "off" },
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType new_type = g_enum_register_static ("GstAvatarTiling", values);
    gst_type_mark_as_plugin_api (new_type, 0);
    g_once_init_leave (&type, new_type);
  }
  return type;
}

static GstClockTime
frames_to_time (GstAvatarVaeDecode *self, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * self->latent.fps_d, self->latent.fps_n);
}

static void
restart (GstAvatarVaeDecode *self)
{
  if (self->decoder)
    avatar_decoder_reset (self->decoder);
  self->base = GST_CLOCK_TIME_NONE;
  self->n_latents = self->n_frames = self->frames_wanted = 0;
  gst_avatar_continuity_reset (&self->continuity);
  self->last_tile = G_MAXUINT;
  self->discont = TRUE;
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

static void
cancel (GstAvatarVaeDecode *self)
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
  GstAvatarChunk chunk
      = { .stage = "decode", .computed_on = avatar_decoder_get_device (self->decoder) };

  avatar_decoder_get_stats (self->decoder, &stats);
  if (stats.index == self->last_tile)
    return;
  self->last_tile = stats.index;
  chunk.index = stats.index;
  chunk.frames = stats.frames;
  chunk.timestamp = self->base + frames_to_time (self, self->n_frames);
  chunk.duration = frames_to_time (self, stats.frames);
  chunk.compute_time = (GstClockTime) (stats.seconds * GST_SECOND);
  gst_avatar_engine_user_set_stats (&self->user, GST_ELEMENT (self),
      gst_avatar_report_chunk (GST_ELEMENT (self), self->user.engine->device, &chunk));
}

static GstBuffer *
acquire_buffer (GstAvatarVaeDecode *self, GstFlowReturn *ret)
{
  GstBufferPool *pool = gst_base_transform_get_buffer_pool (GST_BASE_TRANSFORM (self));
  GstBuffer *buffer = NULL;

  if (pool) {
    *ret = GST_FLOW_FLUSHING;
    if (gst_buffer_pool_set_active (pool, TRUE))
      *ret = gst_buffer_pool_acquire_buffer (pool, &buffer, NULL);
    gst_object_unref (pool);
    return buffer;
  }
  *ret = GST_FLOW_OK;
  return gst_buffer_new_allocate (NULL, GST_VIDEO_INFO_SIZE (&self->out), NULL);
}

/* Decodes the next frame into @out. */
static AvatarPull
pull_frame (GstAvatarVaeDecode *self, GstBuffer *out, GError **error)
{
  guint8 *planes[GST_VIDEO_MAX_PLANES];
  gsize strides[GST_VIDEO_MAX_PLANES];
  GstVideoFrame frame;
  AvatarPull pull;

  if (!gst_video_frame_map (&frame, &self->out, out, GST_MAP_WRITE)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA, "the video buffer cannot be mapped");
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

/* The next video frame, or NULL with OK where more latents are needed. */
static GstFlowReturn
pull_buffer (GstAvatarVaeDecode *self, GstBuffer **buffer)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;
  GstBuffer *out;
  AvatarPull pull;

  *buffer = NULL;
  if (!self->decoder || self->n_frames >= self->frames_wanted)
    return GST_FLOW_OK;
  out = acquire_buffer (self, &ret);
  if (!out)
    return ret;
  pull = pull_frame (self, out, &error);
  if (pull != AVATAR_PULL_OK) {
    gst_buffer_unref (out);
    return pull == AVATAR_PULL_ERROR ? gst_avatar_report_failure (self, error, &self->failed)
                                     : GST_FLOW_OK;
  }
  report_tile (self);
  GST_BUFFER_PTS (out) = self->base + frames_to_time (self, self->n_frames);
  GST_BUFFER_DURATION (out)
      = self->base + frames_to_time (self, self->n_frames + 1) - GST_BUFFER_PTS (out);
  GST_BUFFER_OFFSET (out) = self->n_frames;
  GST_BUFFER_OFFSET_END (out) = self->n_frames + 1;
  if (self->discont)
    GST_BUFFER_FLAG_SET (out, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
  self->n_frames++;
  *buffer = out;
  return GST_FLOW_OK;
}

static GstFlowReturn
drain (GstAvatarVaeDecode *self)
{
  GstBuffer *buffer = NULL;
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;

  if (!self->decoder || self->n_latents == 0 || self->failed)
    return ret;
  if (avatar_decoder_drain (self->decoder, &error))
    ret = pull_buffer (self, &buffer);
  else
    ret = gst_avatar_report_failure (self, error, &self->failed);
  while (ret == GST_FLOW_OK && buffer) {
    ret = gst_pad_push (GST_BASE_TRANSFORM_SRC_PAD (self), buffer);
    if (ret == GST_FLOW_OK)
      ret = pull_buffer (self, &buffer);
  }
  /* A reset would undo a cancel that has not been answered by FLUSH_STOP. */
  if (ret != GST_FLOW_FLUSHING)
    restart (self);
  return ret;
}

/* Frames that the latent stands for: its duration says so at the end of a clip. */
static guint
frames_of_latent (GstAvatarVaeDecode *self, GstBuffer *latent)
{
  guint most = self->n_latents ? 4 : 1;
  guint64 frames;

  if (!GST_BUFFER_DURATION_IS_VALID (latent))
    return most;
  frames = gst_util_uint64_scale_round (GST_BUFFER_DURATION (latent), self->latent.fps_n,
      GST_SECOND * self->latent.fps_d);
  return CLAMP (frames, 1, most);
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
        "a latent buffer of %" G_GSIZE_FORMAT " bytes: expected %" G_GSIZE_FORMAT,
        gst_buffer_get_size (latent), expected);
    return gst_avatar_report_failure (self, error, &self->failed);
  }
  ok = avatar_decoder_push (self->decoder, (const float *) map.data, &error);
  gst_buffer_unmap (latent, &map);
  if (!ok)
    return gst_avatar_report_failure (self, error, &self->failed);
  if (!GST_CLOCK_TIME_IS_VALID (self->base))
    self->base = GST_BUFFER_PTS_IS_VALID (latent) ? GST_BUFFER_PTS (latent) : 0;
  self->frames_wanted += frames_of_latent (self, latent);
  self->n_latents++;
  return GST_FLOW_OK;
}

static GstFlowReturn
gst_avatar_vae_decode_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont,
    GstBuffer *input)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (parent_class);
  GstFlowReturn ret = trans_class->submit_input_buffer (trans, is_discont, input);
  guint64 offset;

  if (ret != GST_FLOW_OK || !trans->queued_buf)
    return ret;
  input = g_steal_pointer (&trans->queued_buf);
  offset = gst_avatar_continuity_get_offset (input);
  if (self->n_latents > 0
      && gst_avatar_continuity_jumps (&self->continuity, input, frames_to_time (self, 1)))
    ret = drain (self);
  if (self->n_latents == 0 && offset != GST_BUFFER_OFFSET_NONE && offset != 0)
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
        ("the stream begins with latent frame %" G_GUINT64_FORMAT ": expected 0, the picture "
         "will need a moment to settle",
            offset),
        (NULL));
  gst_avatar_continuity_take (&self->continuity, input,
      frames_to_time (self, frames_of_latent (self, input)));
  if (ret == GST_FLOW_OK)
    ret = take_latent (self, input);
  gst_buffer_unref (input);
  return ret;
}

static GstFlowReturn
gst_avatar_vae_decode_generate_output (GstBaseTransform *trans, GstBuffer **buffer)
{
  return pull_buffer (GST_AVATAR_VAE_DECODE (trans), buffer);
}

/* Never called; without it the base class would take the element for a passthrough. */
static GstFlowReturn
gst_avatar_vae_decode_transform (GstBaseTransform *trans, GstBuffer *in, GstBuffer *out)
{
  return GST_FLOW_ERROR;
}

static GstCaps *
gst_avatar_vae_decode_transform_caps (GstBaseTransform *trans, GstPadDirection direction,
    GstCaps *caps, GstCaps *filter)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);
  const AvatarModelInfo *info = self->user.engine ? self->user.engine->info : NULL;
  GstCaps *ret;

  if (direction == GST_PAD_SRC)
    ret = gst_avatar_video_caps_to_latents (caps, info);
  else
    ret = gst_avatar_video_caps_from_latents (caps, info);
  if (filter) {
    GstCaps *all = ret;
    ret = gst_caps_intersect_full (filter, all, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref (all);
  }
  return ret;
}

/* Numerically: caps whose dimensions are padded with more 1s than we offer are the same. */
static gboolean
gst_avatar_vae_decode_accept_caps (GstBaseTransform *trans, GstPadDirection direction,
    GstCaps *caps)
{
  GstAvatarLatentInfo latent;

  if (direction == GST_PAD_SRC)
    return GST_BASE_TRANSFORM_CLASS (parent_class)->accept_caps (trans, direction, caps);
  return gst_avatar_caps_parse_latents (caps, NULL, &latent, NULL);
}

/* The engine's name for what the caps say. */
static AvatarPixels
pixels_of (const GstVideoInfo *info)
{
  AvatarPixels pixels = { .kr = 0.299, .kb = 0.114 }; /* BT.601, should nothing be said */

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

static gboolean
create_decoder (GstAvatarVaeDecode *self, GError **error)
{
  const AvatarModelInfo *info = self->user.engine->info;
  AvatarDecodeSettings settings;
  AvatarDecoder *decoder;

  if (self->latent.channels != info->latent_channels) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "latents of %u channels: model %s has %u", self->latent.channels, info->name,
        info->latent_channels);
    return FALSE;
  }
  avatar_decode_settings_init (&settings, self->user.engine->model);
  GST_OBJECT_LOCK (self);
  /* Whole streams need memory that grows with them, so tiles unless told otherwise; a stream that
   * is shorter than one comes out the same. */
  settings.tiling = self->tiling != TILING_OFF;
  settings.pixels = self->pixels;
  if (self->tiling == TILING_FAST)
    avatar_decode_settings_fast (&settings, self->user.engine->model,
        self->latent.width * info->latent_scale, self->latent.height * info->latent_scale);
  if (self->tile_size)
    settings.tile_size = self->tile_size;
  if (self->tile_frames)
    settings.tile_frames = self->tile_frames;
  settings.pixels.parity = self->parity;
  GST_OBJECT_UNLOCK (self);
  decoder = avatar_decoder_new (self->user.engine->model, self->user.engine->device,
      self->latent.width * info->latent_scale, self->latent.height * info->latent_scale, &settings,
      error);
  if (!decoder)
    return FALSE;
  GST_INFO_OBJECT (self, "computes on %s",
      avatar_device_get_description (avatar_decoder_get_device (decoder)));
  GST_OBJECT_LOCK (self);
  self->decoder = decoder;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

static gboolean
gst_avatar_vae_decode_set_caps (GstBaseTransform *trans, GstCaps *incaps, GstCaps *outcaps)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);
  const AvatarModelInfo *info = self->user.engine->info;
  GstAvatarLatentInfo latent;
  AvatarPixels before = self->pixels;
  GError *error = NULL;
  gboolean same;

  if (!gst_avatar_caps_parse_latents (incaps, info->hash, &latent, &error)) {
    gst_avatar_report_failure (self, error, &self->failed);
    return FALSE;
  }
  if (latent.fps_n <= 0 || latent.fps_d <= 0) {
    latent.fps_n = info->fps;
    latent.fps_d = 1;
  }
  if (!gst_video_info_from_caps (&self->out, outcaps))
    return FALSE;
  same = self->decoder && latent.width == self->latent.width && latent.height == self->latent.height
      && latent.channels == self->latent.channels;
  self->pixels = pixels_of (&self->out);
  same = same && memcmp (&before, &self->pixels, sizeof before) == 0;
  self->latent = latent;
  if (!same) {
    close_decoder (self);
    if (!create_decoder (self, &error)) {
      gst_avatar_report_failure (self, error, &self->failed);
      return FALSE;
    }
    restart (self);
  }
  return TRUE;
}

static gboolean
gst_avatar_vae_decode_decide_allocation (GstBaseTransform *trans, GstQuery *query)
{
  GstBufferPool *pool = NULL;
  GstStructure *config;
  GstVideoInfo info;
  GstCaps *caps;
  guint size, min = 2, max = 0;

  gst_query_parse_allocation (query, &caps, NULL);
  if (!caps || !gst_video_info_from_caps (&info, caps))
    return FALSE;
  size = GST_VIDEO_INFO_SIZE (&info);
  if (gst_query_get_n_allocation_pools (query) > 0) {
    guint peer_size;
    gst_query_parse_nth_allocation_pool (query, 0, &pool, &peer_size, &min, &max);
    size = MAX (size, peer_size);
  } else {
    gst_query_add_allocation_pool (query, NULL, size, min, max);
  }
  if (!pool)
    pool = gst_video_buffer_pool_new ();
  config = gst_buffer_pool_get_config (pool);
  gst_buffer_pool_config_set_params (config, caps, size, min, max);
  if (gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL))
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config (pool, config)) {
    /* The peer's pool wants it otherwise: one of our own always works. */
    gst_object_unref (pool);
    pool = gst_video_buffer_pool_new ();
    config = gst_buffer_pool_get_config (pool);
    gst_buffer_pool_config_set_params (config, caps, GST_VIDEO_INFO_SIZE (&info), 2, 0);
    gst_buffer_pool_set_config (pool, config);
    size = GST_VIDEO_INFO_SIZE (&info);
    min = 2;
    max = 0;
  }
  gst_query_set_nth_allocation_pool (query, 0, pool, size, min, max);
  gst_object_unref (pool);
  return TRUE;
}

static gboolean
handle_segment (GstAvatarVaeDecode *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (segment->format == GST_FORMAT_TIME && segment->rate > 0) {
    drain (self);
    return TRUE;
  }
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
      ("the latents run %s: expected a segment in time that runs forward",
          segment->rate < 0 ? "backward" : gst_format_get_name (segment->format)),
      (NULL));
  self->failed = TRUE;
  return FALSE;
}

/* Same pictures, other caps: nothing to drain. Else what came goes out with the old caps. */
static void
handle_caps (GstAvatarVaeDecode *self, GstEvent *event)
{
  GstAvatarLatentInfo latent;
  GstCaps *caps;

  gst_event_parse_caps (event, &caps);
  if (self->decoder && gst_avatar_caps_parse_latents (caps, NULL, &latent, NULL)
      && (latent.width != self->latent.width || latent.height != self->latent.height))
    drain (self);
}

static gboolean
gst_avatar_vae_decode_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);
  const GstStructure *s;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      cancel (self);
      break;
    case GST_EVENT_FLUSH_STOP:
      restart (self);
      break;
    case GST_EVENT_CAPS:
      handle_caps (self, event);
      break;
    case GST_EVENT_SEGMENT:
      if (!handle_segment (self, event)) {
        gst_event_unref (event);
        return FALSE;
      }
      break;
    case GST_EVENT_STREAM_START:
      drain (self);
      break;
    case GST_EVENT_EOS:
      /* After an error before us the rest is not worth computing. */
      s = gst_event_get_structure (event);
      if (!s || !gst_structure_has_field (s, "avatar-failed"))
        drain (self);
      break;
    default:
      break;
  }
  return GST_BASE_TRANSFORM_CLASS (parent_class)->sink_event (trans, event);
}

static gboolean
gst_avatar_vae_decode_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);
  GstClockTime min, max, own;
  gboolean live;
  guint frames;

  if (gst_avatar_engine_user_query (&self->user, GST_ELEMENT (self), query))
    return TRUE;
  if (!GST_BASE_TRANSFORM_CLASS (parent_class)->query (trans, direction, query))
    return FALSE;
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY
      && self->user.engine) {
    gst_query_parse_latency (query, &live, &min, &max);
    GST_OBJECT_LOCK (self);
    frames = self->tile_frames ?: self->user.engine->info->tile_frames;
    GST_OBJECT_UNLOCK (self);
    own = gst_util_uint64_scale_int (frames, GST_SECOND, self->user.engine->info->fps);
    gst_query_set_latency (query, live, min + own,
        GST_CLOCK_TIME_IS_VALID (max) ? max + own : GST_CLOCK_TIME_NONE);
  }
  return TRUE;
}

static gboolean
gst_avatar_vae_decode_start (GstBaseTransform *trans)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);

  self->failed = FALSE;
  restart (self);
  return gst_avatar_engine_user_open (&self->user, GST_ELEMENT (self));
}

static gboolean
gst_avatar_vae_decode_stop (GstBaseTransform *trans)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (trans);

  close_decoder (self);
  gst_avatar_engine_user_close (&self->user, GST_ELEMENT (self));
  return TRUE;
}

static GstStateChangeReturn
gst_avatar_vae_decode_change_state (GstElement *element, GstStateChange transition)
{
  /* Before chaining up, which waits for the streaming thread. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    cancel (GST_AVATAR_VAE_DECODE (element));
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

static void
gst_avatar_vae_decode_set_context (GstElement *element, GstContext *context)
{
  gst_avatar_engine_user_set_context (&GST_AVATAR_VAE_DECODE (element)->user, element, context);
  GST_ELEMENT_CLASS (parent_class)->set_context (element, context);
}

static void
gst_avatar_vae_decode_set_property (GObject *object, guint id, const GValue *value,
    GParamSpec *pspec)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (object);
  gboolean late;

  if (gst_avatar_engine_user_set_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_TILING:
      self->tiling = g_value_get_enum (value);
      break;
    case PROP_TILE_SIZE:
      self->tile_size = g_value_get_uint (value);
      break;
    case PROP_TILE_FRAMES:
      self->tile_frames = g_value_get_uint (value);
      break;
    case PROP_PARITY:
      self->parity = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  late = self->decoder != NULL;
  GST_OBJECT_UNLOCK (self);
  if (late)
    gst_avatar_report_late (GST_ELEMENT (self), pspec->name);
}

static void
gst_avatar_vae_decode_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (object);

  if (gst_avatar_engine_user_get_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_TILING:
      g_value_set_enum (value, self->tiling);
      break;
    case PROP_TILE_SIZE:
      g_value_set_uint (value, self->tile_size);
      break;
    case PROP_TILE_FRAMES:
      g_value_set_uint (value, self->tile_frames);
      break;
    case PROP_PARITY:
      g_value_set_boolean (value, self->parity);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_avatar_vae_decode_finalize (GObject *object)
{
  gst_avatar_engine_user_clear (&GST_AVATAR_VAE_DECODE (object)->user, GST_ELEMENT (object));
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_avatar_vae_decode_class_init (GstAvatarVaeDecodeClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  object_class->set_property = gst_avatar_vae_decode_set_property;
  object_class->get_property = gst_avatar_vae_decode_get_property;
  object_class->finalize = gst_avatar_vae_decode_finalize;
  gst_avatar_engine_install_properties (object_class);
  g_object_class_install_property (object_class, PROP_TILING,
      g_param_spec_enum ("tiling", "Tiling",
          "How to decode in overlapping tiles, which bounds memory and lets frames leave early",
          tiling_get_type (), TILING_EXACT, flags));
  g_object_class_install_property (object_class, PROP_TILE_SIZE,
      g_param_spec_uint ("tile-size", "Tile size",
          "Side of a tile in pixels, a multiple of 64; 0 = the model's", 0, 8192, 0, flags));
  g_object_class_install_property (object_class, PROP_TILE_FRAMES,
      g_param_spec_uint ("tile-frames", "Tile frames",
          "Video frames (40 ms) of a tile, a multiple of 16; 0 = the model's", 0, 4096, 0, flags));
  g_object_class_install_property (object_class, PROP_PARITY,
      g_param_spec_boolean ("parity", "Parity",
          "Make pixels as upstream does, in 16 bits and cut off rather than rounded, for comparisons",
          FALSE, flags));

  gst_element_class_set_static_metadata (element_class, "Avatar video decoder", "Decoder/Video",
      "Latent frames of a talking video to video", "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = gst_avatar_vae_decode_change_state;
  element_class->set_context = gst_avatar_vae_decode_set_context;

  trans_class->start = gst_avatar_vae_decode_start;
  trans_class->stop = gst_avatar_vae_decode_stop;
  trans_class->transform_caps = gst_avatar_vae_decode_transform_caps;
  trans_class->accept_caps = gst_avatar_vae_decode_accept_caps;
  trans_class->set_caps = gst_avatar_vae_decode_set_caps;
  trans_class->decide_allocation = gst_avatar_vae_decode_decide_allocation;
  trans_class->sink_event = gst_avatar_vae_decode_sink_event;
  trans_class->query = gst_avatar_vae_decode_query;
  trans_class->submit_input_buffer = gst_avatar_vae_decode_submit_input_buffer;
  trans_class->generate_output = gst_avatar_vae_decode_generate_output;
  trans_class->transform = gst_avatar_vae_decode_transform;

  GST_DEBUG_CATEGORY_INIT (avatar_vae_decode_debug, "avatarvaedecode", 0, "Avatar video decoder");
}

static void
gst_avatar_vae_decode_init (GstAvatarVaeDecode *self)
{
  gst_avatar_engine_user_init (&self->user);
}
