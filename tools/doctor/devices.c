/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/doctor/devices.h"

#include <string.h>
#include <unistd.h>

#define MIB 1048576.
/* Vendor NVIDIA and classes of display controllers of PCI. */
#define NVIDIA "0x10de"
#define DISPLAY_CLASS "0x03"
#define NEEDED                                                                                       \
  "a GPU needs compute capability 8.0 (RTX 30 series, A100) or later, NVIDIA's driver, cuBLAS, and " \
  "cuDNN 9.1 or a later version 9"

/* Returns the contents of a short file below @root, or NULL. */
static char *
read_text (const char *root, const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (root, folder, name, NULL);
  char *text = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  return g_strstrip (text);
}

/* Returns the number of NVIDIA's display controllers. */
static guint
count_cards (const char *root)
{
  g_autofree char *path = g_build_filename (root, "sys/bus/pci/devices", NULL);
  g_autoptr (GDir) devices = g_dir_open (path, 0, NULL);
  const char *name;
  guint n = 0;

  while (devices && (name = g_dir_read_name (devices))) {
    g_autofree char *folder = g_build_filename (path, name, NULL);
    g_autofree char *vendor = read_text (folder, ".", "vendor");
    g_autofree char *klass = read_text (folder, ".", "class");

    n += vendor && klass && strcmp (vendor, NVIDIA) == 0 && g_str_has_prefix (klass, DISPLAY_CLASS);
  }
  return n;
}

/* Returns the version in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...". */
static char *
driver_version (const char *root)
{
  g_autofree char *text = read_text (root, "proc/driver/nvidia", "version");
  g_autoptr (GRegex) regex = g_regex_new ("[0-9]+\\.[0-9]+(\\.[0-9]+)?", 0, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;

  return text && g_regex_match (regex, text, 0, &match) ? g_match_info_fetch (match, 0) : NULL;
}

/* Prints why no GPU can be used, and what to install if there is one. */
static void
explain_none (const char *root, const GError *error, DoctorReport *report)
{
  g_autofree char *driver = driver_version (root);
  guint cards = count_cards (root);

  doctor_report_line (cards ? DOCTOR_MISSING : DOCTOR_NONE, "GPU", "%s", error->message);
  if (cards == 0 && !driver)
    return;
  doctor_report_line (driver ? DOCTOR_OK : DOCTOR_MISSING, "NVIDIA driver",
      "%s; %u NVIDIA cards on the PCI bus", driver ? driver : "not loaded", cards);
  if (!driver)
    doctor_report_advise (report,
        "install NVIDIA's driver: apt-get install nvidia-driver (of Debian's non-free), and restart");
  else if (strstr (error->message, "libcudnn"))
    doctor_report_advise (report,
        "install cuDNN 9 from NVIDIA's repository: apt-get install libcudnn9-cuda-12 (or -13)");
  else if (strstr (error->message, "libcublas"))
    doctor_report_advise (report,
        "install cuBLAS from NVIDIA's repository: apt-get install libcublas-12-8 (or another version "
        "of the toolkit that the back-end was built with)");
  else if (strstr (error->message, "has no \"cuda\" back-end"))
    doctor_report_advise (report,
        "build the CUDA back-end, with NVIDIA's toolkit and cuDNN: meson configure build "
        "-Dcuda=enabled, or pipelines/packages --cuda (docs/guide/packages.md)");
}

static void
check_gpu (DoctorDevices *self, const char *name, const char *root, DoctorReport *report)
{
  g_autoptr (GError) error = NULL;
  guint n;

  self->gpu = avatar_device_open (name ? name : "cuda:all", &error);
  if (!self->gpu) {
    explain_none (root, error, report);
    doctor_report_line (DOCTOR_NONE, "", "%s", NEEDED);
    return;
  }
  n = avatar_device_get_n_members (self->gpu);
  for (guint i = 0; i < n; i++)
    doctor_report_line (DOCTOR_OK, "GPU", "%s",
        avatar_device_get_description (avatar_device_get_member (self->gpu, i)));
  avatar_device_parse_budget (avatar_device_get_member (self->gpu, 0), "auto", &self->budget, NULL);
}

void
doctor_devices_check (DoctorDevices *self, const char *name, const char *root, DoctorReport *report)
{
  g_autoptr (GError) error = NULL;

  *self = (DoctorDevices){ .computer
    = (guint64) sysconf (_SC_PHYS_PAGES) * (guint64) sysconf (_SC_PAGESIZE) };
  if (g_strcmp0 (name, "auto") == 0)
    name = NULL;
  self->only_gpu = name && strcmp (name, "cpu") != 0;
  doctor_report_title ("Devices");
  self->cpu = avatar_device_open ("cpu", &error);
  if (self->cpu)
    doctor_report_line (DOCTOR_OK, "CPU", "%s, %.0f MiB of memory",
        avatar_device_get_description (self->cpu), self->computer / MIB);
  else
    doctor_report_line (DOCTOR_MISSING, "CPU", "%s", error->message);
  if (g_strcmp0 (name, "cpu") != 0)
    check_gpu (self, name, root, report);
}

void
doctor_devices_clear (DoctorDevices *self)
{
  g_clear_pointer (&self->cpu, avatar_device_unref);
  g_clear_pointer (&self->gpu, avatar_device_unref);
}
