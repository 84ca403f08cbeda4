/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avatarvaedecode
 * @title: avatarvaedecode
 * @short_description: decodes latent frames to video
 *
 * Decodes the latent frames of avatardenoise. The first one gives one video frame, each further one
 * four, or as many as its duration says. Frames are pushed as soon as a temporal tile is decoded,
 * and the next tile is decoded meanwhile, so no queue is needed before or after the element. It
 * holds at most the latents of a window and the frames of a tile.
 *
 * With tiling=stream, for live use, the latents of a window are decoded together as soon as the
 * last one has arrived, which has the flag GST_BUFFER_FLAG_MARKER: no frame waits for the next
 * window. If the flag is lost on the way, as in gdppay, the caps of avatardenoise tell the ends
 * of windows; of other latents, tile-frames makes groups. A GAP event of up to a
 * minute between two latents repeats the last frame for its duration.
 *
 * Downstream's caps choose the size of the video if they leave no choice: a caps filter, or a range
 * without the model's own size. avatardenoise then makes latents of that size. videoscale leaves
 * the choice to the model.
 *
 * If a tee before this element feeds another sink as well, the queue of that branch must hold the
 * latents of the first tile, or the pipeline does not preroll. avatardenoise pushes these latents
 * as one list, which a queue accepts as a whole. If they come from a file or a socket, or pass
 * through an element that splits lists (a caps filter), set max-size-buffers, max-size-bytes and
 * max-size-time of that queue to 0, or async=false on the sink.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=hello.latents ! gdpdepay ! avatarvaedecode \
 *     ! video/x-raw,width=128,height=128 ! videoconvert ! autovideosink
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavatarquery.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarvaedecodeprivate.h"
#include "gst/gstavatarvideocaps.h"

GST_DEBUG_CATEGORY (avatar_vae_decode_debug);
#define GST_CAT_DEFAULT avatar_vae_decode_debug

#define DEFAULT_CONTEXT_LATENTS 2

enum
{
  PROP_TILING = GST_AVATAR_PROP_LAST,
  PROP_TILE_SIZE,
  PROP_TILE_FRAMES,
  PROP_UPSTREAM_ROUNDING,
  PROP_CONTEXT_LATENTS,
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_VIDEO_CAPS));

#define gst_avatar_vae_decode_parent_class parent_class
G_DEFINE_TYPE_WITH_CODE (GstAvatarVaeDecode, gst_avatar_vae_decode, GST_TYPE_ELEMENT,
    G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_avatar_preset_init))
GST_ELEMENT_REGISTER_DEFINE (avatarvaedecode, "avatarvaedecode", GST_RANK_NONE,
    GST_TYPE_AVATAR_VAE_DECODE)

static const GstAvatarAlias aliases[] = { { "parity", "upstream-rounding" }, { NULL, NULL } };

static void
stop_computing (GstAvatarVaeDecode *self)
{
  gst_avatar_item_queue_set_state (&self->latents, GST_FLOW_FLUSHING, self->srcpad);
  gst_avatar_item_queue_set_state (&self->frames, GST_FLOW_FLUSHING, self->srcpad);
  gst_avatar_vae_decode_task_cancel (self);
}

/* Pauses the decoding task and waits until its iteration has ended. */
static void
pause_computing (GstAvatarVaeDecode *self)
{
  gst_task_pause (self->task);
  g_rec_mutex_lock (&self->task_lock);
  g_rec_mutex_unlock (&self->task_lock);
}

/* Stops both tasks after downstream has returned @ret, which is the flow return for upstream
 * from now on. */
static void
stop_after_error (GstAvatarVaeDecode *self, GstFlowReturn ret)
{
  GST_DEBUG_OBJECT (self, "pausing: %s", gst_flow_get_name (ret));
  gst_pad_pause_task (self->srcpad);
  gst_avatar_item_queue_set_state (&self->frames, ret, self->srcpad);
  gst_avatar_item_queue_set_state (&self->latents, ret, self->srcpad);
  gst_avatar_vae_decode_task_cancel (self);
  if (ret == GST_FLOW_NOT_LINKED || ret == GST_FLOW_NOT_NEGOTIATED)
    GST_ELEMENT_FLOW_ERROR (self, ret);
  /* Replaces upstream's EOS, which is dropped with the queues, for a sink that has returned EOS. */
  if (ret != GST_FLOW_FLUSHING)
    gst_pad_push_event (self->srcpad, gst_event_new_eos ());
}

/* Stores the position of the video for queries. */
static void
note_item (GstAvatarVaeDecode *self, GstMiniObject *item)
{
  GST_OBJECT_LOCK (self);
  if (GST_IS_BUFFER (item))
    self->segment.position
        = GST_BUFFER_PTS (GST_BUFFER (item)) + GST_BUFFER_DURATION (GST_BUFFER (item));
  else if (GST_EVENT_TYPE (GST_EVENT (item)) == GST_EVENT_SEGMENT)
    gst_event_copy_segment (GST_EVENT (item), &self->segment);
  GST_OBJECT_UNLOCK (self);
}

static void
src_loop (gpointer data)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (data);
  GstMiniObject *item = gst_avatar_item_queue_pop (&self->frames);
  GstFlowReturn ret = GST_FLOW_OK;

  if (!item) {
    gst_pad_pause_task (self->srcpad);
    return;
  }
  note_item (self, item);
  if (GST_IS_BUFFER (item))
    ret = gst_pad_push (self->srcpad, GST_BUFFER (item));
  else
    gst_pad_push_event (self->srcpad, GST_EVENT (item));
  if (ret != GST_FLOW_OK)
    stop_after_error (self, ret);
}

static void
start_computing (GstAvatarVaeDecode *self)
{
  gst_avatar_item_queue_set_state (&self->frames, GST_FLOW_OK, NULL);
  gst_avatar_item_queue_set_state (&self->latents, GST_FLOW_OK, NULL);
  gst_task_start (self->task);
  gst_pad_start_task (self->srcpad, src_loop, self, NULL);
}

static gboolean
gst_avatar_vae_decode_src_activate_mode (GstPad *pad, GstObject *parent, GstPadMode mode,
    gboolean active)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);
  gboolean ret;

  if (mode != GST_PAD_MODE_PUSH)
    return FALSE;
  if (active) {
    start_computing (self);
    return TRUE;
  }
  stop_computing (self);
  ret = gst_pad_stop_task (pad);
  GST_OBJECT_LOCK (self);
  gst_task_stop (self->task);
  GST_OBJECT_UNLOCK (self);
  return gst_task_join (self->task) && ret;
}

static GstFlowReturn
gst_avatar_vae_decode_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);

  return gst_avatar_item_queue_push (&self->latents, GST_MINI_OBJECT (buffer));
}

static void
flush_stop (GstAvatarVaeDecode *self)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (self->sinkpad);

  gst_avatar_vae_decode_task_restart (self);
  gst_avatar_processing_element_restart (&self->client.processing, GST_ELEMENT (self));
  GST_OBJECT_LOCK (self);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  GST_OBJECT_UNLOCK (self);
  start_computing (self);
  /* Repeats the caps event, which the flush may have dropped; upstream does not send it again. */
  if (caps && !(self->caps && gst_caps_is_equal (caps, self->caps)))
    gst_avatar_item_queue_push (&self->latents, GST_MINI_OBJECT (gst_event_new_caps (caps)));
}

static GstFlowReturn
flow_of (gboolean done)
{
  return done ? GST_FLOW_OK : GST_FLOW_ERROR;
}

/* Returns the reason if the queue refuses an event, as in avatardenoise. */
static GstFlowReturn
gst_avatar_vae_decode_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);
  gboolean ret;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      ret = gst_pad_push_event (self->srcpad, event);
      stop_computing (self);
      gst_pad_pause_task (self->srcpad);
      pause_computing (self);
      return flow_of (ret);
    case GST_EVENT_FLUSH_STOP:
      ret = gst_pad_push_event (self->srcpad, event);
      flush_stop (self);
      return flow_of (ret);
    default:
      break;
  }
  if (!GST_EVENT_IS_SERIALIZED (event))
    return flow_of (gst_pad_event_default (pad, parent, event));
  return gst_avatar_item_queue_push (&self->latents, GST_MINI_OBJECT (event));
}

static GstCaps *
filtered (GstCaps *caps, GstCaps *filter)
{
  GstCaps *ret;

  if (!filter)
    return caps;
  ret = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref (caps);
  return ret;
}

/* Returns caps of the latents that give a video which downstream accepts. If other fields than the
 * size exclude all of them, returns the template caps: negotiate() then reports the field. */
static GstCaps *
query_sink_caps (GstAvatarVaeDecode *self, GstCaps *filter)
{
  g_autoptr (GstCaps) any = gst_static_pad_template_get_caps (&sink_template);
  g_autoptr (GstCaps) video = gst_avatar_video_caps_from_latents (any, NULL);
  g_autoptr (GstCaps) peer = gst_pad_peer_query_caps (self->srcpad, video);
  const AvatarModelInfo *info = self->client.engine ? self->client.engine->info : NULL;
  GstCaps *caps = gst_avatar_video_caps_to_latents (peer, info);

  if (gst_caps_is_empty (caps)) {
    gst_caps_unref (caps);
    caps = g_steal_pointer (&any);
  }
  return filtered (caps, filter);
}

/* Answers how many latents are needed for the first frame: a tile's frames / 4, and one. A group
 * ends with a window. */
static void
answer_need (GstAvatarVaeDecode *self, GstQuery *query)
{
  guint tile, further;
  GstAvatarTiling tiling;

  GST_OBJECT_LOCK (self);
  tiling = self->tiling;
  GST_OBJECT_UNLOCK (self);
  gst_avatar_vae_decode_get_tile (self, &tile, &further);
  if (tiling == GST_AVATAR_TILING_OFF)
    gst_avatar_query_set_need (query, G_MAXUINT);
  else if (tiling != GST_AVATAR_TILING_STREAM)
    gst_avatar_query_set_need (query, tile / 4 + 1);
  else
    gst_avatar_query_set_need_window (query);
}

static gboolean
gst_avatar_vae_decode_sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (parent);
  GstAvatarLatentInfo latent;
  GstCaps *caps;

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_ACCEPT_CAPS:
      /* Compares numbers: dimensions that are padded with 1s are the same. */
      gst_query_parse_accept_caps (query, &caps);
      gst_query_set_accept_caps_result (query,
          gst_avatar_caps_parse_latents (caps, NULL, &latent, NULL));
      return TRUE;
    case GST_QUERY_CAPS:
      gst_query_parse_caps (query, &caps);
      caps = query_sink_caps (self, caps);
      gst_query_set_caps_result (query, caps);
      gst_caps_unref (caps);
      return TRUE;
    case GST_QUERY_CONTEXT:
      return gst_avatar_engine_client_query (&self->client, GST_ELEMENT (self), query)
          || gst_pad_query_default (pad, parent, query);
    case GST_QUERY_ALLOCATION:
      /* No requirements: latents are copied at once. */
      return TRUE;
    case GST_QUERY_CUSTOM:
      if (gst_avatar_query_is_need (query) && self->client.engine) {
        answer_need (self, query);
        return TRUE;
      }
      return gst_pad_query_default (pad, parent, query);
    default:
      /* DRAIN would wait for the sink, which may be paused. */
      if (GST_QUERY_IS_SERIALIZED (query))
        return FALSE;
      return gst_pad_query_default (pad, parent, query);
  }
}

static gboolean
open_all (GstAvatarVaeDecode *self)
{
  self->failed = FALSE;
  gst_avatar_vae_decode_task_restart (self);
  GST_OBJECT_LOCK (self);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  gst_video_info_init (&self->shown);
  gst_avatar_lateness_reset (&self->lateness);
  GST_OBJECT_UNLOCK (self);
  return gst_avatar_engine_client_open (&self->client, GST_ELEMENT (self));
}

static void
close_all (GstAvatarVaeDecode *self)
{
  gst_avatar_vae_decode_task_close (self);
  gst_avatar_engine_client_close (&self->client, GST_ELEMENT (self));
}

static GstStateChangeReturn
gst_avatar_vae_decode_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (element);
  GstStateChangeReturn ret;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !open_all (self)) {
    close_all (self);
    return GST_STATE_CHANGE_FAILURE;
  }
  /* Stops before chaining up, which waits for the streaming threads. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop_computing (self);
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE))
    close_all (self);
  return ret;
}

static void
gst_avatar_vae_decode_set_context (GstElement *element, GstContext *context)
{
  gst_avatar_engine_client_set_context (&GST_AVATAR_VAE_DECODE (element)->client, element, context);
  GST_ELEMENT_CLASS (parent_class)->set_context (element, context);
}

static void
gst_avatar_vae_decode_set_property (GObject *object, guint id, const GValue *value,
    GParamSpec *pspec)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (object);
  gboolean too_late;

  if (gst_avatar_engine_client_set_property (&self->client, GST_ELEMENT (self), value, pspec))
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
    case PROP_UPSTREAM_ROUNDING:
      self->upstream_rounding = g_value_get_boolean (value);
      break;
    case PROP_CONTEXT_LATENTS:
      self->context_latents = g_value_get_uint (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  too_late = self->decoder != NULL;
  GST_OBJECT_UNLOCK (self);
  if (too_late)
    gst_avatar_report_too_late (GST_ELEMENT (self), pspec->name);
}

static void
gst_avatar_vae_decode_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (object);

  if (gst_avatar_engine_client_get_property (&self->client, GST_ELEMENT (self), value, pspec))
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
    case PROP_UPSTREAM_ROUNDING:
      g_value_set_boolean (value, self->upstream_rounding);
      break;
    case PROP_CONTEXT_LATENTS:
      g_value_set_uint (value, self->context_latents);
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
  GstAvatarVaeDecode *self = GST_AVATAR_VAE_DECODE (object);

  gst_avatar_vae_decode_task_close (self);
  gst_object_unref (self->task);
  g_rec_mutex_clear (&self->task_lock);
  gst_avatar_item_queue_clear (&self->latents);
  gst_avatar_item_queue_clear (&self->frames);
  gst_avatar_engine_client_clear (&self->client, GST_ELEMENT (self));
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

/* Properties that all elements have. */
static void
install_common (GObjectClass *object_class)
{
  /**
   * GstAvatarVaeDecode:model:
   *
   * Path of the model's folder.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarVaeDecode:device:
   *
   * Compute device. Elements with the same model and device share one engine.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarVaeDecode:vram-budget:
   *
   * Maximum memory to use on the device. It may change while playing.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarVaeDecode:stats:
   *
   * Statistics of the newest window or tile: a #GstStructure with the fields of the element message
   * "avatar-window".
   *
   * Since: 0.1
   */
  /**
   * GstAvatarVaeDecode:processing-latency:
   *
   * Time for computing a tile in the answer to the LATENCY query. If it is measured, the first
   * tile of a live stream sets it, later ones only raise it, and a LATENCY message tells each
   * change. While nothing was measured, and if the pipeline is not live, it is the duration of a
   * tile.
   *
   * Since: 0.1
   */
  gst_avatar_engine_install_properties (object_class);
}

static void
install_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install_common (object_class);
  /**
   * GstAvatarVaeDecode:tiling:
   *
   * Decoding in tiles, which bounds memory and lets frames leave early. With "stream", the latents
   * of each window are decoded together.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_TILING,
      g_param_spec_enum ("tiling", "Tiling",
          "Decoding in tiles, which bounds memory and lets frames leave early",
          GST_TYPE_AVATAR_TILING, GST_AVATAR_TILING_EXACT, flags));
  /**
   * GstAvatarVaeDecode:tile-size:
   *
   * Side length of a spatial tile.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_TILE_SIZE,
      g_param_spec_uint ("tile-size", "Tile size",
          "Side length of a tile in pixels, a multiple of 64; 0 = the model's", 0, 8192, 0, flags));
  /**
   * GstAvatarVaeDecode:tile-frames:
   *
   * Length of a temporal tile.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_TILE_FRAMES,
      g_param_spec_uint ("tile-frames", "Tile frames",
          "Length of a tile in video frames (40 ms), a multiple of 16; 0 = the model's. With "
          "tiling=stream, most frames that are decoded together, a multiple of 4",
          0, 4096, 0, flags));
  /**
   * GstAvatarVaeDecode:context-latents:
   *
   * Latents before those of a window that are decoded again with it, with tiling=stream. More of
   * them make the picture steadier from window to window, and cost time.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_CONTEXT_LATENTS,
      g_param_spec_uint ("context-latents", "Context latents",
          "Latents (4 video frames) before a window that are decoded again with it, with "
          "tiling=stream",
          1, 16, DEFAULT_CONTEXT_LATENTS, flags));
  /**
   * GstAvatarVaeDecode:upstream-rounding:
   *
   * Converts colours to bytes as HunyuanVideo-Avatar does.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_UPSTREAM_ROUNDING,
      g_param_spec_boolean ("upstream-rounding", "Upstream rounding",
          "Convert colours to bytes as HunyuanVideo-Avatar does, in 16 bits and truncated instead of "
          "rounded; for comparisons",
          FALSE, flags));
  gst_avatar_aliases_install (object_class, aliases);
}

static void
gst_avatar_vae_decode_class_init (GstAvatarVaeDecodeClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = gst_avatar_vae_decode_set_property;
  object_class->get_property = gst_avatar_vae_decode_get_property;
  object_class->finalize = gst_avatar_vae_decode_finalize;
  install_properties (object_class);

  gst_element_class_set_static_metadata (element_class, "Avatar video decoder",
      "Codec/Decoder/Video", "Decodes latent frames of a talking video to video frames",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_change_state);
  element_class->set_context = GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_set_context);

  GST_DEBUG_CATEGORY_INIT (avatar_vae_decode_debug, "avatarvaedecode", 0, "Avatar video decoder");
}

static void
gst_avatar_vae_decode_init (GstAvatarVaeDecode *self)
{
  gst_avatar_engine_client_init (&self->client);
  self->context_latents = DEFAULT_CONTEXT_LATENTS;
  gst_avatar_item_queue_init (&self->latents, GST_AVATAR_MAX_QUEUED_LATENTS);
  gst_avatar_item_queue_init (&self->frames, 1);
  g_rec_mutex_init (&self->task_lock);
  self->task = gst_task_new (gst_avatar_vae_decode_task_loop, self, NULL);
  gst_task_set_lock (self->task, &self->task_lock);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  gst_avatar_lateness_reset (&self->lateness);
  gst_avatar_vae_decode_task_restart (self);

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_chain));
  gst_pad_set_event_full_function (self->sinkpad,
      GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_sink_event));
  gst_pad_set_query_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_sink_query));
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_activatemode_function (self->srcpad,
      GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_src_activate_mode));
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_avatar_vae_decode_src_query));
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
