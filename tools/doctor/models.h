/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Models: what was found, what is missing, and which size of video fits into which memory. */
#pragma once

#include "tools/doctor/devices.h"

G_BEGIN_DECLS

/* Prints the models and the sizes of video that they can make here.
 * @paths: (nullable) (array zero-terminated=1): folders to look at instead of the usual ones
 * Returns: (transfer full) (nullable): path of the first model that can make a video on one of the
 * devices */
char *
doctor_models_check (const char *const *paths, const DoctorDevices *devices, DoctorReport *report);

G_END_DECLS
