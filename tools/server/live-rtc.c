/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/live-rtc.h"

#include <gst/sdp/sdp.h>
#define GST_USE_UNSTABLE_API
#include <gst/webrtc/webrtc.h>
#include <string.h>

/* Times (ms): longest for finding the addresses of this machine, and between two looks. */
#define GATHERING_TIME 5000
#define LOOK 50

/* An answer that is being made. */
typedef struct
{
  GstElement *rtc;
  AvatarLiveAnswer done;
  gpointer user_data;
  char *sdp;
  AvatarProblem *problem;
  guint n_looks;
} Answer;

/* ---------------------------------------------------------------------------------------- offer */

/* Browsers offer H.264 in several profiles and packet modes. */
static gboolean
is_usable (const GstCaps *caps, const char *encoding)
{
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  const char *name = gst_structure_get_string (s, "encoding-name");
  const char *mode = gst_structure_get_string (s, "packetization-mode");

  if (!name || g_ascii_strcasecmp (name, encoding) != 0)
    return FALSE;
  return g_ascii_strcasecmp (encoding, "H264") != 0 || g_strcmp0 (mode, "1") == 0;
}

static int
find_in_media (const GstSDPMedia *media, const char *encoding)
{
  for (guint i = 0; i < gst_sdp_media_formats_len (media); i++) {
    guint64 payload;
    g_autoptr (GstCaps) caps = NULL;

    if (!g_ascii_string_to_unsigned (gst_sdp_media_get_format (media, i), 10, 0, 127, &payload,
            NULL))
      continue;
    caps = gst_sdp_media_get_caps_from_media (media, payload);
    if (caps && !gst_caps_is_empty (caps) && is_usable (caps, encoding))
      return payload;
  }
  return -1;
}

int
avatar_live_rtc_find_payload (const char *sdp, const char *kind, const char *encoding)
{
  GstSDPMessage *message = NULL;
  int payload = -1;

  if (!*sdp || !g_utf8_validate (sdp, -1, NULL)
      || gst_sdp_message_new_from_text (sdp, &message) != GST_SDP_OK)
    return -1;
  for (guint i = 0; payload < 0 && i < gst_sdp_message_medias_len (message); i++) {
    const GstSDPMedia *media = gst_sdp_message_get_media (message, i);

    if (g_strcmp0 (gst_sdp_media_get_media (media), kind) == 0)
      payload = find_in_media (media, encoding);
  }
  gst_sdp_message_free (message);
  return payload;
}

static void
set_payload (GstElement *pipeline, const char *kind, const char *encoding, int clock, int payload)
{
  g_autofree char *pay_name = g_strconcat (kind, "-pay", NULL);
  g_autofree char *filter_name = g_strconcat (kind, "-rtp", NULL);
  g_autoptr (GstElement) pay = gst_bin_get_by_name (GST_BIN (pipeline), pay_name);
  g_autoptr (GstElement) filter = gst_bin_get_by_name (GST_BIN (pipeline), filter_name);
  g_autoptr (GstCaps) caps = gst_caps_new_simple ("application/x-rtp", "media", G_TYPE_STRING, kind,
      "encoding-name", G_TYPE_STRING, encoding, "clock-rate", G_TYPE_INT, clock, "payload",
      G_TYPE_INT, payload, NULL);

  g_object_set (pay, "pt", payload, NULL);
  g_object_set (filter, "caps", caps, NULL);
}

gboolean
avatar_live_rtc_prepare (GstElement *pipeline, const char *sdp, AvatarProblem **problem)
{
  g_autoptr (GstElement) rtc = gst_bin_get_by_name (GST_BIN (pipeline), "rtc");
  int video = avatar_live_rtc_find_payload (sdp, "video", "H264");
  int audio = avatar_live_rtc_find_payload (sdp, "audio", "OPUS");

  if (video < 0 || audio < 0)
    return avatar_problem_set (problem, 400, "an offer of SDP to receive H.264 and Opus",
        "use another output, such as mp4", "the offer has no %s",
        video < 0 ? "video as H.264 in packetization mode 1" : "audio as Opus");
  set_payload (pipeline, "video", "H264", 90000, video);
  set_payload (pipeline, "audio", "OPUS", 48000, audio);
  /* The pipeline starts in another thread, and webrtcbin refuses an offer before READY. */
  gst_element_set_state (rtc, GST_STATE_READY);
  return TRUE;
}

/* --------------------------------------------------------------------------------------- answer */

static gboolean
finish (gpointer data)
{
  Answer *answer = data;

  answer->done (answer->sdp, answer->problem, answer->user_data);
  gst_object_unref (answer->rtc);
  g_free (answer->sdp);
  g_free (answer);
  return G_SOURCE_REMOVE;
}

/* Without trickling: the answer has all candidates. */
static gboolean
look (gpointer data)
{
  Answer *answer = data;
  GstWebRTCICEGatheringState state;
  GstWebRTCSessionDescription *description = NULL;

  g_object_get (answer->rtc, "ice-gathering-state", &state, NULL);
  answer->n_looks++;
  if (state != GST_WEBRTC_ICE_GATHERING_STATE_COMPLETE && answer->n_looks * LOOK < GATHERING_TIME)
    return G_SOURCE_CONTINUE;
  g_object_get (answer->rtc, "local-description", &description, NULL);
  if (description) {
    answer->sdp = gst_sdp_message_as_text (description->sdp);
    gst_webrtc_session_description_free (description);
  } else {
    avatar_problem_set (&answer->problem, 500, NULL, "use another output, such as mp4",
        "no answer to the offer could be made");
  }
  return finish (answer);
}

static gboolean
wait_for_candidates (gpointer data)
{
  g_timeout_add (LOOK, look, data);
  return G_SOURCE_REMOVE;
}

static void
on_answer (GstPromise *promise, gpointer data)
{
  Answer *answer = data;
  const GstStructure *reply = gst_promise_get_reply (promise);
  g_autoptr (GstWebRTCSessionDescription) description = NULL;

  if (reply)
    gst_structure_get (reply, "answer", GST_TYPE_WEBRTC_SESSION_DESCRIPTION, &description, NULL);
  if (description)
    g_signal_emit_by_name (answer->rtc, "set-local-description", description, NULL);
  gst_promise_unref (promise);
  g_idle_add (wait_for_candidates, answer);
}

static void
on_offer_set (GstPromise *promise, gpointer data)
{
  Answer *answer = data;

  gst_promise_unref (promise);
  g_signal_emit_by_name (answer->rtc, "create-answer", NULL,
      gst_promise_new_with_change_func (on_answer, answer, NULL));
}

static void
set_offer (GstElement *rtc, gpointer data)
{
  Answer *answer = data;
  GstSDPMessage *message = NULL;
  GstWebRTCSessionDescription *offer;

  gst_sdp_message_new_from_text (answer->sdp, &message);
  g_clear_pointer (&answer->sdp, g_free);
  offer = gst_webrtc_session_description_new (GST_WEBRTC_SDP_TYPE_OFFER, message);
  g_signal_emit_by_name (rtc, "set-remote-description", offer,
      gst_promise_new_with_change_func (on_offer_set, answer, NULL));
  gst_webrtc_session_description_free (offer);
}

void
avatar_live_rtc_answer (GstElement *pipeline, const char *sdp, AvatarLiveAnswer done,
    gpointer user_data)
{
  Answer *answer = g_new0 (Answer, 1);

  answer->rtc = gst_bin_get_by_name (GST_BIN (pipeline), "rtc");
  answer->done = done;
  answer->user_data = user_data;
  answer->sdp = g_strdup (sdp);
  set_offer (answer->rtc, answer);
}
