/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avatardenoise
 * @title: avatardenoise
 * @short_description: audio features and a portrait to latent video frames
 *
 * Denoises the latent frames of a talking video from the features of avataraudioenc and a portrait
 * (#GstAvatarDenoise:reference, or the first picture on the request pad "reference"). Computes in
 * a task of its own, window after window; each latent frame leaves once and in order. The size of
 * the video is what downstream's caps ask for, else it follows from the portrait.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 -e filesrc location=hello.wav ! decodebin ! audioconvert ! audioresample ! avataraudioenc ! avatardenoise reference=portrait.png ! avatarvaedecode ! videoconvert ! x264enc ! mp4mux ! filesink location=silent.mp4
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavatardenoise.h"

#include "gst/gstavatarcaps.h"
#include "gst/gstavatardenoiseprops.h"
#include "gst/gstavatarengine.h"
#include "gst/gstavatarreference.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarwork.h"

GST_DEBUG_CATEGORY_STATIC (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Features waiting in front of the engine, which holds a window of its own. */
#define MAX_QUEUED_FEATURES 258
/* Longer holes than this do not become features. */
#define MAX_GAP (60 * GST_SECOND)

struct _GstAvatarDenoise
{
  GstElement parent;

  GstPad *sinkpad, *srcpad;
  GstPad *refpad; /* object lock */
  GstAvatarEngineUser user;
  GstAvatarDenoiseProps props; /* object lock */
  GstAvatarReference reference;
  GstAvatarWork work;

  /* The task's own, except that the pointer is set and cleared under the object lock. */
  AvatarDenoiser *denoiser;
  gboolean have_reference;
  GstCaps *caps; /* that the denoiser is set up for */
  GstAvatarFeatureInfo features;
  gsize latent_size;
  guint width, height; /* of the video */
  GstBuffer *spare;    /* latent to be filled */
  GstClockTime base;   /* PTS of the first feature */
  guint64 n_features, n_latents;
  guint64 next_offset;
  guint n_features_total;
  guint last_window;
  gboolean discont;
  gboolean failed; /* an error has been posted */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static GstStaticPadTemplate reference_template = GST_STATIC_PAD_TEMPLATE ("reference",
    GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS (GST_AVATAR_REFERENCE_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

#define gst_avatar_denoise_parent_class parent_class
G_DEFINE_TYPE_WITH_CODE (GstAvatarDenoise, gst_avatar_denoise, GST_TYPE_ELEMENT,
    G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, NULL))
GST_ELEMENT_REGISTER_DEFINE (avatardenoise, "avatardenoise", GST_RANK_NONE,
    GST_TYPE_AVATAR_DENOISE)

static GstFlowReturn
fail (GstAvatarDenoise *self, GError *error)
{
  if (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED)) {
    g_error_free (error);
    return GST_FLOW_FLUSHING;
  }
  if (self->failed)
    g_error_free (error);
  else
    gst_avatar_report_error (self, error);
  self->failed = TRUE;
  return GST_FLOW_ERROR;
}

static GstClockTime
frames_to_time (GstAvatarDenoise *self, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * self->features.fps_d, self->features.fps_n);
}

/* The first video frame of a latent frame. */
static guint64
first_frame (guint64 latent)
{
  return latent ? 4 * latent - 3 : 0;
}

static void
restart (GstAvatarDenoise *self)
{
  if (self->denoiser)
    avatar_denoiser_reset (self->denoiser);
  self->base = GST_CLOCK_TIME_NONE;
  self->n_features = self->n_latents = 0;
  self->next_offset = GST_BUFFER_OFFSET_NONE;
  self->last_window = G_MAXUINT;
  self->discont = TRUE;
}

static void
close_denoiser (GstAvatarDenoise *self)
{
  AvatarDenoiser *denoiser;

  GST_OBJECT_LOCK (self);
  denoiser = g_steal_pointer (&self->denoiser);
  GST_OBJECT_UNLOCK (self);
  if (denoiser)
    avatar_denoiser_free (denoiser);
  self->have_reference = FALSE;
  gst_clear_caps (&self->caps);
  gst_clear_buffer (&self->spare);
}

static void
cancel (GstAvatarDenoise *self)
{
  GST_OBJECT_LOCK (self);
  if (self->denoiser)
    avatar_denoiser_cancel (self->denoiser);
  GST_OBJECT_UNLOCK (self);
}

static void
on_progress (const AvatarProgress *progress, gpointer user_data)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (user_data);
  GstProgressType type = GST_PROGRESS_TYPE_CONTINUE;
  g_autofree gchar *text = g_strdup_printf ("window %u, step %u/%u", progress->window + 1,
      progress->step, progress->steps);

  /* An application may wait for COMPLETE before it plays, so each window has its own. */
  if (progress->step == 0)
    type = GST_PROGRESS_TYPE_START;
  else if (progress->step >= progress->steps)
    type = GST_PROGRESS_TYPE_COMPLETE;
  gst_avatar_report_progress (GST_ELEMENT (self), type, "denoise",
      progress->steps ? (gint)(100 * progress->step / progress->steps) : 0, text);
}

static gboolean
set_latent_caps (GstAvatarDenoise *self, GError **error)
{
  const AvatarModelInfo *info = self->user.engine->info;
  GstAvatarLatentInfo latent = { info->latent_channels, self->height / info->latent_scale,
    self->width / info->latent_scale, self->features.fps_n, self->features.fps_d };
  g_autoptr (GstCaps) caps = gst_avatar_caps_new_latents (&latent, info->hash);
  g_autoptr (GstCaps) allowed = gst_pad_peer_query_caps (self->srcpad, caps);

  self->latent_size = gst_avatar_latent_info_get_size (&latent);
  gst_clear_buffer (&self->spare);
  if (!gst_caps_is_empty (allowed)) {
    gst_caps_unref (caps);
    caps = gst_caps_fixate (gst_caps_copy (allowed));
  }
  if (!gst_caps_is_empty (allowed) && gst_pad_set_caps (self->srcpad, caps))
    return TRUE;
  if (GST_PAD_IS_FLUSHING (self->srcpad)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "flushing");
    return FALSE;
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "downstream does not take latents of a video of %u x %u pixels", self->width, self->height);
  return FALSE;
}

/* The portrait fitted to the size that downstream wants, and the settings for it. */
static AvatarImage *
fit_reference (GstAvatarDenoise *self, AvatarDenoiseSettings *settings,
    const GstAvatarDenoiseProps *props, GError **error)
{
  const AvatarModelInfo *info = self->user.engine->info;
  g_autoptr (GstCaps) allowed = gst_pad_get_allowed_caps (self->srcpad);
  const AvatarImage *image = gst_avatar_reference_wait (&self->reference, error);
  AvatarImage *fitted;
  guint width = 0, height = 0;

  if (!image)
    return NULL;
  gst_avatar_caps_get_video_size (allowed, info->latent_scale, &width, &height);
  if (width % info->size_multiple || height % info->size_multiple) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "downstream wants a video of %u x %u pixels: model %s makes sizes whose sides are "
        "multiples of %u; scale with videoscale behind avatarvaedecode",
        width, height, info->name, info->size_multiple);
    return NULL;
  }
  if (!gst_avatar_box_parse (props->face_box, &settings->face_box, error))
    return NULL;
  fitted = avatar_image_fit (image, self->user.engine->model, width, height, &settings->face_box,
      error);
  if (fitted) {
    self->width = settings->width = fitted->width;
    self->height = settings->height = fitted->height;
  }
  return fitted;
}

static AvatarDenoiser *
create_denoiser (GstAvatarDenoise *self, AvatarImage **fitted, GError **error)
{
  AvatarDenoiseSettings settings;
  GstAvatarDenoiseProps props;
  AvatarDenoiser *denoiser = NULL;

  GST_OBJECT_LOCK (self);
  props = self->props;
  props.reference = NULL;
  props.prompt = g_strdup (self->props.prompt);
  props.negative_prompt = g_strdup (self->props.negative_prompt);
  props.face_box = g_strdup (self->props.face_box);
  GST_OBJECT_UNLOCK (self);

  gst_avatar_denoise_props_apply (&props, self->user.engine->model, &settings);
  *fitted = fit_reference (self, &settings, &props, error);
  if (*fitted)
    denoiser = avatar_denoiser_new (self->user.engine->model, self->user.engine->device, &settings,
        error);
  gst_avatar_denoise_props_clear (&props);
  return denoiser;
}

/* Sets the denoiser up for the features in @caps, and downstream for its latents. */
static GstFlowReturn
configure (GstAvatarDenoise *self, GstCaps *caps)
{
  const AvatarModelInfo *info = self->user.engine->info;
  g_autoptr (AvatarImage) fitted = NULL;
  AvatarDenoiser *denoiser;
  GError *error = NULL;

  if (self->have_reference && self->caps && gst_caps_is_equal (caps, self->caps))
    return GST_FLOW_OK;
  close_denoiser (self);
  if (!gst_avatar_caps_parse_features (caps, info->hash, &self->features, &error))
    return fail (self, error);
  if (self->features.fps_n <= 0 || self->features.fps_d <= 0) {
    self->features.fps_n = info->fps;
    self->features.fps_d = 1;
  }
  denoiser = create_denoiser (self, &fitted, &error);
  if (!denoiser)
    return fail (self, error);
  avatar_denoiser_set_progress_func (denoiser, on_progress, self);
  GST_OBJECT_LOCK (self);
  self->denoiser = denoiser;
  GST_OBJECT_UNLOCK (self);
  restart (self);
  /* A flush that came before the pointer was there could not cancel. */
  if (GST_PAD_IS_FLUSHING (self->srcpad))
    return GST_FLOW_FLUSHING;
  if (!set_latent_caps (self, &error)
      || !avatar_denoiser_set_reference (self->denoiser, fitted, &error))
    return fail (self, error);
  self->have_reference = TRUE;
  gst_caps_replace (&self->caps, caps);
  GST_INFO_OBJECT (self, "video of %u x %u", self->width, self->height);
  return GST_FLOW_OK;
}

static void
report_window (GstAvatarDenoise *self)
{
  AvatarDenoiseStats stats;
  GstAvatarChunk chunk = { .stage = "denoise" };
  guint64 begin = first_frame (self->n_latents), end;

  avatar_denoiser_get_stats (self->denoiser, &stats);
  if (stats.index == self->last_window)
    return;
  self->last_window = stats.index;
  end = MIN (first_frame (self->n_latents + stats.latents), self->n_features);
  chunk.index = stats.index;
  chunk.frames = end - begin;
  chunk.timestamp = self->base + frames_to_time (self, begin);
  chunk.duration = frames_to_time (self, end) - frames_to_time (self, begin);
  chunk.compute_time = (GstClockTime)(stats.seconds * GST_SECOND);
  gst_avatar_engine_user_set_stats (&self->user, GST_ELEMENT (self),
      gst_avatar_report_chunk (GST_ELEMENT (self), self->user.engine->device, &chunk));
}

static GstFlowReturn
push_latent (GstAvatarDenoise *self)
{
  GstBuffer *buffer = g_steal_pointer (&self->spare);
  guint64 k = self->n_latents;
  /* The last one may cover fewer frames; its duration tells the decoder. */
  guint64 end = MIN (first_frame (k + 1), self->n_features);

  GST_BUFFER_PTS (buffer) = self->base + frames_to_time (self, first_frame (k));
  GST_BUFFER_DURATION (buffer)
      = self->base + frames_to_time (self, end) - GST_BUFFER_PTS (buffer);
  GST_BUFFER_OFFSET (buffer) = k;
  GST_BUFFER_OFFSET_END (buffer) = k + 1;
  if (self->discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
  self->n_latents++;
  return gst_pad_push (self->srcpad, buffer);
}

/* Denoises and pushes what is ready. */
static GstFlowReturn
push_ready (GstAvatarDenoise *self)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;
  GstMapInfo map;
  AvatarPull pull;

  while (ret == GST_FLOW_OK) {
    if (!self->spare)
      self->spare = gst_buffer_new_allocate (NULL, self->latent_size, NULL);
    gst_buffer_map (self->spare, &map, GST_MAP_WRITE);
    pull = avatar_denoiser_pull (self->denoiser, (float *)map.data, &error);
    gst_buffer_unmap (self->spare, &map);
    if (pull == AVATAR_PULL_ERROR)
      return fail (self, error);
    if (pull == AVATAR_PULL_EMPTY)
      return GST_FLOW_OK;
    report_window (self);
    ret = push_latent (self);
  }
  return ret;
}

static GstFlowReturn
drain (GstAvatarDenoise *self)
{
  GstFlowReturn ret;
  GError *error = NULL;

  if (!self->denoiser || self->n_features == 0)
    return GST_FLOW_OK;
  if (avatar_denoiser_drain (self->denoiser, &error))
    ret = push_ready (self);
  else
    ret = fail (self, error);
  /* A reset would undo a cancel that has not been answered by FLUSH_STOP. */
  if (ret == GST_FLOW_OK)
    restart (self);
  return ret;
}

static GstFlowReturn
push_feature (GstAvatarDenoise *self, const float *feature, GstClockTime pts)
{
  GError *error = NULL;

  if (!GST_CLOCK_TIME_IS_VALID (self->base))
    self->base = GST_CLOCK_TIME_IS_VALID (pts) ? pts : 0;
  if (!avatar_denoiser_push (self->denoiser, feature, &error))
    return fail (self, error);
  self->n_features++;
  self->n_features_total++;
  return push_ready (self);
}

static GstFlowReturn
take_buffer (GstAvatarDenoise *self, GstBuffer *buffer)
{
  gsize expected = gst_avatar_feature_info_get_size (&self->features);
  guint64 offset = GST_BUFFER_OFFSET (buffer);
  GstFlowReturn ret = GST_FLOW_OK;
  GstMapInfo map;
  gboolean jumps = GST_BUFFER_IS_DISCONT (buffer);

  if (!self->have_reference)
    return GST_FLOW_NOT_NEGOTIATED;
  if (offset != GST_BUFFER_OFFSET_NONE && self->next_offset != GST_BUFFER_OFFSET_NONE)
    jumps |= offset != self->next_offset;
  if (jumps && self->n_features > 0)
    ret = drain (self);
  if (ret != GST_FLOW_OK)
    return ret;
  self->next_offset = offset == GST_BUFFER_OFFSET_NONE ? offset : offset + 1;
  if (gst_buffer_get_size (buffer) != expected || !gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    GError *error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a feature buffer of %" G_GSIZE_FORMAT " bytes: expected %" G_GSIZE_FORMAT,
        gst_buffer_get_size (buffer), expected);
    return fail (self, error);
  }
  ret = push_feature (self, (const float *)map.data, GST_BUFFER_PTS (buffer));
  gst_buffer_unmap (buffer, &map);
  return ret;
}

/* A hole in the features: as many of zeros, so that the picture goes on. */
static GstFlowReturn
take_gap (GstAvatarDenoise *self, GstEvent *event)
{
  GstClockTime pts, duration;
  GstFlowReturn ret = GST_FLOW_OK;
  g_autofree float *silence = NULL;
  guint64 n;

  gst_event_parse_gap (event, &pts, &duration);
  if (!self->have_reference || !GST_CLOCK_TIME_IS_VALID (duration) || duration > MAX_GAP)
    return GST_FLOW_OK;
  silence = g_malloc0 (gst_avatar_feature_info_get_size (&self->features));
  n = gst_util_uint64_scale_round (duration, self->features.fps_n,
      GST_SECOND * self->features.fps_d);
  for (guint64 i = 0; i < n && ret == GST_FLOW_OK; i++)
    ret = push_feature (self, silence, pts);
  if (self->next_offset != GST_BUFFER_OFFSET_NONE)
    self->next_offset += n;
  return ret;
}

static GstFlowReturn
take_eos (GstAvatarDenoise *self, GstEvent *event)
{
  const GstStructure *s = gst_event_get_structure (event);
  gboolean failed_before = s && gst_structure_has_field (s, "avatar-failed");
  GstFlowReturn ret = GST_FLOW_OK;

  if (failed_before)
    self->failed = TRUE;
  else
    ret = drain (self);
  if (ret == GST_FLOW_OK && self->n_features_total == 0 && !self->failed)
    ret = fail (self, g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
                          "no audio features: the stream ended before the first of them"));
  return ret;
}

static GstFlowReturn
take_event (GstAvatarDenoise *self, GstEvent *event)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      if (self->caps && !gst_caps_is_equal (caps, self->caps))
        ret = drain (self);
      if (ret == GST_FLOW_OK)
        ret = configure (self, caps);
      gst_event_unref (event);
      return ret;
    case GST_EVENT_GAP:
      ret = take_gap (self, event);
      gst_event_unref (event);
      return ret;
    case GST_EVENT_SEGMENT:
    case GST_EVENT_STREAM_START:
      ret = drain (self);
      break;
    case GST_EVENT_EOS:
      ret = take_eos (self, event);
      break;
    default:
      break;
  }
  if (ret != GST_FLOW_OK) {
    gst_event_unref (event);
    return ret;
  }
  gst_pad_push_event (self->srcpad, event);
  return GST_FLOW_OK;
}

/* Tells downstream that no more comes, after an error that it must not repeat. */
static void
give_up (GstAvatarDenoise *self, GstFlowReturn ret)
{
  GstEvent *eos = gst_event_new_eos ();

  if (!self->failed && (ret == GST_FLOW_NOT_LINKED || ret == GST_FLOW_NOT_NEGOTIATED)) {
    GST_ELEMENT_FLOW_ERROR (self, ret);
    self->failed = TRUE;
  }
  if (self->failed)
    gst_avatar_report_progress (GST_ELEMENT (self), GST_PROGRESS_TYPE_ERROR, "denoise", -1,
        "failed");
  gst_structure_set (gst_event_writable_structure (eos), "avatar-failed", G_TYPE_BOOLEAN, TRUE,
      NULL);
  gst_pad_push_event (self->srcpad, eos);
}

static void
gst_avatar_denoise_loop (gpointer data)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (data);
  GstMiniObject *item = gst_avatar_work_pop (&self->work);
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
  gst_pad_pause_task (self->srcpad);
  if (ret == GST_FLOW_FLUSHING)
    return;
  gst_avatar_work_set_state (&self->work, ret, self->srcpad);
  give_up (self, ret);
}

static void
stop_computing (GstAvatarDenoise *self)
{
  gst_avatar_work_set_state (&self->work, GST_FLOW_FLUSHING, self->srcpad);
  gst_avatar_reference_set_flushing (&self->reference, TRUE);
  cancel (self);
}

static void
start_computing (GstAvatarDenoise *self)
{
  gst_avatar_reference_set_flushing (&self->reference, FALSE);
  gst_avatar_work_set_state (&self->work, GST_FLOW_OK, NULL);
  gst_pad_start_task (self->srcpad, gst_avatar_denoise_loop, self, NULL);
}

static gboolean
gst_avatar_denoise_src_activate_mode (GstPad *pad, GstObject *parent, GstPadMode mode,
    gboolean active)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  if (mode != GST_PAD_MODE_PUSH)
    return FALSE;
  if (active) {
    start_computing (self);
    return TRUE;
  }
  stop_computing (self);
  return gst_pad_stop_task (pad);
}

static GstFlowReturn
gst_avatar_denoise_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  return gst_avatar_work_push (&self->work, GST_MINI_OBJECT (buffer));
}

static gboolean
check_segment (GstAvatarDenoise *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (segment->format == GST_FORMAT_TIME && segment->rate > 0)
    return TRUE;
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
      ("the features run %s: expected a segment in time that runs forward",
          segment->rate < 0 ? "backward" : gst_format_get_name (segment->format)),
      (NULL));
  return FALSE;
}

static void
flush_stop (GstAvatarDenoise *self)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (self->sinkpad);

  restart (self);
  start_computing (self);
  /* The event that the flush may have dropped; upstream will not send it again. */
  if (caps && !(self->have_reference && gst_caps_is_equal (caps, self->caps)))
    gst_avatar_work_push (&self->work, GST_MINI_OBJECT (gst_event_new_caps (caps)));
}

static gboolean
gst_avatar_denoise_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  gboolean ret;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      ret = gst_pad_push_event (self->srcpad, event);
      stop_computing (self);
      gst_pad_pause_task (self->srcpad);
      return ret;
    case GST_EVENT_FLUSH_STOP:
      ret = gst_pad_push_event (self->srcpad, event);
      flush_stop (self);
      return ret;
    case GST_EVENT_SEGMENT:
      if (!check_segment (self, event)) {
        gst_event_unref (event);
        return FALSE;
      }
      break;
    default:
      break;
  }
  if (!GST_EVENT_IS_SERIALIZED (event))
    return gst_pad_event_default (pad, parent, event);
  return gst_avatar_work_push (&self->work, GST_MINI_OBJECT (event)) == GST_FLOW_OK;
}

static gboolean
accept_caps (GstAvatarDenoise *self, GstCaps *caps)
{
  const AvatarModelInfo *info;
  GstAvatarFeatureInfo features;
  g_autoptr (GError) error = NULL;

  if (!gst_avatar_caps_parse_features (caps, NULL, &features, &error)) {
    GST_WARNING_OBJECT (self, "%s", error->message);
    return FALSE;
  }
  if (!self->user.engine)
    return TRUE;
  info = self->user.engine->info;
  return features.steps == info->feature_steps && features.states == info->feature_states
      && features.channels == info->feature_channels;
}

static GstCaps *
query_caps (GstAvatarDenoise *self, GstCaps *filter)
{
  GstCaps *caps, *ret;

  if (self->user.engine) {
    const AvatarModelInfo *info = self->user.engine->info;
    GstAvatarFeatureInfo features
        = { info->feature_steps, info->feature_states, info->feature_channels, 0, 0 };
    caps = gst_avatar_caps_new_features (&features, NULL);
  } else {
    caps = gst_static_pad_template_get_caps (&sink_template);
  }
  if (!filter)
    return caps;
  ret = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref (caps);
  return ret;
}

static gboolean
gst_avatar_denoise_sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  GstCaps *caps;

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_ACCEPT_CAPS:
      gst_query_parse_accept_caps (query, &caps);
      gst_query_set_accept_caps_result (query, accept_caps (self, caps));
      return TRUE;
    case GST_QUERY_CAPS:
      gst_query_parse_caps (query, &caps);
      caps = query_caps (self, caps);
      gst_query_set_caps_result (query, caps);
      gst_caps_unref (caps);
      return TRUE;
    default:
      /* ALLOCATION and DRAIN would have to wait for minutes of computing. */
      if (GST_QUERY_IS_SERIALIZED (query))
        return FALSE;
      return gst_pad_query_default (pad, parent, query);
  }
}

static gboolean
gst_avatar_denoise_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  GstClockTime min, max, own, queued;
  gboolean live;
  guint chunk;

  if (!gst_pad_query_default (pad, parent, query))
    return FALSE;
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY && self->user.engine) {
    const AvatarModelInfo *info = self->user.engine->info;
    gst_query_parse_latency (query, &live, &min, &max);
    GST_OBJECT_LOCK (self);
    chunk = self->props.chunk ?: info->window_latents;
    GST_OBJECT_UNLOCK (self);
    /* As much media again for computing: live works only where that is enough. */
    own = 2 * gst_util_uint64_scale_int (first_frame (chunk), GST_SECOND, info->fps);
    queued = gst_util_uint64_scale_int (MAX_QUEUED_FEATURES, GST_SECOND, info->fps);
    gst_query_set_latency (query, live, min + own,
        GST_CLOCK_TIME_IS_VALID (max) ? max + own + queued : GST_CLOCK_TIME_NONE);
  }
  return TRUE;
}

/* The reference pad is no part of the stream: seeks and queries do not go there. */
static GstIterator *
gst_avatar_denoise_links (GstPad *pad, GstObject *parent)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  GValue value = G_VALUE_INIT;
  GstIterator *iterator;

  if (pad != self->srcpad && pad != self->sinkpad)
    return NULL;
  g_value_init (&value, GST_TYPE_PAD);
  g_value_set_object (&value, pad == self->srcpad ? self->sinkpad : self->srcpad);
  iterator = gst_iterator_new_single (GST_TYPE_PAD, &value);
  g_value_unset (&value);
  return iterator;
}

static GstFlowReturn
gst_avatar_denoise_reference_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  return gst_avatar_reference_take_buffer (&GST_AVATAR_DENOISE (parent)->reference, buffer);
}

static gboolean
gst_avatar_denoise_reference_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  return gst_avatar_reference_take_event (&GST_AVATAR_DENOISE (parent)->reference, event);
}

static GstPad *
gst_avatar_denoise_request_new_pad (GstElement *element, GstPadTemplate *template,
    const gchar *name, const GstCaps *caps)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);
  GstPad *pad;

  GST_OBJECT_LOCK (self);
  pad = self->refpad;
  if (!pad)
    self->refpad = gst_pad_new_from_template (template, "reference");
  GST_OBJECT_UNLOCK (self);
  if (pad) {
    GST_WARNING_OBJECT (self, "there is one portrait: the reference pad is taken");
    return NULL;
  }
  gst_pad_set_chain_function (self->refpad, gst_avatar_denoise_reference_chain);
  gst_pad_set_event_function (self->refpad, gst_avatar_denoise_reference_event);
  gst_pad_set_iterate_internal_links_function (self->refpad, gst_avatar_denoise_links);
  gst_pad_set_active (self->refpad, GST_STATE (self) >= GST_STATE_PAUSED);
  gst_element_add_pad (element, self->refpad);
  return self->refpad;
}

static void
gst_avatar_denoise_release_pad (GstElement *element, GstPad *pad)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);

  GST_OBJECT_LOCK (self);
  self->refpad = NULL;
  GST_OBJECT_UNLOCK (self);
  gst_pad_set_active (pad, FALSE);
  gst_element_remove_pad (element, pad);
}

/* READY to PAUSED: everything that can be wrong before the first buffer is found here. */
static gboolean
open_all (GstAvatarDenoise *self)
{
  g_autofree gchar *path = NULL;
  gboolean has_pad, ok;
  GError *error = NULL;

  self->failed = FALSE;
  self->n_features_total = 0;
  GST_OBJECT_LOCK (self);
  ok = gst_avatar_denoise_props_check (&self->props, &error);
  path = g_strdup (self->props.reference);
  has_pad = self->refpad != NULL;
  GST_OBJECT_UNLOCK (self);

  if (ok && !has_pad && (!path || *path == '\0')) {
    ok = FALSE;
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "no portrait: set the property reference to a PNG or JPEG file, or link the reference pad");
  }
  if (ok && !has_pad)
    ok = gst_avatar_reference_load (&self->reference, path, &error);
  if (!ok) {
    gst_avatar_report_error (self, error);
    return FALSE;
  }
  return gst_avatar_engine_user_open (&self->user, GST_ELEMENT (self));
}

static void
close_all (GstAvatarDenoise *self)
{
  close_denoiser (self);
  gst_avatar_reference_reset (&self->reference);
  gst_avatar_engine_user_close (&self->user);
}

static GstStateChangeReturn
gst_avatar_denoise_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);
  GstStateChangeReturn ret;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED) {
    restart (self);
    if (!open_all (self)) {
      close_all (self);
      return GST_STATE_CHANGE_FAILURE;
    }
  }
  /* Before chaining up, which waits for the streaming threads. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop_computing (self);
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE))
    close_all (self);
  return ret;
}

static void
gst_avatar_denoise_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);
  gboolean ours;

  if (gst_avatar_engine_user_set_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  ours = gst_avatar_denoise_props_set (&self->props, id, value);
  GST_OBJECT_UNLOCK (self);
  if (!ours)
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
gst_avatar_denoise_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);
  gboolean ours;

  if (gst_avatar_engine_user_get_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  ours = gst_avatar_denoise_props_get (&self->props, id, value);
  GST_OBJECT_UNLOCK (self);
  if (!ours)
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
gst_avatar_denoise_finalize (GObject *object)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);

  close_denoiser (self);
  gst_avatar_work_clear (&self->work);
  gst_avatar_reference_clear (&self->reference);
  gst_avatar_denoise_props_clear (&self->props);
  gst_avatar_engine_user_clear (&self->user);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_avatar_denoise_class_init (GstAvatarDenoiseClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = gst_avatar_denoise_set_property;
  object_class->get_property = gst_avatar_denoise_get_property;
  object_class->finalize = gst_avatar_denoise_finalize;
  gst_avatar_engine_install_properties (object_class);
  gst_avatar_denoise_props_install (object_class);

  gst_element_class_set_static_metadata (element_class, "Avatar denoiser", "Filter/Effect/Video",
      "Audio features and a portrait to latent frames of a talking video",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &reference_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = gst_avatar_denoise_change_state;
  element_class->request_new_pad = gst_avatar_denoise_request_new_pad;
  element_class->release_pad = gst_avatar_denoise_release_pad;

  GST_DEBUG_CATEGORY_INIT (avatar_denoise_debug, "avatardenoise", 0, "Avatar denoiser");
}

static void
gst_avatar_denoise_init (GstAvatarDenoise *self)
{
  gst_avatar_engine_user_init (&self->user);
  gst_avatar_denoise_props_init (&self->props);
  gst_avatar_reference_init (&self->reference);
  gst_avatar_work_init (&self->work, MAX_QUEUED_FEATURES);
  restart (self);

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, gst_avatar_denoise_chain);
  gst_pad_set_event_function (self->sinkpad, gst_avatar_denoise_sink_event);
  gst_pad_set_query_function (self->sinkpad, gst_avatar_denoise_sink_query);
  gst_pad_set_iterate_internal_links_function (self->sinkpad, gst_avatar_denoise_links);
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_activatemode_function (self->srcpad, gst_avatar_denoise_src_activate_mode);
  gst_pad_set_query_function (self->srcpad, gst_avatar_denoise_src_query);
  gst_pad_set_iterate_internal_links_function (self->srcpad, gst_avatar_denoise_links);
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
