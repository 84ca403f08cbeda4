/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/job-threads.h"

/* A job that ends the server each time that it runs is not begun again. */
#define MOST_ATTEMPTS 3

typedef struct
{
  AvatarJobRunner runner;
  AvatarJobFunc func;
  gpointer user_data;
  guint n_threads;
  GPtrArray *threads;
  AvatarJobQueue *queue;
  GMutex lock;
  GCond wake;
  gboolean stopping;
} JobThreads;

/* Waits for a job. Returns NULL if the threads shall end. */
static AvatarJob *
wait_for_job (JobThreads *self)
{
  AvatarJob *job = NULL;

  g_mutex_lock (&self->lock);
  while (!self->stopping && !(job = avatar_job_queue_next (self->queue)))
    g_cond_wait (&self->wake, &self->lock);
  g_mutex_unlock (&self->lock);
  return job;
}

static gpointer
work (gpointer data)
{
  JobThreads *self = data;
  AvatarJob *job;

  while ((job = wait_for_job (self))) {
    AvatarProblem *problem = NULL;
    gboolean good = self->func (job, self->user_data, &problem);

    avatar_job_queue_end (self->queue, job, good ? AVATAR_JOB_DONE : AVATAR_JOB_FAILED, problem);
    avatar_job_unref (job);
  }
  return NULL;
}

static void
threads_start (AvatarJobRunner *runner, AvatarJobQueue *queue)
{
  JobThreads *self = (JobThreads *) runner;

  self->queue = queue;
  for (guint i = 0; i < self->n_threads; i++)
    g_ptr_array_add (self->threads, g_thread_new ("job", work, self));
}

static void
threads_wake (AvatarJobRunner *runner)
{
  JobThreads *self = (JobThreads *) runner;

  g_mutex_lock (&self->lock);
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
}

/* The thread that runs a job looks itself whether it is wanted. */
static void
threads_cancel (AvatarJobRunner *runner, AvatarJob *job)
{
}

static gboolean
threads_is_ready (AvatarJobRunner *runner)
{
  return TRUE;
}

static void
threads_stop (AvatarJobRunner *runner)
{
  JobThreads *self = (JobThreads *) runner;

  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_broadcast (&self->wake);
  g_mutex_unlock (&self->lock);
  for (guint i = 0; i < self->threads->len; i++)
    g_thread_join (self->threads->pdata[i]);
}

static void
threads_free (AvatarJobRunner *runner)
{
  JobThreads *self = (JobThreads *) runner;

  g_ptr_array_unref (self->threads);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->wake);
  g_free (self);
}

AvatarJobRunner *
avatar_job_threads_new (guint n_threads, AvatarJobFunc func, gpointer user_data)
{
  JobThreads *self = g_new0 (JobThreads, 1);

  self->runner = (AvatarJobRunner){ .name = "folder",
    .most_attempts = MOST_ATTEMPTS,
    .start = threads_start,
    .wake = threads_wake,
    .cancel = threads_cancel,
    .is_ready = threads_is_ready,
    .stop = threads_stop,
    .free = threads_free };
  self->func = func;
  self->user_data = user_data;
  self->n_threads = n_threads;
  self->threads = g_ptr_array_new ();
  g_mutex_init (&self->lock);
  g_cond_init (&self->wake);
  return &self->runner;
}
