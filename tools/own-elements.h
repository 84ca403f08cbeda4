/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Elements of the same installation, or of the same build folder, for programs in tools/. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* Makes the elements beside this program known, if GStreamer does not find avatarbin without that.
 * Returns: %TRUE if there is an avatarbin */
gboolean own_elements_find (void);

G_END_DECLS
