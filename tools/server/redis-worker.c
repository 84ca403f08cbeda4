/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/redis-worker.h"

#include "tools/server/job-run.h"
#include "tools/server/job-upload.h"
#include "tools/server/redis-jobs.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A job that ends its worker each time that it runs is not begun again. */
#define MOST_ATTEMPTS 3
/* Longest pause (us) between two signs of life; a quarter of the lease if that is shorter. */
#define BEAT (1 * G_TIME_SPAN_SECOND)
/* Pause (us) while nothing can be done. */
#define PAUSE (100 * G_TIME_SPAN_MILLISECOND)
/* Time (s) for which a picture is of use, and a part of a video whose worker may be dead. */
#define PICTURE_SECONDS 60
#define PART_SECONDS 300

struct _AvatarRedisWorker
{
  const AvatarRedisOptions *options;
  AvatarJobRunContext context;
  char *jobs_folder;
  int lock_fd;
  GPtrArray *slots;

  GMutex lock;
  GCond wake;
  gboolean stopping;
};

/* Thread with a connection that runs one job after the other. */
typedef struct
{
  AvatarRedisWorker *worker;
  GThread *thread;
  AvatarRedis *redis;
  AvatarRedisClaim claim;
  guint n_connections;
  gint64 left_after; /* time before which jobs of others are not taken */

  /* the job that is owned */
  AvatarJob *job;
  AvatarRedisForm form;
  gboolean owned;
  gint64 next_beat;
  guint n_pictures;
  guint64 video_bytes;

  /* its run in another thread */
  GMutex lock;
  GCond wake;
  gboolean ended, good;
} Slot;

/* Puts a line into the log about the job. */
static void
tell (Slot *self, const char *what, const char *more)
{
  g_print ("avatar-server: job %s: %s%s%s\n", self->claim.id, what, more ? ": " : "",
      more ? more : "");
  fflush (stdout);
}

static gboolean
is_stopping (AvatarRedisWorker *self)
{
  gboolean stopping;

  g_mutex_lock (&self->lock);
  stopping = self->stopping;
  g_mutex_unlock (&self->lock);
  return stopping;
}

static void
pause_slot (Slot *self)
{
  AvatarRedisWorker *worker = self->worker;
  gint64 until = g_get_monotonic_time () + PAUSE;

  g_mutex_lock (&worker->lock);
  if (!worker->stopping)
    g_cond_wait_until (&worker->wake, &worker->lock, until);
  g_mutex_unlock (&worker->lock);
}

/* -------------------------------------------------------------------------------- signs of life */

static gboolean
send_picture (Slot *self, GError **error)
{
  g_autofree char *key = avatar_redis_key ("picture", self->claim.id);
  g_autoptr (GstSample) sample = NULL;
  g_autoptr (GBytes) jpeg = NULL;
  guint n_pictures;

  g_mutex_lock (&self->job->lock);
  n_pictures = self->job->n_pictures;
  sample = self->job->picture ? gst_sample_ref (self->job->picture) : NULL;
  g_mutex_unlock (&self->job->lock);
  if (!sample || n_pictures == self->n_pictures)
    return TRUE;
  self->n_pictures = n_pictures;
  jpeg = avatar_job_code_picture (sample);
  if (!jpeg || g_bytes_get_size (jpeg) > AVATAR_REDIS_PIECE)
    return TRUE;
  return avatar_redis_set (self->redis, key, jpeg, PICTURE_SECONDS, error);
}

/* AvatarRedisTick: keeps the job, if it is time for it. Returns FALSE without an error if it is
 * another's now. */
static gboolean
beat (gpointer data, GError **error)
{
  Slot *self = data;
  gint64 now = g_get_monotonic_time ();
  g_autofree char *report = NULL;

  if (now < self->next_beat)
    return TRUE;
  self->next_beat = now + MIN (BEAT, self->claim.lease_ms * G_TIME_SPAN_MILLISECOND / 4);
  if (!send_picture (self, error))
    return FALSE;
  report = avatar_redis_report_write (self->job, AVATAR_JOB_RUNNING, 0);
  if (!avatar_redis_beat (self->redis, &self->claim, report, self->worker->options->expiry_seconds,
          &self->owned, error))
    return FALSE;
  if (!self->owned) {
    tell (self, "stopped, since it is cancelled or another worker's", NULL);
    avatar_job_stop (self->job);
  }
  return self->owned;
}

/* Reports the error of a step. Returns FALSE if the job cannot go on. */
static gboolean
survive (Slot *self, GError *error)
{
  if (error->domain == AVATAR_REDIS_ERROR && error->code != AVATAR_REDIS_ERROR_MISSING) {
    avatar_redis_give_up (self->redis, error);
    return TRUE;
  }
  tell (self, "given up", error->message);
  if (error->domain != AVATAR_REDIS_ERROR)
    avatar_problem_set (&self->job->problem, 500, NULL, "see to the disk of the worker",
        "the worker could not read or write the files of the job");
  g_error_free (error);
  return FALSE;
}

/* Tries a step until it succeeds, the job is another's, or the worker ends without a connection. */
static gboolean
insist (Slot *self, gboolean (*step) (Slot *self, GError **error))
{
  while (self->owned) {
    GError *error = NULL;

    if (!avatar_redis_is_ready (self->redis)) {
      if (is_stopping (self->worker))
        return FALSE;
      pause_slot (self);
    } else if (step (self, &error)) {
      return self->owned;
    } else if (!error || !survive (self, error)) {
      return FALSE;
    }
  }
  return FALSE;
}

/* ------------------------------------------------------------------------------------ the input */

static gboolean
step_begin (Slot *self, GError **error)
{
  g_autofree char *text = NULL;
  g_autofree char *folder = g_build_filename (self->worker->jobs_folder, self->claim.id, NULL);
  g_autoptr (GError) reason = NULL;
  AvatarProblem *problem = NULL;
  guint attempts = 0;

  if (!avatar_redis_begin (self->redis, &self->claim, &text, &attempts, error))
    return FALSE;
  if (!text) {
    self->owned = FALSE;
    return TRUE;
  }
  if (!avatar_redis_form_parse (text, &self->form, &reason))
    avatar_problem_set (&problem, 500, NULL, "see to Redis and its users", "%s", reason->message);
  self->job = avatar_job_new (self->claim.id, folder, &self->form.settings);
  self->job->problem = problem;
  self->job->state = AVATAR_JOB_RUNNING;
  self->job->frames_total = self->form.n_frames;
  self->job->started = g_get_real_time ();
  self->job->attempts = attempts;
  if (attempts > MOST_ATTEMPTS)
    avatar_problem_set (&self->job->problem, 500, NULL,
        "see the logs of the workers; delete the job",
        "workers have ended %u times while the job was running", attempts - 1);
  return TRUE;
}

static gboolean
step_fetch (Slot *self, GError **error)
{
  static const char *const kinds[] = { "audio", "image" };
  static const char *const files[] = { AVATAR_JOB_AUDIO, AVATAR_JOB_IMAGE };
  const guint64 bytes[] = { self->form.audio_bytes, self->form.image_bytes };

  if (g_mkdir_with_parents (self->job->folder, 0700) != 0) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s: %s", self->job->folder,
        g_strerror (errno));
    return FALSE;
  }
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *key = avatar_redis_key (kinds[i], self->claim.id);
    g_autofree char *path = avatar_job_path (self->job, files[i]);

    if (!avatar_redis_get_file (self->redis, key, bytes[i], path, beat, self, error))
      return FALSE;
  }
  return TRUE;
}

/* Checks the files as the server has checked them: others may write to Redis. */
static gboolean
check_files (Slot *self)
{
  g_autofree char *audio = avatar_job_path (self->job, AVATAR_JOB_AUDIO);
  g_autofree char *image = avatar_job_path (self->job, AVATAR_JOB_IMAGE);
  guint n_frames;

  return avatar_check_image_file (image, &self->job->problem)
      && avatar_check_sound_file (self->worker->context.config, audio, &n_frames,
          &self->job->problem);
}

/* Returns FALSE without a problem if the job is not to be run here. */
static gboolean
fetch (Slot *self)
{
  guint64 most = self->worker->context.config->most_bytes;
  guint64 found = MAX (self->form.audio_bytes, self->form.image_bytes);

  if (self->job->problem)
    return FALSE;
  if (found > most)
    return avatar_problem_set (&self->job->problem, 413, NULL,
        "start the workers with the same --max-upload as the server",
        "a file has %" G_GUINT64_FORMAT " bytes, a worker takes %" G_GUINT64_FORMAT, found, most);
  return insist (self, step_fetch) && check_files (self);
}

/* -------------------------------------------------------------------------------------- the run */

static gpointer
run_job (gpointer data)
{
  Slot *self = data;
  AvatarProblem *problem = NULL;
  gboolean good = avatar_job_run (self->job, &self->worker->context, &problem);

  g_mutex_lock (&self->job->lock);
  self->job->problem = problem;
  g_clear_pointer (&self->job->phase, g_free);
  g_mutex_unlock (&self->job->lock);
  g_mutex_lock (&self->lock);
  self->ended = TRUE;
  self->good = good;
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* Gives a sign of life. While Redis is away the job goes on. */
static void
look_after (Slot *self)
{
  GError *error = NULL;

  if (is_stopping (self->worker))
    avatar_job_stop (self->job);
  if (self->owned && avatar_redis_is_ready (self->redis) && !beat (self, &error) && error)
    avatar_redis_give_up (self->redis, error);
}

/* Returns TRUE if there is a video. */
static gboolean
run (Slot *self)
{
  GThread *thread;

  self->ended = FALSE;
  thread = g_thread_new ("job", run_job, self);
  g_mutex_lock (&self->lock);
  while (!self->ended) {
    if (g_cond_wait_until (&self->wake, &self->lock, g_get_monotonic_time () + PAUSE))
      continue;
    g_mutex_unlock (&self->lock);
    look_after (self);
    g_mutex_lock (&self->lock);
  }
  g_mutex_unlock (&self->lock);
  g_thread_join (thread);
  return self->good;
}

/* ----------------------------------------------------------------------------------- the result */

static gboolean
step_store (Slot *self, GError **error)
{
  AvatarJobState state = self->job->problem ? AVATAR_JOB_FAILED : AVATAR_JOB_DONE;
  g_autofree char *part = avatar_redis_part_key (&self->claim);
  g_autofree char *video = avatar_job_path (self->job, AVATAR_JOB_VIDEO);
  g_autofree char *report = NULL;
  GStatBuf info = { 0 };

  if (state == AVATAR_JOB_DONE) {
    if (g_stat (video, &info) != 0) {
      g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s is gone", video);
      return FALSE;
    }
    if (!avatar_redis_put_file (self->redis, part, video, PART_SECONDS, beat, self, error))
      return FALSE;
  }
  report = avatar_redis_report_write (self->job, state, info.st_size);
  return avatar_redis_finish (self->redis, &self->claim, report, info.st_size,
      self->worker->options->expiry_seconds, &self->owned, error);
}

static gboolean
step_release (Slot *self, GError **error)
{
  g_autofree char *report = avatar_redis_report_write (self->job, AVATAR_JOB_QUEUED, 0);

  return avatar_redis_release (self->redis, &self->claim, report,
      self->worker->options->expiry_seconds, error);
}

/* Sends the outcome. A video that cannot be read is a failure, which is sent as well. */
static void
store (Slot *self)
{
  g_autofree char *part = avatar_redis_part_key (&self->claim);
  gboolean sent = insist (self, step_store);

  if (!sent && !self->owned && avatar_redis_is_ready (self->redis))
    avatar_redis_remove_key (self->redis, part, NULL);
  if (!sent && self->owned && self->job->problem)
    sent = insist (self, step_store);
  if (sent)
    tell (self, self->job->problem ? "failed" : "done",
        self->job->problem ? self->job->problem->found : NULL);
}

static void
do_job (Slot *self)
{
  g_autofree char *attempt = NULL;
  gboolean good = FALSE;

  self->owned = TRUE;
  self->next_beat = 0;
  self->n_pictures = 0;
  if (!insist (self, step_begin) || !self->job)
    return;
  attempt = g_strdup_printf ("attempt %u", self->job->attempts);
  tell (self, "begun", attempt);
  if (fetch (self))
    good = run (self);
  if (good || self->job->problem)
    store (self);
  else if (self->owned && is_stopping (self->worker) && insist (self, step_release))
    tell (self, "left to another worker", NULL);
}

static void
clear_job (Slot *self)
{
  if (self->job)
    avatar_remove_folder (self->job->folder);
  g_clear_pointer (&self->job, avatar_job_unref);
  avatar_redis_form_clear (&self->form);
  self->form = (AvatarRedisForm){ 0 };
  avatar_redis_claim_forget (&self->claim);
}

/* ------------------------------------------------------------------------------------ the slots */

/* Jobs that another worker has left come first, since they are the oldest. After a pause of Redis
 * their workers get the time to come back. */
static gboolean
take (Slot *self, GError **error)
{
  guint n = avatar_redis_get_n_connections (self->redis);
  gint64 now = g_get_monotonic_time ();

  if (n != self->n_connections) {
    if (!avatar_redis_tidy (self->redis, NULL, error))
      return FALSE;
    self->left_after = n > 1 ? now + self->claim.lease_ms * G_TIME_SPAN_MILLISECOND : now;
    self->n_connections = n;
  }
  if (now >= self->left_after && !avatar_redis_take_left (self->redis, &self->claim, error))
    return FALSE;
  return self->claim.id || avatar_redis_take_new (self->redis, &self->claim, error);
}

static gpointer
work (gpointer data)
{
  Slot *self = data;

  while (!is_stopping (self->worker)) {
    GError *error = NULL;

    if (!avatar_redis_is_ready (self->redis))
      pause_slot (self);
    else if (!take (self, &error))
      avatar_redis_give_up (self->redis, error);
    else if (self->claim.id)
      do_job (self);
    clear_job (self);
  }
  if (avatar_redis_is_ready (self->redis))
    avatar_redis_tidy (self->redis, self->claim.worker, NULL);
  return NULL;
}

static void
slot_start (AvatarRedisWorker *worker, guint number)
{
  Slot *self = g_new0 (Slot, 1);
  g_autofree char *id = avatar_job_new_id ();

  self->worker = worker;
  self->redis = avatar_redis_new (&worker->options->address);
  self->claim.worker
      = g_strdup_printf ("%.60s-%d-%u-%.8s", g_get_host_name (), (int) getpid (), number, id);
  self->claim.lease_ms = worker->options->lease_seconds * 1000;
  g_mutex_init (&self->lock);
  g_cond_init (&self->wake);
  g_ptr_array_add (worker->slots, self);
  self->thread = g_thread_new ("slot", work, self);
}

static void
slot_free (Slot *self)
{
  g_thread_join (self->thread);
  avatar_redis_free (self->redis);
  avatar_redis_claim_clear (&self->claim);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->wake);
  g_free (self);
}

AvatarRedisWorker *
avatar_redis_worker_start (const AvatarRedisOptions *options, const AvatarServerConfig *config,
    AvatarPlanner *planner, const char *folder, guint n_slots, GError **error)
{
  int fd = avatar_lock_folder (folder, error);
  AvatarRedisWorker *self;

  if (fd < 0)
    return NULL;
  self = g_new0 (AvatarRedisWorker, 1);
  self->options = options;
  self->context = (AvatarJobRunContext){ .config = config, .planner = planner };
  self->lock_fd = fd;
  /* A server that is given this folder by mistake removes uploads as well, and only these. */
  self->jobs_folder = g_build_filename (folder, "uploads", NULL);
  avatar_empty_folder (self->jobs_folder);
  self->slots = g_ptr_array_new_with_free_func ((GDestroyNotify) slot_free);
  g_mutex_init (&self->lock);
  g_cond_init (&self->wake);
  for (guint i = 0; i < n_slots; i++)
    slot_start (self, i);
  return self;
}

void
avatar_redis_worker_stop (AvatarRedisWorker *self)
{
  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_broadcast (&self->wake);
  g_mutex_unlock (&self->lock);
  g_ptr_array_unref (self->slots);
  close (self->lock_fd);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->wake);
  g_free (self->jobs_folder);
  g_free (self);
}
