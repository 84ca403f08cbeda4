/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/redis-front.h"

#include "tools/server/redis-jobs.h"

#include <glib/gstdio.h>
#include <string.h>

/* Pause (us) between two looks at the reports of the workers. */
#define LOOK (200 * G_TIME_SPAN_MILLISECOND)
/* Pause (us) between two looks whether Redis still has a job, and after it has refused one. */
#define CHECK (30 * G_TIME_SPAN_SECOND)
#define REFUSED_PAUSE (5 * G_TIME_SPAN_SECOND)
/* Results of a job that may be lost in Redis before it fails. */
#define MOST_LOSSES 3

/* A job as this server knows it in Redis. */
typedef struct
{
  gint64 checked; /* time of the last check, 0: to be checked now */
  gboolean there;
  guint n_losses, n_pictures;
} Entry;

typedef struct
{
  AvatarJobRunner runner;
  const AvatarRedisOptions *options;
  AvatarPlanner *planner;
  AvatarJobQueue *queue;
  AvatarRedis *redis;
  GThread *thread;
  GHashTable *entries; /* id: Entry, of the thread */
  guint n_connections;
  gint64 submit_after;

  GMutex lock;
  GCond wake;
  gboolean stopping, woken, ready;
  GQueue removals; /* ids of jobs that Redis shall forget */
} RedisFront;

static void
forget (RedisFront *self, const char *id)
{
  g_mutex_lock (&self->lock);
  g_queue_push_tail (&self->removals, g_strdup (id));
  g_mutex_unlock (&self->lock);
}

static void
end_job (RedisFront *self, AvatarJob *job, AvatarJobState state, AvatarProblem *problem)
{
  /* A client may have cancelled a job that waited. */
  if (!avatar_job_queue_begin (self->queue, job) && avatar_job_has_ended (job))
    avatar_problem_free (problem);
  else
    avatar_job_queue_end (self->queue, job, state, problem);
  g_hash_table_remove (self->entries, job->id);
  forget (self, job->id);
}

/* ------------------------------------------------------------------------------ handing jobs in */

/* An error of the server's own disk ends the job, one of Redis does not. */
static gboolean
fail_job (RedisFront *self, AvatarJob *job, GError **error)
{
  AvatarProblem *problem = NULL;

  if (!*error || (*error)->domain == AVATAR_REDIS_ERROR)
    return FALSE;
  if (avatar_job_has_ended (job)) {
    g_clear_error (error);
    return TRUE;
  }
  g_printerr ("avatar-server: warning: job %s: %s\n", job->id, (*error)->message);
  g_clear_error (error);
  avatar_problem_set (&problem, 500, NULL, "see to the disk of the server",
      "the files of the job could not be read or written");
  end_job (self, job, AVATAR_JOB_FAILED, problem);
  return TRUE;
}

static gboolean
submit (RedisFront *self, AvatarJob *job, Entry *entry, GError **error)
{
  g_autoptr (GError) refused = NULL;
  gint64 now = g_get_monotonic_time ();

  if (now < self->submit_after)
    return TRUE;
  entry->there = avatar_redis_submit (self->redis, job, self->options->expiry_seconds, &refused);
  if (entry->there) {
    entry->checked = now;
    return TRUE;
  }
  if (fail_job (self, job, &refused))
    return TRUE;
  /* Redis may be full; what workers have done is fetched meanwhile, which makes room. */
  if (g_error_matches (refused, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_REFUSED)) {
    g_printerr ("avatar-server: warning: Redis does not take a job, which waits: %s\n",
        refused->message);
    self->submit_after = now + REFUSED_PAUSE;
    return TRUE;
  }
  g_propagate_error (error, g_steal_pointer (&refused));
  return FALSE;
}

/* Hands a job in, also again if Redis has lost it. */
static gboolean
look_after (RedisFront *self, AvatarJob *job, Entry *entry, GError **error)
{
  gint64 now = g_get_monotonic_time ();
  AvatarRedisPresence presence;

  if (entry->there && entry->checked && now - entry->checked < CHECK)
    return TRUE;
  if (!avatar_redis_look_up (self->redis, job->id, self->options->expiry_seconds, &presence, error))
    return FALSE;
  entry->there = presence != AVATAR_REDIS_ABSENT;
  entry->checked = now;
  return entry->there || submit (self, job, entry, error);
}

/* -------------------------------------------------------------------------------------- results */

/* Shows clients the newest picture. It is passed on as it is, if it begins as JPEG. */
static gboolean
fetch_picture (RedisFront *self, AvatarJob *job, guint n_pictures, GError **error)
{
  g_autofree char *key = avatar_redis_key ("picture", job->id);
  g_autoptr (GBytes) bytes = avatar_redis_get (self->redis, key, 0, error);
  g_autoptr (GstCaps) caps = NULL;
  g_autoptr (GstBuffer) buffer = NULL;
  const guint8 *data;
  gsize n;

  if (!bytes)
    return FALSE;
  data = g_bytes_get_data (bytes, &n);
  if (n < 4 || data[0] != 0xff || data[1] != 0xd8)
    return TRUE;
  caps = gst_caps_new_empty_simple ("image/jpeg");
  buffer = gst_buffer_new_wrapped_bytes (bytes);
  g_mutex_lock (&job->lock);
  g_clear_pointer (&job->picture, gst_sample_unref);
  job->picture = gst_sample_new (buffer, caps, NULL, NULL);
  job->n_pictures = n_pictures;
  if (!job->first_picture)
    job->first_picture = g_get_real_time ();
  g_mutex_unlock (&job->lock);
  return TRUE;
}

/* The video has its name only when all of it is on the disk. */
static gboolean
fetch_video (RedisFront *self, AvatarJob *job, guint64 n_bytes, GError **error)
{
  g_autofree char *key = avatar_redis_key ("video", job->id);
  g_autofree char *part = avatar_job_path (job, AVATAR_JOB_PART);
  g_autofree char *video = avatar_job_path (job, AVATAR_JOB_VIDEO);

  if (n_bytes == 0 || n_bytes > AVATAR_REDIS_LARGEST) {
    g_set_error (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_MISSING,
        "a video of %" G_GUINT64_FORMAT " bytes", n_bytes);
    return FALSE;
  }
  if (!avatar_redis_get_file (self->redis, key, n_bytes, part, NULL, NULL, error)) {
    g_unlink (part);
    return FALSE;
  }
  if (g_rename (part, video) == 0)
    return avatar_sync_path (job->folder, error);
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s could not be renamed", part);
  return FALSE;
}

/* Lets a job run again whose result Redis has lost. */
static void
lose (RedisFront *self, AvatarJob *job, Entry *entry, const GError *error)
{
  AvatarProblem *problem = NULL;

  g_printerr ("avatar-server: warning: the result of job %s is lost: %s\n", job->id,
      error->message);
  if (++entry->n_losses >= MOST_LOSSES) {
    avatar_problem_set (&problem, 500, NULL, "see to the memory and the settings of Redis",
        "the result of the job was lost %u times", entry->n_losses);
    end_job (self, job, AVATAR_JOB_FAILED, problem);
    return;
  }
  entry->there = FALSE;
  entry->checked = 0;
  forget (self, job->id);
}

static gboolean
take_done (RedisFront *self, AvatarJob *job, Entry *entry, AvatarRedisReport *report,
    GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (fetch_video (self, job, report->video_bytes, &reason)) {
    end_job (self, job, AVATAR_JOB_DONE, NULL);
    avatar_planner_learn (self->planner, job);
    return TRUE;
  }
  if (fail_job (self, job, &reason))
    return TRUE;
  if (g_error_matches (reason, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_MISSING)) {
    lose (self, job, entry, reason);
    return TRUE;
  }
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}

static void
take_failed (RedisFront *self, AvatarJob *job, AvatarRedisReport *report)
{
  AvatarProblem *problem = g_steal_pointer (&report->problem);

  if (!problem)
    avatar_problem_set (&problem, 500, NULL, "see the log of the worker",
        "a worker has failed without a reason");
  end_job (self, job, AVATAR_JOB_FAILED, problem);
}

static gboolean
take_report (RedisFront *self, AvatarJob *job, Entry *entry, AvatarRedisReport *report,
    GError **error)
{
  gboolean waits;

  g_mutex_lock (&job->lock);
  waits = job->state == AVATAR_JOB_QUEUED;
  g_mutex_unlock (&job->lock);
  if (report->state == AVATAR_JOB_QUEUED) {
    if (!waits)
      avatar_job_queue_put_back (self->queue, job);
    return TRUE;
  }
  /* A client may have cancelled it in the meantime. */
  if (waits && !avatar_job_queue_begin (self->queue, job))
    return TRUE;
  avatar_redis_report_apply (report, job);
  if (report->state == AVATAR_JOB_DONE)
    return take_done (self, job, entry, report, error);
  if (report->state == AVATAR_JOB_FAILED) {
    take_failed (self, job, report);
    return TRUE;
  }
  if (report->n_pictures == entry->n_pictures || report->n_pictures == 0)
    return TRUE;
  entry->n_pictures = report->n_pictures;
  return fetch_picture (self, job, job->n_pictures + 1, error);
}

static gboolean
take_text (RedisFront *self, AvatarJob *job, const redisReply *text, GError **error)
{
  Entry *entry = g_hash_table_lookup (self->entries, job->id);
  AvatarRedisReport report = { 0 };
  g_autoptr (GError) reason = NULL;
  gboolean good = TRUE;
  const char *found;

  if (text->type == REDIS_REPLY_NIL || !entry || !entry->there || avatar_job_has_ended (job))
    return TRUE;
  found = avatar_redis_reply_text (text, AVATAR_REDIS_LONGEST_TEXT, &reason);
  if (found && avatar_redis_report_parse (found, &report, &reason))
    good = take_report (self, job, entry, &report, error);
  else
    lose (self, job, entry, reason);
  avatar_redis_report_clear (&report);
  return good;
}

/* ----------------------------------------------------------------------------------- the thread */

static gboolean
remove_forgotten (RedisFront *self, GError **error)
{
  while (TRUE) {
    char *id;

    g_mutex_lock (&self->lock);
    id = g_queue_pop_head (&self->removals);
    g_mutex_unlock (&self->lock);
    if (!id)
      return TRUE;
    if (!avatar_redis_remove (self->redis, id, error)) {
      g_mutex_lock (&self->lock);
      g_queue_push_head (&self->removals, id);
      g_mutex_unlock (&self->lock);
      return FALSE;
    }
    g_free (id);
  }
}

/* Ends a job that a client has cancelled, or that is too old. */
static gboolean
end_unwanted (RedisFront *self, AvatarJob *job)
{
  gint64 age = (g_get_real_time () - job->created) / G_USEC_PER_SEC;
  AvatarProblem *problem = NULL;
  gboolean cancelled;

  g_mutex_lock (&job->lock);
  cancelled = job->cancelled;
  g_mutex_unlock (&job->lock);
  if (!cancelled && age <= (gint64) self->options->expiry_seconds)
    return FALSE;
  if (!cancelled)
    avatar_problem_set (&problem, 504, NULL, "start more workers, or allow more --queue-hours",
        "no worker has done the job within %.1f hours", self->options->expiry_seconds / 3600.);
  end_job (self, job, AVATAR_JOB_FAILED, problem);
  return TRUE;
}

static gboolean
is_stopping (RedisFront *self)
{
  gboolean stopping;

  g_mutex_lock (&self->lock);
  stopping = self->stopping;
  g_mutex_unlock (&self->lock);
  return stopping;
}

static gboolean
look (RedisFront *self, GPtrArray *open, GError **error)
{
  for (guint i = 0; i < open->len && !is_stopping (self); i++) {
    AvatarJob *job = open->pdata[i];
    Entry *entry = g_hash_table_lookup (self->entries, job->id);

    if (!entry) {
      entry = g_new0 (Entry, 1);
      g_hash_table_insert (self->entries, g_strdup (job->id), entry);
    }
    if (!avatar_job_has_ended (job) && !end_unwanted (self, job)
        && !look_after (self, job, entry, error))
      return FALSE;
  }
  for (guint i = 0; i < open->len && !is_stopping (self); i += AVATAR_REDIS_MOST_REPORTS) {
    guint n = MIN (open->len - i, AVATAR_REDIS_MOST_REPORTS);
    AvatarJob **jobs = (AvatarJob **) open->pdata + i;
    g_autoptr (redisReply) texts = avatar_redis_get_reports (self->redis, jobs, n, error);

    for (guint k = 0; k < n; k++)
      if (!texts || !take_text (self, jobs[k], texts->element[k], error))
        return FALSE;
  }
  return TRUE;
}

/* Removes entries of jobs that are not open any more. */
static gboolean
is_stale (gpointer id, gpointer entry, gpointer open)
{
  const GPtrArray *jobs = open;

  for (guint i = 0; i < jobs->len; i++)
    if (strcmp (((AvatarJob *) jobs->pdata[i])->id, id) == 0)
      return FALSE;
  return TRUE;
}

static void
take_turn (RedisFront *self)
{
  g_autoptr (GPtrArray) open = avatar_job_queue_get_open (self->queue);
  gboolean ready = avatar_redis_is_ready (self->redis);
  GError *error = NULL;

  if (ready && avatar_redis_get_n_connections (self->redis) != self->n_connections) {
    self->n_connections = avatar_redis_get_n_connections (self->redis);
    g_hash_table_remove_all (self->entries);
  }
  if (g_hash_table_size (self->entries) > open->len)
    g_hash_table_foreach_remove (self->entries, is_stale, open);
  if (ready && (!remove_forgotten (self, &error) || !look (self, open, &error))) {
    avatar_redis_give_up (self->redis, error);
    ready = FALSE;
  }
  for (guint i = 0; !ready && i < open->len; i++)
    if (!avatar_job_has_ended (open->pdata[i]))
      end_unwanted (self, open->pdata[i]);
  g_mutex_lock (&self->lock);
  self->ready = ready;
  g_mutex_unlock (&self->lock);
}

static gpointer
work (gpointer data)
{
  RedisFront *self = data;

  g_mutex_lock (&self->lock);
  while (!self->stopping) {
    gint64 until = g_get_monotonic_time () + LOOK;

    self->woken = FALSE;
    g_mutex_unlock (&self->lock);
    take_turn (self);
    g_mutex_lock (&self->lock);
    while (!self->stopping && !self->woken && g_cond_wait_until (&self->wake, &self->lock, until))
      ;
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* --------------------------------------------------------------------------------------- runner */

static void
front_start (AvatarJobRunner *runner, AvatarJobQueue *queue)
{
  RedisFront *self = (RedisFront *) runner;

  self->queue = queue;
  self->thread = g_thread_new ("redis", work, self);
}

static void
front_wake (AvatarJobRunner *runner)
{
  RedisFront *self = (RedisFront *) runner;

  g_mutex_lock (&self->lock);
  self->woken = TRUE;
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
}

static void
front_cancel (AvatarJobRunner *runner, AvatarJob *job)
{
  forget ((RedisFront *) runner, job->id);
  front_wake (runner);
}

static gboolean
front_is_ready (AvatarJobRunner *runner)
{
  RedisFront *self = (RedisFront *) runner;
  gboolean ready;

  g_mutex_lock (&self->lock);
  ready = self->ready;
  g_mutex_unlock (&self->lock);
  return ready;
}

static void
front_stop (AvatarJobRunner *runner)
{
  RedisFront *self = (RedisFront *) runner;

  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_signal (&self->wake);
  g_mutex_unlock (&self->lock);
  if (self->thread)
    g_thread_join (self->thread);
}

static void
front_free (AvatarJobRunner *runner)
{
  RedisFront *self = (RedisFront *) runner;

  avatar_redis_free (self->redis);
  g_hash_table_unref (self->entries);
  g_queue_clear_full (&self->removals, g_free);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->wake);
  g_free (self);
}

AvatarJobRunner *
avatar_redis_front_new (const AvatarRedisOptions *options, AvatarPlanner *planner)
{
  RedisFront *self = g_new0 (RedisFront, 1);

  /* Workers count the attempts. */
  self->runner = (AvatarJobRunner){ .name = "redis",
    .start = front_start,
    .wake = front_wake,
    .cancel = front_cancel,
    .is_ready = front_is_ready,
    .stop = front_stop,
    .free = front_free };
  self->options = options;
  self->planner = planner;
  self->redis = avatar_redis_new (&options->address);
  self->entries = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_queue_init (&self->removals);
  g_mutex_init (&self->lock);
  g_cond_init (&self->wake);
  return &self->runner;
}
