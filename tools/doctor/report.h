/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Findings of avatar-doctor: lines of a table on standard output, and what to install. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  DOCTOR_OK,
  DOCTOR_MISSING, /* something can be installed or downloaded */
  DOCTOR_NONE,    /* the machine does not have it, and need not */
} DoctorState;

/**
 * DoctorReport:
 * @packages: names of Debian packages to install, each once
 * @advice: other sentences about what to do, each once
 */
typedef struct
{
  GPtrArray *packages, *advice;
} DoctorReport;

void doctor_report_init (DoctorReport *self);
void doctor_report_clear (DoctorReport *self);
/* Prints the title of a section. */
void doctor_report_title (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* Prints one finding. */
void doctor_report_line (DoctorState state, const char *what, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
void doctor_report_package (DoctorReport *self, const char *name);
void doctor_report_advise (DoctorReport *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Prints the packages and the advice, if there are any. */
void doctor_report_print (const DoctorReport *self);

G_END_DECLS
