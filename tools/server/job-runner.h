/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Back end of the queue of jobs: what runs them. The queue keeps their folders and states, and
 * tells its runner of jobs that wait. */
#pragma once

#include "tools/server/job.h"

G_BEGIN_DECLS

typedef struct _AvatarJobQueue AvatarJobQueue;
typedef struct _AvatarJobRunner AvatarJobRunner;

/* Functions of a runner, called without the queue's lock. */
struct _AvatarJobRunner
{
  const char *name;    /* that clients see: "folder" or "redis" */
  guint most_attempts; /* a job begun as often when the queue is opened fails; 0: no bound */
  void (*start) (AvatarJobRunner *self, AvatarJobQueue *queue);
  /* A job waits. */
  void (*wake) (AvatarJobRunner *self);
  /* A job that waited or runs is cancelled; the queue has ended it if it waited. */
  void (*cancel) (AvatarJobRunner *self, AvatarJob *job);
  /* Returns TRUE if jobs can be run now. */
  gboolean (*is_ready) (AvatarJobRunner *self);
  /* Ends the threads. Running jobs are stopped already. */
  void (*stop) (AvatarJobRunner *self);
  void (*free) (AvatarJobRunner *self);
};

/* Moves the job that has waited longest to those that run. Returns NULL if none waits. */
AvatarJob *avatar_job_queue_next (AvatarJobQueue *self);
/* Moves a waiting job to those that run. Returns FALSE if it does not wait any more. */
gboolean avatar_job_queue_begin (AvatarJobQueue *self, AvatarJob *job);
/* Lets a running job wait again, before all others. */
void avatar_job_queue_put_back (AvatarJobQueue *self, AvatarJob *job);
/* Ends a running job, as done or failed. Takes @problem. A job that was stopped before it was done
 * stays running in its folder; one that was cancelled becomes cancelled. */
void avatar_job_queue_end (AvatarJobQueue *self, AvatarJob *job, AvatarJobState state,
    AvatarProblem *problem);
/* Returns new references to the jobs that run, then to those that wait. */
GPtrArray *avatar_job_queue_get_open (AvatarJobQueue *self);

G_END_DECLS
