/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from files that nobody has checked: parsed with limits, read with named errors. */
#pragma once

#include <avatar/error.h>

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The object at the root of @data; unref with json_object_unref(). @name is for messages. */
JsonObject *avatar_json_parse (const char *data, gsize length, const char *name, GError **error);

/* The text of a file: a regular one of at most @most bytes. @what is for messages: "a vocabulary".
 * AVATAR_ERROR_NOT_FOUND: there is none. */
char *
avatar_json_read (const char *path, gsize most, const char *what, gsize *length, GError **error);

/* The text of a configuration: a regular file of at most 1 MiB. AVATAR_ERROR_NOT_FOUND: there is
 * none. */
char *avatar_json_read_config (const char *path, gsize *length, GError **error);

G_END_DECLS
