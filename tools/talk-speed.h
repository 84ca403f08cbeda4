/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Speed of a device with a model, from the latest run of pipelines/talk or from a short
 * measurement. */
#pragma once

#include "tools/talk-plan.h"

G_BEGIN_DECLS

/* Returns: floating-point operations per second of the latest run that was kept; 0: none was */
double talk_speed_load (const TalkPlan *plan);
/* Keeps the speed of a run that took @seconds, in the cache folder of the user. Without such a
 * folder, and after a very short run, nothing is kept. */
void talk_speed_store (const TalkPlan *plan, double seconds);
/* Measures the speed of the CPU by encoding silence. Returns: 0 if that is not possible */
double talk_speed_measure (const TalkPlan *plan);

G_END_DECLS
