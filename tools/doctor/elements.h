/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Elements of GStreamer that each kind of input and output needs, and the Debian packages that have
 * those that are missing. */
#pragma once

#include "tools/doctor/report.h"

G_BEGIN_DECLS

/* Prints what GStreamer can do here.
 * Returns: %TRUE if it can read audio, make an avatar and write a file */
gboolean doctor_elements_check (DoctorReport *report);

G_END_DECLS
