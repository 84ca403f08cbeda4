/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unusable drivers: each is a clear error, "auto" selects the CPU, and nothing crashes. The
 * driver is tests/unit/fake-driver; the runtime loads it once per process, so that each case has
 * its own. */
#include <avatar/device.h>

#include <string.h>

typedef struct
{
  const char *name, *version, *status; /* status of cuInit(); 100: no device, 999: unknown */
  const char *said[2];
} Case;

static const Case cases[] = {
  { "/driver/none", "0", "0", { "no NVIDIA driver was found", "device=cpu" } },
  { "/driver/too-old", "11000", "0",
      { "the NVIDIA driver supports CUDA 11.0", "update the driver" } },
  { "/driver/no-device", "99000", "100", { "found no GPU", "nvidia-smi" } },
  { "/driver/broken", "99000", "999", { "reports an error", "unknown error" } },
};

static void
test_case (gconstpointer data)
{
  static const char *const names[] = { "cuda", "cuda:0", "cuda:7" };
  const Case *c = data;
  g_autoptr (AvatarDevice) best = NULL;

  if (!g_test_subprocess ()) {
    g_setenv ("FAKE_DRIVER", c->version, TRUE);
    g_setenv ("FAKE_INIT", c->status, TRUE);
    g_test_trap_subprocess (NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed ();
    return;
  }
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (avatar_device_open (names[i], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
    if (!strstr (error->message, c->said[0]) || !strstr (error->message, c->said[1]))
      g_error ("expected \"%s\" and \"%s\" in \"%s\"", c->said[0], c->said[1], error->message);
  }
  best = avatar_device_open ("auto", NULL);
  g_assert_cmpstr (avatar_device_get_name (best), ==, "cpu");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    g_test_add_data_func (cases[i].name, &cases[i], test_case);
  return g_test_run ();
}
