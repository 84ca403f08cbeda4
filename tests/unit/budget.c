/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts of memory as people write them, on a pretended GPU and on the CPU. */
#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"
#include "tests/unit/device.h"

#include <string.h>

#define MIB ((guint64) 1 << 20)

static guint64
budget_of (AvatarDevice *device, const char *text)
{
  g_autoptr (GError) error = NULL;
  guint64 bytes = 1;

  g_assert_true (avatar_device_parse_budget (device, text, &bytes, &error));
  g_assert_no_error (error);
  return bytes;
}

static void
test_numbers (void)
{
  g_autoptr (AvatarDevice) sim = open_device ("sim:1000");
  g_autoptr (AvatarDevice) cpu = open_device ("cpu");

  g_assert_cmpuint (budget_of (sim, "300"), ==, 300 * MIB);
  g_assert_cmpuint (budget_of (sim, "300.5"), ==, 300 * MIB + MIB / 2);
  g_assert_cmpuint (budget_of (sim, "80%"), ==, 800 * MIB);
  g_assert_cmpuint (budget_of (sim, "100%"), ==, 1000 * MIB);
  g_assert_cmpuint (budget_of (cpu, "300"), ==, 300 * MIB);
  g_assert_cmpuint (budget_of (cpu, "50%"), >, 0);
  g_assert_cmpuint (budget_of (NULL, "300"), ==, 0); /* the syntax alone */
}

/* Memory held by this process counts as available, memory held by others does not. */
static void
test_automatic (void)
{
  g_autoptr (AvatarDevice) sim = open_device ("sim:1000");
  g_autoptr (AvatarDevice) cpu = open_device ("cpu");
  const guint64 reserve = 20 * MIB;
  void *memory;

  g_assert_cmpuint (budget_of (cpu, "auto"), ==, 0);
  g_assert_cmpuint (budget_of (cpu, NULL), ==, 0);
  g_assert_cmpuint (budget_of (sim, "auto"), ==, 1000 * MIB - reserve);
  g_assert_cmpuint (budget_of (sim, ""), ==, 1000 * MIB - reserve);
  memory = avatar_device_memory_new (sim, 100 * MIB, "a test", NULL);
  g_assert_cmpuint (budget_of (sim, "auto"), ==, 1000 * MIB - reserve);
  avatar_fake_take_memory (500 * MIB);
  g_assert_cmpuint (budget_of (sim, "auto"), ==, 500 * MIB - reserve);
  avatar_fake_take_memory (2000 * MIB); /* more than there is: what we hold remains */
  g_assert_cmpuint (budget_of (sim, "auto"), ==, 100 * MIB + AVATAR_FAKE_OVERHEAD);
  avatar_fake_take_memory (0);
  avatar_device_memory_free (sim, memory, 100 * MIB);
}

static void
test_nonsense (void)
{
  const char *const texts[] = { "0", "0.5", "-1", "+5", "1e3", "0x10", "nan", "inf", "4 GiB", "4G",
    "4096MiB", " 4096", "4096 ", "1.2.3", ".", "%", "0%", "-5%", "101%", "5%%", "fast", "Auto",
    "9999999999999999999999", "99999999999999999999999999999999999999999999999999" };

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;
    guint64 bytes;

    g_assert_false (avatar_device_parse_budget (NULL, texts[i], &bytes, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
    g_assert_nonnull (strstr (error->message, texts[i])); /* found and expected */
    g_assert_nonnull (strstr (error->message, "expected MiB"));
  }
}

static void
test_pinned (void)
{
  guint64 half, whole, bytes;

  g_assert_true (avatar_parse_pinned_memory ("auto", &half, NULL));
  g_assert_true (avatar_parse_pinned_memory ("100%", &whole, NULL));
  g_assert_cmpuint (half, >, 0);
  g_assert_cmpuint (half, ==, whole / 2);
  g_assert_true (avatar_parse_pinned_memory ("0", &bytes, NULL));
  g_assert_cmpuint (bytes, ==, 0);
  g_assert_true (avatar_parse_pinned_memory ("64", &bytes, NULL));
  g_assert_cmpuint (bytes, ==, 64 * MIB);
  g_assert_false (avatar_parse_pinned_memory ("much", &bytes, NULL));
}

/* Stages that no GPU has operations for compute on the host, and take nothing of the device. */
static void
test_host (void)
{
  g_autoptr (AvatarDevice) sim = open_device ("sim:1000");
  g_autoptr (AvatarDevice) host = avatar_device_or_host (sim, NULL);
  g_autoptr (AvatarDevice) same = avatar_device_or_host (host, NULL);

  g_assert_cmpstr (avatar_device_get_name (host), ==, "cpu");
  g_assert_true (same == host);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/budget/numbers", test_numbers);
  g_test_add_func ("/budget/automatic", test_automatic);
  g_test_add_func ("/budget/nonsense", test_nonsense);
  g_test_add_func ("/budget/pinned", test_pinned);
  g_test_add_func ("/budget/host", test_host);
  return g_test_run ();
}
