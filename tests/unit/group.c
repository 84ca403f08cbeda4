/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several devices as one: names, budgets, the same results as on one device, and failures. The
 * devices are simulated (engine/backends/fake). */
#include "engine/backends/fake/fake.h"
#include "engine/device/device.h"

#include <string.h>

#define MIB ((guint64) 1 << 20)

static AvatarDevice *
open_device (const char *name)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open (name, &error);

  g_assert_no_error (error);
  return device;
}

static void
test_names (void)
{
  static const char *const names[][2] = {
    { "sim:512:0+sim:512:1", "sim:512:0+sim:512:1" },
    { "sim:512:0+1", "sim:512:0+sim:512:1" },
    { "sim:512+sim:600:4+5", "sim:512+sim:600:4+sim:600:5" },
    { "sim:512:all", "sim:512:0+sim:512:1+sim:512:2" },
    { "plan:cuda:4096+8192", "plan:cuda:4096+plan:cuda:8192" },
    { "plan:cuda:4096+4096", "plan:cuda:4096+plan:cuda:4096" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (AvatarDevice) device = open_device (names[i][0]);

    g_assert_cmpstr (avatar_device_get_name (device), ==, names[i][1]);
    g_assert_cmpuint (avatar_device_get_n_members (device), >, 1);
    g_assert_false (avatar_device_get_member (device, 0) == avatar_device_get_member (device, 1));
  }
}

/* A group and its members are opened once, whoever asks and in whatever order. */
static void
test_sharing (void)
{
  g_autoptr (AvatarDevice) one = open_device ("sim:512:1");
  g_autoptr (AvatarDevice) group = open_device ("sim:512:0+sim:512:1");
  g_autoptr (AvatarDevice) same = open_device ("sim:512:0+1");
  g_autoptr (AvatarDevice) other = open_device ("sim:512:1+0");

  g_assert_true (group == same);
  g_assert_false (group == other);
  g_assert_true (avatar_device_get_member (group, 1) == one);
  g_assert_true (avatar_device_get_member (other, 0) == one);
  g_assert_cmpuint (avatar_device_get_n_members (one), ==, 1);
  g_assert_true (avatar_device_get_member (one, 0) == one);
}

static void
test_wrong_names (void)
{
  static const char *const names[][2] = {
    { "sim:512:0+sim:512:0", "twice" },
    { "cpu+cpu", "expected GPUs" },
    { "sim:512+cpu", "expected GPUs" },
    { "sim:512+plan:cuda:512", "expected GPUs" },
    { "sim:512+", "member \"\"" },
    { "+", "member \"\"" },
    { "sim:512+auto", "member \"auto\"" },
    { "sim:512+sim:512:all", "member \"sim:512:all\"" },
    { "sim:512+GPU", "\"GPU\" is unknown" },
    { "plan:cuda:512:all", "cuda:all" },
    { "cpu:all", "\"cpu:0\" is unknown" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (avatar_device_open (names[i][0], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE);
    if (!strstr (error->message, names[i][1]))
      g_error ("expected \"%s\" in \"%s\"", names[i][1], error->message);
  }
}

static void
test_budgets (void)
{
  g_autoptr (AvatarDevice) group = open_device ("sim:1000:0+sim:500:1");
  g_autoptr (GError) error = NULL;
  guint64 bytes[2];
  AvatarMemory memory;

  g_assert_true (avatar_device_parse_budgets (group, "300", bytes, NULL));
  g_assert_cmpuint (bytes[0], ==, 300 * MIB);
  g_assert_cmpuint (bytes[1], ==, 300 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, "300,200", bytes, NULL));
  g_assert_cmpuint (bytes[1], ==, 200 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, "auto,50%", bytes, NULL));
  g_assert_cmpuint (bytes[0], ==, 980 * MIB);
  g_assert_cmpuint (bytes[1], ==, 250 * MIB);
  g_assert_true (avatar_device_parse_budgets (group, NULL, bytes, NULL));
  g_assert_cmpuint (bytes[1], ==, 490 * MIB);
  avatar_device_set_budget (group, 100 * MIB);
  avatar_device_get_memory (avatar_device_get_member (group, 1), &memory);
  g_assert_cmpuint (memory.budget, ==, 100 * MIB);
  avatar_device_get_memory (group, &memory);
  g_assert_cmpuint (memory.now, ==, 2 * AVATAR_FAKE_OVERHEAD);
  g_assert_false (avatar_device_parse_budgets (group, "1,2,3", bytes, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "expected one number, or 2"));
  g_assert_false (avatar_device_parse_budgets (group, "300,", bytes, NULL));
  g_assert_false (avatar_device_parse_budgets (group, "300,fast", bytes, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/group/names", test_names);
  g_test_add_func ("/group/sharing", test_sharing);
  g_test_add_func ("/group/wrong-names", test_wrong_names);
  g_test_add_func ("/group/budgets", test_budgets);
  return g_test_run ();
}
