/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Live session of avatar-server: speech enters as raw audio, the avatar leaves as fragments of MP4,
 * by WebRTC, or to an RTMP server. All functions are called in the main thread, and so are the
 * callbacks. */
#pragma once

#include "tools/server/planner.h"
#include "tools/server/server-config.h"

G_BEGIN_DECLS

typedef struct _AvatarLiveSession AvatarLiveSession;

typedef enum
{
  AVATAR_LIVE_MP4,
  AVATAR_LIVE_WEBRTC,
  AVATAR_LIVE_RTMP,
} AvatarLiveOutputKind;

typedef struct
{
  AvatarJobSettings settings;
  AvatarLiveOutputKind output;
  guint sample_rate, channels;
  char *url;      /* address to push to, for RTMP */
  char *portrait; /* path */
} AvatarLiveOptions;

typedef struct
{
  void (*send_event) (const char *json, gpointer user_data);
  void (*send_media) (GBytes *bytes, gpointer user_data);
  /* The session has ended by itself. */
  void (*ended) (gpointer user_data);
} AvatarLiveCallbacks;

/* Reads the message "start", but for the portrait: its id is in *@portrait_id, or NULL. */
gboolean avatar_live_options_parse (AvatarLiveOptions *self, const AvatarServerConfig *config,
    JsonObject *message, const char **portrait_id, AvatarProblem **problem);
void avatar_live_options_clear (AvatarLiveOptions *self);

/* Takes @options. A session by WebRTC starts with the first offer. */
AvatarLiveSession *avatar_live_session_new (const AvatarServerConfig *config,
    AvatarPlanner *planner, AvatarLiveOptions *options, const AvatarLiveCallbacks *callbacks,
    gpointer user_data, AvatarProblem **problem);
/* Stops without waiting; no callback follows. */
void avatar_live_session_free (AvatarLiveSession *self);
/* Waits until all sessions that were freed have stopped, before the program ends. */
void avatar_live_session_wait_all (void);
/* Adds samples of 16 bits, little endian, at the rate of the options. */
gboolean
avatar_live_session_speak (AvatarLiveSession *self, GBytes *samples, AvatarProblem **problem);
void avatar_live_session_speak_end (AvatarLiveSession *self);
/* Drops what is not yet in the video; the event "interrupted" answers. */
void avatar_live_session_interrupt (AvatarLiveSession *self);
/* Changes prompt, seed or steps from the next window on. */
gboolean
avatar_live_session_change (AvatarLiveSession *self, JsonObject *message, AvatarProblem **problem);
/* Answers an offer of SDP. @done gets the answer, or NULL with a problem that it takes. */
typedef void (*AvatarLiveAnswer) (const char *sdp, AvatarProblem *problem, gpointer user_data);
void avatar_live_session_offer (AvatarLiveSession *self, const char *sdp, AvatarLiveAnswer done,
    gpointer user_data);

G_END_DECLS
