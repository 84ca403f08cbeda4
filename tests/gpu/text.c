/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text encoders on a GPU, in float16: close to the CPU's float32, and bit-identical in the
 * minimum memory. Uses small random weights, or the folder AVATAR_TEXT_MODEL, of any size.
 * Skipped without a GPU. */
#include "engine/device/device.h"
#include "engine/text/encoder.h"
#include "engine/model/config.h"

#include <math.h>
#include <string.h>

#define SIDE 96
/* Tolerance of float16 through all layers; small random weights have no massive activations. */
#define LIMIT 1e-2

static AvatarModel *model;
static AvatarImage *image;

/* Returns states and pooled vectors of both prompts (transfer full). @least: use the minimum
 * memory. */
static GArray *
encode (AvatarDevice *device, gboolean least)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  const AvatarTextEncoderSettings settings
      = { { "A woman talks to the camera.", "bad hands" }, 2, FALSE, FALSE, { NULL, 0 } };
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTextEncoder) self = avatar_text_encoder_new (model, device, &settings, &error);
  GArray *all = g_array_new (FALSE, FALSE, sizeof (float));
  gint64 start = g_get_monotonic_time ();
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTextEncoderRequirements required;
  AvatarMemory memory;
  AvatarArena *arena;

  g_assert_no_error (error);
  avatar_device_get_memory (device, &memory);
  avatar_text_encoder_plan (self, G_MAXUINT64, &required);
  avatar_device_set_budget (device,
      least ? memory.now + avatar_device_get_allocation_size (device, required.arena_bytes)
              + required.min_weight_bytes
            : 0);
  arena = avatar_arena_new (device, required.arena_bytes, "the test", &error);
  g_assert_no_error (error);
  ops = avatar_ops_new (device, arena, &error);
  g_assert_no_error (error);
  avatar_text_encoder_run (self, ops, image, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, required.arena_bytes);
  avatar_device_get_memory (device, &memory);
  g_print ("# %s%s: %.2f s, %.1f GFLOP, arena %.1f MiB, peak %.1f MiB with the context\n",
      avatar_device_get_name (device), least ? ", in the least memory" : "",
      (g_get_monotonic_time () - start) * 1e-6, required.flops * 1e-9,
      required.arena_bytes / 1048576., memory.peak / 1048576.);
  for (guint i = 0; i < 2; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get_encoding (self, i);

    g_array_append_vals (all, e->states, e->n * c->llava.hidden);
    g_array_append_vals (all, e->pooled, c->clip.tower.hidden);
  }
  return all;
}

/* |a - b| / |b| over @n values from @at */
static double
difference (const GArray *a, const GArray *b, guint at, guint n)
{
  double error = 0, size = 0;

  for (guint i = at; i < at + n; i++) {
    double x = g_array_index (a, float, i), y = g_array_index (b, float, i);

    error += (x - y) * (x - y);
    size += y * y;
  }
  return sqrt (error / size);
}

static void
test_all (void)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  guint states = c->text.max_states * c->llava.hidden, pooled = c->clip.tower.hidden;
  g_autoptr (AvatarDevice) gpu = avatar_device_open ("cuda", NULL);
  g_autoptr (AvatarDevice) cpu = avatar_device_open ("cpu", NULL);
  /* the least first: the ledger's peak is of all so far */
  g_autoptr (GArray) b = encode (gpu, TRUE), a = encode (gpu, FALSE), truth = encode (cpu, FALSE);

  g_assert_cmpuint (a->len, ==, truth->len);
  g_assert_cmpuint (a->len, ==, 2 * (states + pooled));
  g_assert_cmpmem (a->data, a->len * sizeof (float), b->data, b->len * sizeof (float));
  for (guint i = 0; i < 2; i++) {
    double of_states = difference (a, truth, i * (states + pooled), states);
    double of_pooled = difference (a, truth, i * (states + pooled) + states, pooled);

    g_print ("# prompt %u: states %.2e, pooled %.2e (limit %.0e)\n", i, of_states, of_pooled,
        LIMIT);
    g_assert_true (of_states <= LIMIT && of_pooled <= LIMIT);
  }
}

static char *
make_model (void)
{
  char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  const char *argv[] = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--parts",
    "transformer,vae,whisper,llava,clip", folder, NULL };
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
      &status, &error);
  g_assert_no_error (error);
  g_assert_true (g_spawn_check_wait_status (status, NULL));
  return folder;
}

int
main (int argc, char **argv)
{
  g_autofree char *made = NULL;
  g_autofree guint8 *pixels = g_malloc (SIDE * SIDE * 3);
  g_autoptr (GError) error = NULL;
  AvatarDevice *gpu;
  int status;

  g_test_init (&argc, &argv, NULL);
  gpu = avatar_device_open ("cuda", &error);
  if (!gpu) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  avatar_device_unref (gpu);
  if (!g_getenv ("AVATAR_TEXT_MODEL"))
    made = make_model ();
  model = avatar_model_open (made ? made : g_getenv ("AVATAR_TEXT_MODEL"), &error);
  g_assert_no_error (error);
  for (guint i = 0; i < SIDE * SIDE * 3; i++)
    pixels[i] = i * 7 % 251;
  image = avatar_image_new (SIDE, SIDE, 3, 3 * SIDE, pixels, NULL);
  g_test_add_func ("/gpu/text", test_all);
  status = g_test_run ();
  avatar_image_free (image);
  avatar_model_unref (model);
  if (made) {
    const char *remove[] = { "rm", "-r", made, NULL };

    g_spawn_sync (NULL, (char **) remove, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
        NULL);
  }
  return status;
}
