/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reserved fields of public structures. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

/**
 * avatar_check_reserved:
 * @fields: [@n], the reserved fields of a structure that the application filled
 * @type: name of the structure
 *
 * Returns: %FALSE with AVATAR_ERROR_SETTINGS if a field is not zero
 */
gboolean avatar_check_reserved (const gpointer *fields, gsize n, const char *type, GError **error);

#define AVATAR_CHECK_RESERVED(settings, type, error) \
  avatar_check_reserved ((settings)->_reserved, G_N_ELEMENTS ((settings)->_reserved), type, error)

G_END_DECLS
