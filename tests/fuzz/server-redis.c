/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: bytes that Redis sends to a server or a worker: replies that hand out a job, and the
 * texts of jobs and their states. What is taken is within its bounds. */
#include "tests/fuzz/target.h"

#include "tools/server/redis-jobs.h"

static void
check_claim (const redisReply *reply)
{
  AvatarRedisClaim claim = { 0 };

  if (avatar_redis_parse_left (reply, &claim, NULL))
    g_assert (claim.cursor);
  g_assert (!claim.id || (claim.entry && avatar_job_is_id (claim.id)));
  avatar_redis_claim_clear (&claim);
  avatar_redis_parse_new (reply, &claim, NULL);
  g_assert (!claim.id || (claim.entry && avatar_job_is_id (claim.id)));
  avatar_redis_claim_clear (&claim);
}

/* A report that is applied is written and read again with the same numbers. */
static void
check_report (AvatarRedisReport *report)
{
  AvatarJobSettings settings = { 0 };
  g_autoptr (AvatarJob) job = avatar_job_new ("", "", &settings);
  AvatarRedisReport again;
  g_autofree char *text = NULL;

  g_assert (report->state <= AVATAR_JOB_FAILED);
  g_assert (!report->phase || g_utf8_validate (report->phase, -1, NULL));
  avatar_redis_report_apply (report, job);
  g_assert (job->warnings->len <= 10);
  text = avatar_redis_report_write (job, report->state, report->video_bytes);
  if (avatar_redis_report_parse (text, &again, NULL)) {
    g_assert (again.state == report->state && again.attempts == report->attempts);
    g_assert (again.video_bytes == report->video_bytes);
  }
  avatar_redis_report_clear (&again);
}

static void
check_text (const redisReply *reply)
{
  const char *text = avatar_redis_reply_text (reply, AVATAR_REDIS_LONGEST_TEXT, NULL);
  AvatarRedisForm form;
  AvatarRedisReport report;

  if (!text)
    return;
  if (avatar_redis_form_parse (text, &form, NULL))
    g_assert (!form.settings.prompt || g_utf8_validate (form.settings.prompt, -1, NULL));
  avatar_redis_form_clear (&form);
  if (avatar_redis_report_parse (text, &report, NULL))
    check_report (&report);
  avatar_redis_report_clear (&report);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  redisReader *reader = redisReaderCreate ();
  void *reply = NULL;

  avatar_redis_guard_reader (reader);
  if (redisReaderFeed (reader, (const char *) data, size) == REDIS_OK)
    while (redisReaderGetReply (reader, &reply) == REDIS_OK && reply) {
      check_claim (reply);
      check_text (reply);
      g_clear_pointer (&reply, freeReplyObject);
    }
  redisReaderFree (reader);
  return 0;
}
