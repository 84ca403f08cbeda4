/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of devices and the back-ends that they belong to. */
#include "engine/backends/cpu/cpu.h"
#include "engine/backends/estimate/estimate.h"
#include "engine/backends/fake/fake.h"
#include "engine/device/backend-loader.h"

#include <string.h>

/* "cuda:" and digits: said before anything is loaded, so that a slip of the finger is not taken
 * for a missing driver. */
static gboolean
is_cuda (const char *name)
{
  return strncmp (name, "cuda:", 5) == 0 && name[5] && strspn (name + 5, "0123456789") < 6
      && !name[5 + strspn (name + 5, "0123456789")];
}

const AvatarBackend *
avatar_backend_find (const char *name, GError **error)
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
      "device \"%s\" is unknown; there are \"cpu\", \"cuda\", \"cuda:N\" (the N-th GPU) and "
      "\"auto\" (the best there is)",
      name);
  return NULL;
}
