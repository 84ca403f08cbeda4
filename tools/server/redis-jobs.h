/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs in Redis. A stream with a consumer group hands each to one worker; keys hold its files and
 * its state:
 *
 *   avatar:jobs       stream, an entry a job with its id; the group is "workers"
 *   avatar:job:ID     hash: form, entry in the stream, attempts, ended
 *   avatar:audio:ID, avatar:image:ID, avatar:video:ID, avatar:picture:ID    files
 *   avatar:state:ID   newest report of the worker
 *   avatar:part:ID:WORKER   video that is being stored
 *
 * All keys of a job expire. A worker owns a job as long as its entry is pending for this worker;
 * each change of a job by a worker is one script that looks at that first. Functions return FALSE
 * with an error if Redis could not be asked. */
#pragma once

#include "tools/server/redis-report.h"
#include "tools/server/redis.h"

G_BEGIN_DECLS

/* Is called between the pieces of a file. Returns FALSE, with or without an error, to stop. */
typedef gboolean (*AvatarRedisTick) (gpointer user_data, GError **error);

/* Name of a key. Free with g_free(). */
char *avatar_redis_key (const char *kind, const char *id);
gboolean avatar_redis_remove_key (AvatarRedis *redis, const char *key, GError **error);
gboolean avatar_redis_put_file (AvatarRedis *redis, const char *key, const char *path,
    guint seconds, AvatarRedisTick tick, gpointer user_data, GError **error);
/* Writes the @n_bytes of a key to the file @path, and to the disk. */
gboolean avatar_redis_get_file (AvatarRedis *redis, const char *key, guint64 n_bytes,
    const char *path, AvatarRedisTick tick, gpointer user_data, GError **error);

/* ----------------------------------------------------------------------------------- the server */

typedef enum
{
  AVATAR_REDIS_ABSENT,
  AVATAR_REDIS_PRESENT,
  AVATAR_REDIS_ENDED,
} AvatarRedisPresence;

/* Looks whether a job is in Redis, puts it back into the stream if that has lost it, and lets its
 * keys live for @seconds. */
gboolean avatar_redis_look_up (AvatarRedis *redis, const char *id, guint seconds,
    AvatarRedisPresence *presence, GError **error);
/* Hands a job in. Does nothing if it is there already. */
gboolean avatar_redis_submit (AvatarRedis *redis, AvatarJob *job, guint seconds, GError **error);
/* Jobs whose reports are asked for together. */
#define AVATAR_REDIS_MOST_REPORTS 30
/* Returns an array of the texts, or nil, of as many jobs. Free it by freeReplyObject(). */
redisReply *
avatar_redis_get_reports (AvatarRedis *redis, AvatarJob **jobs, guint n, GError **error);
/* Removes all of a job. A worker that runs it then stops. */
gboolean avatar_redis_remove (AvatarRedis *redis, const char *id, GError **error);

/* ---------------------------------------------------------------------------------- the workers */

typedef struct
{
  char *worker;     /* name in the group */
  guint lease_ms;   /* silence after which a job is another's */
  char *cursor;     /* position of the search for such jobs */
  char *entry, *id; /* job that is owned, or NULL */
} AvatarRedisClaim;

/* Takes a job that another worker has left. Without one @claim has no id. */
gboolean avatar_redis_take_left (AvatarRedis *redis, AvatarRedisClaim *claim, GError **error);
/* Takes a new job. Waits for it for a second at most. */
gboolean avatar_redis_take_new (AvatarRedis *redis, AvatarRedisClaim *claim, GError **error);
/* Reads the form of the job that is owned, and counts the attempt. @form is NULL if the job is no
 * more. Free it with g_free(). */
gboolean avatar_redis_begin (AvatarRedis *redis, AvatarRedisClaim *claim, char **form,
    guint *attempts, GError **error);
/* Shows that the worker lives, and stores its report. @owned: FALSE if the job is another's now. */
gboolean avatar_redis_beat (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report,
    guint seconds, gboolean *owned, GError **error);
/* Leaves the job to others at once, and does not count the attempt. */
gboolean avatar_redis_release (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report,
    guint seconds, GError **error);
/* Ends the job with the report and the video of @video_bytes that is stored as a part. @owned:
 * FALSE if it is another's now. */
gboolean avatar_redis_finish (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report,
    guint64 video_bytes, guint seconds, gboolean *owned, GError **error);
/* Key of the part. Free with g_free(). */
char *avatar_redis_part_key (const AvatarRedisClaim *claim);
/* Removes workers from the group that have been silent for a day, and @worker, if not NULL. Those
 * with a job stay. */
gboolean avatar_redis_tidy (AvatarRedis *redis, const char *worker, GError **error);

/* Reads the first entry of a reply to XAUTOCLAIM or XREADGROUP. Is tested alone. An entry that is
 * no job gives a claim without an id. */
gboolean avatar_redis_parse_left (const redisReply *reply, AvatarRedisClaim *claim, GError **error);
gboolean avatar_redis_parse_new (const redisReply *reply, AvatarRedisClaim *claim, GError **error);
void avatar_redis_claim_forget (AvatarRedisClaim *claim);
void avatar_redis_claim_clear (AvatarRedisClaim *claim);

G_END_DECLS
