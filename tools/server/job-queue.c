/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/job-queue.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* Bounds of Retry-After (s). */
#define SHORTEST_RETRY 2
#define LONGEST_RETRY 600

struct _AvatarJobQueue
{
  char *jobs_folder, *uploads_folder;
  int lock_fd;
  guint bound, keep;
  AvatarJobRunner *runner;

  GMutex lock;
  gboolean closing;
  GHashTable *jobs;        /* id: AvatarJob */
  GQueue waiting, running; /* AvatarJob, which the table owns */
  guint n_reserved;
  double run_seconds; /* duration of the last job */
};

/* -------------------------------------------------------------------------------------- opening */

static gboolean
fail (GError **error, const char *path)
{
  int code = errno;

  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (code), "%s: %s", path,
      g_strerror (code));
  return FALSE;
}

static gboolean
lock_folder (AvatarJobQueue *self, const char *folder, GError **error)
{
  self->lock_fd = avatar_lock_folder (folder, error);
  if (self->lock_fd < 0)
    return FALSE;
  if (g_mkdir_with_parents (self->jobs_folder, 0700) != 0)
    return fail (error, self->jobs_folder);
  return g_mkdir_with_parents (self->uploads_folder, 0700) == 0
      || fail (error, self->uploads_folder);
}

static int
compare_created (gconstpointer a, gconstpointer b)
{
  const AvatarJob *one = *(AvatarJob **) a, *two = *(AvatarJob **) b;

  return (one->created > two->created) - (one->created < two->created);
}

/* Returns the jobs by the time of their creation, without new references. */
static GPtrArray *
sorted (AvatarJobQueue *self)
{
  GPtrArray *all = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer job;

  g_hash_table_iter_init (&iter, self->jobs);
  while (g_hash_table_iter_next (&iter, NULL, &job))
    g_ptr_array_add (all, job);
  g_ptr_array_sort (all, compare_created);
  return all;
}

/* Completes what a crash has interrupted. The video is renamed when it is whole, before job.json
 * says so. */
static void
recover (AvatarJobQueue *self, AvatarJob *job)
{
  g_autofree char *video = avatar_job_path (job, AVATAR_JOB_VIDEO);
  g_autofree char *part = avatar_job_path (job, AVATAR_JOB_PART);

  g_unlink (part);
  if (job->state >= AVATAR_JOB_DONE)
    return;
  if (g_file_test (video, G_FILE_TEST_EXISTS)) {
    job->state = AVATAR_JOB_DONE;
    job->finished = g_get_real_time ();
    job->frames_done = job->frames_total;
  } else if (self->runner->most_attempts && job->attempts >= self->runner->most_attempts) {
    job->state = AVATAR_JOB_FAILED;
    job->finished = g_get_real_time ();
    avatar_problem_set (&job->problem, 500, NULL, "see the log of the server; delete the job",
        "the server has ended %u times while the job was running", job->attempts);
  } else {
    job->state = AVATAR_JOB_QUEUED;
    g_queue_push_tail (&self->waiting, job);
    return;
  }
  avatar_job_save (job, NULL, NULL);
}

static void
read_jobs (AvatarJobQueue *self)
{
  g_autoptr (GDir) dir = g_dir_open (self->jobs_folder, 0, NULL);
  g_autoptr (GPtrArray) all = NULL;
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *folder = g_build_filename (self->jobs_folder, name, NULL);
    g_autoptr (GError) error = NULL;
    AvatarJob *job = avatar_job_is_id (name) ? avatar_job_load (name, folder, &error) : NULL;

    if (job)
      g_hash_table_insert (self->jobs, job->id, job);
    else
      g_printerr ("avatar-server: warning: %s is no job%s%s; remove it\n", folder,
          error ? ": " : "", error ? error->message : "");
  }
  all = sorted (self);
  for (guint i = 0; i < all->len; i++)
    recover (self, all->pdata[i]);
}

static void
queue_free (AvatarJobQueue *self)
{
  g_queue_clear (&self->waiting);
  g_queue_clear (&self->running);
  g_hash_table_unref (self->jobs);
  self->runner->free (self->runner);
  g_mutex_clear (&self->lock);
  if (self->lock_fd >= 0)
    close (self->lock_fd);
  g_free (self->jobs_folder);
  g_free (self->uploads_folder);
  g_free (self);
}

AvatarJobQueue *
avatar_job_queue_open (const AvatarJobQueueOptions *options, GError **error)
{
  AvatarJobQueue *self = g_new0 (AvatarJobQueue, 1);

  self->bound = options->bound;
  self->keep = options->keep;
  self->runner = options->runner;
  self->lock_fd = -1;
  self->jobs_folder = g_build_filename (options->folder, "jobs", NULL);
  self->uploads_folder = g_build_filename (options->folder, "uploads", NULL);
  self->jobs
      = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, (GDestroyNotify) avatar_job_unref);
  g_queue_init (&self->waiting);
  g_queue_init (&self->running);
  g_mutex_init (&self->lock);
  if (!lock_folder (self, options->folder, error)) {
    queue_free (self);
    return NULL;
  }
  avatar_empty_folder (self->uploads_folder);
  read_jobs (self);
  return self;
}

/* -------------------------------------------------------------------------------------- running */

/* Removes the jobs that ended first, beyond the number to keep. Called with the lock. */
static void
remove_old (AvatarJobQueue *self)
{
  g_autoptr (GPtrArray) all = sorted (self);
  guint n = 0;

  for (guint i = all->len; i > 0; i--) {
    AvatarJob *job = all->pdata[i - 1];

    if (!avatar_job_has_ended (job) || n++ < self->keep)
      continue;
    g_mutex_lock (&job->lock);
    job->removed = TRUE;
    g_mutex_unlock (&job->lock);
    avatar_remove_folder (job->folder);
    g_hash_table_remove (self->jobs, job->id);
  }
}

static void
save (AvatarJob *job)
{
  g_autoptr (GError) error = NULL;

  if (!avatar_job_save (job, NULL, &error))
    g_printerr ("avatar-server: warning: the state of job %s is not saved: %s\n", job->id,
        error->message);
}

static void
set_begun (AvatarJob *job)
{
  g_mutex_lock (&job->lock);
  job->state = AVATAR_JOB_RUNNING;
  job->started = g_get_real_time ();
  job->attempts++;
  job->frames_done = 0;
  job->frames_denoised = 0;
  memset (job->stage_seconds, 0, sizeof job->stage_seconds);
  g_mutex_unlock (&job->lock);
  save (job);
}

static void
set_ended (AvatarJob *job, AvatarJobState state, AvatarProblem *problem)
{
  g_mutex_lock (&job->lock);
  job->state = job->cancelled ? AVATAR_JOB_CANCELLED : state;
  job->finished = g_get_real_time ();
  g_clear_pointer (&job->phase, g_free);
  g_clear_pointer (&job->picture, gst_sample_unref);
  if (job->state == AVATAR_JOB_FAILED)
    job->problem = problem;
  else
    avatar_problem_free (problem);
  g_mutex_unlock (&job->lock);
  save (job);
}

gboolean
avatar_job_queue_begin (AvatarJobQueue *self, AvatarJob *job)
{
  gboolean waited;

  g_mutex_lock (&self->lock);
  waited = !self->closing && g_queue_remove (&self->waiting, job);
  if (waited)
    g_queue_push_tail (&self->running, job);
  g_mutex_unlock (&self->lock);
  if (waited)
    set_begun (job);
  return waited;
}

AvatarJob *
avatar_job_queue_next (AvatarJobQueue *self)
{
  AvatarJob *job = NULL;

  g_mutex_lock (&self->lock);
  if (!self->closing)
    job = g_queue_pop_head (&self->waiting);
  if (job)
    g_queue_push_tail (&self->running, avatar_job_ref (job));
  g_mutex_unlock (&self->lock);
  if (job)
    set_begun (job);
  return job;
}

void
avatar_job_queue_put_back (AvatarJobQueue *self, AvatarJob *job)
{
  g_mutex_lock (&self->lock);
  if (g_queue_remove (&self->running, job))
    g_queue_push_head (&self->waiting, job);
  g_mutex_lock (&job->lock);
  job->state = AVATAR_JOB_QUEUED;
  g_mutex_unlock (&job->lock);
  g_mutex_unlock (&self->lock);
  save (job);
}

void
avatar_job_queue_end (AvatarJobQueue *self, AvatarJob *job, AvatarJobState state,
    AvatarProblem *problem)
{
  gboolean stopped;

  g_mutex_lock (&job->lock);
  stopped = job->stopped && state != AVATAR_JOB_DONE && !job->cancelled;
  g_mutex_unlock (&job->lock);
  if (stopped)
    avatar_problem_free (problem);
  else
    set_ended (job, state, problem);
  g_mutex_lock (&self->lock);
  g_queue_remove (&self->running, job);
  if (!stopped)
    self->run_seconds = (job->finished - job->started) / (double) G_USEC_PER_SEC;
  remove_old (self);
  g_mutex_unlock (&self->lock);
}

GPtrArray *
avatar_job_queue_get_open (AvatarJobQueue *self)
{
  GPtrArray *open = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_job_unref);

  g_mutex_lock (&self->lock);
  for (GList *l = self->running.head; l; l = l->next)
    g_ptr_array_add (open, avatar_job_ref (l->data));
  for (GList *l = self->waiting.head; l; l = l->next)
    g_ptr_array_add (open, avatar_job_ref (l->data));
  g_mutex_unlock (&self->lock);
  return open;
}

void
avatar_job_queue_start (AvatarJobQueue *self)
{
  self->runner->start (self->runner, self);
}

void
avatar_job_queue_close (AvatarJobQueue *self)
{
  g_mutex_lock (&self->lock);
  self->closing = TRUE;
  for (GList *l = self->running.head; l; l = l->next)
    avatar_job_stop (l->data);
  g_mutex_unlock (&self->lock);
  self->runner->stop (self->runner);
  queue_free (self);
}

/* --------------------------------------------------------------------------------------- adding */

gboolean
avatar_job_queue_reserve (AvatarJobQueue *self)
{
  gboolean free;

  g_mutex_lock (&self->lock);
  free
      = g_queue_get_length (&self->waiting) + g_queue_get_length (&self->running) + self->n_reserved
      < self->bound;
  self->n_reserved += free;
  g_mutex_unlock (&self->lock);
  return free;
}

void
avatar_job_queue_release (AvatarJobQueue *self)
{
  g_mutex_lock (&self->lock);
  self->n_reserved--;
  g_mutex_unlock (&self->lock);
}

char *
avatar_job_queue_new_folder (AvatarJobQueue *self, GError **error)
{
  g_autofree char *id = avatar_job_new_id ();
  g_autofree char *path = g_build_filename (self->uploads_folder, id, NULL);

  if (g_mkdir (path, 0700) != 0) {
    fail (error, path);
    return NULL;
  }
  return g_steal_pointer (&path);
}

AvatarJob *
avatar_job_queue_add (AvatarJobQueue *self, const char *upload, AvatarJobSettings *settings,
    guint n_frames, GError **error)
{
  g_autofree char *id = avatar_job_new_id ();
  g_autofree char *folder = g_build_filename (self->jobs_folder, id, NULL);
  g_autoptr (AvatarJob) job = avatar_job_new (id, folder, settings);

  job->frames_total = n_frames;
  if (!avatar_job_save (job, upload, error) || !avatar_sync_path (upload, error))
    return NULL;
  if (g_rename (upload, folder) != 0) {
    fail (error, folder);
    return NULL;
  }
  if (!avatar_sync_path (self->jobs_folder, error))
    return NULL;
  g_mutex_lock (&self->lock);
  g_hash_table_insert (self->jobs, job->id, avatar_job_ref (job));
  g_queue_push_tail (&self->waiting, job);
  self->n_reserved--;
  g_mutex_unlock (&self->lock);
  self->runner->wake (self->runner);
  return g_steal_pointer (&job);
}

/* -------------------------------------------------------------------------------------- clients */

AvatarJob *
avatar_job_queue_get (AvatarJobQueue *self, const char *id)
{
  AvatarJob *job;

  g_mutex_lock (&self->lock);
  job = g_hash_table_lookup (self->jobs, id);
  if (job)
    avatar_job_ref (job);
  g_mutex_unlock (&self->lock);
  return job;
}

void
avatar_job_queue_delete (AvatarJobQueue *self, AvatarJob *job)
{
  gboolean waited;

  g_mutex_lock (&self->lock);
  waited = g_queue_remove (&self->waiting, job);
  g_mutex_lock (&job->lock);
  job->cancelled = TRUE;
  job->removed = job->state >= AVATAR_JOB_DONE;
  g_mutex_unlock (&job->lock);
  if (job->removed) {
    avatar_remove_folder (job->folder);
    g_hash_table_remove (self->jobs, job->id);
  }
  g_mutex_unlock (&self->lock);
  if (waited) {
    set_ended (job, AVATAR_JOB_CANCELLED, NULL);
    g_mutex_lock (&self->lock);
    remove_old (self);
    g_mutex_unlock (&self->lock);
  }
  if (!job->removed)
    self->runner->cancel (self->runner, job);
}

/* Called with the lock. */
static guint
position (AvatarJobQueue *self, AvatarJob *job)
{
  return MAX (g_queue_index (&self->waiting, job), 0);
}

void
avatar_job_queue_build_job (AvatarJobQueue *self, AvatarJob *job, JsonBuilder *builder)
{
  g_mutex_lock (&self->lock);
  avatar_job_build (job, position (self, job), builder);
  g_mutex_unlock (&self->lock);
}

void
avatar_job_queue_build (AvatarJobQueue *self, JsonBuilder *builder)
{
  g_autoptr (GPtrArray) all = NULL;

  g_mutex_lock (&self->lock);
  all = sorted (self);
  json_builder_begin_array (builder);
  for (guint i = all->len; i > 0; i--)
    avatar_job_build (all->pdata[i - 1], position (self, all->pdata[i - 1]), builder);
  json_builder_end_array (builder);
  g_mutex_unlock (&self->lock);
}

void
avatar_job_queue_get_load (AvatarJobQueue *self, guint *waiting, guint *running, guint *bound)
{
  g_mutex_lock (&self->lock);
  *waiting = g_queue_get_length (&self->waiting);
  *running = g_queue_get_length (&self->running);
  *bound = self->bound;
  g_mutex_unlock (&self->lock);
}

const char *
avatar_job_queue_get_runner (AvatarJobQueue *self)
{
  return self->runner->name;
}

gboolean
avatar_job_queue_is_ready (AvatarJobQueue *self)
{
  return self->runner->is_ready (self->runner);
}

guint
avatar_job_queue_retry_after (AvatarJobQueue *self)
{
  double seconds;

  g_mutex_lock (&self->lock);
  seconds = self->run_seconds;
  g_mutex_unlock (&self->lock);
  return CLAMP (seconds, SHORTEST_RETRY, LONGEST_RETRY);
}
