/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queue of jobs: a folder for each, and a runner. Functions may be called from any thread. */
#pragma once

#include "tools/server/job-runner.h"

G_BEGIN_DECLS

typedef struct
{
  const char *folder;
  guint bound; /* most jobs that wait or run */
  guint keep;  /* jobs that have ended whose folders are kept */
  AvatarJobRunner *runner;
} AvatarJobQueueOptions;

/* Locks the folder, reads its jobs, and removes what uploads have left that were not completed.
 * Jobs that were running are begun anew. Takes the runner. */
AvatarJobQueue *avatar_job_queue_open (const AvatarJobQueueOptions *options, GError **error);
void avatar_job_queue_start (AvatarJobQueue *self);
/* Stops the runner. Running jobs stay running in their folders. */
void avatar_job_queue_close (AvatarJobQueue *self);

/* Takes one of the places of the queue, or returns FALSE if it is full. */
gboolean avatar_job_queue_reserve (AvatarJobQueue *self);
void avatar_job_queue_release (AvatarJobQueue *self);
/* Makes a folder for an upload in the queue's file system. Free with g_free(). */
char *avatar_job_queue_new_folder (AvatarJobQueue *self, GError **error);
/* Adds a job of @n_frames video frames, 0: unknown, whose files are in @upload. Takes the place
 * that was reserved, and @settings. */
AvatarJob *avatar_job_queue_add (AvatarJobQueue *self, const char *upload,
    AvatarJobSettings *settings, guint n_frames, GError **error);
/* Returns NULL if there is no job of this id. */
AvatarJob *avatar_job_queue_get (AvatarJobQueue *self, const char *id);
/* Cancels a job that waits or runs; removes one that has ended. */
void avatar_job_queue_delete (AvatarJobQueue *self, AvatarJob *job);
/* Appends an array of all jobs, the newest first. */
void avatar_job_queue_build (AvatarJobQueue *self, JsonBuilder *builder);
void avatar_job_queue_build_job (AvatarJobQueue *self, AvatarJob *job, JsonBuilder *builder);
void avatar_job_queue_get_load (AvatarJobQueue *self, guint *waiting, guint *running, guint *bound);
/* Name of the runner. */
const char *avatar_job_queue_get_runner (AvatarJobQueue *self);
/* Returns TRUE if the runner can run jobs now. */
gboolean avatar_job_queue_is_ready (AvatarJobQueue *self);
/* Time (s) after which a client may try again. */
guint avatar_job_queue_retry_after (AvatarJobQueue *self);

G_END_DECLS
