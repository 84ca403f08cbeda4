/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of the property sigmas: a list of noise levels in one string. */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* @text: (nullable): numbers separated by commas. The engine checks their range.
 * Returns an array of gdouble, empty for no text, or %NULL with @error set. */
GArray *gst_avatar_sigmas_parse (const gchar *text, GError **error);

G_END_DECLS
