/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/redis.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PORT 6379
/* Time (s) for a connection, and for a reply. */
#define CONNECT_TIME 5
#define REPLY_TIME 20
/* Pauses (us) after the first and after many failures. */
#define SHORTEST_PAUSE (250 * G_TIME_SPAN_MILLISECOND)
#define LONGEST_PAUSE (5 * G_TIME_SPAN_SECOND)
/* Bytes of a reply, and elements of an array. */
#define MOST_RECEIVED (2 * AVATAR_REDIS_PIECE)
#define MOST_ELEMENTS 1024
#define MOST_WORDS 64
/* Time (us) of a connection after which a loss is none of a row. */
#define LASTING (10 * G_TIME_SPAN_SECOND)
/* XAUTOCLAIM came with Redis 6.2. */
#define LEAST_VERSION 602

struct _AvatarRedis
{
  const AvatarRedisAddress *address;
  redisContext *context;
  guint n_connections;
  gint64 connected, next_try, pause;
  char *reason; /* why the last connection ended */
  gboolean reported, warned_of_log, warned_of_memory;
};

GQuark
avatar_redis_error_quark (void)
{
  return g_quark_from_static_string ("avatar-redis-error");
}

/* ------------------------------------------------------------------------------------- address */

static gboolean
refuse_address (GError **error, const char *why)
{
  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
      "the address of the queue has %s, expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]",
      why);
  return FALSE;
}

gboolean
avatar_redis_address_parse (const char *text, AvatarRedisAddress *address, GError **error)
{
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_HAS_PASSWORD, NULL);
  const char *path = uri ? g_uri_get_path (uri) : NULL;
  guint64 database = 0;

  *address = (AvatarRedisAddress){ 0 };
  if (!uri)
    return refuse_address (error, "another form");
  if (strcmp (g_uri_get_scheme (uri), "rediss") == 0)
    return refuse_address (error, "TLS, which a tunnel must add");
  if (strcmp (g_uri_get_scheme (uri), "redis") != 0)
    return refuse_address (error, "another scheme");
  if (!g_uri_get_host (uri) || !*g_uri_get_host (uri))
    return refuse_address (error, "no host");
  if (*path && strcmp (path, "/") != 0
      && !g_ascii_string_to_unsigned (path + 1, 10, 0, 1000000, &database, NULL))
    return refuse_address (error, "a database that is no number");
  if (g_uri_get_query (uri) || g_uri_get_fragment (uri))
    return refuse_address (error, "something after the database");
  address->host = g_strdup (g_uri_get_host (uri));
  address->port = g_uri_get_port (uri) > 0 ? g_uri_get_port (uri) : PORT;
  address->database = database;
  if (g_uri_get_user (uri) && *g_uri_get_user (uri))
    address->user = g_strdup (g_uri_get_user (uri));
  address->password = g_strdup (g_uri_get_password (uri));
  return TRUE;
}

void
avatar_redis_address_clear (AvatarRedisAddress *address)
{
  g_free (address->host);
  g_free (address->user);
  g_free (address->password);
  *address = (AvatarRedisAddress){ 0 };
}

/* -------------------------------------------------------------------------------------- replies */

static gboolean
lost (GError **error, const char *why)
{
  g_set_error_literal (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_LOST, why);
  return FALSE;
}

#if HIREDIS_MAJOR >= 1
typedef size_t ArrayLength;
#else
typedef int ArrayLength;
#endif

/* Functions of hiredis that make replies, but for that of arrays. */
static redisReplyObjectFunctions makers;
static void *(*make_array) (const redisReadTask *, ArrayLength);

/* Refuses a length that a reply announces before it is allocated. */
static void *
make_bounded_array (const redisReadTask *task, ArrayLength n)
{
  return n > MOST_ELEMENTS ? NULL : make_array (task, n);
}

static gpointer
copy_makers (gpointer data)
{
  redisReader *reader = data;

  makers = *reader->fn;
  make_array = makers.createArray;
  makers.createArray = make_bounded_array;
  return NULL;
}

void
avatar_redis_guard_reader (redisReader *reader)
{
  static GOnce once = G_ONCE_INIT;

  g_once (&once, copy_makers, reader);
  reader->fn = &makers;
}

gboolean
avatar_redis_reply_is_array (const redisReply *reply, gsize least, GError **error)
{
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements < least)
    return lost (error, "a reply has another form than Redis gives it");
  for (gsize i = 0; i < reply->elements; i++)
    if (!reply->element[i])
      return lost (error, "a reply has an empty element");
  return TRUE;
}

const char *
avatar_redis_reply_text (const redisReply *reply, gsize longest, GError **error)
{
  if (reply->type == REDIS_REPLY_STRING && reply->len <= longest
      && !memchr (reply->str, 0, reply->len))
    return reply->str;
  lost (error, "a reply is no text, or too long a one");
  return NULL;
}

/* ------------------------------------------------------------------------------------- commands */

/* Sets the error of the connection, which cannot be used any more. */
static gboolean
fail_connection (AvatarRedis *self, GError **error)
{
  const redisContext *c = self->context;

  if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
    return lost (error, "it does not answer");
  if (c->err == REDIS_ERR_IO)
    return lost (error, g_strerror (errno));
  if (c->err == REDIS_ERR_EOF)
    return lost (error, "it has closed the connection");
  return lost (error, *c->errstr ? c->errstr : "the connection has failed");
}

/* Reads a reply as redisGetReply() does, but within a bound. */
static redisReply *
read_reply (AvatarRedis *self, GError **error)
{
  redisContext *c = self->context;
  void *reply = NULL;
  gsize received = c->reader->len;
  int done = 0;

  while (!done)
    if (redisBufferWrite (c, &done) != REDIS_OK) {
      fail_connection (self, error);
      return NULL;
    }
  while (TRUE) {
    if (redisGetReplyFromReader (c, &reply) != REDIS_OK) {
      fail_connection (self, error);
      return NULL;
    }
    if (reply)
      return reply;
    if (received > MOST_RECEIVED) {
      lost (error, "a reply is larger than expected");
      return NULL;
    }
    received -= c->reader->len;
    if (redisBufferRead (c) != REDIS_OK) {
      fail_connection (self, error);
      return NULL;
    }
    received += c->reader->len;
  }
}

static redisReply *
call (AvatarRedis *self, int n, const char **words, const gsize *lengths, GError **error)
{
  redisReply *reply = NULL;

  if (!self->context)
    lost (error, "there is no connection");
  else if (redisAppendCommandArgv (self->context, n, words, lengths) != REDIS_OK)
    fail_connection (self, error);
  else
    reply = read_reply (self, error);
  if (reply && reply->type == REDIS_REPLY_ERROR) {
    g_autofree char *text = g_utf8_make_valid (reply->str, MIN (reply->len, 300));
    g_set_error (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_REFUSED, "%s", text);
    g_clear_pointer (&reply, freeReplyObject);
  }
  return reply;
}

redisReply *
avatar_redis_call_words (AvatarRedis *self, const char **words, GError **error)
{
  gsize lengths[MOST_WORDS];
  int n;

  for (n = 0; words[n]; n++) {
    g_assert (n < MOST_WORDS);
    lengths[n] = strlen (words[n]);
  }
  return call (self, n, words, lengths, error);
}

static redisReply *
call_list (AvatarRedis *self, va_list list, GError **error)
{
  const char *words[MOST_WORDS + 1] = { NULL };

  for (guint n = 0; n < MOST_WORDS && (words[n] = va_arg (list, const char *)); n++)
    ;
  return avatar_redis_call_words (self, words, error);
}

redisReply *
avatar_redis_call (AvatarRedis *self, GError **error, ...)
{
  redisReply *reply;
  va_list list;

  va_start (list, error);
  reply = call_list (self, list, error);
  va_end (list);
  return reply;
}

gboolean
avatar_redis_call_int (AvatarRedis *self, gint64 *value, GError **error, ...)
{
  g_autoptr (redisReply) reply = NULL;
  va_list list;

  va_start (list, error);
  reply = call_list (self, list, error);
  va_end (list);
  if (!reply)
    return FALSE;
  if (reply->type != REDIS_REPLY_INTEGER)
    return lost (error, "a reply is no number");
  *value = reply->integer;
  return TRUE;
}

gboolean
avatar_redis_put (AvatarRedis *self, const char *key, gsize offset, GBytes *bytes, guint seconds,
    GError **error)
{
  g_autofree char *at = g_strdup_printf ("%zu", offset), *time = g_strdup_printf ("%u", seconds);
  const char *words[] = { "SETRANGE", key, at, g_bytes_get_data (bytes, NULL) };
  const gsize lengths[]
      = { strlen (words[0]), strlen (key), strlen (at), g_bytes_get_size (bytes) };
  g_autoptr (redisReply) reply = call (self, G_N_ELEMENTS (words), words, lengths, error);
  gint64 set;

  return reply && avatar_redis_call_int (self, &set, error, "EXPIRE", key, time, NULL);
}

gboolean
avatar_redis_set (AvatarRedis *self, const char *key, GBytes *bytes, guint seconds, GError **error)
{
  g_autofree char *time = g_strdup_printf ("%u", seconds);
  const char *words[] = { "SET", key, g_bytes_get_data (bytes, NULL), "EX", time };
  const gsize lengths[]
      = { strlen (words[0]), strlen (key), g_bytes_get_size (bytes), 2, strlen (time) };
  g_autoptr (redisReply) reply = call (self, G_N_ELEMENTS (words), words, lengths, error);

  return reply != NULL;
}

GBytes *
avatar_redis_get (AvatarRedis *self, const char *key, gsize offset, GError **error)
{
  g_autofree char *first = g_strdup_printf ("%zu", offset);
  g_autofree char *last = g_strdup_printf ("%zu", offset + AVATAR_REDIS_PIECE - 1);
  g_autoptr (redisReply) reply
      = avatar_redis_call (self, error, "GETRANGE", key, first, last, NULL);

  if (!reply)
    return NULL;
  if (reply->type == REDIS_REPLY_STRING && reply->len <= AVATAR_REDIS_PIECE)
    return g_bytes_new (reply->str, reply->len);
  lost (error, "a reply is no piece of a file");
  return NULL;
}

/* ----------------------------------------------------------------------------------- connection */

AvatarRedis *
avatar_redis_new (const AvatarRedisAddress *address)
{
  AvatarRedis *self = g_new0 (AvatarRedis, 1);

  self->address = address;
  self->pause = SHORTEST_PAUSE;
  return self;
}

void
avatar_redis_free (AvatarRedis *self)
{
  g_clear_pointer (&self->context, redisFree);
  g_free (self->reason);
  g_free (self);
}

static void print (AvatarRedis *self, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
print (AvatarRedis *self, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list list;

  va_start (list, format);
  text = g_strdup_vprintf (format, list);
  va_end (list);
  g_printerr ("avatar-server: Redis at %s:%u: %s\n", self->address->host, self->address->port,
      text);
}

static gboolean
open_socket (AvatarRedis *self, GError **error)
{
  struct timeval limit = { .tv_sec = CONNECT_TIME };

  self->context = redisConnectWithTimeout (self->address->host, self->address->port, limit);
  if (!self->context)
    return lost (error, "no memory for the connection");
  if (self->context->err)
    return lost (error, self->context->errstr);
  avatar_redis_guard_reader (self->context->reader);
  limit.tv_sec = REPLY_TIME;
  if (redisSetTimeout (self->context, limit) != REDIS_OK
      || redisEnableKeepAlive (self->context) != REDIS_OK)
    return fail_connection (self, error);
  return TRUE;
}

static gboolean
log_in (AvatarRedis *self, GError **error)
{
  const AvatarRedisAddress *address = self->address;
  g_autofree char *database = g_strdup_printf ("%u", address->database);
  g_autoptr (redisReply) auth = NULL, selected = NULL;

  if (address->password && address->user)
    auth = avatar_redis_call (self, error, "AUTH", address->user, address->password, NULL);
  else if (address->password)
    auth = avatar_redis_call (self, error, "AUTH", address->password, NULL);
  if (address->password && !auth)
    return FALSE;
  selected = avatar_redis_call (self, error, "SELECT", database, NULL);
  return selected != NULL;
}

/* Returns the value of a line NAME:VALUE. Free with g_free(). */
static char *
find_line (const char *info, const char *name)
{
  g_autofree char *pattern = g_strdup_printf ("^%s:([^\r\n]{0,40})", name);
  g_autoptr (GRegex) regex = g_regex_new (pattern, G_REGEX_MULTILINE | G_REGEX_RAW, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;

  return g_regex_match (regex, info, 0, &match) ? g_match_info_fetch (match, 1) : g_strdup ("");
}

/* Warns, once of each, of settings with which jobs are computed again. */
static void
warn_of_settings (AvatarRedis *self, const char *info)
{
  g_autofree char *aof = find_line (info, "aof_enabled");
  g_autofree char *policy = find_line (info, "maxmemory_policy");

  if (strcmp (aof, "1") != 0 && !self->warned_of_log) {
    self->warned_of_log = TRUE;
    print (self,
        "warning: it keeps no log of its data (appendonly no): jobs that workers have begun or "
        "done when it ends are begun anew; set appendonly yes");
  }
  if (*policy && strcmp (policy, "noeviction") != 0 && !self->warned_of_memory) {
    self->warned_of_memory = TRUE;
    print (self,
        "warning: maxmemory-policy is %s: with little memory, files of jobs are removed and jobs "
        "are begun anew; set maxmemory-policy noeviction",
        policy);
  }
}

static gboolean
check_settings (AvatarRedis *self, GError **error)
{
  g_autoptr (redisReply) reply = avatar_redis_call (self, error, "INFO", NULL);
  const char *info = reply ? avatar_redis_reply_text (reply, 1 << 16, error) : NULL;
  g_autofree char *version = info ? find_line (info, "redis_version") : NULL;
  char *rest;
  guint64 major, minor;

  if (!info)
    return FALSE;
  major = g_ascii_strtoull (version, &rest, 10);
  minor = *rest == '.' ? g_ascii_strtoull (rest + 1, NULL, 10) : 0;
  if (major < 1000 && major * 100 + MIN (minor, 99) < LEAST_VERSION) {
    g_set_error (error, AVATAR_REDIS_ERROR, AVATAR_REDIS_ERROR_REFUSED,
        "its version is \"%s\", expected 6.2 or later", version);
    return FALSE;
  }
  warn_of_settings (self, info);
  return TRUE;
}

gboolean
avatar_redis_is_ready (AvatarRedis *self)
{
  GError *error = NULL;

  if (self->context)
    return TRUE;
  if (g_get_monotonic_time () < self->next_try)
    return FALSE;
  if (!open_socket (self, &error) || !log_in (self, &error) || !check_settings (self, &error)) {
    avatar_redis_give_up (self, error);
    return FALSE;
  }
  self->connected = g_get_monotonic_time ();
  if (self->n_connections++ == 0 || self->reported)
    print (self, "connected");
  self->reported = FALSE;
  return TRUE;
}

guint
avatar_redis_get_n_connections (AvatarRedis *self)
{
  return self->n_connections;
}

void
avatar_redis_give_up (AvatarRedis *self, GError *error)
{
  gint64 now = g_get_monotonic_time ();
  gboolean again = g_strcmp0 (self->reason, error->message) == 0;

  if (self->context && self->connected && now - self->connected > LASTING) {
    self->pause = SHORTEST_PAUSE;
    again = FALSE;
  }
  self->connected = 0;
  g_clear_pointer (&self->context, redisFree);
  if (!again) {
    print (self, "%s; trying again", error->message);
    self->reported = TRUE;
  }
  g_free (self->reason);
  self->reason = g_strdup (error->message);
  g_error_free (error);
  self->next_try = now + self->pause;
  self->pause = MIN (2 * self->pause, LONGEST_PAUSE);
}
