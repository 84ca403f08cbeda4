/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of JSON from untrusted files, with limits of size and depth. */
#pragma once

#include <avatar/error.h>

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* @data: [length] text
 * @name: name of the file for errors
 * Returns: (transfer full): object at the root; unref with json_object_unref(). %NULL with
 * AVATAR_ERROR_FORMAT. */
JsonObject *avatar_json_parse (const char *data, gsize length, const char *name, GError **error);

/* Reads a regular file.
 * @max_bytes: limit of its size
 * @kind: kind of the file for errors, such as "a vocabulary"
 * @length: (out): number of bytes
 * Returns: (transfer full): contents, with a terminator after them. %NULL with
 * AVATAR_ERROR_NOT_FOUND, AVATAR_ERROR_READ, or AVATAR_ERROR_FORMAT if it is too large. */
char *avatar_json_read (const char *path, gsize max_bytes, const char *kind, gsize *length,
    GError **error);

/* Reads a configuration of at most 1 MiB like avatar_json_read(). */
char *avatar_json_read_config (const char *path, gsize *length, GError **error);

G_END_DECLS
