/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from untrusted files, parsed with limits on size and depth. */
#pragma once

#include <avatar/error.h>

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* Returns the object at the root of @data; unref with json_object_unref(). @name: name of the file,
 * for messages */
JsonObject *avatar_json_parse (const char *data, gsize length, const char *name, GError **error);

/* Reads a regular file of at most @most bytes. @what: kind of file for messages, such as
 * "a vocabulary". Fails with AVATAR_ERROR_NOT_FOUND if there is no such file. */
char *
avatar_json_read (const char *path, gsize most, const char *what, gsize *length, GError **error);

/* Reads a configuration of at most 1 MiB. */
char *avatar_json_read_config (const char *path, gsize *length, GError **error);

G_END_DECLS
