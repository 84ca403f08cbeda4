/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-doctor: tells what this machine can do, and what to install. */
#include "tools/doctor/elements.h"
#include "tools/doctor/models.h"

#include <gst/gst.h>
#include <stdlib.h>

/* Exit status if no video can be made. */
#define UNABLE 2

static char *device, *root = (char *) "/";
static char **models;

static const GOptionEntry entries[] = {
  { "model", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &models,
      "Folder of a model; may be repeated (default: AVATAR_MODEL or the demo model, and weights and "
      "ckpts in this folder)",
      "FOLDER" },
  { "device", 0, 0, G_OPTION_ARG_STRING, &device,
      "cpu, cuda:N, or a group such as cuda:0+cuda:1 (default: all GPUs)", "D" },
  /* folder with proc/ and sys/, used by tests */
  { "root", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &root, NULL, NULL },
  G_OPTION_ENTRY_NULL,
};

static gboolean
parse (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Tells what this machine can do: GPU and driver, elements of GStreamer for each kind of file and\n"
      "server, models, and which size of video fits into which memory; and what to install.\n"
      "Exit status: 0 a video can be made; 2 something that it needs is missing; 1 wrong options.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc == 1)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "found the argument \"%s\", expected options only; see --help", argv[1]);
  return FALSE;
}

/* Prints the last line. Returns the exit status. */
static int
conclude (gboolean elements, const char *model, const DoctorDevices *devices)
{
  if (elements && model) {
    g_print ("A video can be made, with the model %s%s.\n", model,
        devices->gpu ? "" : " on the CPU");
    return EXIT_SUCCESS;
  }
  g_print ("No video can be made: %s%s%s; see \"To do\".\n",
      elements ? "" : "elements of GStreamer are missing", elements || model ? "" : ", and ",
      model ? "" : "no model was found that fits into this machine");
  return UNABLE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *model = NULL;
  DoctorReport report;
  DoctorDevices devices;
  gboolean elements;
  int status;

  if (!parse (argc, argv, &error)) {
    g_printerr ("avatar-doctor: %s\n", error->message);
    return EXIT_FAILURE;
  }
  gst_init (NULL, NULL);
  doctor_report_init (&report);
  doctor_devices_check (&devices, device, root, &report);
  elements = doctor_elements_check (&report);
  model = doctor_models_check ((const char *const *) models, &devices, &report);
  doctor_report_print (&report);
  status = conclude (elements, model, &devices);
  doctor_devices_clear (&devices);
  doctor_report_clear (&report);
  return status;
}
