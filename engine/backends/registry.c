/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only file that knows all back-ends: maps the name of a device to its back-end. */
#include "engine/backends/cpu/cpu.h"
#include "engine/backends/estimate/estimate.h"
#include "engine/backends/fake/fake.h"
#include "engine/device/backend-loader.h"
#include "engine/device/device.h"

#include <string.h>

/* Returns TRUE for "cuda:" and digits. Checked before the module is loaded, so that a mistyped name
 * is not reported as a missing driver. */
static gboolean
is_cuda (const char *name)
{
  guint digits = 0;

  if (!g_str_has_prefix (name, "cuda:"))
    return FALSE;
  name += strlen ("cuda:");
  while (g_ascii_isdigit (name[digits]))
    digits++;
  return digits > 0 && digits < 6 && !name[digits];
}

static const AvatarBackend *
find_backend (const char *name, GError **error)
{
  if (strcmp (name, "cpu") == 0)
    return &avatar_backend_cpu;
  if (is_cuda (name))
    return avatar_backend_load ("cuda", error);
  if (strncmp (name, "sim:", 4) == 0)
    return &avatar_backend_fake;
  if (strncmp (name, "plan:", 5) == 0)
    return &avatar_backend_estimate;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
      "device \"%s\" is unknown; expected \"cpu\", \"cuda\", \"cuda:N\" (the N-th GPU), a group such as "
      "\"cuda:0+cuda:1\" or \"cuda:all\", or \"auto\" (a GPU if there is one, else the CPU)",
      name);
  return NULL;
}

AvatarDevice *
avatar_device_open (const char *name, GError **error)
{
  return avatar_device_open_with (name, find_backend, error);
}
