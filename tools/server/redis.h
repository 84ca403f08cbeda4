/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connection to Redis that comes back after a loss. Replies are checked for type and size before
 * anything is read from them. One thread uses a connection. */
#pragma once

#include <glib.h>
#include <hiredis/hiredis.h>

G_BEGIN_DECLS

/* Bytes of a file that one command carries. */
#define AVATAR_REDIS_PIECE (1 << 20)
/* Largest string of Redis, with its default settings. */
#define AVATAR_REDIS_LARGEST (512u << 20)

#define AVATAR_REDIS_ERROR (avatar_redis_error_quark ())
GQuark avatar_redis_error_quark (void);
typedef enum
{
  AVATAR_REDIS_ERROR_LOST,    /* the connection is gone, or a reply is none that Redis sends */
  AVATAR_REDIS_ERROR_REFUSED, /* Redis has answered by an error */
  AVATAR_REDIS_ERROR_MISSING, /* a key is gone, or has another size than was said */
} AvatarRedisError;

typedef struct
{
  char *host, *user, *password; /* NULL: none */
  guint port, database;
} AvatarRedisAddress;

/* Reads redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]. */
gboolean avatar_redis_address_parse (const char *text, AvatarRedisAddress *address, GError **error);
void avatar_redis_address_clear (AvatarRedisAddress *address);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (redisReply, freeReplyObject)

/* Bounds the size of what @reader buffers, and of the arrays that it makes, by @most_elements. Call
 * it after redisReaderCreate(). */
void avatar_redis_guard_reader (redisReader *reader);

typedef struct _AvatarRedis AvatarRedis;

/* Does not connect. @address must outlive the connection. */
AvatarRedis *avatar_redis_new (const AvatarRedisAddress *address);
void avatar_redis_free (AvatarRedis *self);
/* Connects, if there is no connection and the pause after a failure is over. Reports changes on
 * stderr. Returns TRUE if there is a connection. */
gboolean avatar_redis_is_ready (AvatarRedis *self);
/* Counts the connections so far, so that a caller sees a new one. */
guint avatar_redis_get_n_connections (AvatarRedis *self);
/* Closes the connection because of @error, reports it, and begins a pause. Takes @error. */
void avatar_redis_give_up (AvatarRedis *self, GError *error);

/* Sends the words of a command, the last NULL. Free the reply by freeReplyObject(). */
redisReply *avatar_redis_call (AvatarRedis *self, GError **error, ...) G_GNUC_NULL_TERMINATED;
/* Likewise, with the words in an array that ends with NULL. */
redisReply *avatar_redis_call_words (AvatarRedis *self, const char **words, GError **error);
/* Likewise, for a command that replies a whole number. */
gboolean avatar_redis_call_int (AvatarRedis *self, gint64 *value, GError **error,
    ...) G_GNUC_NULL_TERMINATED;
/* Stores @bytes at @offset of the string @key, which expires after @seconds. */
gboolean avatar_redis_put (AvatarRedis *self, const char *key, gsize offset, GBytes *bytes,
    guint seconds, GError **error);
/* Makes @bytes all of the string @key. */
gboolean
avatar_redis_set (AvatarRedis *self, const char *key, GBytes *bytes, guint seconds, GError **error);
/* Returns at most a piece of the string @key from @offset on; NULL with an error. */
GBytes *avatar_redis_get (AvatarRedis *self, const char *key, gsize offset, GError **error);

/* Checks of replies. Sets @error and returns FALSE or NULL if the reply is of another type. */
gboolean avatar_redis_reply_is_array (const redisReply *reply, gsize least, GError **error);
const char *avatar_redis_reply_text (const redisReply *reply, gsize longest, GError **error);

G_END_DECLS
