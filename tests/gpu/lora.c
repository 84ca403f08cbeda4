/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A LoRA on int8 weights (quanto's, as in Wan2GP's files): the GPU adds to expanded copies the
 * same as the CPU merges, bit-identically for resident and streamed weights. Uses small random
 * weights, or the int8 file AVATAR_LORA_MODEL. Skipped without a GPU.
 *
 *   gpu-lora [DEVICE] */
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "tests/unit/tree-fixture.h"

#include <string.h>

#define INT8 "ckpts/hunyuan_video_avatar_720_quanto_bf16_int8.safetensors"
/* Far more than bfloat16 rounds away. */
#define STRENGTH 40
/* Tolerance of bfloat16 through all blocks, and of the LoRA's change, half as large as the
 * latents. */
#define LIMIT 5e-2
#define LIMIT_OF_CHANGE 0.15
/* MiB between the budgets that are tried. */
#define STEP 2

static const char *name;
static char *folder;
static AvatarModel *model;

static float *
denoise (const char *device, guint64 budget, const AvatarLoraSetting *lora, GError **error)
{
  FolderRun run = { .device = device, .used = FOLDER_TEXT, .budget = budget, .lora = lora };

  return folder_denoise (model, &run, error);
}

/* b - a; free with g_free(). */
static float *
change (const float *a, const float *b)
{
  float *out = g_new (float, FOLDER_VALUES);

  for (gsize i = 0; i < FOLDER_VALUES; i++)
    out[i] = b[i] - a[i];
  return out;
}

/* In the smallest budget that does, which is found from below, from what is taken anyway. */
static float *
denoise_small (const AvatarLoraSetting *lora)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (name, NULL);
  AvatarMemory memory;

  avatar_device_get_memory (device, &memory);
  g_clear_pointer (&device, avatar_device_unref);
  for (guint64 budget = (memory.now >> 20) + 1;; budget += STEP) {
    g_autoptr (GError) error = NULL;
    float *out = denoise (name, budget, lora, &error);

    if (out) {
      g_print ("# smallest budget: %" G_GUINT64_FORMAT
               " MiB, of which %.1f before anything is done\n",
          budget, memory.now / 1048576.);
      return out;
    }
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
}

static void
test_int8 (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (folder, "lora.safetensors", NULL);
  AvatarLoraSetting lora = { .path = path, .strength = STRENGTH }, nothing = { .path = path };
  g_autofree float *cpu = NULL, *merged = NULL, *gpu = NULL, *added = NULL, *small = NULL,
                   *zero = NULL, *wanted = NULL, *found = NULL;
  double size, of_latents, of_change;

  g_assert_cmpint (((AvatarTensorSource *) g_hash_table_lookup (avatar_model_get_component (model,
                                                                    AVATAR_COMPONENT_TRANSFORMER,
                                                                    NULL),
                        "single_blocks.0.linear1.weight"))
                       ->dtype,
      ==, AVATAR_I8);
  folder_write_lora (path, &avatar_model_get_config (model)->transformer);
  cpu = denoise ("cpu", 0, NULL, &error);
  g_assert_no_error (error);
  merged = denoise ("cpu", 0, &lora, &error);
  g_assert_no_error (error);
  gpu = denoise (name, 0, NULL, &error);
  g_assert_no_error (error);
  added = denoise (name, 0, &lora, &error);
  g_assert_no_error (error);
  wanted = change (cpu, merged);
  found = change (gpu, added);
  size = folder_difference (cpu, merged, FOLDER_VALUES);
  of_latents = folder_difference (merged, added, FOLDER_VALUES);
  of_change = folder_difference (wanted, found, FOLDER_VALUES);
  g_print (
      "# the LoRA changes the latents by %.2e; they are %.2e from the CPU's (without it %.2e), the "
      "change itself %.2e\n",
      size, of_latents, folder_difference (cpu, gpu, FOLDER_VALUES), of_change);
  g_assert_cmpfloat (of_latents, <, LIMIT);
  g_assert_cmpfloat (of_change, <, LIMIT_OF_CHANGE);
  small = denoise_small (&lora);
  g_assert_cmpmem (small, FOLDER_VALUES * sizeof (float), added, FOLDER_VALUES * sizeof (float));
  zero = denoise (name, 0, &nothing, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (zero, FOLDER_VALUES * sizeof (float), gpu, FOLDER_VALUES * sizeof (float));
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *made = NULL;
  const char *given = g_getenv ("AVATAR_LORA_MODEL");
  AvatarDevice *device; /* stays open: others on it need not begin from nothing */
  int status;

  g_test_init (&argc, &argv, NULL);
  name = argc > 1 ? argv[1] : "cuda";
  device = avatar_device_open (name, &error);
  if (!device) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  if (!given) {
    folder_make_wan2gp (folder, "transformer-int8,vae,whisper");
    given = made = g_build_filename (folder, INT8, NULL);
  }
  model = folder_open (given);
  g_test_add_func ("/gpu/lora/int8", test_int8);
  status = g_test_run ();
  avatar_model_unref (model);
  folder_remove (folder);
  g_free (folder);
  avatar_device_unref (device);
  return status;
}
