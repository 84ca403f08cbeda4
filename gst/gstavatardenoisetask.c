/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streaming task of avatardenoise: takes features from the queue in order, denoises complete
 * windows, and pushes latents. No lock is held while it computes or pushes. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavataroutput.h"
#include "gst/gstavatarquery.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarvideocaps.h"

GST_DEBUG_CATEGORY_EXTERN (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Longer gaps are not filled with features. */
#define MAX_GAP (60 * GST_SECOND)

void
gst_avatar_denoise_task_restart (GstAvatarDenoise *self)
{
  if (self->denoiser)
    avatar_denoiser_reset (self->denoiser);
  self->base = GST_CLOCK_TIME_NONE;
  self->n_features = self->n_latents = 0;
  gst_avatar_denoise_clear_end_stream (self);
  gst_avatar_continuity_reset (&self->continuity);
  self->last_window = G_MAXUINT;
  self->discont = TRUE;
  g_clear_pointer (&self->held, gst_buffer_list_unref);
}

void
gst_avatar_denoise_task_close (GstAvatarDenoise *self)
{
  AvatarDenoiser *denoiser;

  GST_OBJECT_LOCK (self);
  denoiser = g_steal_pointer (&self->denoiser);
  self->has_voices = FALSE;
  GST_OBJECT_UNLOCK (self);
  if (denoiser)
    avatar_denoiser_free (denoiser);
  self->have_reference = FALSE;
  gst_clear_caps (&self->caps);
  gst_avatar_output_pool_close (&self->pool);
  g_clear_pointer (&self->held, gst_buffer_list_unref);
}

void
gst_avatar_denoise_task_cancel (GstAvatarDenoise *self)
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
  gboolean prompts = progress->phase == AVATAR_PROGRESS_TEXT;
  g_autofree gchar *text = prompts
      ? g_strdup_printf ("prompts, part %u/%u", progress->step, progress->steps)
      : g_strdup_printf ("window %u, step %u/%u", progress->window + 1, progress->step,
          progress->steps);

  if (!prompts && gst_avatar_denoise_clear_step (self, progress->step, progress->steps)) {
    avatar_denoiser_abandon_window (self->denoiser);
    gst_avatar_denoise_end_progress (self, GST_PROGRESS_TYPE_CANCELED, "abandoned");
    return;
  }
  /* Each window ends with COMPLETE, because an application may wait for it before it plays. */
  if (progress->step == 0)
    type = GST_PROGRESS_TYPE_START;
  else if (progress->step >= progress->steps)
    type = GST_PROGRESS_TYPE_COMPLETE;
  self->working_on = prompts ? "text" : "denoise";
  gst_avatar_report_progress (GST_ELEMENT (self), type, self->working_on,
      progress->steps ? (gint) (100 * progress->step / progress->steps) : 0, text);
  if (type == GST_PROGRESS_TYPE_COMPLETE)
    self->working_on = NULL;
}

/* Maps an engine error to a flow return. Releases the denoiser and its device memory before the
 * error is posted, so that the application can restart the pipeline from its bus handler. */
static GstFlowReturn
fail_full (GstAvatarDenoise *self, GError *error, const gchar *function, gint line)
{
  if (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED))
    gst_avatar_denoise_end_progress (self, GST_PROGRESS_TYPE_CANCELED, "cancelled");
  else
    gst_avatar_denoise_task_close (self);
  return gst_avatar_report_failure_full (GST_ELEMENT (self), error, &self->failed, __FILE__,
      function, line);
}
#define fail(self, error) fail_full (self, error, GST_FUNCTION, __LINE__)

static gboolean
set_latent_caps (GstAvatarDenoise *self, GError **error)
{
  const AvatarModelInfo *info = self->client.engine->info;
  GstAvatarLatentInfo latent = { info->latent_channels, self->height / info->latent_scale,
    self->width / info->latent_scale, self->features.fps_n, self->features.fps_d, 0, 0 };
  g_autoptr (GstCaps) caps = NULL;
  g_autoptr (GstCaps) allowed = NULL;
  g_autoptr (GstCaps) accepted = NULL;
  g_autofree gchar *why = NULL;

  if (!gst_avatar_denoise_get_windows (self, &latent.window, &latent.overlap)
      || latent.overlap >= latent.window)
    latent.window = latent.overlap = 0;
  caps = gst_avatar_caps_new_latents (&latent, info->hash);
  allowed = gst_pad_peer_query_caps (self->srcpad, caps);
  self->latent_size = gst_avatar_latent_info_get_size (&latent);
  if (!gst_caps_is_empty (allowed)) {
    gst_caps_unref (caps);
    caps = gst_caps_fixate (gst_caps_copy (allowed));
    gst_avatar_video_caps_clear_sizes (caps);
  }
  if (!gst_caps_is_empty (allowed) && gst_pad_set_caps (self->srcpad, caps)) {
    gst_avatar_output_pool_close (&self->pool);
    self->pool = gst_avatar_output_pool_negotiate (self->srcpad, caps, self->latent_size);
    return TRUE;
  }
  if (GST_PAD_IS_FLUSHING (self->srcpad)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "flushing");
    return FALSE;
  }
  accepted = gst_pad_peer_query_caps (self->srcpad, NULL);
  why = gst_avatar_video_caps_explain (caps, accepted);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "downstream does not accept latents of a video of %u x %u pixels: %s", self->width,
      self->height, why);
  return FALSE;
}

/* Chooses a size of the video that downstream accepts; 0: the model's own size. */
static gboolean
choose_size (GstAvatarDenoise *self, const AvatarImage *image, guint *width, guint *height,
    GError **error)
{
  g_autoptr (GstCaps) allowed = gst_pad_get_allowed_caps (self->srcpad);
  g_autoptr (AvatarImage) own
      = avatar_image_fit (image, self->client.engine->model, 0, 0, NULL, error);
  gboolean demanded;

  if (!own)
    return FALSE;
  *width = own->width;
  *height = own->height;
  if (!gst_avatar_video_caps_choose_size (allowed, self->client.engine->info, width, height,
          &demanded, error))
    return FALSE;
  if (!demanded)
    *width = *height = 0;
  return TRUE;
}

/* Fits the portrait to the size of the video, and sets size and faces in @settings. */
static AvatarImage *
fit_reference (GstAvatarDenoise *self, AvatarDenoiseSettings *settings, GError **error)
{
  const AvatarImage *image = gst_avatar_reference_wait (&self->reference, error);
  AvatarImage *fitted;
  guint width, height;

  if (!image || !choose_size (self, image, &width, &height, error))
    return NULL;
  gst_avatar_denoise_take_speakers (self);
  gst_avatar_faces_clear (&self->faces);
  fitted = gst_avatar_denoise_fit (self, image, width, height, &self->active, &self->faces, error);
  if (!fitted)
    return NULL;
  gst_avatar_denoise_measure (self, fitted);
  self->width = settings->width = fitted->width;
  self->height = settings->height = fitted->height;
  gst_avatar_faces_apply (&self->faces, settings);
  return fitted;
}

static AvatarDenoiser *
create_denoiser (GstAvatarDenoise *self, AvatarImage **fitted, GError **error)
{
  AvatarDenoiseSettings settings;

  if (!gst_avatar_denoise_adopt_all (self, error))
    return NULL;
  gst_avatar_denoise_props_apply (&self->active, self->client.engine->model, &settings);
  *fitted = fit_reference (self, &settings, error);
  if (!*fitted)
    return NULL;
  return avatar_denoiser_new (self->client.engine->model, self->client.engine->device, &settings,
      error);
}

/* Creates a denoiser for the features in @caps, and negotiates its latents with downstream. */
static GstFlowReturn
configure (GstAvatarDenoise *self, GstCaps *caps)
{
  const AvatarModelInfo *info = self->client.engine->info;
  g_autoptr (AvatarImage) fitted = NULL;
  AvatarDenoiser *denoiser;
  GError *error = NULL;

  if (self->have_reference && self->caps && gst_caps_is_equal (caps, self->caps))
    return GST_FLOW_OK;
  gst_avatar_denoise_task_close (self);
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
  gst_avatar_denoise_report_warnings (self);
  gst_avatar_denoise_report_truncations (self);
  gst_avatar_denoise_task_restart (self);
  gst_avatar_denoise_late_reset (self);
  /* A flush before this point could not cancel the denoiser. */
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
  GstAvatarWindow window = { .stage = "denoise", .computed_on = self->client.engine->device };
  guint64 begin = gst_avatar_denoise_first_frame (self->n_latents), end;

  avatar_denoiser_get_stats (self->denoiser, &stats);
  if (stats.index == self->last_window)
    return;
  self->last_window = stats.index;
  end = MIN (gst_avatar_denoise_first_frame (self->n_latents + stats.latents), self->n_features);
  window.index = stats.index;
  window.frames = end - begin;
  window.timestamp = gst_avatar_denoise_frame_to_pts (self, begin);
  window.duration = gst_avatar_denoise_frame_to_pts (self, end) - window.timestamp;
  window.compute_time = (GstClockTime) (stats.seconds * GST_SECOND);
  window.steps = stats.steps;
  window.resident = stats.resident;
  window.streamed = stats.streamed;
  window.evicted = stats.evicted;
  window.restored = stats.restored;
  window.uploaded = stats.uploaded;
  gst_avatar_engine_client_set_stats (&self->client, GST_ELEMENT (self),
      gst_avatar_report_window (GST_ELEMENT (self), self->client.engine->device, &window));
  gst_avatar_processing_element_add (&self->client.processing, GST_ELEMENT (self),
      window.compute_time, window.duration);
  gst_avatar_denoise_note_window (self, &stats, window.frames);
}

/* Pushes the first latents, as many as a decoder needs for its first frame, as one list, which a
 * queue accepts as a whole. Otherwise, after a tee, the full queue of another branch could block
 * them for ever while its sink waits for the decoder's sink to preroll. */
static GstFlowReturn
push_or_hold (GstAvatarDenoise *self, GstBuffer *buffer)
{
  gboolean ends_window = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_MARKER);

  if (self->n_latents == 1) {
    g_autoptr (GstQuery) query = gst_avatar_query_new_need ();

    gst_pad_peer_query (self->srcpad, query);
    self->n_needed = gst_avatar_query_get_need (query);
    self->needs_window = gst_avatar_query_needs_window (query);
    if (self->n_needed > 1 || (self->needs_window && !ends_window))
      self->held = gst_buffer_list_new ();
  }
  if (!self->held)
    return gst_pad_push (self->srcpad, buffer);
  gst_buffer_list_add (self->held, buffer);
  if (self->n_latents < self->n_needed || (self->needs_window && !ends_window))
    return GST_FLOW_OK;
  return gst_avatar_denoise_push_held (self);
}

/* Stamps @buffer as the next latent frame. The last one may represent fewer than four video
 * frames; the decoder derives their number from its duration. The last one of a window has the flag
 * MARKER: no further one follows before the next window is denoised. */
static void
stamp_latent (GstAvatarDenoise *self, GstBuffer *buffer)
{
  guint64 k = self->n_latents, first = gst_avatar_denoise_first_frame (k);
  guint64 end = MIN (gst_avatar_denoise_first_frame (k + 1), self->n_features);

  gst_avatar_output_stamp (buffer, k, gst_avatar_denoise_frame_to_pts (self, first),
      gst_avatar_denoise_frame_to_pts (self, end), &self->discont);
  if (avatar_denoiser_get_n_ready (self->denoiser) == 0)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_MARKER);
}

/* Pulls the next latent frame; denoises a window if one is due. */
static GstFlowReturn
pull_latent (GstAvatarDenoise *self, GstBuffer **latent)
{
  GstFlowReturn ret = gst_buffer_pool_acquire_buffer (self->pool, latent, NULL);
  gboolean is_due = avatar_denoiser_is_due (self->denoiser);
  GError *error = NULL;
  GstMapInfo map;
  AvatarPull pull = AVATAR_PULL_ERROR;

  if (ret != GST_FLOW_OK)
    return ret;
  if (gst_avatar_output_map (*latent, &map, &error)) {
    if (!is_due
        || (gst_avatar_denoise_clear_begin_window (self, &error)
            && gst_avatar_denoise_clear_voices (self, &error)))
      pull = avatar_denoiser_pull (self->denoiser, (float *) map.data, &error);
    if (is_due && pull == AVATAR_PULL_OK)
      gst_avatar_denoise_clear_end_window (self);
    gst_buffer_unmap (*latent, &map);
  }
  if (pull == AVATAR_PULL_OK)
    return GST_FLOW_OK;
  gst_clear_buffer (latent);
  return pull == AVATAR_PULL_ERROR ? fail (self, error) : GST_FLOW_OK;
}

static GstFlowReturn
push_latent (GstAvatarDenoise *self)
{
  GstBuffer *latent = NULL;
  GstFlowReturn ret = pull_latent (self, &latent);

  if (!latent)
    return ret;
  report_window (self);
  stamp_latent (self, latent);
  self->n_latents++;
  return push_or_hold (self, latent);
}

/* Denoises complete windows, and pushes their latents. */
static GstFlowReturn
push_ready (GstAvatarDenoise *self)
{
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean skipped = FALSE;

  while (ret == GST_FLOW_OK) {
    if (avatar_denoiser_is_due (self->denoiser)) {
      ret = gst_avatar_denoise_apply_changes (self);
      if (ret == GST_FLOW_OK)
        ret = gst_avatar_denoise_keep_up (self, &skipped);
    } else if (avatar_denoiser_get_n_ready (self->denoiser) == 0) {
      break;
    }
    if (ret == GST_FLOW_OK && !skipped)
      ret = push_latent (self);
    skipped = FALSE;
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
  if (ret == GST_FLOW_OK)
    ret = gst_avatar_denoise_push_held (self);
  /* Not after a flush has begun: a reset would undo the cancel before FLUSH_STOP. */
  if (ret == GST_FLOW_OK)
    gst_avatar_denoise_task_restart (self);
  return ret;
}

/* Pushes the features of @buffer, or those of silence for a part of a gap if it is %NULL. */
static GstFlowReturn
push_feature (GstAvatarDenoise *self, GstBuffer *buffer, const float *feature, GstClockTime pts)
{
  const float *silence;
  GstFlowReturn ret;
  GError *error = NULL;

  if (!GST_CLOCK_TIME_IS_VALID (self->base))
    self->base = GST_CLOCK_TIME_IS_VALID (pts) ? pts : self->position;
  silence = gst_avatar_denoise_clear_take_feature (self, buffer);
  if (silence)
    feature = silence;
  ret = gst_avatar_denoise_push_voices (self, self->n_features, &error);
  if (ret == GST_FLOW_ERROR)
    return fail (self, error);
  if (ret != GST_FLOW_OK)
    return ret;
  if (!avatar_denoiser_push (self->denoiser, feature, &error))
    return fail (self, error);
  self->n_features++;
  self->n_features_total++;
  self->position = gst_avatar_denoise_frame_to_pts (self, self->n_features);
  return push_ready (self);
}

static GstFlowReturn
take_buffer (GstAvatarDenoise *self, GstBuffer *buffer)
{
  gsize expected = gst_avatar_feature_info_get_size (&self->features);
  GstClockTime frame = gst_avatar_denoise_frames_to_time (self, 1);
  GstFlowReturn ret = GST_FLOW_OK;
  GstMapInfo map;

  if (!self->have_reference)
    return GST_FLOW_NOT_NEGOTIATED;
  if (self->n_features > 0 && gst_avatar_continuity_jumps (&self->continuity, buffer, frame))
    ret = drain (self);
  if (ret != GST_FLOW_OK)
    return ret;
  gst_avatar_continuity_take (&self->continuity, buffer, frame);
  if (gst_buffer_get_size (buffer) != expected || !gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    GError *error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a feature buffer has %" G_GSIZE_FORMAT " bytes: expected %" G_GSIZE_FORMAT
        ", as its caps say",
        gst_buffer_get_size (buffer), expected);
    return fail (self, error);
  }
  ret = push_feature (self, buffer, (const float *) map.data, GST_BUFFER_PTS (buffer));
  gst_buffer_unmap (buffer, &map);
  return ret;
}

/* Fills a gap with features of silence, so that the video continues. */
static GstFlowReturn
take_gap (GstAvatarDenoise *self, GstEvent *event)
{
  GstClockTime pts, duration;
  GstFlowReturn ret = GST_FLOW_OK;
  guint64 n;

  gst_event_parse_gap (event, &pts, &duration);
  if (!self->have_reference || !GST_CLOCK_TIME_IS_VALID (duration) || duration > MAX_GAP)
    return GST_FLOW_OK;
  n = gst_util_uint64_scale_round (duration, self->features.fps_n,
      GST_SECOND * self->features.fps_d);
  for (guint64 i = 0; i < n && ret == GST_FLOW_OK; i++)
    ret = push_feature (self, NULL, NULL, pts);
  gst_avatar_continuity_skip (&self->continuity, n, duration);
  return ret;
}

/* Ends the stream. After an error upstream, nothing more is computed, and a missing feature is not
 * another error. */
static GstFlowReturn
take_eos (GstAvatarDenoise *self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  gst_avatar_denoise_set_speakers_input (self, GST_AVATAR_SPEAKER_INPUT_DROP);
  if (gst_avatar_query_upstream_failed (self->sinkpad))
    self->failed = TRUE;
  else
    ret = drain (self);
  if (ret == GST_FLOW_OK && self->n_features_total == 0 && !self->failed)
    ret = gst_avatar_report_failure (self,
        g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
            "no audio features: the stream ended before the first one; expected at least one"),
        &self->failed);
  return ret;
}

/* Features without PTS begin at the start of the segment. Downstream always gets a segment in
 * time. */
static GstFlowReturn
take_segment (GstAvatarDenoise *self, GstEvent **event)
{
  GstFlowReturn ret = drain (self);
  GstSegment segment;
  GstEvent *in_time;

  gst_event_copy_segment (*event, &segment);
  if (segment.format != GST_FORMAT_TIME) {
    gst_segment_init (&segment, GST_FORMAT_TIME);
    in_time = gst_event_new_segment (&segment);
    gst_event_set_seqnum (in_time, gst_event_get_seqnum (*event));
    gst_event_unref (*event);
    *event = in_time;
  }
  self->position = segment.start;
  gst_avatar_denoise_clear_set_segment (self, &segment);
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
      ret = take_segment (self, &event);
      break;
    case GST_EVENT_STREAM_START:
      gst_avatar_denoise_set_speakers_input (self, GST_AVATAR_SPEAKER_INPUT_QUEUE);
      ret = drain (self);
      break;
    case GST_EVENT_EOS:
      ret = take_eos (self);
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

/* Ends the stream after an error: sends EOS downstream, as queue and the base sources do, so that
 * sinks do not wait for ever. Elements downstream ask if the stream has failed. */
static void
end_after_error (GstAvatarDenoise *self, GstFlowReturn ret)
{
  if (!self->failed && (ret == GST_FLOW_NOT_LINKED || ret == GST_FLOW_NOT_NEGOTIATED)) {
    GST_ELEMENT_FLOW_ERROR (self, ret);
    self->failed = TRUE;
  }
  if (self->failed && !self->working_on)
    self->working_on = "denoise";
  gst_avatar_denoise_end_progress (self, GST_PROGRESS_TYPE_ERROR, "failed");
  gst_pad_push_event (self->srcpad, gst_event_new_eos ());
}

void
gst_avatar_denoise_task_loop (gpointer data)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (data);
  GstMiniObject *item = gst_avatar_item_queue_pop (&self->items);
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
  gst_avatar_item_queue_set_state (&self->items, ret, self->srcpad);
  gst_avatar_denoise_set_speakers_input (self, GST_AVATAR_SPEAKER_INPUT_DROP);
  end_after_error (self, ret);
}
