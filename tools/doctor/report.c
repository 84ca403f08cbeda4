/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/doctor/report.h"

#include "tools/inspect-print.h"

void
doctor_report_init (DoctorReport *self)
{
  self->packages = g_ptr_array_new_with_free_func (g_free);
  self->advice = g_ptr_array_new_with_free_func (g_free);
}

void
doctor_report_clear (DoctorReport *self)
{
  g_ptr_array_unref (self->packages);
  g_ptr_array_unref (self->advice);
}

void
doctor_report_title (const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list list;

  va_start (list, format);
  text = g_strdup_vprintf (format, list);
  va_end (list);
  g_print ("%s\n", text);
}

void
doctor_report_line (DoctorState state, const char *what, const char *format, ...)
{
  static const char *const states[] = { "ok", "missing", "none" };
  g_autofree char *text = NULL;
  g_autofree char *printable = NULL;
  va_list list;

  va_start (list, format);
  text = g_strdup_vprintf (format, list);
  va_end (list);
  printable = inspect_printable (text);
  g_print ("  %-8s %-20s %s\n", states[state], what, printable);
}

static void
add_once (GPtrArray *texts, const char *text)
{
  if (!g_ptr_array_find_with_equal_func (texts, text, g_str_equal, NULL))
    g_ptr_array_add (texts, g_strdup (text));
}

void
doctor_report_package (DoctorReport *self, const char *name)
{
  add_once (self->packages, name);
}

void
doctor_report_advise (DoctorReport *self, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list list;

  va_start (list, format);
  text = g_strdup_vprintf (format, list);
  va_end (list);
  add_once (self->advice, text);
}

void
doctor_report_print (const DoctorReport *self)
{
  if (self->packages->len + self->advice->len == 0)
    return;
  g_print ("To do\n");
  if (self->packages->len > 0)
    g_print ("  apt-get install");
  for (guint i = 0; i < self->packages->len; i++)
    g_print (" %s%s", (const char *) self->packages->pdata[i],
        i + 1 == self->packages->len ? "\n" : "");
  for (guint i = 0; i < self->advice->len; i++) {
    g_autofree char *printable = inspect_printable (self->advice->pdata[i]);

    g_print ("  %s\n", printable);
  }
}
