/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of avatar-server that its parts share. Nothing changes after the start. */
#pragma once

#include "tools/server/job-settings.h"

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  char *name; /* last part of the path, as clients choose it */
  char *path;
} AvatarServerModel;

typedef struct
{
  GPtrArray *models;   /* AvatarServerModel, the default first */
  char *device;        /* NULL: auto */
  char *portrait;      /* portrait of live sessions without one, or NULL */
  char *token;         /* NULL: none is demanded */
  char **hosts;        /* further names of the server in the header Host */
  char **push_to;      /* beginnings of addresses that a live session may push to */
  gboolean loopback;   /* listens on the loopback interface only */
  guint64 most_bytes;  /* largest upload */
  guint most_seconds;  /* longest audio of a job */
  guint most_sessions; /* live */
  guint most_connections;
  guint header_seconds; /* that a connection may wait for the headers of a request */
} AvatarServerConfig;

void avatar_server_model_free (AvatarServerModel *model);
/* Returns the model that a client has named, or the default for NULL. */
const AvatarServerModel *avatar_server_config_find (const AvatarServerConfig *self,
    const char *name, AvatarProblem **problem);
/* Sets the properties of an avatarbin. */
gboolean avatar_server_config_apply (const AvatarServerConfig *self,
    const AvatarJobSettings *settings, GstElement *avatar, AvatarProblem **problem);
/* Returns the problem of an error's text, without the paths of the server's folders. */
AvatarProblem *avatar_server_problem_from_text (guint status, const char *text);
/* Returns a problem for the text of an error message of GStreamer. */
AvatarProblem *avatar_server_problem_from_message (GstMessage *message);

G_END_DECLS
