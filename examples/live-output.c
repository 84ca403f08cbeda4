/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "live-output.h"
#include "live-gate.h"

/* Two buffers prove a connection: a sink asks for the second one when it has written the first.
 * rtmp2sink takes headers without one. */
#define N_PROOF 2
/* Times (us): between looks for a blocked sink, and until the last connection must have ended. */
#define LOOK (500 * G_TIME_SPAN_MILLISECOND)
#define END_WAIT (10 * G_TIME_SPAN_SECOND)

enum
{
  PROP_0,
  PROP_DESCRIPTION,
  PROP_MIN_WAIT,
  PROP_MAX_WAIT,
  PROP_STALL_TIMEOUT,
  PROP_RETRY
};

/* A thread of the element owns the output: it makes, starts, stops and removes it. Other threads
 * set fields and wake it. */
struct _AvatarLiveOutput
{
  GstBin parent;
  AvatarLiveGate *gate;
  GstPad *sources[2]; /* pads of the gate behind "video" and "audio" */
  char *description;
  guint64 min_wait, max_wait, stall_timeout; /* (ns) */
  gboolean retry;

  GThread *worker;
  GMutex lock;
  GCond wake;
  gboolean stopping;
  GstState target;      /* state that the output shall have */
  GstClockTime latency; /* distributed by the pipeline */
  GstElement *output;
  char *reason;    /* why the output has failed, or NULL */
  guint n_buffers; /* that have reached the sink of this output */
  gboolean output_eos;
  guint n_connections;
};

G_DEFINE_TYPE (AvatarLiveOutput, avatar_live_output, GST_TYPE_BIN)

static GstStaticPadTemplate video_template
    = GST_STATIC_PAD_TEMPLATE ("video", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS_ANY);
static GstStaticPadTemplate audio_template
    = GST_STATIC_PAD_TEMPLATE ("audio", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS_ANY);

static void
report (AvatarLiveOutput *self, const char *state, const char *reason, GstClockTime wait)
{
  GstStructure *s = gst_structure_new ("live-output", "state", G_TYPE_STRING, state, "reason",
      G_TYPE_STRING, reason, "wait", G_TYPE_UINT64, (guint64) wait, "connections", G_TYPE_UINT,
      self->n_connections, NULL);

  gst_element_post_message (GST_ELEMENT (self), gst_message_new_element (GST_OBJECT (self), s));
}

static void
lose (AvatarLiveOutput *self, const char *reason)
{
  g_mutex_lock (&self->lock);
  if (!self->reason)
    self->reason = g_strdup (reason);
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
}

static GstPadProbeReturn
count_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  AvatarLiveOutput *self = data;

  if ((info->type & GST_PAD_PROBE_TYPE_BUFFER)
      && GST_BUFFER_FLAG_IS_SET (GST_PAD_PROBE_INFO_BUFFER (info), GST_BUFFER_FLAG_HEADER))
    return GST_PAD_PROBE_OK;
  g_mutex_lock (&self->lock);
  if (self->n_buffers < N_PROOF && ++self->n_buffers == N_PROOF)
    g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
  return GST_PAD_PROBE_OK;
}

static void
watch_sink (const GValue *item, gpointer data)
{
  GstElement *sink = g_value_get_object (item);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (sink, "sink");

  if (pad)
    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST,
        count_buffer, data, NULL);
}

/* Links to a pad of the target whose name begins with @name, as muxers have, or else to any. */
static gboolean
link_input (GstElement *queue, GstElement *target, const char *name)
{
  GList *templates = gst_element_class_get_pad_template_list (GST_ELEMENT_GET_CLASS (target));

  for (GList *l = templates; l; l = l->next) {
    const char *found = GST_PAD_TEMPLATE_NAME_TEMPLATE (l->data);
    if (GST_PAD_TEMPLATE_DIRECTION (l->data) == GST_PAD_SINK && g_str_has_prefix (found, name))
      return gst_element_link_pads (queue, "src", target, found);
  }
  return gst_element_link (queue, target);
}

/* Puts a queue before the element that takes the stream, and shows its pad as @name. */
static gboolean
add_input (GstElement *output, const char *name, GError **error)
{
  GstElement *queue = gst_element_factory_make ("queue", NULL);
  g_autoptr (GstElement) named = gst_bin_get_by_name (GST_BIN (output), name);
  g_autoptr (GstElement) target
      = named ? g_steal_pointer (&named) : gst_bin_get_by_name (GST_BIN (output), "mux");
  g_autoptr (GstPad) sink = gst_element_get_static_pad (queue, "sink");

  gst_bin_add (GST_BIN (output), queue);
  if (!target || !link_input (queue, target, name)) {
    g_set_error (error, GST_CORE_ERROR, GST_CORE_ERROR_PAD,
        target ? "element '%s' of the description takes no %s"
               : "the description has neither an element '%s' nor 'mux' for the %s",
        target ? GST_ELEMENT_NAME (target) : name, name);
    return FALSE;
  }
  return gst_element_add_pad (output, gst_ghost_pad_new (name, sink));
}

static GstElement *
make_output (AvatarLiveOutput *self, GError **error)
{
  g_autoptr (GstElement) output
      = gst_parse_bin_from_description_full (self->description ? self->description : "", FALSE,
          NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);

  if (!output)
    return NULL;
  gst_object_ref_sink (output);
  for (int i = 0; i < 2; i++)
    if (self->sources[i] && !add_input (output, i == 0 ? "video" : "audio", error))
      return NULL;
  /* A sink that waits for its first buffer must not take the pipeline out of PLAYING. */
  g_object_set (output, "async-handling", TRUE, NULL);
  g_autoptr (GstIterator) sinks = gst_bin_iterate_sinks (GST_BIN (output));
  gst_iterator_foreach (sinks, watch_sink, self);
  return g_steal_pointer (&output);
}

/* Adds the output to the bin and starts it. Only this thread changes its state, so that a failure
 * does not fail the state change of the pipeline. */
static void
start_output (AvatarLiveOutput *self, GstElement *output, GstState target)
{
  GstClockTime latency;

  gst_element_set_locked_state (output, TRUE);
  g_mutex_lock (&self->lock);
  self->output = output;
  self->n_buffers = 0;
  self->output_eos = FALSE;
  g_clear_pointer (&self->reason, g_free);
  latency = self->latency;
  g_mutex_unlock (&self->lock);
  gst_bin_add (GST_BIN (self), output);
  for (int i = 0; i < 2; i++) {
    g_autoptr (GstPad) sink = gst_element_get_static_pad (output, i == 0 ? "video" : "audio");
    if (self->sources[i])
      gst_pad_link_full (self->sources[i], sink, GST_PAD_LINK_CHECK_NOTHING);
  }
  gst_element_set_base_time (output, gst_element_get_base_time (GST_ELEMENT (self)));
  if (GST_CLOCK_TIME_IS_VALID (latency))
    gst_element_send_event (output, gst_event_new_latency (latency));
  if (gst_element_set_state (output, target) == GST_STATE_CHANGE_FAILURE)
    lose (self, "the output could not be started");
  avatar_live_gate_open (self->gate);
}

static void
stop_output (AvatarLiveOutput *self)
{
  GstElement *output = self->output;

  avatar_live_gate_close (self->gate);
  if (!output)
    return;
  gst_element_set_state (output, GST_STATE_NULL);
  g_mutex_lock (&self->lock);
  self->output = NULL;
  g_mutex_unlock (&self->lock);
  gst_bin_remove (GST_BIN (self), output);
}

/* Waits on the lock for a change, at most until @deadline (monotonic, us). */
static void
wait_until (AvatarLiveOutput *self, gint64 deadline)
{
  g_cond_wait_until (&self->wake, &self->lock, deadline);
}

/* Lets an output run until it fails, ends, or the element stops. Returns the reason if it has
 * failed. */
static char *
watch_output (AvatarLiveOutput *self, GstState state)
{
  gint64 ending_since = 0;
  gboolean connected = FALSE;
  char *reason;

  g_mutex_lock (&self->lock);
  while (!self->stopping && !self->reason && !self->output_eos) {
    gint64 limit
        = (self->stall_timeout + (GST_CLOCK_TIME_IS_VALID (self->latency) ? self->latency : 0))
        / GST_USECOND;
    gboolean change = self->target != state;
    gboolean arrived = !connected && self->n_buffers >= N_PROOF;

    if (arrived)
      self->n_connections++;
    g_mutex_unlock (&self->lock);
    if (change) {
      state = self->target;
      gst_element_set_base_time (self->output, gst_element_get_base_time (GST_ELEMENT (self)));
      gst_element_set_state (self->output, state);
    }
    if (arrived)
      report (self, "connected", "", 0);
    connected |= arrived;
    if (avatar_live_gate_is_eos (self->gate) && ending_since == 0)
      ending_since = g_get_monotonic_time ();
    if (self->stall_timeout > 0 && state == GST_STATE_PLAYING
        && avatar_live_gate_get_blocked (self->gate) > limit)
      lose (self, "the server has stopped to take data");
    if (ending_since > 0 && g_get_monotonic_time () - ending_since > END_WAIT + limit)
      lose (self, "the connection could not be ended");
    g_mutex_lock (&self->lock);
    if (!self->stopping && !self->reason && !self->output_eos && self->target == state)
      wait_until (self, g_get_monotonic_time () + LOOK);
  }
  reason = g_strdup (self->reason);
  g_mutex_unlock (&self->lock);
  return reason;
}

/* Waits before the next attempt, unless the streams end or the element stops. */
static gboolean
wait_for_retry (AvatarLiveOutput *self, GstClockTime wait)
{
  gint64 deadline = g_get_monotonic_time () + wait / GST_USECOND;
  gboolean retry;

  g_mutex_lock (&self->lock);
  while (!self->stopping && !avatar_live_gate_is_eos (self->gate)
      && g_get_monotonic_time () < deadline)
    wait_until (self, deadline);
  retry = !self->stopping && !avatar_live_gate_is_eos (self->gate);
  g_mutex_unlock (&self->lock);
  return retry;
}

/* Waits for data before the first attempt, because a server may end a connection without any. */
static void
wait_for_data (AvatarLiveOutput *self)
{
  g_mutex_lock (&self->lock);
  while (!self->stopping && !avatar_live_gate_has_data (self->gate)
      && !avatar_live_gate_is_eos (self->gate))
    g_cond_wait (&self->wake, &self->lock);
  g_mutex_unlock (&self->lock);
}

static gpointer
work (gpointer data)
{
  AvatarLiveOutput *self = data;
  GstClockTime wait = self->min_wait;

  wait_for_data (self);
  gboolean retry = !self->stopping && avatar_live_gate_has_data (self->gate);
  while (retry) {
    guint connections = self->n_connections;
    g_autoptr (GError) error = NULL;
    GstElement *output = make_output (self, &error);

    if (!output) {
      GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS, ("%s", error->message),
          ("description: %s", self->description));
      return NULL;
    }
    report (self, "connecting", "", 0);
    GstState state = self->target;
    start_output (self, output, state);
    g_autofree char *reason = watch_output (self, state);
    stop_output (self);
    gst_object_unref (output);
    if (!reason)
      break;
    if (!self->retry) {
      GST_ELEMENT_ERROR (self, RESOURCE, WRITE, ("%s", reason), (NULL));
      return NULL;
    }
    if (self->n_connections > connections)
      wait = self->min_wait;
    report (self, "lost", reason, wait);
    retry = wait_for_retry (self, wait);
    wait = MIN (2 * wait, self->max_wait);
  }
  if (!self->stopping) {
    report (self, "ended", "", 0);
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_eos (GST_OBJECT (self)));
  }
  return NULL;
}

/* Keeps what the output says about its failure or end from the pipeline. */
static void
handle_message (GstBin *bin, GstMessage *message)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (bin);
  gboolean of_gate = GST_MESSAGE_SRC (message) == GST_OBJECT (self->gate);
  g_autoptr (GError) error = NULL;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR
      && GST_MESSAGE_SRC (message) != GST_OBJECT (self)) {
    gst_message_parse_error (message, &error, NULL);
    lose (self, error->message);
  } else if (gst_message_has_name (message, "live-gate-failed")) {
    const GstStructure *s = gst_message_get_structure (message);
    g_autofree char *text
        = g_strdup_printf ("the output refused data: %s", gst_structure_get_string (s, "reason"));
    lose (self, text);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS || of_gate) {
    g_mutex_lock (&self->lock);
    self->output_eos |= !of_gate;
    g_cond_signal (&self->wake);
    g_mutex_unlock (&self->lock);
  } else {
    GST_BIN_CLASS (avatar_live_output_parent_class)->handle_message (bin, message);
    return;
  }
  gst_message_unref (message);
}

static gboolean
send_event (GstElement *element, GstEvent *event)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (element);

  if (GST_EVENT_TYPE (event) == GST_EVENT_LATENCY) {
    g_mutex_lock (&self->lock);
    gst_event_parse_latency (event, &self->latency);
    g_mutex_unlock (&self->lock);
  }
  return GST_ELEMENT_CLASS (avatar_live_output_parent_class)->send_event (element, event);
}

static void
take_reference (gpointer object, gpointer data)
{
  gst_object_ref (object);
}

/* Answers for the sink, which may be missing: the latency of what feeds this element. */
static gboolean
query (GstElement *element, GstQuery *query)
{
  GstClockTime min = 0, max = GST_CLOCK_TIME_NONE;
  gboolean live = FALSE;

  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return GST_ELEMENT_CLASS (avatar_live_output_parent_class)->query (element, query);
  GST_OBJECT_LOCK (element);
  GList *pads = g_list_copy (element->sinkpads);
  g_list_foreach (pads, take_reference, NULL);
  GST_OBJECT_UNLOCK (element);
  for (GList *l = pads; l; l = l->next) {
    g_autoptr (GstQuery) peer = gst_query_new_latency ();
    GstClockTime peer_min, peer_max;
    gboolean peer_live;

    if (!gst_pad_peer_query (l->data, peer))
      continue;
    gst_query_parse_latency (peer, &peer_live, &peer_min, &peer_max);
    if (!peer_live)
      continue;
    live = TRUE;
    min = MAX (min, peer_min);
    max = MIN (max, peer_max);
  }
  g_list_free_full (pads, gst_object_unref);
  gst_query_set_latency (query, live, min, max);
  return TRUE;
}

static GstPad *
request_new_pad (GstElement *element, GstPadTemplate *template, const char *name,
    const GstCaps *caps)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (element);
  const char *wanted = GST_PAD_TEMPLATE_NAME_TEMPLATE (template);
  GstPad **source = &self->sources[g_str_equal (wanted, "video") ? 0 : 1];

  if (*source) {
    GST_ERROR_OBJECT (self, "pad '%s' exists already; expected one request for it", wanted);
    return NULL;
  }
  GstPad *target = avatar_live_gate_add_pads (self->gate, wanted, source);
  GstPad *pad = gst_ghost_pad_new_from_template (wanted, target, template);
  gst_pad_set_active (pad, TRUE);
  gst_element_add_pad (element, pad);
  return pad;
}

static void
set_target (AvatarLiveOutput *self, GstState target)
{
  g_mutex_lock (&self->lock);
  self->target = target;
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
}

static void
stop_worker (AvatarLiveOutput *self)
{
  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->worker, g_thread_join);
  g_clear_pointer (&self->reason, g_free);
}

static GstStateChangeReturn
change_state (GstElement *element, GstStateChange transition)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (element);

  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop_worker (self);
  GstStateChangeReturn ret
      = GST_ELEMENT_CLASS (avatar_live_output_parent_class)->change_state (element, transition);
  if (ret == GST_STATE_CHANGE_FAILURE)
    return ret;
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED) {
    self->stopping = FALSE;
    self->n_connections = 0;
    self->latency = GST_CLOCK_TIME_NONE;
    self->target = GST_STATE_PAUSED;
    self->worker = g_thread_new ("live-output", work, self);
  } else if (transition == GST_STATE_CHANGE_PAUSED_TO_PLAYING
      || transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED) {
    set_target (self, GST_STATE_TRANSITION_NEXT (transition));
  }
  return ret;
}

static void
set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (object);

  switch (id) {
    case PROP_DESCRIPTION:
      g_free (self->description);
      self->description = g_value_dup_string (value);
      break;
    case PROP_MIN_WAIT:
      self->min_wait = g_value_get_uint64 (value);
      break;
    case PROP_MAX_WAIT:
      self->max_wait = g_value_get_uint64 (value);
      break;
    case PROP_STALL_TIMEOUT:
      self->stall_timeout = g_value_get_uint64 (value);
      break;
    case PROP_RETRY:
      self->retry = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
  }
}

static void
finalize (GObject *object)
{
  AvatarLiveOutput *self = AVATAR_LIVE_OUTPUT (object);

  g_free (self->description);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->wake);
  G_OBJECT_CLASS (avatar_live_output_parent_class)->finalize (object);
}

static void
avatar_live_output_init (AvatarLiveOutput *self)
{
  self->min_wait = GST_SECOND / 2;
  self->max_wait = 15 * GST_SECOND;
  self->stall_timeout = 10 * GST_SECOND;
  self->retry = TRUE;
  self->latency = GST_CLOCK_TIME_NONE;
  g_mutex_init (&self->lock);
  g_cond_init (&self->wake);
  self->gate = g_object_new (AVATAR_TYPE_LIVE_GATE, "name", "gate", NULL);
  gst_bin_add (GST_BIN (self), GST_ELEMENT (self->gate));
  /* The pipeline waits for the EOS of this element, also while there is no sink in it. */
  gst_bin_set_suppressed_flags (GST_BIN (self), GST_ELEMENT_FLAG_SINK | GST_ELEMENT_FLAG_SOURCE);
  GST_OBJECT_FLAG_SET (self, GST_ELEMENT_FLAG_SINK);
}

static void
install_time (GObjectClass *klass, guint id, const char *name, const char *blurb, guint64 value)
{
  g_object_class_install_property (klass, id,
      g_param_spec_uint64 (name, NULL, blurb, 0, G_MAXINT64, value,
          G_PARAM_WRITABLE | G_PARAM_STATIC_STRINGS));
}

static void
avatar_live_output_class_init (AvatarLiveOutputClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = set_property;
  object_class->finalize = finalize;
  element_class->change_state = change_state;
  element_class->request_new_pad = request_new_pad;
  element_class->send_event = send_event;
  element_class->query = query;
  GST_BIN_CLASS (klass)->handle_message = handle_message;
  g_object_class_install_property (object_class, PROP_DESCRIPTION,
      g_param_spec_string ("description", NULL, "Muxer and sink, as gst-launch-1.0 takes them",
          NULL, G_PARAM_WRITABLE | G_PARAM_STATIC_STRINGS));
  install_time (object_class, PROP_MIN_WAIT, "min-wait",
      "Time before the first attempt after a loss (ns); it doubles with each further one",
      GST_SECOND / 2);
  install_time (object_class, PROP_MAX_WAIT, "max-wait", "Longest time before an attempt (ns)",
      15 * GST_SECOND);
  install_time (object_class, PROP_STALL_TIMEOUT, "stall-timeout",
      "Time after which an output that takes no data is given up (ns); 0: never", 10 * GST_SECOND);
  g_object_class_install_property (object_class, PROP_RETRY,
      g_param_spec_boolean ("retry", NULL,
          "Make the output anew when it fails; else its failure is an error of this element", TRUE,
          G_PARAM_WRITABLE | G_PARAM_STATIC_STRINGS));
  gst_element_class_add_static_pad_template (element_class, &video_template);
  gst_element_class_add_static_pad_template (element_class, &audio_template);
  gst_element_class_set_static_metadata (element_class, "Live output", "Sink",
      "Muxer and sink that are made anew when they fail", "gst-avatar");
}

gboolean
avatar_live_output_register (void)
{
  return gst_element_register (NULL, "liveoutput", GST_RANK_NONE, AVATAR_TYPE_LIVE_OUTPUT);
}
