/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/redis-jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define STREAM "avatar:jobs"
#define GROUP "workers"
/* Longest wait (ms) for a new job. */
#define BLOCK "1000"
/* Calls of XAUTOCLAIM in a row; each looks at ten jobs of others. */
#define MOST_CALLS 100
#define LONGEST_ENTRY 48

/* ---------------------------------------------------------------------------------------- files */

char *
avatar_redis_key (const char *kind, const char *id)
{
  return g_strconcat ("avatar:", kind, ":", id, NULL);
}

gboolean
avatar_redis_remove_key (AvatarRedis *redis, const char *key, GError **error)
{
  gint64 n;

  return avatar_redis_call_int (redis, &n, error, "UNLINK", key, NULL);
}

gboolean
avatar_redis_put_file (AvatarRedis *redis, const char *key, const char *path, guint seconds,
    AvatarRedisTick tick, gpointer user_data, GError **error)
{
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, error);
  g_autoptr (GBytes) all = file ? g_mapped_file_get_bytes (file) : NULL;
  gsize size = all ? g_bytes_get_size (all) : 0;

  if (!file)
    return FALSE;
  if (size > AVATAR_REDIS_LARGEST) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
        "a file of %zu bytes, expected at most %u", size, AVATAR_REDIS_LARGEST);
    return FALSE;
  }
  if (!avatar_redis_remove_key (redis, key, error))
    return FALSE;
  for (gsize at = 0; at < size; at += AVATAR_REDIS_PIECE) {
    g_autoptr (GBytes) piece
        = g_bytes_new_from_bytes (all, at, MIN (size - at, AVATAR_REDIS_PIECE));

    if (!avatar_redis_put (redis, key, at, piece, seconds, error))
      return FALSE;
    if (tick && !tick (user_data, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
fail_file (const char *path, GError **error)
{
  int code = errno;

  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (code), "%s: %s", path,
      g_strerror (code));
  return FALSE;
}

static gboolean
write_all (int fd, const char *path, GBytes *bytes, GError **error)
{
  gsize n;
  const char *data = g_bytes_get_data (bytes, &n);

  while (n > 0) {
    gssize written = write (fd, data, n);

    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return fail_file (path, error);
    data += written;
    n -= written;
  }
  return TRUE;
}

static gboolean
get_pieces (AvatarRedis *redis, const char *key, guint64 n_bytes, int fd, const char *path,
    AvatarRedisTick tick, gpointer user_data, GError **error)
{
  for (guint64 at = 0; at < n_bytes; at += AVATAR_REDIS_PIECE) {
    g_autoptr (GBytes) piece = avatar_redis_get (redis, key, at, error);

    if (!piece)
      return FALSE;
    if (g_bytes_get_size (piece) != MIN (n_bytes - at, AVATAR_REDIS_PIECE)) {
      g_set_error (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_MISSING,
          "%s has not the %" G_GUINT64_FORMAT " bytes that were stored", key, n_bytes);
      return FALSE;
    }
    if (!write_all (fd, path, piece, error) || (tick && !tick (user_data, error)))
      return FALSE;
  }
  return fsync (fd) == 0 || fail_file (path, error);
}

gboolean
avatar_redis_get_file (AvatarRedis *redis, const char *key, guint64 n_bytes, const char *path,
    AvatarRedisTick tick, gpointer user_data, GError **error)
{
  int fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  gboolean good;

  if (fd < 0)
    return fail_file (path, error);
  good = get_pieces (redis, key, n_bytes, fd, path, tick, user_data, error);
  close (fd);
  return good;
}

/* ----------------------------------------------------------------------------------- the server */

/* KEYS: the job, its audio, its image, the stream. ARGV: id, seconds. */
static const char look_up_script[]
    = "local entry = redis.call('HGET', KEYS[1], 'entry')\n"
      "if not entry then return 0 end\n"
      "redis.call('EXPIRE', KEYS[1], ARGV[2])\n"
      "if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then return 2 end\n"
      "if redis.call('EXISTS', KEYS[2], KEYS[3]) < 2 then\n"
      "  redis.pcall('XACK', KEYS[4], '" GROUP "', entry)\n"
      "  redis.call('XDEL', KEYS[4], entry)\n"
      "  redis.call('DEL', KEYS[1])\n"
      "  return 0\n"
      "end\n"
      "redis.call('EXPIRE', KEYS[2], ARGV[2])\n"
      "redis.call('EXPIRE', KEYS[3], ARGV[2])\n"
      "if #redis.call('XRANGE', KEYS[4], entry, entry) == 0 then\n"
      "  redis.call('HSET', KEYS[1], 'entry', redis.call('XADD', KEYS[4], '*', 'id', ARGV[1]))\n"
      "end\n"
      "return 1";

/* KEYS: the job, its audio, its image, the stream. ARGV: id, seconds, form, bytes of the files. */
static const char submit_script[]
    = "if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end\n"
      "if redis.call('STRLEN', KEYS[2]) ~= tonumber(ARGV[4])\n"
      "  or redis.call('STRLEN', KEYS[3]) ~= tonumber(ARGV[5]) then return 0 end\n"
      "local entry = redis.call('XADD', KEYS[4], '*', 'id', ARGV[1])\n"
      "redis.call('HSET', KEYS[1], 'form', ARGV[3], 'entry', entry)\n"
      "redis.call('EXPIRE', KEYS[1], ARGV[2])\n"
      "return 1";

/* KEYS: the job and its other keys, the stream last. */
static const char remove_script[]
    = "local entry = redis.call('HGET', KEYS[1], 'entry')\n"
      "if entry then\n"
      "  redis.pcall('XACK', KEYS[7], '" GROUP "', entry)\n"
      "  redis.call('XDEL', KEYS[7], entry)\n"
      "end\n"
      "return redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])";

static gboolean
lost (GError **error, const char *why)
{
  g_set_error_literal (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_LOST, why);
  return FALSE;
}

gboolean
avatar_redis_look_up (AvatarRedis *redis, const char *id, guint seconds,
    AvatarRedisPresence *presence, GError **error)
{
  g_autofree char *job = avatar_redis_key ("job", id), *audio = avatar_redis_key ("audio", id);
  g_autofree char *image = avatar_redis_key ("image", id);
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  gint64 found;

  if (!avatar_redis_call_int (redis, &found, error, "EVAL", look_up_script, "4", job, audio, image,
          STREAM, id, time, NULL))
    return FALSE;
  if (found < AVATAR_REDIS_ABSENT || found > AVATAR_REDIS_ENDED)
    return lost (error, "a reply is no state of a job");
  *presence = found;
  return TRUE;
}

gboolean
avatar_redis_submit (AvatarRedis *redis, AvatarJob *job, guint seconds, GError **error)
{
  static const char *const kinds[] = { "audio", "image" };
  static const char *const files[] = { AVATAR_JOB_AUDIO, AVATAR_JOB_IMAGE };
  g_autofree char *key = avatar_redis_key ("job", job->id), *form = NULL;
  g_autofree char *audio = avatar_redis_key ("audio", job->id);
  g_autofree char *image = avatar_redis_key ("image", job->id);
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  char sizes[2][24];
  guint64 bytes[2];
  gint64 stored;

  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *path = avatar_job_path (job, files[i]);
    g_autofree char *name = avatar_redis_key (kinds[i], job->id);
    GStatBuf info;

    if (g_stat (path, &info) != 0)
      return fail_file (path, error);
    bytes[i] = info.st_size;
    g_snprintf (sizes[i], sizeof sizes[i], "%" G_GUINT64_FORMAT, bytes[i]);
    if (!avatar_redis_put_file (redis, name, path, seconds, NULL, NULL, error))
      return FALSE;
  }
  form = avatar_redis_form_write (job, bytes[0], bytes[1]);
  return avatar_redis_call_int (redis, &stored, error, "EVAL", submit_script, "4", key, audio,
             image, STREAM, job->id, time, form, sizes[0], sizes[1], NULL)
      && (stored == 1 || lost (error, "the files of a job have not arrived"));
}

redisReply *
avatar_redis_get_reports (AvatarRedis *redis, AvatarJob **jobs, guint n, GError **error)
{
  const char *words[AVATAR_REDIS_MOST_REPORTS + 2] = { "MGET" };
  redisReply *reply;

  for (guint i = 0; i < n; i++)
    words[i + 1] = avatar_redis_key ("state", jobs[i]->id);
  reply = avatar_redis_call_words (redis, words, error);
  for (guint i = 0; i < n; i++)
    g_free ((char *) words[i + 1]);
  if (reply && (!avatar_redis_reply_is_array (reply, n, error) || reply->elements != n)) {
    g_clear_pointer (&reply, freeReplyObject);
    if (error && !*error)
      lost (error, "a reply has another number of states");
  }
  return reply;
}

gboolean
avatar_redis_remove (AvatarRedis *redis, const char *id, GError **error)
{
  static const char *const kinds[] = { "job", "audio", "image", "video", "picture", "state" };
  char *keys[G_N_ELEMENTS (kinds)];
  gboolean good;
  gint64 n;

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    keys[i] = avatar_redis_key (kinds[i], id);
  good = avatar_redis_call_int (redis, &n, error, "EVAL", remove_script, "7", keys[0], keys[1],
      keys[2], keys[3], keys[4], keys[5], STREAM, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    g_free (keys[i]);
  return good;
}

/* --------------------------------------------------------------------------------- taking a job */

void
avatar_redis_claim_forget (AvatarRedisClaim *claim)
{
  g_clear_pointer (&claim->entry, g_free);
  g_clear_pointer (&claim->id, g_free);
}

void
avatar_redis_claim_clear (AvatarRedisClaim *claim)
{
  avatar_redis_claim_forget (claim);
  g_clear_pointer (&claim->worker, g_free);
  g_clear_pointer (&claim->cursor, g_free);
}

/* Takes an id of the stream, "MILLISECONDS-NUMBER". */
static const char *
entry_text (const redisReply *reply, GError **error)
{
  const char *text = avatar_redis_reply_text (reply, LONGEST_ENTRY, error);

  if (!text || (*text && strspn (text, "0123456789-") == strlen (text)))
    return text;
  lost (error, "an entry of the stream has another name than Redis gives it");
  return NULL;
}

/* Takes the first of @entries, which has no id if others have written it. Redis 6.2 has nil in the
 * place of one that was deleted. */
static gboolean
take_entry (const redisReply *entries, AvatarRedisClaim *claim, GError **error)
{
  const redisReply *entry, *fields;
  const char *name, *id;

  if (!avatar_redis_reply_is_array (entries, 0, error))
    return FALSE;
  if (entries->elements == 0 || entries->element[0]->type == REDIS_REPLY_NIL)
    return TRUE;
  entry = entries->element[0];
  if (!avatar_redis_reply_is_array (entry, 2, error)
      || !(name = entry_text (entry->element[0], error)))
    return FALSE;
  claim->entry = g_strdup (name);
  fields = entry->element[1];
  id = fields->type == REDIS_REPLY_ARRAY && fields->elements == 2 && fields->element[1]
      ? avatar_redis_reply_text (fields->element[1], 64, NULL)
      : NULL;
  if (id && avatar_job_is_id (id))
    claim->id = g_strdup (id);
  return TRUE;
}

gboolean
avatar_redis_parse_left (const redisReply *reply, AvatarRedisClaim *claim, GError **error)
{
  const char *cursor;

  if (!avatar_redis_reply_is_array (reply, 2, error)
      || !(cursor = entry_text (reply->element[0], error)))
    return FALSE;
  g_free (claim->cursor);
  claim->cursor = g_strdup (cursor);
  return take_entry (reply->element[1], claim, error);
}

gboolean
avatar_redis_parse_new (const redisReply *reply, AvatarRedisClaim *claim, GError **error)
{
  if (reply->type == REDIS_REPLY_NIL)
    return TRUE;
  return avatar_redis_reply_is_array (reply, 1, error)
      && avatar_redis_reply_is_array (reply->element[0], 2, error)
      && take_entry (reply->element[0]->element[1], claim, error);
}

/* Removes an entry that is no job, and would come again and again. */
static gboolean
discard_foreign (AvatarRedis *redis, AvatarRedisClaim *claim, GError **error)
{
  gint64 n;

  if (claim->id || !claim->entry)
    return TRUE;
  g_printerr ("avatar-server: warning: entry %s of " STREAM " is no job, and is removed\n",
      claim->entry);
  if (!avatar_redis_call_int (redis, &n, error, "XACK", STREAM, GROUP, claim->entry, NULL)
      || !avatar_redis_call_int (redis, &n, error, "XDEL", STREAM, claim->entry, NULL))
    return FALSE;
  avatar_redis_claim_forget (claim);
  return TRUE;
}

/* Makes the group if @reason is that there is none. It begins at the oldest job. */
static gboolean
make_group (AvatarRedis *redis, GError *reason, GError **error)
{
  g_autoptr (GError) refused = reason;
  g_autoptr (redisReply) reply = NULL;

  if (!g_error_matches (reason, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_REFUSED)
      || !g_str_has_prefix (reason->message, "NOGROUP")) {
    g_propagate_error (error, g_steal_pointer (&refused));
    return FALSE;
  }
  g_clear_error (&refused);
  reply = avatar_redis_call (redis, &refused, "XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM",
      NULL);
  if (reply || g_str_has_prefix (refused->message, "BUSYGROUP"))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&refused));
  return FALSE;
}

gboolean
avatar_redis_take_left (AvatarRedis *redis, AvatarRedisClaim *claim, GError **error)
{
  g_autofree char *idle = g_strdup_printf ("%u", claim->lease_ms);

  for (guint i = 0; i < MOST_CALLS && !claim->id; i++) {
    GError *reason = NULL;
    g_autoptr (redisReply) reply = avatar_redis_call (redis, &reason, "XAUTOCLAIM", STREAM, GROUP,
        claim->worker, idle, claim->cursor ? claim->cursor : "0-0", "COUNT", "1", NULL);

    if (!reply)
      return make_group (redis, reason, error);
    if (!avatar_redis_parse_left (reply, claim, error) || !discard_foreign (redis, claim, error))
      return FALSE;
    if (strcmp (claim->cursor, "0-0") == 0)
      return TRUE;
  }
  return TRUE;
}

gboolean
avatar_redis_take_new (AvatarRedis *redis, AvatarRedisClaim *claim, GError **error)
{
  GError *reason = NULL;
  g_autoptr (redisReply) reply = avatar_redis_call (redis, &reason, "XREADGROUP", "GROUP", GROUP,
      claim->worker, "COUNT", "1", "BLOCK", BLOCK, "STREAMS", STREAM, ">", NULL);

  if (!reply)
    return make_group (redis, reason, error);
  return avatar_redis_parse_new (reply, claim, error) && discard_foreign (redis, claim, error);
}

/* -------------------------------------------------------------------------------- running a job */

/* A pending entry has the worker's name as its second member. */
#define IF_NOT_OWNED_RETURN(value)                                                 \
  "local p = redis.pcall('XPENDING', KEYS[1], '" GROUP "', ARGV[2], ARGV[2], 1)\n" \
  "if p.err or #p == 0 or p[1][2] ~= ARGV[1] then return " value " end\n"

/* KEYS: the stream, the job. ARGV: worker, entry. */
static const char begin_script[] = IF_NOT_OWNED_RETURN (
    "false") "local form = redis.call('HGET', KEYS[2], 'form')\n"
             "if not form or redis.call('HEXISTS', KEYS[2], 'ended') == 1 then\n"
             "  redis.call('XACK', KEYS[1], '" GROUP "', ARGV[2])\n"
             "  redis.call('XDEL', KEYS[1], ARGV[2])\n"
             "  return false\n"
             "end\n"
             "return {form, redis.call('HINCRBY', KEYS[2], 'attempts', 1)}";

/* KEYS: the stream, the state. ARGV: worker, entry, report, seconds. */
static const char beat_script[]
    = IF_NOT_OWNED_RETURN ("0") "redis.call('XCLAIM', KEYS[1], '" GROUP
                                "', ARGV[1], 0, ARGV[2], 'JUSTID')\n"
                                "redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])\n"
                                "return 1";

/* KEYS: the stream, the state, the job. ARGV: worker, entry, report, seconds. An entry that has
 * been idle for a day is the first that another takes. */
static const char release_script[]
    = IF_NOT_OWNED_RETURN ("0") "redis.call('XCLAIM', KEYS[1], '" GROUP
                                "', ARGV[1], 0, ARGV[2], 'IDLE', 86400000, 'JUSTID')\n"
                                "redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])\n"
                                "redis.call('HINCRBY', KEYS[3], 'attempts', -1)\n"
                                "return 1";

/* KEYS: the stream, the state, the job, the part, the video, audio, image. ARGV: worker, entry,
 * report, seconds, bytes of the video. */
static const char finish_script[] = IF_NOT_OWNED_RETURN (
    "0") "if tonumber(ARGV[5]) > 0 then\n"
         "  if redis.call('STRLEN', KEYS[4]) ~= tonumber(ARGV[5]) then return 2 end\n"
         "  redis.call('RENAME', KEYS[4], KEYS[5])\n"
         "  redis.call('EXPIRE', KEYS[5], ARGV[4])\n"
         "end\n"
         "redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])\n"
         "redis.call('HSET', KEYS[3], 'ended', 1)\n"
         "redis.call('UNLINK', KEYS[6], KEYS[7])\n"
         "redis.call('XACK', KEYS[1], '" GROUP "', ARGV[2])\n"
         "redis.call('XDEL', KEYS[1], ARGV[2])\n"
         "return 1";

/* ARGV: worker that goes. A group that is not there has no workers. */
static const char tidy_script[]
    = "local all = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], '" GROUP "')\n"
      "if all.err then return 0 end\n"
      "for _, one in ipairs(all) do\n"
      "  local c = {}\n"
      "  for i = 1, #one, 2 do c[one[i]] = one[i + 1] end\n"
      "  if c.pending == 0 and (c.name == ARGV[1] or c.idle > 86400000) then\n"
      "    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], '" GROUP "', c.name)\n"
      "  end\n"
      "end\n"
      "return 1";

gboolean
avatar_redis_begin (AvatarRedis *redis, AvatarRedisClaim *claim, char **form, guint *attempts,
    GError **error)
{
  g_autofree char *job = avatar_redis_key ("job", claim->id);
  g_autoptr (redisReply) reply = avatar_redis_call (redis, error, "EVAL", begin_script, "2", STREAM,
      job, claim->worker, claim->entry, NULL);
  const char *text;

  *form = NULL;
  if (!reply)
    return FALSE;
  if (reply->type == REDIS_REPLY_NIL)
    return TRUE;
  if (!avatar_redis_reply_is_array (reply, 2, error)
      || !(text = avatar_redis_reply_text (reply->element[0], AVATAR_REDIS_LONGEST_TEXT, error)))
    return FALSE;
  if (reply->element[1]->type != REDIS_REPLY_INTEGER)
    return lost (error, "a reply is no number");
  *attempts = CLAMP (reply->element[1]->integer, 0, G_MAXINT);
  *form = g_strdup (text);
  return TRUE;
}

gboolean
avatar_redis_beat (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report, guint seconds,
    gboolean *owned, GError **error)
{
  g_autofree char *state = avatar_redis_key ("state", claim->id);
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  gint64 done;

  if (!avatar_redis_call_int (redis, &done, error, "EVAL", beat_script, "2", STREAM, state,
          claim->worker, claim->entry, report, time, NULL))
    return FALSE;
  *owned = done == 1;
  return TRUE;
}

gboolean
avatar_redis_release (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report,
    guint seconds, GError **error)
{
  g_autofree char *state = avatar_redis_key ("state", claim->id);
  g_autofree char *job = avatar_redis_key ("job", claim->id);
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  gint64 done;

  return avatar_redis_call_int (redis, &done, error, "EVAL", release_script, "3", STREAM, state,
      job, claim->worker, claim->entry, report, time, NULL);
}

char *
avatar_redis_part_key (const AvatarRedisClaim *claim)
{
  return g_strconcat ("avatar:part:", claim->id, ":", claim->worker, NULL);
}

gboolean
avatar_redis_finish (AvatarRedis *redis, AvatarRedisClaim *claim, const char *report,
    guint64 video_bytes, guint seconds, gboolean *owned, GError **error)
{
  g_autofree char *state = avatar_redis_key ("state", claim->id);
  g_autofree char *job = avatar_redis_key ("job", claim->id);
  g_autofree char *part = avatar_redis_part_key (claim);
  g_autofree char *video = avatar_redis_key ("video", claim->id);
  g_autofree char *audio = avatar_redis_key ("audio", claim->id);
  g_autofree char *image = avatar_redis_key ("image", claim->id);
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, video_bytes);
  gint64 done;

  if (!avatar_redis_call_int (redis, &done, error, "EVAL", finish_script, "7", STREAM, state, job,
          part, video, audio, image, claim->worker, claim->entry, report, time, size, NULL))
    return FALSE;
  if (done == 2)
    return lost (error, "a video has not arrived");
  *owned = done == 1;
  return TRUE;
}

gboolean
avatar_redis_tidy (AvatarRedis *redis, const char *worker, GError **error)
{
  gint64 done;

  return avatar_redis_call_int (redis, &done, error, "EVAL", tidy_script, "1", STREAM,
      worker ? worker : "", NULL);
}
