/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts about a job that server and workers give each other by way of Redis, in JSON. Both are
 * parsed as foreign bytes. */
#pragma once

#include "tools/server/job.h"

G_BEGIN_DECLS

/* Longest text that is taken. */
#define AVATAR_REDIS_LONGEST_TEXT 65536

/* A job as the server hands it in. */
typedef struct
{
  AvatarJobSettings settings;
  guint n_frames;
  guint64 audio_bytes, image_bytes;
} AvatarRedisForm;

/* Free with g_free(). */
char *avatar_redis_form_write (AvatarJob *job, guint64 audio_bytes, guint64 image_bytes);
/* Reads a form, whose settings the caller clears. */
gboolean avatar_redis_form_parse (const char *text, AvatarRedisForm *form, GError **error);
void avatar_redis_form_clear (AvatarRedisForm *form);

/* State of a job as its worker reports it: queued, running, done or failed. */
typedef struct
{
  AvatarJobState state;
  guint attempts, frames_done, n_pictures;
  double frames_denoised, stage_seconds[AVATAR_N_STAGES];
  char *phase;
  GPtrArray *warnings;
  AvatarProblem *problem;
  guint64 video_bytes;
} AvatarRedisReport;

/* Free with g_free(). @video_bytes is the size of the result, 0: none yet. */
char *avatar_redis_report_write (AvatarJob *job, AvatarJobState state, guint64 video_bytes);
gboolean avatar_redis_report_parse (const char *text, AvatarRedisReport *report, GError **error);
/* Moves what has been reported to @job, but for its state and the number of pictures. */
void avatar_redis_report_apply (AvatarRedisReport *report, AvatarJob *job);
void avatar_redis_report_clear (AvatarRedisReport *report);

G_END_DECLS
