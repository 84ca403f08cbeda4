/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths of installed files, relative to the library, so that an installation may be moved. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * avatar_installed_path:
 * @path: relative to the installation prefix; an absolute path is returned as it is
 *
 * The prefix is the one that the running library or program lies in, found by its folder. A library
 * that lies in no installed folder, as in a build folder, takes the configured prefix.
 *
 * Returns: (transfer full): an absolute path; the file need not exist
 */
char *avatar_installed_path (const char *path);

G_END_DECLS
