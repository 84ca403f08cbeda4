/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Job of avatar-server, and its folder: job.json, audio, image and, when it is done, video.mp4.
 * Every file is written under another name, synchronised and renamed, so that a folder is whole
 * after a crash. */
#pragma once

#include "tools/server/job-settings.h"

#include <gst/gst.h>

G_BEGIN_DECLS

#define AVATAR_JOB_AUDIO "audio"
#define AVATAR_JOB_IMAGE "image"
#define AVATAR_JOB_VIDEO "video.mp4"
#define AVATAR_JOB_PART "video.part"
#define AVATAR_JOB_FILE "job.json"

typedef enum
{
  AVATAR_JOB_QUEUED,
  AVATAR_JOB_RUNNING,
  AVATAR_JOB_DONE,
  AVATAR_JOB_FAILED,
  AVATAR_JOB_CANCELLED,
} AvatarJobState;

enum
{
  AVATAR_STAGE_AUDIO,
  AVATAR_STAGE_DENOISE,
  AVATAR_STAGE_DECODE,
  AVATAR_N_STAGES
};

/* Id and folder never change; the lock guards all else. Times are in us since 1970, 0: not yet. */
typedef struct
{
  gatomicrefcount refs;
  char *id, *folder;
  GMutex lock;
  AvatarJobState state;
  AvatarJobSettings settings;
  gint64 created, started, finished, first_picture;
  guint attempts; /* number of times that it was begun */
  guint frames_total, frames_done;
  double frames_denoised;
  char *phase;
  double stage_seconds[AVATAR_N_STAGES];
  AvatarProblem *problem;
  GPtrArray *warnings; /* strings */
  gboolean cancelled;  /* a client does not want it any more */
  gboolean stopped;    /* its run shall end because the program does */
  gboolean removed;    /* its folder shall not be written any more */
  GstSample *picture;  /* newest picture of a running job */
  guint n_pictures;
} AvatarJob;

/* Makes a random id. Free with g_free(). */
char *avatar_job_new_id (void);
gboolean avatar_job_is_id (const char *text);
/* Takes @settings, which are left empty. */
AvatarJob *avatar_job_new (const char *id, const char *folder, AvatarJobSettings *settings);
/* Reads job.json in @folder. */
AvatarJob *avatar_job_load (const char *id, const char *folder, GError **error);
/* Writes job.json in @folder, NULL: the job's. Call without the lock. */
gboolean avatar_job_save (AvatarJob *self, const char *folder, GError **error);
AvatarJob *avatar_job_ref (AvatarJob *self);
void avatar_job_unref (AvatarJob *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarJob, avatar_job_unref)
/* Path of one of the job's files. Free with g_free(). */
char *avatar_job_path (const AvatarJob *self, const char *name);
gboolean avatar_job_has_ended (AvatarJob *self);
/* Ends the run of a job, which stays running in its folder. */
void avatar_job_stop (AvatarJob *self);
/* FALSE: the job is cancelled or stopped, and its run shall end. */
gboolean avatar_job_is_wanted (AvatarJob *self);
/* Returns a picture of a job as JPEG, or NULL. It is one already if workers have sent it. */
GBytes *avatar_job_code_picture (GstSample *picture);
/* Appends the state for clients; @position: jobs before it in the queue. */
void avatar_job_build (AvatarJob *self, guint position, JsonBuilder *builder);

/* Writes what the system holds of a file or folder to the disk. */
gboolean avatar_sync_path (const char *path, GError **error);
/* Makes a folder and locks it for this process. Returns a descriptor to close, or -1. */
int avatar_lock_folder (const char *folder, GError **error);
/* Removes what is in a folder of folders of files, as far as possible. */
void avatar_empty_folder (const char *path);
/* Removes a folder of files, as far as possible. */
void avatar_remove_folder (const char *path);

G_END_DECLS
