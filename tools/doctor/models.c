/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/doctor/models.h"

#include "engine/inspect/inspect.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.
/* Model of the built-in sizes, for plans without weights. */
#define RELEASED "released"
/* GPU of a plan without a budget, larger than any real one. */
#define ENDLESS "plan:cuda:16777216"
#define FRAMES 129
#define DOWNLOAD "docs/guide/download.md"

/* @is_released: it has the sizes of the release, which makes videos of many sizes */
typedef struct
{
  const char *path;
  gboolean usable, is_released;
} Found;

/* Finds the components of the folder. Returns TRUE if a model can be opened there. */
static gboolean
inspect (const char *path, gboolean *is_released, DoctorReport *report)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarInspection) found = avatar_inspect (path, NULL, NULL, &error);
  gboolean usable = found && avatar_inspection_is_usable (found);

  *is_released = found && found->released_sizes;
  if (!found)
    doctor_report_line (DOCTOR_MISSING, "model", "%s", error->message);
  else if (usable)
    doctor_report_line (DOCTOR_OK, "model", "%s: %s", path, found->description);
  else
    doctor_report_line (DOCTOR_MISSING, "model", "%s: %s, not complete", path, found->description);
  for (guint i = 0; found && !usable && i < found->components->len; i++) {
    const AvatarInspectedComponent *part = found->components->pdata[i];

    if (part->problem && part->needed)
      doctor_report_line (DOCTOR_MISSING, part->name, "%s", part->problem);
  }
  if (!found)
    doctor_report_advise (report,
        "set AVATAR_MODEL or --model to the folder of a model, or download one (%s)", DOWNLOAD);
  else if (!usable)
    doctor_report_advise (report, "download what %s lacks (%s), then see: avatar-inspect %s", path,
        DOWNLOAD, path);
  return usable;
}

/* Plans one size on a device.
 * @device: name; @budget: in bytes, 0: no limit */
static gboolean
plan_size (AvatarModel *model, const char *device, const guint size[2], guint64 budget,
    AvatarPlan *plan)
{
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;

  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  avatar_plan_options_init (&options);
  denoise.width = size[0];
  denoise.height = size[1];
  options.budget_bytes = budget;
  return avatar_plan_make (model, device, &denoise, &decode, FRAMES, &options, plan, NULL);
}

static const char *
answer (gboolean good)
{
  return good ? "yes" : "no";
}

/* Prints what one size needs, and whether the devices have it. Returns TRUE if one of them does. */
static gboolean
print_size (AvatarModel *model, const guint size[2], const DoctorDevices *devices)
{
  AvatarPlan gpu, here, cpu;
  g_autofree char *name = g_strdup_printf ("%ux%u", size[0], size[1]);
  g_autofree char *text = NULL;
  gboolean on_gpu = FALSE, on_cpu;

  if (!plan_size (model, ENDLESS, size, 0, &gpu) || !plan_size (model, "cpu", size, 0, &cpu))
    return FALSE;
  if (devices->gpu) {
    const char *first = avatar_device_get_name (avatar_device_get_member (devices->gpu, 0));

    on_gpu = plan_size (model, first, size, devices->budget, &here) && here.fits;
    text = on_gpu ? g_strdup_printf ("yes, %u of %u groups of weights resident, %.0f MiB of the "
                                     "computer's memory",
               here.gpu.resident, here.gpu.groups, ceil (here.host_bytes / MIB))
                  : g_strdup_printf ("no, of %.0f MiB", devices->budget / MIB);
  }
  on_cpu = cpu.peak_bytes <= devices->computer && !devices->only_gpu;
  g_print ("  %-10s %8.0f MiB  %-10s %8.0f MiB  %s%s%s\n", name, ceil (gpu.gpu.min_bytes / MIB),
      devices->gpu ? answer (on_gpu) : "-", ceil (cpu.peak_bytes / MIB), answer (on_cpu),
      text ? "; GPU: " : "", text ? text : "");
  return on_gpu || on_cpu;
}

/* Prints the sizes of a model. Returns TRUE if one of them is possible. */
static gboolean
print_sizes (const char *path, gboolean is_released, const DoctorDevices *devices)
{
  static const guint released[][2]
      = { { 384, 384 }, { 512, 512 }, { 704, 704 }, { 704, 768 }, { 704, 1216 } };
  g_autoptr (AvatarModel) model = avatar_model_open (path, NULL);
  gboolean possible = FALSE;

  if (!model)
    return FALSE;
  doctor_report_title ("Video sizes of %s, %u frames: smallest budget of GPU memory, and memory on "
                       "the CPU",
      strcmp (path, RELEASED) == 0 ? "the released model, which was not found" : path, FRAMES);
  g_print ("  %-10s %12s  %-10s %12s  %s\n", "size", "GPU budget", "this GPU", "CPU", "this CPU");
  if (is_released) {
    for (guint i = 0; i < G_N_ELEMENTS (released); i++)
      possible = print_size (model, released[i], devices) || possible;
  } else {
    const AvatarModelInfo *info = avatar_model_get_info (model);
    const guint size[2] = { info->width, info->height };

    possible = print_size (model, size, devices);
  }
  return possible;
}

/* Returns the folders to look at: the default one, and those of downloads in this folder. */
static GPtrArray *
usual_paths (void)
{
  static const char *const downloads[] = { "weights", "ckpts" };
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);

  g_ptr_array_add (paths, avatar_model_default_path ());
  for (guint i = 0; i < G_N_ELEMENTS (downloads); i++)
    if (g_file_test (downloads[i], G_FILE_TEST_IS_DIR))
      g_ptr_array_add (paths, g_strdup (downloads[i]));
  return paths;
}

char *
doctor_models_check (const char *const *paths, const DoctorDevices *devices, DoctorReport *report)
{
  g_autoptr (GPtrArray) usual = usual_paths ();
  g_autofree Found *found = NULL;
  guint n = paths ? g_strv_length ((char **) paths) : usual->len;
  gboolean any_released = FALSE;
  char *best = NULL;

  found = g_new0 (Found, n);
  doctor_report_title ("Models");
  for (guint i = 0; i < n; i++) {
    found[i].path = paths ? paths[i] : usual->pdata[i];
    found[i].usable = inspect (found[i].path, &found[i].is_released, report);
    any_released = any_released || found[i].is_released;
  }
  for (guint i = 0; i < n; i++)
    if (found[i].usable && print_sizes (found[i].path, found[i].is_released, devices) && !best)
      best = g_strdup (found[i].path);
  if (!any_released)
    print_sizes (RELEASED, TRUE, devices);
  return best;
}
