/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processors of the machine: what the engine can compute on, and why not on a GPU. */
#pragma once

#include "tools/doctor/report.h"

#include <avatar/avatar.h>

G_BEGIN_DECLS

/**
 * DoctorDevices:
 * @cpu: the CPU
 * @gpu: (nullable): all GPUs as one device; %NULL if none can be used
 * @budget: memory of the first GPU that a run may use, in bytes
 * @only_gpu: the CPU does not count, because a GPU was asked for
 * @computer: memory of the computer, in bytes
 */
typedef struct
{
  AvatarDevice *cpu, *gpu;
  guint64 budget, computer;
  gboolean only_gpu;
} DoctorDevices;

/* Prints the devices.
 * @name: (nullable): device to use, instead of all GPUs or else the CPU
 * @root: folder of proc/ and sys/, "/" but in tests */
void doctor_devices_check (DoctorDevices *self, const char *name, const char *root,
    DoctorReport *report);
void doctor_devices_clear (DoctorDevices *self);

G_END_DECLS
